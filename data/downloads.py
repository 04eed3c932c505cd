"""Downloads: an answer within seconds or an error, going on where one broke off, and checksums."""

import hashlib
import http.client
import threading
import urllib.request

from common.errors import InputError
from common.progress import progress_bar

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


def download_file(url, target, size, kind, checksum):
    """Download a large file, going on where a broken download stopped, and check it.

    Args:
        url: its address.
        target: path; until it is whole it is called like this and .part.
        size: in bytes.
        kind, checksum: MD5, SHA-1, SHA-256 or SHA-512, and its value.

    Raises:
        InputError: the download broke off or arrived damaged.
    """
    part = target.with_name(f"{target.name}.part")
    have = part.stat().st_size if part.is_file() else 0
    if have < size:
        request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
        try:
            with open_url(request) as answer:
                # A server that ignores the range sends the whole file, status 200.
                have = have if answer.status == 206 else 0
                with open(part, "ab" if have else "wb") as file:
                    copy(answer, file, f"downloading {target.name}", size, have)
        except FAILURES as failure:
            raise InputError(
                f"downloading {target.name} broke off ({failure}); run again to go on from there"
            ) from failure
    check_file(part, size, kind, checksum)
    part.rename(target)


def copy(source, target, description, total, initial=0):
    """Copy between open files with a progress bar in bytes."""
    with progress_bar(total=total, initial=initial, desc=description, unit="B", unit_scale=True) as bar:
        while block := source.read(CHUNK):
            target.write(block)
            bar.update(len(block))


def check_file(path, size, kind, checksum):
    """Raise InputError unless the file has this size and checksum (MD5, SHA-1, SHA-256 or SHA-512)."""
    if path.stat().st_size < size:
        raise InputError(f"{path} has {path.stat().st_size} of {size} bytes; run again to go on from there")
    digest = file_digest(path, kind.replace("-", "").lower())
    if path.stat().st_size != size or digest != checksum:
        path.unlink()
        raise InputError(f"{path} arrived damaged ({kind} or size differs) and was removed; run again")
