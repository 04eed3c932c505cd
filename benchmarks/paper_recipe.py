"""What keeps recipe `paper` from restoring well after a short training: its output, its normalisation, its dropout.

    python benchmarks/paper_recipe.py --data_dir=REAL --vgg_weights=vgg16_block1-3_notop.h5 --num_iters=100 --dir=OUT

Trains the recipe as published and with one ingredient removed (ablation.py), 10 pairs a task, batch 4, and scores the
test images twice: with the affine metric, which gives each image a gain and an offset of its own, and with one gain and
one offset for all images of a task. What lies between them is contrast that drifts from image to image. The first rows
need no training: the input, and the best that (input + tanh) / 2 can show, whatever its network. Each row is printed
when it is known; finished trainings are kept. A second table shows where on its curve each generator's tanh works: at
-1 and 1 it passes no gradient on.
"""

import argparse
from pathlib import Path

import numpy as np
from ablation import PAPER
from quality import run_once

from common.errors import run_script
from common.files import write_text
from common.metrics import affine_metric, fit_affine
from data_utils import load_tasks
from restoring.generator_file import load_generator
from restoring.normalization import fit_cgan


def best_of_half(task, normalization):
    """The (H, W) images closest to y that the mean of x and a number from -1 to 1 can be, in y's raw units."""
    images = []
    for x, y in zip(task.test_x, task.test_y, strict=True):
        a, b = normalization.normalize_pair(task.name, x, y)
        images.append(normalization.y_scale(task.name, x).undo(np.clip(b, (a - 1) / 2, (a + 1) / 2)))
    return images


def restore_tests(run, task):
    """(H, W) images in y's raw units: a run's generator on the test images of a task."""
    from restore import load_applier

    apply = load_applier(run / "generator.h5")
    return [apply(image, task.name) for image in task.test_x]


def tanh_of_tests(run, task, normalization):
    """What the generator's tanh gives for the test images of a task: (N, H, W), -1 to 1."""
    import keras

    generator, _ = load_generator(run / "generator.h5")
    part = keras.Model(generator.input, generator.layers[-1].input[1])
    x = [normalization.x_scale(task.name, image).normalize(image) for image in task.test_x]
    return part.predict(np.stack(x)[..., None], batch_size=4, verbose=0)[..., 0]


def describe_tanh(values):
    """'-0.938, 0.108, 15 %': mean, deviation, and how many lie beyond 0.999 of the limits."""
    return f"{values.mean():.3f}, {values.std():.3f}, {np.mean(np.abs(values) > 0.999):.0%}".replace("%", " %")


def scores(images, task):
    """(affine PSNR, PSNR with one gain and offset for the whole task) in dB, means over the test images of a task.

    Both take the span of each y's 0.1 to 99.9 percentiles as data range, as `metrics.affine_metric` does.
    """
    truths = [np.asarray(y, np.float64) for y in task.test_y]
    own = np.mean([affine_metric(image, y)["psnr"] for image, y in zip(images, truths, strict=True)])
    fitted = fit_affine(np.stack(images), np.stack(truths))
    spans = [np.subtract(*np.percentile(y, [99.9, 0.1])) for y in truths]
    errors = [np.mean((f - y) ** 2) / span**2 for f, y, span in zip(fitted, truths, spans, strict=True)]
    return own, np.mean(-10 * np.log10(errors))


def train(args, ingredient):
    """Run folder of the recipe, an ingredient left out or None."""
    script = ["benchmarks/ablation.py", f"--without={ingredient}"] if ingredient else ["train_cGAN.py"]
    flags = [f"--num_iters={args.num_iters}", "--batch_size=4", "--images_limit=10", f"--data_dir={args.data_dir}"]
    words = [*script, "--recipe=paper", f"--vgg_weights={args.vgg_weights}", "--num_gpu=0", *flags]
    name = (ingredient or "as published").replace(" ", "_")
    return run_once(words, args.dir / f"{name}_{args.num_iters}", "Microscopy_cGAN_results")


def main(args):
    tasks, _ = load_tasks(args.data_dir, None, 10, None, 0, 42)
    normalization = fit_cgan("paper", tasks)
    lines = ["| affine PSNR, with one straight line a task | " + " | ".join(task.name for task in tasks) + " |"]
    lines.append("|---" * (len(tasks) + 1) + "|")
    print("\n".join(lines))

    def add(label, restore):
        cells = [scores(restore(task), task) for task in tasks]
        lines.append(f"| {label} | " + " | ".join(f"{own:.2f}, {shared:.2f}" for own, shared in cells) + " |")
        print(lines[-1], flush=True)

    add("input", lambda task: list(task.test_x))
    add("the best of (input + tanh) / 2", lambda task: best_of_half(task, normalization))
    second = ["| tanh: mean, deviation, flat | " + " | ".join(task.name for task in tasks) + " |", lines[1]]
    for ingredient in (None, *PAPER):
        run = train(args, ingredient)
        label = f"without {ingredient}" if ingredient else "as published"
        add(f"{label}, {args.num_iters} iterations", lambda task, run=run: restore_tests(run, task))
        cells = [tanh_of_tests(run, task, normalization) for task in tasks]
        second.append(f"| {label} | " + " | ".join(map(describe_tanh, cells)) + " |")
    print("\n".join(["", *second]))
    lines += ["", *second]
    write_text(args.dir / "paper_recipe.md", "\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--vgg_weights", default="imagenet")
    parser.add_argument("--num_iters", type=int, default=100)
    parser.add_argument("--dir", type=Path, required=True, help="folder of the runs and the table")
    run_script(main, parser.parse_args())
