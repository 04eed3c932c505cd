"""`python -m benchmarks training_curve` draws what the log holds, beside the input's scores."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from benchmarks import training_curve
from benchmarks.measuring import read_tasks
from common.metrics import affine_metric

HEAD = (
    "iteration,seconds,content,adversarial,discriminator,gradient_content,gradient_adversarial,"
    "affine_psnr_{0},affine_ssim_{0},paper_psnr_{0},paper_ssim_{0},affine_psnr_{1},affine_ssim_{1},paper_psnr_{1},paper_ssim_{1}"
)


def write_log(path, tasks):
    evaluated = [20.0, 0.5, 19.0, 0.4, 22.0, 0.6, 21.0, 0.5]
    rows = [[n, n, 9.0, 2.0, 0.5, 1.0, 0.1, *(value + n / 100 for value in evaluated)] for n in (100, 200)]
    rows.insert(1, [150, 150, 9.0, 2.0, 0.5, 1.0, 0.1, *[""] * 8])  # an iteration without an evaluation
    lines = [HEAD.format(*(task.name for task in tasks)), *(",".join(map(str, row)) for row in rows)]
    path.write_text("\n".join(lines))


def test_the_curve_holds_every_evaluation_and_the_inputs_score(pair_folder, tmp_path):
    tasks, log = read_tasks(pair_folder), tmp_path / "log.csv"
    write_log(log, tasks)
    rows = training_curve.read_evaluations(log, tasks[0])
    axes = Figure().subplots()
    inputs = training_curve.inputs_of(tasks[0])
    training_curve.draw_scores(axes, rows, tasks[0], "psnr", inputs)
    affine, line = axes.lines[:2]
    assert affine.get_xydata().tolist() == [[100, 21.0], [200, 22.0]]
    expected = [affine_metric(x, y)["psnr"] for x, y in zip(tasks[0].test_x, tasks[0].test_y, strict=True)]
    assert line.get_ydata()[0] == np.mean(expected)


def test_the_picture_is_written(pair_folder, tmp_path):
    write_log(tmp_path / "log.csv", read_tasks(pair_folder))
    training_curve.main(log=tmp_path / "log.csv", data_dir=pair_folder, output=tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").size == (900, 800)
