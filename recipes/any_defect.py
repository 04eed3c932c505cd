"""Recipe `any_defect`: how generators/any_defect.h5 was made, on simulated pairs alone. CIN-GAN is `tuned`'s."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from recipes.recipe import Adam, Augmentation, Normalizing
from recipes.tuned import TUNED, generator
from restoring.normalization import one_scale

_CGAN = replace(
    TUNED.cgan,
    adam=Adam(7e-4, cosine=True),
    normalizing=Normalizing(one_scale, "percentile"),
    # Axis 0 of simulated pairs is the optical axis of some of them: they are flipped, and never turned.
    augmentation=Augmentation(turns="none", mirror=True, intensity=0.3, outliers=0.25),
    fine_tuning=None,
    earlier={},
)

# Runs of earlier versions, the shipped generator's own among them, did not yet replace outliers.
_LIMITED = replace(_CGAN, generator=partial(generator, local=False))
ANY_DEFECT = replace(
    TUNED,
    summary="tuned's generator on many simulated pairs (generators/README.md)",
    cgan=replace(_CGAN, earlier={3: _LIMITED}),
)
