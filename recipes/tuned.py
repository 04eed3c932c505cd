"""Recipe `tuned`: ours, for 0 to 50 pairs; measured in docs/results.md, earlier forms in docs/results_appendix.md."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from recipes.recipe import Adam, Augmentation, CganPart, CinPart, FineTuning, Normalizing, Recipe, Term
from restoring.normalization import fit_gains, fit_task_gains, fit_unpaired_gains

if TYPE_CHECKING:
    import keras


def generator(**changes) -> keras.Model:
    """A U-Net with a global skip and without normalisation; without its inner skips it loses 1.7 dB.

    Args:
        changes: arguments of `models.tuned_generator` in place of the recipe's, for ablations.
    """
    import models

    return models.tuned_generator(**changes)


def cin_generator(num_tasks: int) -> keras.Model:
    """Optics and a camera, with a few numbers for each task."""
    import models

    return models.tuned_cin_generator(num_tasks)


def critic(num_tasks: int) -> keras.Model:
    """A PatchGAN half as wide and deep as the paper's."""
    import models

    return models.patch_critic(num_tasks, (32, 64, 128))


_CGAN = CganPart(
    # A discriminator took 30 % of a step and improved neither PSNR nor SSIM nor sharpness.
    method="restorer",
    generator=generator,
    # Weights by the gradient norms in log.csv, so that both act: they are worth 0.15 dB and 0.004 SSIM.
    terms=(
        Term("psnr", 0.005, "psnr_loss"),
        Term("ssim", 0.1, "ssim_loss"),
    ),
    adam=Adam(1e-3),  # constant: 0.1 dB above a rate that falls along a cosine, by folds of the training rows
    average_decay=0.995,  # 0.23 dB on `Axial`; 0.99 to 0.999 are alike
    normalizing=Normalizing(fit_gains, "percentile"),
    # Flips are worth 0.11 dB where nothing is turned. Varied intensities and mixup keep long trainings from
    # overfitting; mixup begins where it starts to matter, and is worth 0.17 dB from three pairs.
    augmentation=Augmentation(turns="undirected", mirror=True, intensity=0.3, mixup_after=600),
    patch=64,
    gflop=7.7,
    # By ten training rows of both collections, scored on others: 0.06 dB above a rate of 1e-3 after 600 iterations.
    # The mean with the start is worth 0.3 dB from one pair, 0.1 from three or unpaired, nothing from ten (same rows).
    fine_tuning=FineTuning(rate=3e-4, rehearsal=0.25, start_counts=3, unpaired_counts=0.3),
)

# Runs begun before there was --init_from looked at images without limits, and had one gain for each task.
_UNLIMITED = replace(
    _CGAN, generator=partial(generator, limited=False), normalizing=Normalizing(fit_task_gains, "percentile")
)
# Those begun later did not yet replace outliers.
_LIMITED = replace(_CGAN, generator=partial(generator, local=False))
TUNED = Recipe(
    summary="ours, for few pairs",
    batch_size=8,
    size_multiple=4,  # two poolings
    cgan=replace(_CGAN, earlier={2: _UNLIMITED, 3: _LIMITED}),
    cin_gan=CinPart(
        method="cin_gan",
        generator=cin_generator,
        critic=critic,
        # Defect statistics: from ten images a critic alone does not learn spectra and noise. No content term: this
        # generator cannot move structure. Weights by the gradient norms in log.csv.
        terms=(
            Term("wasserstein", 1.0, "wasserstein_loss", sees="judgement", against=None),
            Term("spectrum", 100.0, "spectrum_loss", sees="spectrum", against="x"),
            Term("noise", 200.0, "noise_loss", sees="noise", against="x"),
        ),
        adam=Adam(2e-3, beta_1=0.5, beta_2=0.9, cosine=True),
        average_decay=0.995,
        normalizing=Normalizing(fit_unpaired_gains, "fixed"),
        augmentation=Augmentation(turns="undirected", mirror=True),
        patch=64,
        n_critic=2,
        gp_weight=10.0,
        mixed_tasks=True,  # under Adam the numbers of tasks that are not drawn drift on momentum
        noise_channels=1,
        margin=8,  # what the blurs see beyond the border; images of 32 pixels are then enough
        samples=True,
        gflop=23.0,
    ),
)
