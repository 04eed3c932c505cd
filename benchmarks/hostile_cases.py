"""The broken and hostile files of hostile_input.py, picked by hand and made from good files by a seeded fuzzer."""

import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tifffile

import data_utils
import restore

MARKER = "code-of-the-file-ran"
RNG = np.random.default_rng(0)
IMAGE = RNG.gamma(2.0, 200.0, (36, 44)).astype(np.uint16)


class Prepared(NamedTuple):
    """What to run, and the one file that it may write (named "none" where it may write nothing)."""

    run: Callable
    output: Path


class Case(NamedTuple):
    """A name, its kind for the table, "result", "error" or "either" as expected, and what writes its files."""

    name: str
    kind: str
    expected: str
    write: Callable


class Tools(NamedTuple):
    """A good generator.h5, and bytes of good files to damage."""

    generator: Path
    npy: bytes
    tiff: bytes
    h5: bytes


def prepare(folder):
    """Write the good files, and the generators that Keras must make."""
    import keras
    from keras import layers

    import models
    from restoring.generator_file import Metadata, save_generator
    from restoring.normalization import PercentileNormalization

    generator = folder / "good.h5"
    metadata = Metadata("cGAN", "tuned", ["A"], PercentileNormalization({"A": (1.0, 0.0)}), [], 4)
    save_generator(models.tuned_generator((4, 4, 4)), generator, metadata)
    gray, rgb, fixed = (
        keras.Input((*side, count)) for side, count in (((None, None), 1), ((None, None), 3), ((64, 64), 1))
    )
    for name, image, layer in (
        ("lambda", gray, layers.Lambda(lambda x: os.system(f"touch {MARKER}") or x)),
        ("three channels", rgb, layers.Conv2D(1, 3, padding="same")),
        ("fixed size", fixed, layers.Conv2D(1, 3, padding="same")),
        ("flat", gray, layers.GlobalAveragePooling2D()),
    ):
        save_generator(keras.Model(image, layer(image)), folder / f"{name}.h5", metadata)
    Path(MARKER).unlink(missing_ok=True)  # whoever builds a Lambda runs it; what counts is who loads it
    np.save(folder / "good.npy", IMAGE)
    tifffile.imwrite(folder / "good.tif", IMAGE[None], imagej=True, metadata={"axes": "ZYX", "spacing": 2.0})
    return 0


def read_tools(folder):
    """Tools from what `prepare` wrote."""
    return Tools(folder / "good.h5", *(Path(folder / f"good.{end}").read_bytes() for end in ("npy", "tif", "h5")))


def restoring(tools, write, source="image.npy", output="restored.npy", generator=None, flags=()):
    """A case's files: `write(path)` makes the image to restore."""

    def make(folder):
        write(folder / source)
        words = [f"--generator_path={generator or tools.generator}", f"--input={folder / source}"]
        words += [f"--output={folder / output}", *flags]
        return Prepared(lambda: restore.main(restore.make_parser().parse_args(words)), folder / output)

    return make


def training(write):
    """A case's files: `write(path)` makes NAME_X.npy beside a good NAME_Y.npy, and the pairs are loaded and checked."""

    def make(folder):
        np.save(folder / "A_Y.npy", RNG.gamma(2.0, 200.0, (12, 32, 32)).astype(np.float32))
        write(folder / "A_X.npy")
        return Prepared(lambda: len(data_utils.load_tasks(folder)[0]) - 1, folder / "none")

    return make


def loading(tools, damage):
    """A case's files: a generator.h5 that `damage(path, good bytes)` wrote is applied to a good image."""

    def make(folder):
        path = folder / "generator.h5"
        damage(path, tools.h5)
        return restoring(tools, lambda file: np.save(file, IMAGE), generator=path)(folder)

    return make


class RunsCode:
    """Unpickled, it leaves a mark."""

    def __reduce__(self):
        return os.system, (f"touch {MARKER}",)


def raw(content):
    """A writer of bytes."""
    return lambda path: path.write_bytes(content)


def saved(array):
    """A writer of an array as .npy."""
    return lambda path: np.save(path, array, allow_pickle=True)


def npy_with_header(text, version=b"\x01\x00"):
    """Bytes of a .npy file whose header says `text`."""
    header = text.encode("latin1").ljust(118) + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + IMAGE.tobytes()


def array_cases():
    """(name, expected, array or bytes): what a .npy file may hold."""
    for code in "u1 u2 u4 u8 i1 i2 i4 i8 f2 f4 f8 >u2 >i4 >f4 >f8 >u8".split():
        yield f"dtype {code}", "result", (IMAGE % 120).astype(code)
    for code in "? c8 c16 U3 S3 M8[s] V4".split():
        array = np.zeros((36, 44), "V4") if code == "V4" else (IMAGE % 7).astype("i8").astype(code)
        yield f"dtype {code}", "error", array
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


def header_cases():
    """(name, expected, bytes): .npy headers that lie, and files that are no .npy."""
    header = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}".format
    for shape in ("(360, 440)", "(10**9, 44)", "(1000000000, 1000000000)", "(-1, 44)", "(36, -44)", "(36.0, 44)"):
        yield f"header shape {shape}", "error", npy_with_header(header("<u2", shape))
    yield "header of less than there is", "result", npy_with_header(header("<u2", "(30, 44)"))
    for code in ("|O", "<x9", "<u3", "|V1000000000", "<U1000000000", "<f16"):
        yield f"header dtype {code}", "error", npy_with_header(header(code, "(36, 44)"))
    code = f"__import__('os').system('touch {MARKER}')"
    yield "code in the header", "error", npy_with_header(code)
    yield "code for a shape", "error", npy_with_header(header("<u2", code))
    yield "deep header", "error", npy_with_header("(" * 100)
    yield "empty header", "error", npy_with_header("")
    yield "list for a header", "error", npy_with_header("[1, 2]")
    yield "missing key", "error", npy_with_header("{'descr': '<u2', 'shape': (36, 44)}")
    yield "version 9", "error", npy_with_header(header("<u2", "(36, 44)"), version=b"\x09\x00")
    yield "empty file", "error", b""
    yield "text", "error", b"x,y\n1,2\n" * 100
    yield "pickle", "error", pickle.dumps(RunsCode())
    yield "zip", "error", b"PK\x03\x04" + bytes(100)
    yield "magic alone", "error", b"\x93NUMPY"


def npy_cases(tools):
    """.npy files to restore and to train on."""
    for name, expected, content in (*array_cases(), *header_cases()):
        write = raw(content) if isinstance(content, bytes) else saved(content)
        yield Case(f"npy {name}", "npy to restore", expected, restoring(tools, write))
        if isinstance(content, bytes):
            yield Case(f"npy training {name}", "npy to train on", "error", training(write))
        elif content.ndim == 2 and content.shape == (32, 32):
            stack = training(saved(np.stack([content] * 12)))
            expected = "error" if expected == "error" or np.ptp(content) == 0 else "result"
            yield Case(f"npy training {name}", "npy to train on", expected, stack)
    for shape in ((11, 32, 32), (12, 32, 31), (12, 32, 32, 2), (12, 8, 8), (0, 32, 32), (1, 32, 32), (12, 1024)):
        yield Case(f"npy training shape {shape}", "npy to train on", "error", training(saved(RNG.random(shape))))


def tiff_cases(tools):
    """TIFF files of every kind that tifffile writes without further packages, and of some that lie."""

    def case(name, expected, write, **options):
        return Case(f"tiff {name}", "tiff", expected, restoring(tools, write, "image.tif", "restored.tif", **options))

    def written(array, **options):
        return lambda path: tifffile.imwrite(path, array, **options)

    for code in "u1 u2 u4 i1 i2 i4 f2 f4 f8 >u2 >f4".split():
        yield case(f"dtype {code}", "result", written((IMAGE % 120).astype(code)))
    yield case("complex", "error", written(IMAGE.astype(np.complex64)))
    yield case("NaN", "error", written(np.full((32, 32), np.nan, np.float32)))
    yield case("one pixel", "result", written(IMAGE[:1, :1]))
    yield case("constant", "result", written(np.full((32, 32), 9, np.uint8)))
    yield case("colours", "error", written(np.zeros((32, 32, 3), np.uint8), photometric="rgb"))
    colormap = np.zeros((3, 256), np.uint16)
    yield case("palette", "error", written(IMAGE.astype(np.uint8), photometric="palette", colormap=colormap))
    yield case("compressed", "result", written(IMAGE, compression="zlib"))
    yield case("tiles", "result", written(np.tile(IMAGE, (3, 3)), tile=(32, 32)))
    yield case("large", "result", written(IMAGE, bigtiff=True))
    yield case("two series", "result", _two_series)
    yield case("bomb", "error", _bomb)
    yield case("empty", "error", raw(b""))
    yield case("header alone", "error", raw(b"II*\0\x08\0\0\0"))
    yield case("loop of pages", "either", raw(tools.tiff[:4] + b"\x08\0\0\0" + b"\0\0" + b"\x08\0\0\0" + tools.tiff))
    yield case("npy named tif", "error", raw(tools.npy))
    tags = {"ImageWidth": 2**32 - 1, "ImageLength": 2**31, "BitsPerSample": 3, "SamplesPerPixel": 60000}
    for tag, value in {**tags, "Compression": 32773, "PhotometricInterpretation": 32803}.items():
        yield case(f"{tag} {value}", "either", _with_tag(tag, value))
    for tag in ("ImageWidth", "ImageLength", "BitsPerSample", "SamplesPerPixel", "StripOffsets", "StripByteCounts"):
        yield case(f"{tag} 0", "either", _with_tag(tag, 0))
    for cut in (1, 7, 60, 150, 300, 500, 1000, 2000, len(tools.tiff) - 1):
        yield case(f"cut to {cut}", "either", raw(tools.tiff[:cut]))


def _two_series(path):
    with tifffile.TiffWriter(path) as file:
        file.write(IMAGE)
        file.write(IMAGE[:20, :20].astype(np.float32))


def _bomb(path):
    """A few kilobytes that claim 8 GB: rows that share one compressed strip."""
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(np.zeros((512, 512), np.uint16), compression="zlib", rowsperstrip=512)
    _overwrite_tag(path, "ImageWidth", 65000)
    _overwrite_tag(path, "ImageLength", 65000)


def _with_tag(tag, value):
    def write(path):
        tifffile.imwrite(path, IMAGE)
        _overwrite_tag(path, tag, value)

    return write


def _overwrite_tag(path, tag, value):
    with tifffile.TiffFile(path, mode="r+b") as file:
        entry = file.pages[0].tags[tag]
        size = struct.calcsize(f"<{tifffile.TIFF.DATA_FORMATS[entry.dtype][-1]}")
        file.filehandle.seek(entry.valueoffset)
        file.filehandle.write((value % 256**size).to_bytes(size, "little"))


def path_cases(tools):
    """Names and places of files."""
    good = saved(IMAGE)

    def case(name, expected, write=good, **options):
        return Case(f"path: {name}", "path", expected, restoring(tools, write, **options))

    yield case("newline", "result", source="an\nimage.npy", output="re\nstored.npy")
    yield case("unicode", "result", source="Übung 図 \U0001f52c.npy", output="été.npy")
    yield case("spaces", "result", source="  a b .npy")
    yield case("newline, broken", "error", raw(b"nothing"), source="an\nimage.npy")
    yield case("missing", "error", lambda path: None)
    yield case("folder named npy", "error", lambda path: path.mkdir())
    yield case("no suffix", "error", source="image")
    yield case("pipe", "error", os.mkfifo)
    yield case("link to itself", "error", lambda path: path.symlink_to(path))
    yield case("link to nothing", "error", lambda path: path.symlink_to(path.parent / "gone"))
    yield case("long name", "error", flags=("--output=" + "x" * 300 + ".npy",))
    yield case("output is the input", "error", output="image.npy")
    yield case("output is the input, overwritten", "error", output="image.npy", flags=("--overwrite",))
    yield case("output is the input by another way", "error", output="../files/image.npy", flags=("--overwrite",))
    yield case("output links to the input", "error", _with_link, output="link.npy", flags=("--overwrite",))
    yield case("output is a folder", "error", _with_folder, output="folder.npy", flags=("--overwrite",))
    yield case("output below a file", "error", output="image.npy/restored.npy")
    yield case("output exists", "error", _with_output)
    yield case("not allowed to read", "error", _forbidden)
    yield case("unknown task", "error", flags=("--task=B",))


def _with_link(path):
    np.save(path, IMAGE)
    (path.parent / "link.npy").symlink_to(path)


def _with_folder(path):
    np.save(path, IMAGE)
    (path.parent / "folder.npy").mkdir()


def _with_output(path):
    np.save(path, IMAGE)
    np.save(path.parent / "restored.npy", IMAGE)


def _forbidden(path):
    np.save(path, IMAGE)
    path.chmod(0)
    if os.getuid() == 0:  # whom nothing is forbidden
        path.unlink()


def fuzz_cases(tools):
    """Good files with a few random bytes changed, most of them where the format keeps its numbers."""
    rng = np.random.default_rng(1)
    for kind, content, count, head in (
        ("npy", tools.npy, 40, 128),
        ("tiff", tools.tiff, 60, 700),
        ("h5", tools.h5, 60, 0),
    ):
        for number in range(count):
            damaged = bytearray(content)
            for _ in range(rng.integers(1, 6)):
                damaged[rng.integers(head if head and rng.random() < 0.8 else len(damaged))] = rng.integers(256)
            yield Case(f"fuzz {kind} {number}", f"{kind}, random bytes", "either", _fuzzed(tools, kind, bytes(damaged)))


def _fuzzed(tools, kind, content):
    if kind == "h5":
        return loading(tools, lambda path, good: path.write_bytes(content))
    end = {"npy": "npy", "tiff": "tif"}[kind]
    return restoring(tools, raw(content), f"image.{end}", f"restored.{end}")
