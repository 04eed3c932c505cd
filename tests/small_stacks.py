"""Stacks whose content is known, for what treats z: smooth blobs, as the microscope would show them from any side."""

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter, gaussian_filter1d


def blobs(rows, side, seed=0):
    """An isotropic (rows, side, side) volume of smooth blobs, values about 100 to 1,100."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal((rows, side, side)), 2.5)
    return (100 + 1000 * np.clip(field / field.std(), 0, 2) / 2).astype(np.float32)


def blurred_stack(volume, stride=4, sigma=2.0):
    """Every stride-th plane of a volume blurred along z, uint16."""
    return np.round(gaussian_filter1d(volume, sigma, axis=0)[::stride]).astype(np.uint16)


def write_imagej(path, stack, spacing=0.8, pixel=0.2, axes="ZYX", unit="um", **details):
    """An ImageJ hyperstack with voxel sizes in micrometres."""
    metadata = {"axes": axes, "spacing": spacing, "unit": unit, **details}
    tifffile.imwrite(path, stack, imagej=True, resolution=(1 / pixel, 1 / pixel), metadata=metadata)
    return path


def write_zarr(path, values, axes="ZYX", sizes=(0.8, 0.2, 0.2), unit="micrometer", version=2, chunks=None, labels=()):
    """An OME-Zarr image of format 0.4 (version 2) or 0.5 (3); `sizes` along z, y and x."""
    import zarr

    group = zarr.open_group(path, mode="w", zarr_format=version)
    size = dict(zip("ZYX", sizes, strict=True))
    kinds = {"T": {"type": "time"}, "C": {"type": "channel"}}
    space = {"type": "space", **({"unit": unit} if unit else {})}
    scale = [{"type": "scale", "scale": [size.get(axis, 1.0) for axis in axes]}]
    scales = {
        "axes": [{"name": axis.lower(), **kinds.get(axis, space)} for axis in axes],
        "datasets": [{"path": "0", "coordinateTransformations": scale}],
        **({"version": "0.4"} if version == 2 else {}),
    }
    ome = {"multiscales": [scales], **({"omero": {"channels": [{"label": name} for name in labels]}} if labels else {})}
    group.attrs.update(ome if version == 2 else {"ome": {**ome, "version": "0.5"}})
    group.create_array("0", data=values, chunks=chunks or "auto")
    return path
