"""What recipe `paper` gains or loses by each of its parts: its output, normalisation, dropout, terms, rate and turns.

    python -m benchmarks paper_recipe --data_dir=REAL --vgg_weights=vgg16_block1-3_notop.h5 --dir=OUT
    ... --num_iters=3000 --filters=64          the published length and width, many hours for each row on a CPU

Trains the recipe with a quarter of its filters, as published and with one ingredient removed or exchanged (ablation),
10 pairs a task, batch 4, and scores the test images twice: with the affine metric, which gives each image a gain and an
offset of its own, and with one gain and one offset for all images of a task. What lies between them is contrast that
drifts from image to image. The first rows need no training: the input, and the best that (input + tanh) / 2 can show,
whatever its network. A second table shows where on its curve each generator's tanh works: at -1 and 1 it passes no
gradient on. Written: paper_recipe.md and .json; the same command goes on where it was stopped.
"""

from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.ablation import PAPER, PUBLISHED_FILTERS
from benchmarks.measuring import Record, print_table, read_tasks, train_once
from common.files import write_text
from common.metrics import affine_metric, fit_affine
from restoring.apply import Applier
from restoring.normalization import fit_range

SCORES, TANH = "{:.2f}, {:.2f}", "{:.3f}, {:.3f}, {:.0f} %"


def best_of_half(task, normalization):
    """The (H, W) images closest to y that the mean of x and a number from -1 to 1 can be, in y's raw units."""
    images = []
    for x, y in zip(task.test_x, task.test_y, strict=True):
        a, b = normalization.normalize_pair(task.name, x, y)
        images.append(normalization.y_scale(task.name, x).undo(np.clip(b, (a - 1) / 2, (a + 1) / 2)))
    return images


def tanh_of_tests(apply, task):
    """(mean, deviation, percent beyond 0.999 of the limits) of what the generator's tanh gives for the test images."""
    import keras

    generator, normalization = apply.network, apply.metadata.normalization
    part = keras.Model(generator.input, generator.layers[-1].input[1])
    x = [normalization.x_scale(task.name, image).normalize(image) for image in task.test_x]
    values = part.predict(np.stack(x)[..., None], batch_size=4, verbose=0)
    return [float(value) for value in (values.mean(), values.std(), 100 * np.mean(np.abs(values) > 0.999))]


def scores(images, task):
    """[affine PSNR, the same with one gain and offset for the whole task] in dB, means over the test images."""
    truths = np.stack([np.asarray(y, np.float64) for y in task.test_y])
    own = np.mean([affine_metric(image, y)["psnr"] for image, y in zip(images, truths, strict=True)])
    errors = np.mean((fit_affine(np.stack(images), truths) - truths) ** 2, axis=(1, 2))
    spans = np.subtract(*np.percentile(truths, [99.9, 0.1], axis=(1, 2)))
    return [float(own), float(np.mean(-10 * np.log10(errors / spans**2)))]


def measure(ingredient, tasks, data_dir, num_iters, filters, vgg_weights, dir):
    """{task: {"scores": [2], "tanh": [3]}} of the recipe, an ingredient left out or None; trained first."""
    words = ["-m", "benchmarks", "ablation", f"--filters={filters}"]
    words += [f"--without={ingredient}"] if ingredient else []
    if not ingredient and filters == PUBLISHED_FILTERS:
        words = ["train_cGAN.py"]
    words += ["--recipe=paper", f"--vgg_weights={vgg_weights}", "--num_gpu=0", f"--num_iters={num_iters}"]
    words += ["--batch_size=4", "--images_limit=10", f"--data_dir={data_dir}"]
    folder = dir / f"{ingredient or 'as published'}_{filters}_{num_iters}".replace(" ", "_")
    apply = Applier.load(train_once(words, folder, "Microscopy_cGAN_results") / "generator.h5")
    found = {}
    for task in tasks:
        restored = [apply(x, task.name) for x in task.test_x]
        found[task.name] = {"scores": scores(restored, task), "tanh": tanh_of_tests(apply, task)}
    return found


def main(
    *,
    data_dir: Path,
    vgg_weights: str = "imagenet",
    num_iters: int = 1500,
    filters: int = PUBLISHED_FILTERS // 4,
    dir: Path,
):
    tasks = read_tasks(data_dir)
    names = [task.name for task in tasks]
    record, second = Record(dir / "paper_recipe.json"), []
    best = [scores(best_of_half(task, fit_range(tasks)), task) for task in tasks]
    first = [["input", *(SCORES.format(*scores(list(task.test_x), task)) for task in tasks)]]
    first.append(["the best of (input + tanh) / 2", *(SCORES.format(*pair) for pair in best)])
    for ingredient in (None, *PAPER):
        label = f"without {ingredient}" if ingredient else "as published"
        trained = partial(measure, ingredient, tasks, data_dir, num_iters, filters, vgg_weights, dir)
        found = record.add(label, f"{num_iters} {filters}", trained)
        first.append([f"{label}, {num_iters} iterations", *(SCORES.format(*found[n]["scores"]) for n in names)])
        second.append([label, *(TANH.format(*found[n]["tanh"]) for n in names)])
    text = print_table(["affine PSNR, with one straight line a task", *names], first)
    text += "\n" + print_table(["tanh: mean, deviation, flat", *names], second)
    write_text(dir / "paper_recipe.md", text)
