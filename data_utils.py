"""Pair sets on disk: found, checked, memory-mapped and split. No TensorFlow, so that bad input is reported at once.

A pair set of task NAME is `NAME_X.npy` (defective images x) and `NAME_Y.npy` (their clean ground truth y), both
(N, H, W) or (N, H, W, 1) of any real dtype; `NAME_X_test.npy` and `NAME_Y_test.npy` are optional. x of a coarser camera
may be smaller by 2, 3 or 4 on both sides; it is enlarged on entry. Where x are sections of a stack along axis 0,
`NAME_stack.json` says how many pixels the stack's planes lie apart: {"stride": 5.0} (data/prepare_stack.py).
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
import scipy  # its parts are loaded where they are used: --help is to answer at once

from common.errors import InputError

SCRIPT_DIR = Path(__file__).resolve().parent
SAMPLE_DIR = SCRIPT_DIR / "data"
EVAL_LIMIT = 100
FARTHEST_PLANES = 64  # rows apart: beyond, a training patch shows a single plane
FACTORS = (1, 2, 3, 4)  # how many times smaller than y x may be
MOST_ENLARGED = 256e6  # bytes of enlarged images that are kept: enlarging one takes longer than a crop's training step


def enlarge(image: np.ndarray, factor: int) -> np.ndarray:
    """An (H, W) image at `factor` times as many pixels on both sides, float32, by cubic splines.

    Pixels are areas: the first `factor` new pixels lie in the first old one, as in a coarser camera's image.
    """
    image = np.asarray(image, np.float32)
    return image if factor == 1 else scipy.ndimage.zoom(image, factor, order=3, mode="grid-mirror", grid_mode=True)


def factor_between(x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> int | None:
    """How many times larger than x's the last two sides of y are, one of FACTORS; None where y is not that."""
    for factor in FACTORS:
        if (*x_shape[:-2], x_shape[-2] * factor, x_shape[-1] * factor) == tuple(y_shape):
            return factor
    return None


class Images:
    """Chosen rows of one memory-mapped array, read one at a time as (H, W) float32.

    Args:
        array: (N, H, W) memory map; only the rows asked for are read.
        rows: 1-D indices into it.
        path: the file that is mapped.
        factor: images are enlarged so many times on reading.
    """

    def __init__(self, array: np.memmap, rows: np.ndarray, path: Path, factor: int = 1):
        self.array, self.rows, self.path, self.factor = array, np.asarray(rows, dtype=np.int64), path, factor
        self._checksum, self._enlarged = None, {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> np.ndarray:
        row = int(self.rows[index])
        if self.factor == 1:
            return self._read(row)
        image = self._enlarged.get(row)
        if image is None:
            image = enlarge(self._read(row), self.factor)
            if (len(self._enlarged) + 1) * image.nbytes <= MOST_ENLARGED:
                self._enlarged[row] = image
        return image

    def _read(self, row):
        """One image as it is in the file, float32."""
        if not self.array.flags.c_contiguous:
            return np.asarray(self.array[row], dtype=np.float32)
        # Read, not touched through the map: a kernel may map megabytes around every page that is touched, and a
        # file cut short meanwhile would kill the process.
        count = self.array[0].size
        start = self.array.offset + row * count * self.array.itemsize
        values = np.fromfile(self.path, self.array.dtype, count, offset=start)
        if len(values) < count:
            raise InputError(f"{self.path}: image {row} is cut short; was the file changed?")
        with np.errstate(over="ignore"):  # `check` tells of values that float32 cannot hold
            return values.reshape(self.array.shape[1:]).astype(np.float32, copy=False)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels, enlarged."""
        return self.array.shape[1] * self.factor, self.array.shape[2] * self.factor

    @property
    def checksum(self) -> int:
        """CRC-32 of the values of all images in the file, one after the other, as float32."""
        if self._checksum is None:
            self.check()
        return self._checksum

    def check(self) -> None:
        """Raise InputError where an image holds NaN or infinity, or one value everywhere."""
        checksum = 0
        for row in map(int, self.rows):
            image = self._read(row)
            # Here, where every image is read anyway: arrays of gigabytes are not read twice.
            checksum = zlib.crc32(np.ascontiguousarray(image), checksum)
            low, high = float(image.min()), float(image.max())
            if not np.isfinite(low) or not np.isfinite(high):
                raise InputError(f"{self.path}: image {row} holds NaN or infinite values; repair or remove it")
            if low == high:
                raise InputError(f"{self.path}: image {row} is constant ({low:g} everywhere); remove this pair")
        self._checksum = checksum


class Task(NamedTuple):
    """One defect type with its images, split so that no image is on two sides (but for a set of one pair).

    `train_x[i]` and `train_y[i]` are a pair, as are `test_x[i]` and `test_y[i]`. `unpaired_x` and `unpaired_y` are
    the rows of the pairs and the odd (x) or even (y) rows of the unpaired pool: what unpaired training may draw from.
    `stride`: x are sections of a stack whose planes lie so many rows apart, interpolated between; None: they are not.
    """

    name: str
    train_x: Images
    train_y: Images
    test_x: Images
    test_y: Images
    unpaired_x: Images
    unpaired_y: Images
    stride: float | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) of its images in pixels."""
        return self.train_x.shape

    @property
    def factor(self) -> int:
        """How many times x is enlarged on entry."""
        return self.train_x.factor


def factors_of(tasks: list[Task]) -> dict[str, int]:
    """{name: how many times x is enlarged on entry} of those tasks in which it is."""
    return {task.name: task.factor for task in tasks if task.factor > 1}


def default_data_dir() -> Path:
    """The folder of the scripts if it holds a pair set, as published; else the shipped sample."""
    return SCRIPT_DIR if find_task_names(SCRIPT_DIR) else SAMPLE_DIR


def find_task_names(data_dir: Path) -> list[str]:
    """Names of all complete pair sets in a folder, sorted."""
    names = (path.name.removesuffix("_X.npy") for path in Path(data_dir).glob("*_X.npy"))
    return sorted(name for name in names if (Path(data_dir) / f"{name}_Y.npy").is_file())


def load_tasks(
    data_dir: Path | None,
    names: list[str] | None = None,
    images_limit: int = -1,
    eval_limit: int | None = None,
    unpaired_limit: int = 0,
    seed: int = 42,
    x_alone: bool = False,
) -> tuple[list[Task], list[str]]:
    """Find, check and split the pair sets of a folder.

    Args:
        data_dir: the folder; None for the default.
        names: which tasks in which order; None for all, by name.
        images_limit: real pairs per task; -1 for all that are not held for evaluation.
        eval_limit: images held for evaluation where there are no test files; None for 100, or a fifth if fewer: of two
            to four pairs one, of one pair none, which is then evaluated itself.
        unpaired_limit: odd (x) and even (y) rows after the pairs that unpaired training may see; -1 for all.
        seed: of the shuffle before the split.
        x_alone: NAME_X.npy without NAME_Y.npy is a task too; its x then stand in the place of y.

    Returns:
        (list of Task, list of notices to print).

    Raises:
        InputError: says which file is wrong, what was found and what to do.
    """
    data_dir = Path(data_dir) if data_dir else default_data_dir()
    if not data_dir.is_dir():
        raise InputError(f"--data_dir={data_dir}: no such folder")
    tasks, notices = [], []
    for name in _chosen_names(data_dir, names, x_alone):
        paths = {kind: data_dir / f"{name}_{kind}.npy" for kind in ("X", "Y")}
        if x_alone and not paths["Y"].is_file():
            paths["Y"] = paths["X"]
        arrays = {kind: _load_array(path) for kind, path in paths.items()}
        task, notice = _split(data_dir, name, arrays, paths, images_limit, eval_limit, unpaired_limit, seed)
        # The unpaired images hold the pairs too.
        for images in (task.unpaired_x, task.unpaired_y, task.test_x, task.test_y):
            images.check()
        tasks.append(task)
        notices += notice
    return tasks, notices


def _chosen_names(data_dir, names, x_alone):
    names = names or _all_task_names(data_dir, x_alone)
    if len(set(names)) < len(names) or any(Path(name).name != name for name in names):
        raise InputError(f"--tasks={','.join(names)}: expected different names of pair sets in {data_dir}")
    return names


def _all_task_names(data_dir, x_alone):
    names = find_task_names(data_dir)
    if x_alone:
        names = sorted(path.name.removesuffix("_X.npy") for path in data_dir.glob("*_X.npy"))
    lonely = [path for path in data_dir.glob("*_X.npy") if path.name.removesuffix("_X.npy") not in names]
    if lonely:
        partner = lonely[0].name.removesuffix("_X.npy") + "_Y.npy"
        raise InputError(f"{lonely[0]} has no {partner} beside it; add it, or choose with --tasks")
    if not names:
        raise InputError(f"{data_dir} holds no pair set; expected NAME_X.npy and NAME_Y.npy (see docs/training.md)")
    return names


def _load_array(path):
    """Memory-map one array as (N, H, W)."""
    if not path.is_file():
        held = ", ".join(find_task_names(path.parent)) or "no pair set"
        raise InputError(f"{path}: no such file; {path.parent} holds {held}")
    array = open_npy(path)
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(f"{path}: expected (N, H, W) or (N, H, W, 1), received shape {array.shape}")
    if min(array.shape[1:]) < 16:
        raise InputError(f"{path}: images of {array.shape[1]} x {array.shape[2]} pixels; at least 16 x 16 are needed")
    return array


def open_npy(path: Path) -> np.memmap:
    """Memory-map a .npy file of real numbers, never running code from it.

    Raises:
        InputError: it is no .npy file, is cut short, is pickled, or does not hold real numbers.
    """
    with open(path, "rb") as file:
        if file.read(6) != np.lib.format.MAGIC_PREFIX:
            raise InputError(f"{path}: not a NumPy .npy file, whatever its name says; save it with numpy.save")
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as failure:  # NumPy's parser raises whatever a damaged header leads it into
        if "Object arrays" in str(failure) or "Python objects" in str(failure):
            raise InputError(f"{path}: holds pickled Python objects; save a plain array of numbers") from failure
        raise InputError(f"{path}: cannot be read as an array ({failure})") from failure
    if array.dtype.kind not in "uif":
        raise InputError(f"{path}: expected real numbers, received dtype {array.dtype}")
    return array


def _factor(data_dir, name, arrays, suffix):
    """How many times larger than x y is. Raises InputError where they do not fit."""
    x, y = arrays["X"], arrays["Y"]
    factor = factor_between(x.shape, y.shape)
    if factor is None:
        raise InputError(
            f"{data_dir / name}_X{suffix}.npy has shape {x.shape} and {name}_Y{suffix}.npy {y.shape}; a pair is (x, y) "
            "of one field, so the shapes must agree, or x be 2, 3 or 4 times smaller on both sides"
        )
    return factor


def _split(data_dir, name, arrays, paths, images_limit, eval_limit, unpaired_limit, seed):
    factors = {"X": _factor(data_dir, name, arrays, ""), "Y": 1}
    tests, test_paths = _load_test_arrays(data_dir, name, arrays)
    few = []
    if tests:
        train_rows, test_rows = np.arange(len(arrays["X"])), np.arange(len(tests["X"]))[: eval_limit or EVAL_LIMIT]
    else:
        tests, test_paths = arrays, paths
        train_rows, test_rows = _shuffle_split(paths["X"], len(arrays["X"]), eval_limit, seed)
        few = _notices_of_few(name, len(arrays["X"]), eval_limit)
    pairs, pool, notices = _limit(name, train_rows, images_limit)
    count = len(pool) if unpaired_limit < 0 else unpaired_limit
    unpaired = {"X": np.concatenate([pairs, pool[1::2][:count]]), "Y": np.concatenate([pairs, pool[0::2][:count]])}
    if factors["X"] > 1:
        sizes = [" x ".join(map(str, arrays[kind].shape[1:])) for kind in "XY"]
        notices.append(f"{name}: x of {sizes[0]} pixels is enlarged to y's {sizes[1]} (cubic splines), here and in use")
    images = [Images(arrays[kind], pairs, paths[kind], factors[kind]) for kind in "XY"]
    images += [Images(tests[kind], test_rows, test_paths[kind], factors[kind]) for kind in "XY"]
    images += [Images(arrays[kind], unpaired[kind], paths[kind], factors[kind]) for kind in "XY"]
    return Task(name, *images, read_stride(data_dir, name)), few + notices


def stride_path(data_dir: Path, name: str) -> Path:
    """The file that says how many rows apart planes lie in a task's x."""
    return data_dir / f"{name}_stack.json"


def read_stride(data_dir: Path, name: str) -> float | None:
    """How many rows apart planes lie in a task's x; None where x are no sections of a stack. Raises InputError."""
    path = stride_path(data_dir, name)
    if not path.is_file():
        return None
    try:
        stride = float(json.loads(path.read_text(encoding="utf-8"))["stride"])
    except (ValueError, KeyError, TypeError) as failure:
        raise InputError(
            f'{path}: expected {{"stride": NUMBER}} ({failure}); remove it, or prepare it again'
        ) from failure
    if not 1 < stride <= FARTHEST_PLANES:
        raise InputError(f"{path}: stride {stride:g}; expected 1 to {FARTHEST_PLANES} rows")
    return stride


def _load_test_arrays(data_dir, name, trained):
    """The test arrays and their paths, each a dict of X and Y; two Nones where there are no test files."""
    paths = {kind: data_dir / f"{name}_{kind}_test.npy" for kind in ("X", "Y")}
    present = [path for path in paths.values() if path.is_file()]
    if not present:
        return None, None
    if len(present) == 1:
        raise InputError(f"{present[0]} has no partner; test files come as {name}_X_test.npy and {name}_Y_test.npy")
    tests = {kind: _load_array(path) for kind, path in paths.items()}
    _factor(data_dir, name, tests, "_test")
    for kind, path in paths.items():
        if tests[kind].shape[1:] != trained[kind].shape[1:]:
            shapes = [array.shape[1:] for array in (tests[kind], trained[kind])]
            raise InputError(f"{path} has images of {shapes[0]}, {name}_{kind}.npy of {shapes[1]}; use one size")
    return tests, paths


def _shuffle_split(path, total, eval_limit, seed):
    """Shuffled rows for training, and the last of them for evaluation; a single pair is both."""
    held = min(EVAL_LIMIT, max(total // 5, 1)) if eval_limit is None else eval_limit
    rows = np.random.default_rng([seed, total]).permutation(total)
    if total == 1 and eval_limit is None:
        return rows, rows
    if held >= total:
        raise InputError(
            f"{path} has {total} images, which cannot be split into training images and {held} for evaluation; "
            "leave out --eval_limit, or add images or test files"
        )
    return rows[: total - held], rows[total - held :]


def _notices_of_few(name, total, eval_limit):
    """What a set too small for a fifth of it does instead."""
    if eval_limit is not None or total > 4:
        return []
    if total == 1:
        return [f"{name}: its only pair trains, and its scores are of that pair: they say nothing about other images"]
    return [f"{name}: {total} pairs and no test files; {total - 1} train, and the scores are of one image alone"]


def _limit(name, rows, images_limit):
    """The rows of the pairs, the rows after them, and a notice where there are fewer than asked for."""
    notices = []
    if images_limit > len(rows):
        notices.append(f"{name}: --images_limit={images_limit}, but there are {len(rows)} training pairs; using them")
    count = len(rows) if images_limit < 0 else min(images_limit, len(rows))
    return rows[:count], rows[count:], notices
