"""The two recipes as plain numbers, readable before TensorFlow is imported.

`paper` is the published method (arXiv 1910.14207 and its released code); `tuned` is ours for 0 to 50 pairs.
"""

from typing import NamedTuple


class Recipe(NamedTuple):
    """What differs between the recipes.

    Args:
        batch_size: default of `--batch_size`, images per iteration over all devices.
        patch, cin_patch: largest training patch of cGAN and CIN-GAN in pixels, or None for whole images.
        size_multiple: the networks take heights and widths that are multiples of this.
        mirror: flip images in training.
        intensity: cGAN's training pairs are made brighter or dimmer by a factor of up to exp(intensity), and moved by
            up to intensity / 6 of their span.
        mixup_after: epochs (pairs x tasks / batch size iterations each) after which cGAN's real pairs are mixed with
            each other, or None.
        average_decay: decay of the averaged copy of the generator's weights, or None.
        cgan_learning_rate: Adam's step size, constant.
        cin_learning_rate: CIN-GAN's, at the start.
        cin_cosine: anneal it to zero along a half cosine over `--num_iters`.
        mixed_tasks: CIN-GAN batches mix the tasks (else one task an update, as published).
        cin_rotate: CIN-GAN's images are turned by 90 degrees, but those of the tasks in `--no_rotate`.
        cin_margin: pixels at the border of what CIN-GAN generates that are never used.
        noise_channels: Gaussian noise maps the CIN generator is given.
        gflop: (CIN-GAN iteration, cGAN iteration) per 128 x 128 image of the batch, for the time estimate.
    """

    batch_size: int
    patch: int | None
    cin_patch: int | None
    size_multiple: int
    mirror: bool
    intensity: float
    mixup_after: int | None
    average_decay: float | None
    cgan_learning_rate: float
    cin_learning_rate: float
    cin_cosine: bool
    mixed_tasks: bool
    cin_rotate: bool
    cin_margin: int
    noise_channels: int
    gflop: tuple[float, float]


RECIPES = {
    "paper": Recipe(
        batch_size=100,
        patch=None,
        cin_patch=None,
        size_multiple=4,
        mirror=False,
        intensity=0.0,
        mixup_after=None,
        average_decay=None,
        cgan_learning_rate=1e-4,
        cin_learning_rate=1e-5,
        cin_cosine=False,
        mixed_tasks=False,
        cin_rotate=False,
        cin_margin=0,
        noise_channels=0,
        gflop=(340.0, 115.0),
    ),
    "tuned": Recipe(
        batch_size=8,
        patch=64,
        cin_patch=64,
        size_multiple=4,
        mirror=True,
        intensity=0.3,
        mixup_after=600,
        average_decay=0.995,
        cgan_learning_rate=1e-3,
        cin_learning_rate=2e-3,
        cin_cosine=True,
        mixed_tasks=True,
        cin_rotate=True,
        cin_margin=8,
        noise_channels=1,
        gflop=(23.0, 7.7),
    ),
}

# Critic updates in one iteration of CIN-GAN.
N_CRITIC = {"paper": 5, "tuned": 2}


class Baseline(NamedTuple):
    """A method to compare with; its learning rate and weights are the published ones.

    Args:
        name: as its authors write it.
        folder: name of its results folder.
        batch_size: default of `--batch_size`.
        patch: side of the training patches in pixels.
        size_multiple: the network takes heights and widths that are multiples of this.
        learning_rate: Adam's step size at the start.
        linear: it falls linearly to 0 over the second half of `--num_iters`; else it is constant.
        average_decay: decay of the averaged weights with `--augment`, or None.
        gflop: per 128 x 128 image of the batch, for the time estimate.
    """

    name: str
    folder: str
    batch_size: int
    patch: int
    size_multiple: int
    learning_rate: float
    linear: bool
    average_decay: float | None
    gflop: float


BASELINES = {
    "care": Baseline("CARE", "CARE_results", 8, 64, 4, 4e-4, False, 0.995, 26.0),
    "deblurgan": Baseline("DeblurGAN", "DeblurGAN_results", 1, 64, 4, 1e-4, True, None, 170.0),
    "cyclegan": Baseline("CycleGAN", "CycleGAN_results", 1, 64, 4, 2e-4, True, None, 390.0),
}
