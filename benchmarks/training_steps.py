"""A picture of what a cGAN restores at some iterations of its training: one test image of each task, x and y beside it.

    python -m benchmarks training_steps --run=Microscopy_cGAN_results --data_dir=REAL --output=steps.png

--iterations are those of checkpoints that are still there (train with --save_every=100 --keep_checkpoints=-1). The
image is the middle one of the test images, in the range of y's 0.5 to 99.5 percentiles, after the affine metric's
straight line; the number is the affine PSNR in dB.
"""

from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from benchmarks.fields import draw_fields
from benchmarks.measuring import read_tasks
from common.errors import InputError
from restoring.apply import Applier
from training.checkpoints import check_network
from training.run_folder import RunFolder

SIDE = 1.6  # inches of an image


def restored_at(run, iterations, tasks):
    """{iteration: [restored image of each task]}. Raises InputError: no such checkpoint, or of another network."""
    apply, found = Applier.load(run / "generator.h5"), {}
    expected = apply.network.get_weights()
    for iteration in iterations:
        path = run / "checkpoints" / f"{iteration:06d}.npz"
        weights = run.load_released(path) if path.is_file() else None
        if weights is None:
            raise InputError(f"{path}: no such checkpoint, or damaged; choose others with --iterations")
        check_network(path, weights, expected)
        apply.network.set_weights(weights)
        found[iteration] = [apply(task.test_x[len(task.test_x) // 2], task.name) for task in tasks]
    return found


def main(*, run: Path, data_dir: Path, output: Path, iterations: str = "100,300,1000,3000"):
    tasks, numbers = read_tasks(data_dir), iterations.split(",")
    if not all(map(str.isdecimal, numbers)):
        raise InputError(f"--iterations={iterations}: expected whole numbers, as 100,300")
    found = restored_at(RunFolder(run), [int(number) for number in numbers], tasks)
    columns = len(found) + 2
    figure = Figure(figsize=(columns * SIDE, len(tasks) * SIDE + 0.3), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(len(tasks), columns, squeeze=False)
    for index, (task, line) in enumerate(zip(tasks, grid, strict=True)):
        middle = len(task.test_x) // 2
        shown = {"input": task.test_x[middle], **{f"{at:,} iterations": images[index] for at, images in found.items()}}
        shown["truth"] = task.test_y[middle]
        draw_fields(line, shown.values(), [shown["truth"]] * columns)
        line[0].set_ylabel(task.name, fontsize=8)
        for axes, label in zip(line if index == 0 else (), shown, strict=False):
            axes.set_title(label, fontsize=8)
    figure.savefig(output, dpi=100)
    Image.open(output).convert("L").save(output, optimize=True)
