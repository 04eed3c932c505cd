"""What everything else stands on: errors, the command line, files, devices, metrics. Imports nothing of ours.

Ctrl-C while a command of this repository imports its libraries ends it in one line, until `errors.run_script` takes
over: KeyboardInterrupt would end in a traceback or, within a library's own import, in an error of another name.
"""

import os
import signal
import sys


def _end(number, frame):
    os.write(2, b"error: interrupted\n")
    os._exit(130)  # Nothing was begun that would have to be tidied up.


def _is_command(main):
    """Whether a module is the command that runs, not a notebook, another program or a process that one has started."""
    root, path = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), getattr(main, "__file__", None)
    return bool(path) and main.__name__ == "__main__" and os.path.abspath(path).startswith(root + os.sep)


if _is_command(sys.modules.get("__main__")) and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, _end)
