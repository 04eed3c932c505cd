"""Broken and hostile files: each ends in the right result or in one line `error: ...`, and nothing else happens.

    python benchmarks/hostile_input.py               all, about 5 minutes on 2 CPU cores
    python benchmarks/hostile_input.py --only=tiff   cases whose name holds a text

Every case runs restore.py or the loading of a training on one file, in a process that it may break. Wrong is: a
traceback, more than one line of error, another exit code than 0 or 2, a result that is not finite, a result where an
error is expected or the other way round, any other new or changed file, code of the file that ran, over 2 GB of
memory, or over a minute.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NamedTuple

import numpy as np
from hostile_cases import MARKER, fuzz_cases, npy_cases, path_cases, prepare, read_tools, tiff_cases
from hostile_generators import generator_cases

import restore
from common.devices import start_tensorflow
from common.errors import run_script

MEMORY, SECONDS = 2e9, 60


class Outcome(NamedTuple):
    """How a case ended: "result" or "error", what was wrong (or ""), its peak memory in bytes, its error line."""

    ending: str
    wrong: str
    memory: float
    said: str


def captured(function, log):
    """Run a function as a script is run, its output in a file; gives (exit code, peak bytes of this process)."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        run_script(lambda _: function(), None)
    except SystemExit as end:
        code = end.code or 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return code, float(peak.split()[1]) * 1024


def contents(folder):
    """{path: (size, time of change)} of everything in a folder."""
    return {path: (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*") if not path.is_dir()}


def run_case(case, folder):
    """Run one case in an empty folder; gives its Outcome."""
    prepared = case.write(folder)
    before, log = contents(folder), folder.parent / "log.txt"
    code, memory = captured(prepared.run, log)
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    ending = {0: "result", 2: "error"}.get(code, f"exit code {code}")
    changed = [p for p, state in contents(folder).items() if before.get(p) != state and p != prepared.output]
    problems = {
        f"ended in {ending}, expected {case.expected}": ending != case.expected and case.expected != "either",
        f"ended in {ending}": ending not in ("result", "error"),
        f"{len(errors)} lines of error": len(errors) != (ending == "error"),
        "a traceback": any("Traceback" in line for line in lines),
        f"changed {changed}": bool(changed),
        "an output after an error": ending == "error" and prepared.output.resolve() in contents(folder).keys() - before,
        "code of the file ran": (folder / MARKER).exists(),
        "no finite result": ending == "result" and not finite(prepared.output),
        f"{memory / 1e9:.1f} GB": memory > MEMORY,
    }
    wrong = "; ".join(text for text, true in problems.items() if true)
    return Outcome(ending, wrong, memory, lines[-1] if lines else "")


def finite(path):
    """Whether a result was written and holds finite numbers; loading alone writes none."""
    if not path.exists():
        return path.name == "none"
    return bool(np.isfinite(restore.read_image(path).planes).all())


def serve(connection, scratch):
    """Run the cases whose numbers come through the connection; the process that a case may break."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    start_tensorflow(0)
    if not (scratch / "good.npy").exists():
        prepare(scratch)
    cases = list_cases(read_tools(scratch))
    connection.send([(case.name, case.kind) for case in cases])
    while (number := connection.recv()) is not None:
        folder = scratch / f"case {number}" / "files"
        folder.mkdir(parents=True)
        os.chdir(folder)
        connection.send(run_case(cases[number], folder))


def list_cases(tools):
    """Every case, in one order."""
    kinds = (npy_cases, tiff_cases, generator_cases, path_cases, fuzz_cases)
    return [case for cases in kinds for case in cases(tools)]


def start_server(scratch):
    """A process that serves; gives (process, connection, names and kinds of the cases)."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=serve, args=(other, scratch), daemon=True)
    process.start()
    other.close()
    return process, connection, connection.recv()


def ask(process, connection, number):
    """The Outcome of a case, whatever becomes of the process."""
    connection.send(number)
    try:
        if connection.poll(SECONDS):
            return connection.recv()
        problem = f"took over {SECONDS} s"
    except (EOFError, ConnectionError):
        process.join()
        problem = f"the process died with exit code {process.exitcode}"
    process.kill()
    process.join()
    return Outcome("none", problem, 0.0, "")


def main(args):
    table = {}
    with tempfile.TemporaryDirectory() as scratch:
        process, connection, cases = start_server(Path(scratch))
        for number, (name, kind) in enumerate(cases):
            if args.only not in name:
                continue
            if not process.is_alive():
                process, connection, _ = start_server(Path(scratch))
            outcome = ask(process, connection, number)
            table.setdefault(kind, []).append(outcome)
            if outcome.wrong or args.verbose:
                print(f"{name}: {outcome.wrong or outcome.ending}\n    {outcome.said}", flush=True)
        if process.is_alive():
            connection.send(None)
            process.join()
    print_table(table)
    return int(any(outcome.wrong for outcomes in table.values() for outcome in outcomes))


def print_table(table):
    """One row per kind of case, and their sum."""
    print("\n| kind of input | cases | right result | one line of error | wrong | largest memory |")
    print("|---|---|---|---|---|---|")
    for kind, outcomes in [*table.items(), ("all", [outcome for part in table.values() for outcome in part])]:
        right = [outcome for outcome in outcomes if not outcome.wrong]
        results, errors = (sum(o.ending == ending for o in right) for ending in ("result", "error"))
        memory = max(outcome.memory for outcome in outcomes) / 1e6
        wrong = len(outcomes) - len(right)
        print(f"| {kind} | {len(outcomes)} | {results} | {errors} | {wrong} | {memory:.0f} MB |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose name holds this text")
    parser.add_argument("--verbose", action="store_true", help="print how every case ended")
    began = time.monotonic()
    code = main(parser.parse_args())
    print(f"\n{time.monotonic() - began:.0f} seconds")
    sys.exit(code)
