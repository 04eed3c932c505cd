"""Images cut into patches of one size."""


def cut(image, patch, step=1):
    """Patches of an (H, W) image without overlap, (N, patch, patch), from its middle, at multiples of step."""
    counts = [size // patch for size in image.shape]
    starts = [(size - count * patch) // 2 // step * step for size, count in zip(image.shape, counts, strict=True)]
    inner = image[starts[0] : starts[0] + counts[0] * patch, starts[1] : starts[1] + counts[1] * patch]
    grid = inner.reshape(counts[0], patch, counts[1], patch).swapaxes(1, 2)
    return grid.reshape(-1, patch, patch)
