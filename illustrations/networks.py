"""The drawing of the networks, made from the Keras models themselves at one image size."""

from itertools import groupby

import keras
from keras import layers

import models
from illustrations.card import DATA, DEFECTS, FAINT, INK, NEUTRAL, RESTORES, Card
from methods import gans

SIDE = 128  # pixels of the image whose shapes are shown
TASKS = 3


def draw_networks():
    """Generators, discriminators and critics of both recipes."""
    card = Card(738)
    card.text(36, 30, f"Networks, for an image of {SIDE} x {SIDE} pixels", 16, INK, bold=True)
    for left, recipe in ((36, "paper"), (450, "tuned")):
        drawn = networks(recipe)
        for (name, colours, model), top in zip(drawn, (68, 248, 424, 566)[: len(drawn)], strict=True):
            card.text(left, top, f"{name}, {recipe}", 13, colours[1], bold=True)
            card.text(left, top + 19, describe(model), 11.5, FAINT)
            if count(model, layers.Conv2D):
                draw_convolutions(card, left, top + 76, model, colours)
            else:
                draw_optics_and_camera(card, left, top + 76, model)
    card.text(36, 714, "Above a bar: side in pixels. Below: channels, and how many convolutions in a row.", 12, FAINT)
    return card


def networks(recipe):
    """[(name, colours, keras.Model), ...] of a recipe, from top to bottom."""
    paper, filters = recipe == "paper", gans.JUDGE_FILTERS[recipe]
    drawn = [
        ("cGAN generator", RESTORES, models.paper_generator() if paper else models.tuned_generator()),
        ("CIN-GAN generator", DEFECTS, (models.paper_cin_generator if paper else models.tuned_cin_generator)(TASKS)),
        ("CIN-GAN critic", DEFECTS, models.patch_critic(TASKS, filters)),
    ]
    if "adversarial" in gans.CGAN_WEIGHTS[recipe]:
        drawn.append(("cGAN discriminator", RESTORES, models.patch_discriminator(filters, normalize=paper)))
    return drawn


def count(model, kind):
    """How many layers of a kind a model has."""
    return sum(isinstance(layer, kind) for layer in model.layers)


def describe(model):
    """Parameters and what else the bars do not show."""
    parts = [f"{model.count_params():,} parameters"]
    norms, rows, dropout = (
        count(model, kind) for kind in (layers.GroupNormalization, layers.Embedding, layers.Dropout)
    )
    if norms:
        parts.append(f"{norms} CIN layers" if norms == rows // 2 else f"{norms} instance normalizations")
    elif rows:
        parts.append(f"{rows} rows of biases per task" if count(model, layers.Conv2D) else f"{rows} numbers per task")
    return ", ".join([*parts, *["dropout"] * bool(dropout)])


def stages(model):
    """[((height, width, channels), convolutions in a row of that output), ...] for an image of SIDE pixels."""
    sizes = [(SIDE, SIDE, 1) if len(i.shape) == 4 else tuple(i.shape[1:]) for i in model.inputs]
    inputs = [keras.Input(size, dtype=i.dtype) for size, i in zip(sizes, model.inputs, strict=True)]
    shaped = keras.models.clone_model(model, input_tensors=inputs if len(inputs) > 1 else inputs[0])
    shapes = [tuple(layer.output.shape[1:]) for layer in shaped.layers if isinstance(layer, layers.Conv2D)]
    return [(shape, len(list(same))) for shape, same in groupby(shapes)]


def draw_convolutions(card, left, middle, model, colours):
    """A bar for every stage, as high as the logarithm of its side, and wide where residual blocks stand for many."""
    images, x, centres = sum(len(tensor.shape) == 4 for tensor in model.inputs), left + 6, []
    for place, ((side, _, channels), convolutions) in enumerate([((SIDE, SIDE, images), 0), *stages(model)]):
        blocks = (convolutions - 1) // 2 if convolutions > 4 else 0
        width, height = 92 if blocks else 16, 12 * side.bit_length() - 38
        centre = x + width / 2
        if place:
            card.arrow((x - 24, middle), (x - 2, middle))
        card.box(x, middle - height / 2, width, height, colours if place else DATA, radius=2)
        card.text(centre, middle - height / 2 - 8, str(side), 10.5, FAINT, ha="center")
        text = f"{channels}" if convolutions < 2 or blocks else rf"{channels} $\times$ {convolutions}"
        card.text(centre, middle + 38, text, 11, ha="center")
        if blocks:
            card.text(centre, middle, f"{blocks} residual\nblocks", 11.5, ha="center")
        centres.append(centre)
        x += width + 26
    draw_skips(card, middle + 48, model, centres)


def draw_skips(card, top, model, centres):
    """Lines below the bars: a U-Net's between equal resolutions, and the one from the input to the output."""
    unet = count(model, layers.Concatenate) if count(model, layers.UpSampling2D) else 0
    for place in range(unet, 0, -1):
        depth = top + 9 * (unet - place + 1)
        first, last = centres[place], centres[-1 - place]
        card.arrow((first, top), (first, depth), (last, depth), (last, top))
    ending = {layers.Add: "added to the input", layers.Average: "mean with the input"}.get(type(model.layers[-1]))
    if ending:
        depth = top + 9 * (unet + 1)
        card.arrow((centres[0], top), (centres[0], depth), (centres[-1], depth), (centres[-1], top))
        card.text((centres[0] + centres[-1]) / 2, depth + 9, ending, 11, FAINT, ha="center")


def draw_optics_and_camera(card, left, middle, model):
    """models.tuned_cin_generator: a blur of y, and noise whose deviation depends on the blurred brightness."""
    averages = [layer.pool_size for layer in model.layers if isinstance(layer, layers.AveragePooling2D)]
    blur = f"blur$_s$\n{len(averages) // 2} averages"
    top, bottom, plus = middle - 18, middle + 46, left + 332
    for y, name, width in ((top, "$y$", 30), (bottom, "noise", 48)):
        card.box(left, y - 15, width, 30, DATA, name, 12, radius=2)
        card.box(left + 74, y - 20, 92, 40, DEFECTS, blur, 11.5)
        card.arrow((left + width, y), (left + 73, y))
    card.box(left + 192, middle + 2, 88, 36, DEFECTS, f"deviation$_s$\n1 + {count(model, layers.ReLU)} ramps", 11.5)
    card.arrow((left + 236, top), (left + 236, middle + 1))
    card.box(left + 290, bottom - 11, 22, 22, NEUTRAL, r"$\times$", 14, radius=10)
    card.box(plus - 11, top - 11, 22, 22, NEUTRAL, "+", 14, radius=10)
    card.arrow((left + 280, middle + 20), (left + 301, middle + 20), (left + 301, bottom - 12))
    card.arrow((left + 166, bottom), (left + 289, bottom))
    card.arrow((left + 312, bottom), (plus, bottom), (plus, top + 12))
    card.arrow((left + 166, top), (plus - 12, top))
    card.box(left + 360, top - 15, 30, 30, DATA, "$x$", 12, radius=2)
    card.arrow((plus + 11, top), (left + 359, top))
