"""Recipe `paper`: the published method. arXiv 1910.14207, and what its released code adds (docs/differences.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recipes.recipe import Adam, Augmentation, CganPart, CinPart, Normalizing, Recipe, Term
from restoring.normalization import fit_range, fit_unpaired_range

if TYPE_CHECKING:
    import keras


def generator() -> keras.Model:
    """9 residual blocks, instance normalisation, dropout 0.5, (x + tanh) / 2."""
    import models

    return models.paper_generator()


def discriminator() -> keras.Model:
    """A 70 x 70 PatchGAN of (x, candidate)."""
    import models

    return models.patch_discriminator()


def cin_generator(num_tasks: int) -> keras.Model:
    """12 residual blocks, CIN down to the last of them."""
    import models

    return models.paper_cin_generator(num_tasks)


def critic(num_tasks: int) -> keras.Model:
    """A 70 x 70 PatchGAN without normalisation (the gradient penalty is per image) that knows the task."""
    import models

    return models.patch_critic(num_tasks)


PAPER = Recipe(
    summary="as published",
    batch_size=100,  # the released commands
    size_multiple=4,  # two convolutions of stride 2
    cgan=CganPart(
        method="cgan",
        generator=generator,
        discriminator=discriminator,
        # Section 2.2; weights as released.
        terms=(
            Term("content", 1.0, "content_loss", sees="content"),
            Term("adversarial", 0.1, "adversarial_loss", sees="judgement", against=None),
        ),
        adam=Adam(1e-4),
        average_decay=None,
        normalizing=Normalizing(fit_range, "fixed"),
        augmentation=Augmentation(turns="all"),  # as published, whatever the task
        patch=None,
        gflop=115.0,
    ),
    cin_gan=CinPart(
        method="cin_gan",
        generator=cin_generator,
        critic=critic,
        # Weights as released, but for style, whose released 1 is of another scale: 0.1 gives it the gradient of the
        # content term (columns gradient_* of log.csv: 5.4 beside 6.1 on `Noise`, `Axial`, `Tubules`).
        terms=(
            Term("wasserstein", 0.1, "wasserstein_loss", sees="judgement", against=None),
            Term("content", 1.0, "content_loss", sees="content"),
            Term("style", 0.1, "style_loss", sees="style", against="x"),
        ),
        adam=Adam(1e-5, beta_1=0.5, beta_2=0.9),  # released code; the betas of WGAN-GP, arXiv 1704.00028
        average_decay=None,
        normalizing=Normalizing(fit_unpaired_range, "fixed"),
        augmentation=Augmentation(turns="none"),  # as released
        patch=None,
        n_critic=5,  # n_critic and gp_weight: arXiv 1704.00028, algorithm 1
        gp_weight=10.0,
        mixed_tasks=False,  # as released
        noise_channels=0,
        margin=0,
        gflop=340.0,
    ),
)
