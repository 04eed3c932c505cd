"""Restoring image files: every plane of each, maps of how far to trust it, and its scores where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from common.errors import InputError
from restoring.apply import Applier
from restoring.generator_file import Metadata
from restoring.image_files import ImageFile, to_dtype, write_image
from restoring.options import RestoreOptions
from restoring.outputs import beside


def check_maps(options: RestoreOptions, metadata: Metadata) -> None:
    """Raise InputError where the maps that are asked for beside the restored image do not fit its generator."""
    if options.maps and metadata.makes_defects:
        raise InputError("--uncertainty and --check are for generators that restore")
    if options.check:
        from restoring.trust_maps import check_cin_generator

        check_cin_generator(options, metadata)


def load_restorer(options: RestoreOptions) -> tuple[Callable[[np.ndarray, int], np.ndarray], list[Callable]]:
    """The generator, loaded once, and what writes the maps beside every restored image.

    Returns:
        (function of a plane, (H, W) float32, and its index, that gives the restored plane;
        functions of (source, restored planes, output path)).
    """
    apply, task = Applier.load(options.generator, options.seed, options.precision), options.task
    if options.average == 8 and task is None and not apply.may_rotate(None):
        print("note: without --task, averaging over the four flips alone (some of its tasks must not be turned)")

    def restore(image, index):
        return apply(image, task, index, options.tile, options.overlap, options.average)

    if not options.maps:
        return restore, []
    from restoring import trust_maps

    writers = []
    if options.uncertainty:
        uncertain = trust_maps.UncertaintyMap(apply, options)
        restore = uncertain.restore
        writers.append(lambda source, planes, target: uncertain.write(source, beside(target, "uncertainty")))
    if options.check:
        check = trust_maps.CheckMap(Applier.load(options.cin_generator), apply.metadata.normalization, task)
        writers.append(lambda source, planes, target: check(source, planes, beside(target, "check")))
    return restore, writers


def restore_file(options: RestoreOptions, restore: Callable, source: ImageFile, target: Path) -> np.ndarray:
    """Restore every plane of one file, write the result, and print how its intensities relate to the input's.

    Args:
        restore: `load_restorer`'s.

    Returns:
        The restored planes, (N, H, W) float32.
    """
    from common.progress import progress_bar

    print(f"{source.path}: {source.describe()}")
    with progress_bar(total=len(source.planes), desc=source.path.name, unit="image", leave=False, delay=2) as bar:
        planes = []
        for index, plane in enumerate(source.planes):
            planes.append(restore(np.asarray(plane, np.float32), index))
            bar.update()
    planes = np.stack(planes)
    if not np.isfinite(planes).all():
        raise InputError(f"{source.path}: the generator's output is not finite; is {options.generator} damaged?")
    values, clipped = to_dtype(planes, options.dtype)
    if clipped:
        print(f"note: {target}: {clipped} of {planes.size} pixels clipped to the range of {options.dtype}")
    write_image(target, source, values)
    print(f"{source.path} -> {target}")
    print_intensities(source, planes)
    return planes


def print_intensities(source: ImageFile, planes: np.ndarray) -> None:
    """Print how the intensities of each restored image relate to those of its input."""
    from common.metrics import intensities

    for index, (restored, image) in enumerate(zip(planes, source.planes, strict=True)):
        gain, offset, flux = intensities(restored, image)
        print(f"  plane {index}: restored = {gain:.3g} * x + {offset:.3g}, flux {flux:.3f} of x's")


def print_scores(source: ImageFile, planes: np.ndarray, truth: ImageFile) -> None:
    """Print PSNR and SSIM of input and output against the ground truth, in both metrics."""
    from common.metrics import mean_scores

    if truth.planes.shape != planes.shape:
        raise InputError(f"{truth.path}: {truth.planes.shape} images, but {source.path} has {planes.shape}")
    for name, images in (("input", source.planes), ("output", planes)):
        scores = mean_scores(images, truth.planes)
        parts = [f"{m} {scores[f'{m}_psnr']:.2f} dB / {scores[f'{m}_ssim']:.3f}" for m in ("affine", "paper")]
        print(f"  {name:6s} {'   '.join(parts)}")
