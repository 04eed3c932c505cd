"""Draw the pictures of the documentation. What they say is read from the code, so that they change with it.

    python illustrations/make_illustrations.py                    20 seconds; writes into illustrations/
    python illustrations/make_illustrations.py --output=FOLDER

pipeline.svg (the two GANs), cin_layer.svg (the formula), losses.svg (terms and weights of gans.py) and networks.svg
(the Keras models of models.py at 128 x 128 pixels). The micrographs in them are those of the shipped sample.
"""

from pathlib import Path

import numpy as np

from common.command_line import OneLineParser
from common.devices import start_tensorflow
from common.errors import InputError, run_script
from data_utils import SAMPLE_DIR
from illustrations.card import DATA, DEFECTS, FAINT, INK, NEUTRAL, RESTORES, Card
from recipes import N_CRITIC

FOLDER = Path(__file__).resolve().parent
THUMBNAIL = 64  # pixels of a micrograph that are shown, and their size on the card


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--output", type=Path, default=FOLDER, help="folder to write into (default: illustrations/)")
    return parser


def main(args):
    """Draw everything; returns the exit code."""
    start_tensorflow(0)
    from illustrations.networks import draw_networks

    drawings = {
        "pipeline": draw_pipeline,
        "cin_layer": draw_cin_layer,
        "losses": draw_losses,
        "networks": draw_networks,
    }
    for name, draw in drawings.items():
        card = draw()
        if card.clipped():
            raise InputError(f"{name}.svg: texts reach beyond the card: {card.clipped()}")
        card.save(args.output / f"{name}.svg")
        print(args.output / f"{name}.svg")
    return 0


def draw_pipeline():
    """The two GANs, what they see and what they give each other."""
    card = Card(600)
    _draw_cin_gan(card)
    _draw_cgan(card)
    _draw_use(card)
    card.arrow((392, 168), (392, 255), (20, 255), (20, 472), (36, 472), colour=DEFECTS[1])
    card.text(402, 240, r"pairs of a generated $x$ and the $y$ that it was made from", 12, DEFECTS[1])
    return card


def _draw_cin_gan(card):
    card.text(36, 28, "1   CIN-GAN learns, unpaired, to make defects", 16, DEFECTS[1], bold=True)
    _thumbnails(card, 38, 95, ("Nuclei", "Layers"), "Y", row=2)
    card.text(86, 194, "clean images $y$", 12, ha="center")
    card.box(190, 105, 110, 60, DEFECTS, "generator\n$G(y, s)$", bold=True)
    card.box(356, 103, 72, 64, DATA, "generated\n$x$", 12, dashed=True)
    card.box(490, 105, 110, 60, DEFECTS, "critic\n$C(x, s)$", bold=True)
    _thumbnails(card, 660, 95, ("Tubules", "Nuclei"), "X", row=7)
    card.text(708, 202, "real $x$,\ndrawn independently", 12, ha="center")
    card.box(345, 48, 94, 26, NEUTRAL, "task $s$", 12)
    card.text(245, 206, "noise (recipe tuned)", 12, ha="center")
    card.arrow((345, 61), (245, 61), (245, 104))
    card.arrow((439, 61), (545, 61), (545, 104))
    card.arrow((245, 196), (245, 166))
    for start, end in ((140, 189), (300, 355), (428, 489), (658, 601)):
        card.arrow((start, 135), (end, 135))
    card.arrow((545, 165), (545, 196))
    card.text(545, 206, "score: real or generated?", 12, ha="center")


def _draw_cgan(card):
    card.text(36, 290, "2   cGAN restores, from real pairs, generated pairs, or both", 16, RESTORES[1], bold=True)
    for left, kind in ((38, "X"), (106, "Y")):
        card.image(left, 330, THUMBNAIL, *_micrograph("Nuclei", kind, 5))
        card.box(left, 440, THUMBNAIL, THUMBNAIL, DATA, f"${kind.lower()}$", 14, dashed=True)
    card.text(104, 408, "real pairs $(x, y)$", 12, ha="center")
    card.text(104, 518, r"generated pairs, share $\alpha$", 12, ha="center")
    card.box(212, 388, 64, 58, NEUTRAL, "batch")
    card.arrow((172, 362), (244, 362), (244, 387))
    card.arrow((172, 472), (244, 472), (244, 447))
    card.box(340, 370, 110, 60, RESTORES, "generator\n$G(x)$", bold=True)
    card.box(500, 368, 72, 64, DATA, "restored\n$G(x)$", 12, dashed=True)
    card.box(630, 370, 122, 60, RESTORES, "discriminator\n(recipe paper)", bold=True)
    for start, end in ((276, 339), (450, 499), (572, 629), (752, 779)):
        card.arrow((start, 400), (end, 400))
    card.text(784, 400, "real or\nrestored?", 12)
    card.arrow((308, 400), (308, 338), (691, 338), (691, 369))
    card.text(318, 350, "$x$", 14)
    card.arrow((276, 434), (308, 434), (308, 492), (691, 492), (691, 431))
    card.text(318, 480, "$y$", 14)
    card.arrow((536, 433), (536, 490))
    card.arrow((536, 490), (536, 433))
    card.text(546, 462, "content loss, or\nPSNR and SSIM (tuned)", 12)


def _draw_use(card):
    card.arrow((395, 430), (395, 539), colour=RESTORES[1])
    card.box(340, 540, 110, 34, RESTORES, "generator.h5")
    card.box(500, 540, 110, 34, NEUTRAL, "restore.py")
    card.arrow((450, 557), (499, 557), colour=RESTORES[1])
    card.arrow((610, 557), (659, 557), colour=RESTORES[1])
    card.text(666, 557, "your images, restored", 13)


def _thumbnails(card, left, top, tasks, kind, row):
    """A stack of micrographs of the sample, the last one in front."""
    for place, task in enumerate(tasks):
        card.image(left + 32 * place, top + 16 * place, THUMBNAIL, *_micrograph(task, kind, row))


def _micrograph(task, kind, row):
    """((THUMBNAIL, THUMBNAIL) image, its gray range) of one training row of the sample."""
    image = np.load(SAMPLE_DIR / f"{task}_{kind}.npy", mmap_mode="r")[row, :THUMBNAIL, :THUMBNAIL]
    return image, np.percentile(image, [0.5, 99.5])


def draw_cin_layer():
    """The layer by which one network makes several defects: models.conditional_instance_normalization."""
    card = Card(412)
    card.text(36, 30, "Conditional instance normalization (CIN)", 16, DEFECTS[1], bold=True)
    card.text(
        425, 78, r"$\mathrm{CIN}(z;\, s) \;=\; \gamma_s\, \frac{z - \mu(z)}{\sigma(z)} \;+\; \beta_s$", 22, ha="center"
    )
    _feature_maps(card, 50, 165, "$z$")
    card.box(190, 160, 150, 70, NEUTRAL, "normalize\n$(z-\\mu)\\,/\\,\\sigma$")
    card.text(265, 250, "$\\mu$, $\\sigma$ of each image\nand channel", 12, FAINT, ha="center", va="top")
    for left, sign, symbol in ((430, r"$\times$", r"$\gamma$"), (610, "$+$", r"$\beta$")):
        card.box(left, 175, 40, 40, DEFECTS, sign, 18, radius=20)
        card.cells(left - 40, 260, 3, 6, 20, DEFECTS, chosen=1)
        card.arrow((left + 20, 258), (left + 20, 217), colour=DEFECTS[1])
        card.text(left - 48, 290, symbol, 16, ha="right")
        card.text(left + 88, 290, "$s$", 14, DEFECTS[1])
    card.text(540, 340, "a row per task, a column per channel: all that tasks do not share", 12, FAINT, ha="center")
    for start, end in ((138, 188), (340, 428), (470, 608), (650, 716)):
        card.arrow((start, 195), (end, 195))
    _feature_maps(card, 722, 165, "CIN")
    card.text(36, 380, _CIN_NOTE, 12, FAINT)
    return card


# True of models.tuned_cin_generator, which has no GroupNormalization.
_CIN_NOTE = (
    "Dumoulin et al., arXiv 1610.07629, eq. 5. Recipe tuned keeps scales of each task and leaves normalization out:\n"
    "it would take away the brightness that noise depends on."
)


def _feature_maps(card, left, top, text):
    """A stack of channels, the front one with text."""
    for depth in (3, 2, 1):
        card.box(left + 8 * depth, top - 8 * depth, 62, 62, DATA, radius=2)
    card.box(left, top, 62, 62, DATA, text, 16, radius=2)


def draw_losses():
    """Terms and weights of both GANs and recipes, as gans.py has them."""
    from methods import gans

    card = Card(604)
    card.text(36, 30, "What each network minimizes", 16, INK, bold=True)
    for left, recipe in LOSS_COLUMNS.items():
        card.text(left, 62, f"recipe {recipe}", 14, INK, bold=True)
    _draw_loss_row(card, 80, "CIN-GAN", DEFECTS, gans.CIN_WEIGHTS, CIN_TERMS)
    _draw_loss_row(card, 322, "cGAN", RESTORES, gans.CGAN_WEIGHTS, CGAN_TERMS)
    for left, recipe in LOSS_COLUMNS.items():
        card.text(left, 260, f"critic: the sum of, {N_CRITIC[recipe]} updates for one of the generator", 12, FAINT)
        card.text(left + 12, 284, rf"$C(G(y,s),s) - C(x,s) + {gans.GP_WEIGHT:g}\,(\|\nabla C(\hat x,s)\| - 1)^2$", 13)
        if "adversarial" in gans.CGAN_WEIGHTS[recipe]:
            card.text(left, 502, "discriminator: the sum of", 12, FAINT)
            card.text(left + 12, 524, r"$-\log D(x, y) \;-\; \log(1 - D(x, G(x)))$", 13)
    card.text(36, 574, _LOSS_NOTE, 12, FAINT)
    return card


def _draw_loss_row(card, top, name, colours, weights, formulas):
    """The generator's terms of one GAN in both recipes."""
    card.box(20, top, 810, 228, (colours[0] + "66", colours[1]))
    card.text(42, top + 114, name, 15, colours[1], ha="center", bold=True, rotation=90)
    for left, recipe in LOSS_COLUMNS.items():
        card.text(left, top + 22, "generator: the sum of", 12, FAINT)
        for place, (term, weight) in enumerate(weights[recipe].items()):
            y = top + 48 + 42 * place
            card.text(left, y, rf"{weight:g} $\times$ {term}", 13, colours[1], bold=True)
            card.text(left + 12, y + 19, formulas[term], 13)


LOSS_COLUMNS = {70: "paper", 454: "tuned"}
CIN_TERMS = {
    "content": r"mean $(\phi(G(y,s)) - \phi(y))^2$",
    "style": r"mean over layers of $\|\mathrm{Gram}(G(y,s)) - \mathrm{Gram}(x)\|^2$",
    "wasserstein": r"$-\,C(G(y,s), s)$",
    "spectrum": r"mean $|\log P_{x}(f) - \log P_{G}(f)|$",
    "noise": r"mean $|L_{x}(f, b) - L_{G}(f, b)|$",
}
CGAN_TERMS = {
    "content": r"mean $(\phi(G(x)) - \phi(y))^2$",
    "psnr": r"$-\,\mathrm{PSNR}(G(x), y)$ in dB",
    "ssim": r"$1 - \mathrm{SSIM}(G(x), y)$",
    "adversarial": r"$-\log D(x, G(x))$",
}
# D is the discriminator's probability, C the critic's score.
_LOSS_NOTE = (
    r"$\phi$: features of VGG16, block3_conv3.  $P$: power at frequency $f$;  $L$: mean of its logarithm at "
    "brightness $b$;\nboth are running means of a task."
)


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
