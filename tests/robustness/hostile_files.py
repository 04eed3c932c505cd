"""Broken and hostile images: .npy and TIFF files of every kind, names and places of files, random bytes."""

import os
import pickle
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tifffile

MARKER = "code-of-the-file-ran"
RNG = np.random.default_rng(0)
IMAGE = RNG.gamma(2.0, 200.0, (36, 44)).astype(np.uint16)


class Case(NamedTuple):
    """A file and how reading it must end.

    Args:
        name: unique.
        expected: "result", "error" or "either".
        write: write(path, good) makes the file; `good` is a folder of good ones: good.npy, good.tif, good.h5.
        source: name of the file; A_X.npy is loaded for a training, generator.h5 applied to a good image, others
            restored by a good generator.
        output: name of the one file that may be written.
        flags: more of restore.py's.
    """

    name: str
    expected: str
    write: Callable
    source: str = "image.npy"
    output: str = "restored.npy"
    flags: tuple = ()


def raw(content):
    """A writer of bytes."""
    return lambda path, good: path.write_bytes(content)


def saved(array):
    """A writer of an array as .npy."""
    return lambda path, good: np.save(path, array, allow_pickle=True)


def changed(name, change):
    """A writer of what `change` makes of the bytes of a good file."""
    return lambda path, good: path.write_bytes(change((good / name).read_bytes()))


class RunsCode:
    """Unpickled, it leaves a mark."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


def array_cases():
    """(name, expected, array): what a .npy file may hold."""
    for code in "u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 >u2 >i4 >f4 >f8 >u8".split():
        yield f"dtype {code}", "result", (IMAGE % 120).astype(code)
    for code in "? c8 c16 U3 S3 M8[s]".split():
        yield f"dtype {code}", "error", (IMAGE % 7).astype("i8").astype(code)
    yield "dtype V4", "error", np.zeros((36, 44), "V4")
    yield "structured", "error", np.zeros((8, 8), [("a", "f4"), ("b", "u2")])
    yield "objects", "error", np.array([[RunsCode()] * 4] * 4, object)
    for shape in ((), (5,), (0,), (0, 32, 32), (32, 0), (3, 0, 8)):
        yield f"shape {shape}", "error", np.zeros(shape, np.float32)
    for shape in ((1, 1), (1, 40), (40, 1), (2, 3), (3, 5, 7, 9), (1, 32, 32, 1), (2, 1, 1)):
        yield f"shape {shape}", "result", RNG.random(shape)
    for shape in ((4, 32, 32, 2), (32, 40, 3), (32, 40, 4)):
        yield f"channels {shape}", "error", RNG.random(shape)
    yield "constant", "result", np.full((32, 32), 7.0)
    yield "zeros", "result", np.zeros((32, 32))
    yield "negative", "result", -RNG.random((32, 32))
    yield "one hot pixel", "result", np.eye(1, 1024).reshape(32, 32) * 65535
    yield "tiny values", "result", RNG.random((32, 32)) * 1e-30
    yield "huge values", "error", RNG.random((32, 32)) * 1e300
    yield "large values", "result", RNG.random((32, 32)) * 1e12
    yield "fortran order", "result", np.asfortranarray(IMAGE)
    for value in (np.nan, np.inf, -np.inf):
        yield f"one {value}", "error", np.where(np.eye(32) > 0, value, 1.0)
    yield "all NaN", "error", np.full((32, 32), np.nan)


def with_header(text, version=b"\x01\x00"):
    """Bytes of a .npy file whose header says `text`."""
    header = text.encode("latin1").ljust(118) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + IMAGE.tobytes()


def header_cases():
    """(name, expected, bytes): .npy headers that lie, and files that are no .npy."""
    header = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}".format
    for shape in ("(360, 440)", "(10**9, 44)", "(1000000000, 1000000000)", "(-1, 44)", "(36, -44)", "(36.0, 44)"):
        yield f"header shape {shape}", "error", with_header(header("<u2", shape))
    yield "header of less than there is", "result", with_header(header("<u2", "(30, 44)"))
    for code in ("|O", "<x9", "<u3", "|V1000000000", "<U1000000000", "<f16"):
        yield f"header dtype {code}", "error", with_header(header(code, "(36, 44)"))
    code = f"__import__('os').system('touch {MARKER}')"
    headers = {
        "code in the header": code,
        "code for a shape": header("<u2", code),
        "deep header": "(" * 100,
        "empty header": "",
        "list for a header": "[1, 2]",
        "missing key": "{'descr': '<u2', 'shape': (36, 44)}",
    }
    files = {
        **{name: with_header(text) for name, text in headers.items()},
        "version 9": with_header(header("<u2", "(36, 44)"), version=b"\x09\x00"),
        "empty file": b"",
        "text": b"x,y\n1,2\n" * 100,
        "pickle": pickle.dumps(RunsCode()),
        "zip": b"PK\x03\x04" + bytes(100),
        "magic alone": b"\x93NUMPY",
    }
    for name, content in files.items():
        yield name, "error", content


def npy_cases():
    """.npy files to restore and to train on."""
    for name, expected, content in header_cases():
        yield Case(f"npy {name}", expected, raw(content))
        yield Case(f"npy training {name}", "error", raw(content), "A_X.npy")
    for name, expected, array in array_cases():
        yield Case(f"npy {name}", expected, saved(array))
        if array.shape == (32, 32):
            varies = expected == "result" and np.ptp(array) > 0
            stack = saved(np.stack([array] * 12))
            yield Case(f"npy training {name}", "result" if varies else "error", stack, "A_X.npy")
    for shape in ((11, 32, 32), (12, 32, 31), (12, 32, 32, 2), (12, 8, 8), (0, 32, 32), (1, 32, 32), (12, 1024)):
        yield Case(f"npy training shape {shape}", "error", saved(RNG.random(shape)), "A_X.npy")


def tiff_cases():
    """TIFF files of every kind that tifffile writes without further packages, and of some that lie."""

    def tiff(array, **options):
        return lambda path, good: tifffile.imwrite(path, array, **options)

    palette = {"photometric": "palette", "colormap": np.zeros((3, 256), np.uint16)}
    results = {f"dtype {c}": tiff((IMAGE % 120).astype(c)) for c in "u1 u2 u4 i1 i2 i4 f2 f4 f8 >u2 >f4".split()}
    results |= {
        "one pixel": tiff(IMAGE[:1, :1]),
        "constant": tiff(np.full((32, 32), 9, np.uint8)),
        "compressed": tiff(IMAGE, compression="zlib"),
        "tiles": tiff(np.tile(IMAGE, (3, 3)), tile=(32, 32)),
        "large": tiff(IMAGE, bigtiff=True),
        "two series": write_two_series,
    }
    errors = {
        "complex": tiff(IMAGE.astype(np.complex64)),
        "NaN": tiff(np.full((32, 32), np.nan, np.float32)),
        "colours": tiff(np.zeros((32, 32, 3), np.uint8), photometric="rgb"),
        "palette": tiff(IMAGE.astype(np.uint8), **palette),
        "bomb": write_bomb,
        "empty": raw(b""),
        "header alone": raw(b"II*\0\x08\0\0\0"),
        "npy named tif": changed("good.npy", lambda npy: npy),
    }
    tags = {"ImageWidth": 2**32 - 1, "ImageLength": 2**31, "BitsPerSample": 3, "SamplesPerPixel": 60000}
    tags = [*tags.items(), ("Compression", 32773), ("PhotometricInterpretation", 32803)]
    for tag in ("ImageWidth", "ImageLength", "BitsPerSample", "SamplesPerPixel", "StripOffsets", "StripByteCounts"):
        tags.append((tag, 0))
    loop = b"\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0"
    either = {
        "loop of pages": changed("good.tif", lambda tiff: tiff[:4] + loop + tiff),
        **{f"{tag} {value}": with_tag(tag, value) for tag, value in tags},
        **{f"cut to {n}": changed("good.tif", lambda t, n=n: t[:n]) for n in (1, 7, 60, 150, 300, 500, 1000, 2000, -1)},
    }
    for expected, writers in (("result", results), ("error", errors), ("either", either)):
        for name, write in writers.items():
            yield Case(f"tiff {name}", expected, write, "image.tif", "restored.tif")


def write_two_series(path, good):
    with tifffile.TiffWriter(path) as file:
        file.write(IMAGE)
        file.write(IMAGE[:20, :20].astype(np.float32))


def write_bomb(path, good):
    """A few kilobytes that claim 8 TB: rows that share one compressed strip."""
    tifffile.imwrite(path, np.zeros((512, 512), np.uint16), bigtiff=True, compression="zlib", rowsperstrip=512)
    overwrite_tag(path, "ImageWidth", 2_000_000)
    overwrite_tag(path, "ImageLength", 2_000_000)


def with_tag(tag, value):
    def write(path, good):
        tifffile.imwrite(path, IMAGE)
        overwrite_tag(path, tag, value)

    return write


def overwrite_tag(path, tag, value):
    with tifffile.TiffFile(path, mode="r+b") as file:
        entry = file.pages[0].tags[tag]
        size = struct.calcsize(f"<{tifffile.TIFF.DATA_FORMATS[entry.dtype][-1]}")
        file.filehandle.seek(entry.valueoffset)
        file.filehandle.write((value % 256**size).to_bytes(size, "little"))


def path_cases():
    """Names and places of files."""
    good, again = saved(IMAGE), ("--overwrite",)

    def beside(act):
        """A writer of a good image, and of what `act(its folder)` puts beside it."""
        return lambda path, _: (np.save(path, IMAGE), act(path.parent))

    return [
        Case("path: newline", "result", good, "an\nimage.npy", "re\nstored.npy"),
        Case("path: unicode", "result", good, "Übung 図 \U0001f52c.npy", "été.npy"),
        Case("path: spaces", "result", good, "  a b .npy"),
        Case("path: newline, broken", "error", raw(b"nothing"), "an\nimage.npy"),
        Case("path: missing", "error", lambda path, _: None),
        Case("path: folder named npy", "error", lambda path, _: path.mkdir()),
        Case("path: no suffix", "error", good, "image"),
        Case("path: pipe", "error", lambda path, _: os.mkfifo(path)),
        Case("path: link to itself", "error", lambda path, _: path.symlink_to(path)),
        Case("path: link to nothing", "error", lambda path, _: path.symlink_to(path.parent / "gone")),
        Case("path: long name", "error", good, flags=("--output=" + "x" * 300 + ".npy",)),
        Case("path: output is the input", "error", good, output="image.npy"),
        Case("path: output is the input, overwritten", "error", good, output="image.npy", flags=again),
        Case("path: output is the input by another way", "error", good, output="../files/image.npy", flags=again),
        Case("path: output links to the input", "error", beside(link_to_input), output="link.npy", flags=again),
        Case("path: output is a folder", "error", beside(lambda f: (f / "f.npy").mkdir()), output="f.npy", flags=again),
        Case("path: output below a file", "error", good, output="image.npy/restored.npy"),
        Case("path: output exists", "error", beside(lambda folder: np.save(folder / "restored.npy", IMAGE))),
        Case("path: not allowed to read", "error", beside(forbid)),
        Case("path: unknown task", "error", good, flags=("--task=B",)),
    ]


def link_to_input(folder):
    (folder / "link.npy").symlink_to(folder / "image.npy")


def forbid(folder):
    (folder / "image.npy").chmod(0)
    if os.getuid() == 0:  # whom nothing is forbidden
        (folder / "image.npy").unlink()


def fuzz_cases():
    """Good files with a few random bytes changed, most of them where the format keeps its numbers."""
    for end, count, head, source in (
        ("npy", 40, 128, "image.npy"),
        ("tif", 60, 700, "image.tif"),
        ("h5", 60, 0, "generator.h5"),
    ):
        for number in range(count):
            write = changed(f"good.{end}", lambda content, n=number, h=head: damaged(content, n, h))
            yield Case(
                f"fuzz {end} {number}", "either", write, source, "restored.tif" if end == "tif" else "restored.npy"
            )


def damaged(content, number, head):
    """Bytes with one to five of them changed, four of five times among the first `head`."""
    content, rng = bytearray(content), np.random.default_rng(number)
    for _ in range(rng.integers(1, 6)):
        content[rng.integers(head if head and rng.random() < 0.8 else len(content))] = rng.integers(256)
    return bytes(content)
