"""What the converters that download share: an answer within seconds or an error, and checksums."""

import hashlib
import http.client
import threading
import urllib.request

CONNECT_SECONDS = 15
CHUNK = 1 << 20  # bytes
# What opening and reading a URL may raise; ValueError where a server redirects to what is no address.
FAILURES = (OSError, http.client.HTTPException, ValueError)


def open_url(request):
    """Open a URL, or a urllib Request, within CONNECT_SECONDS.

    urlopen's own limit starts anew for each address of a server and knows nothing of a name server that never answers,
    so a thread connects and is left behind where it takes too long.

    Returns:
        The answer; each read of it has the same limit.

    Raises:
        one of FAILURES.
    """
    outcome = []

    def connect():
        try:
            outcome.append(urllib.request.urlopen(request, timeout=CONNECT_SECONDS))
        except FAILURES as failure:
            outcome.append(failure)

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(CONNECT_SECONDS)
    if not outcome:
        raise TimeoutError(f"no answer within {CONNECT_SECONDS} s")
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]


def file_digest(path, kind):
    """Checksum of a file, hexadecimal; kind as hashlib names it."""
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, "rb") as file:
        while block := file.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
