"""Is the uncertainty calibrated, and does the check find planted inventions? On the test images of real pair sets.

    python -m benchmarks trust_figures --generator_path=generator.h5 --cin_generator_path=CIN_generator.h5 \\
        --data_dir=REAL --images_limit=10 --output=OUT

Uncertainty: calibrated on the training rows after the first `images_limit`, which neither network has seen, then how
many errors of the test images lie in their 50, 80 and 95 % intervals, and error against predicted deviation in bins.
Check: into each restored test image a spot is planted, or a structure is erased (its neighbourhood smoothed away), four
times each; a score is the largest value of a map around the place, before and after. Maps: the check, the plain
difference between restored image and input, and the uncertainty. Written: trust.md, calibration.png, roc.png.
"""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy.ndimage import gaussian_filter, uniform_filter

from benchmarks.measuring import print_table, read_tasks
from common.errors import InputError
from common.files import write_text
from restoring import trust
from restoring.apply import Applier
from restoring.trust_maps import CheckMap

SIGMA, REACH, PLACES = 2.0, 6, 4  # pixels, pixels, changes of each kind per image
CHANGES = ("planted", "erased")
MAPS = ("check", "|restored - input|", "uncertainty")
BINS, PASSES, CHECKED = 8, 4, 12  # points of a curve, passes of the uncertainty, test images for the check


def set_aside(folder, name, first, count=16):
    """x and y of the training rows after the first ones; without test files these would not be the rows after them."""
    if not (folder / f"{name}_X_test.npy").is_file():
        raise InputError(f"{folder} has no {name}_X_test.npy; what is set aside here needs test files")
    return (np.asarray(np.load(folder / f"{name}_{k}.npy")[first : first + count], np.float32) for k in "XY")


def change(kind, image, row, column):
    """A restored image with a spot planted, or what is there smoothed away."""
    spot = np.zeros(image.shape)
    spot[row, column] = 1.0
    spot = gaussian_filter(spot, SIGMA)
    window = spot / spot.max()
    if kind == "planted":
        return image + 0.5 * np.subtract(*np.percentile(image, [99.8, 2])) * window
    smooth = gaussian_filter(image, 3 * SIGMA)
    return image + np.minimum(3 * window, 1) * (smooth - image)


def places(image, kind, rng):
    """Where an image is changed: anywhere, or where there is something to erase."""
    detail = np.abs(image - gaussian_filter(image, 3 * SIGMA))
    detail[:16], detail[-16:], detail[:, :16], detail[:, -16:] = -1, -1, -1, -1
    allowed = detail >= (np.quantile(detail[16:-16, 16:-16], 0.98) if kind == "erased" else 0)
    return rng.permutation(np.argwhere(allowed))[:PLACES]


def maps_of(check, restored, x, deviation):
    """The three maps that may show an invention, in the order of MAPS."""
    y = check.in_units_of_y(restored, x)
    found = trust.contradiction(x, *trust.made_again(check.apply_cin, y, check.task))
    return np.abs(found), np.abs(uniform_filter(restored - x, trust.WINDOW)), deviation


def planted_scores(check, apply, x_images, deviations, rng):
    """{kind of change: (maps, places of all images, 2) largest values around a place, before and after}."""
    scores = {kind: [] for kind in CHANGES}
    for x, deviation in zip(x_images, deviations, strict=True):
        restored = apply(x, check.task)
        before = maps_of(check, restored, x, deviation)
        for kind in CHANGES:
            for row, column in places(restored, kind, rng):
                after = maps_of(check, change(kind, restored, row, column), x, deviation)
                around = (slice(row - REACH, row + REACH + 1), slice(column - REACH, column + REACH + 1))
                scores[kind].append([(b[around].max(), a[around].max()) for b, a in zip(before, after, strict=True)])
    return {kind: np.array(values).swapaxes(0, 1) for kind, values in scores.items()}


def area(scores):
    """Area under the ROC curve: how often a changed place scores higher than an unchanged one, from (places, 2)."""
    before, after = scores[:, :1], scores[:, 1]
    return float(np.mean((after > before) + 0.5 * (after == before)))


def draw_calibration(axis, name, error, errors):
    """Root mean square error against predicted deviation, in equally filled bins."""
    groups = np.array_split(np.argsort(error), BINS)
    predicted, found = ([np.sqrt(np.mean(values[g] ** 2)) for g in groups] for values in (error, errors))
    axis.plot(predicted, found, "o-", label="in bins")
    axis.plot([0, max(predicted)], [0, max(predicted)], "k:", label="as predicted")
    axis.set(title=name, xlabel="predicted deviation", ylabel="root mean square error")
    axis.legend()


def draw_roc(axis, name, scores):
    """ROC curves of all maps, both kinds of change together."""
    for label, of_map in zip(MAPS, np.concatenate(list(scores.values()), axis=1), strict=True):
        levels = np.sort(of_map.ravel())[::-1]
        axis.plot(*(of_map[None] >= levels[:, None, None]).mean(axis=1).T, label=f"{label}, area {area(of_map):.2f}")
    axis.plot([0, 1], [0, 1], "k:")
    axis.set(title=name, xlabel="false alarms", ylabel="found", aspect="equal")
    axis.legend(loc="lower right", fontsize=7)


def main(*, generator_path: Path, cin_generator_path: Path, data_dir: Path, images_limit: int = 10, output: Path):
    apply, apply_cin = Applier.load(generator_path), Applier.load(cin_generator_path)
    dropout = apply.with_dropout()
    tasks = read_tasks(data_dir, images_limit)
    figures = [Figure(figsize=(4 * len(tasks), 4.6), layout="constrained") for _ in range(2)]
    panels = [figure.subplots(1, len(tasks), squeeze=False)[0] for figure in figures]
    rng, rows = np.random.default_rng(0), []
    for task, calibration_panel, roc_panel in zip(tasks, *panels, strict=True):
        x, y = set_aside(data_dir, task.name, images_limit)
        calibration = trust.fit_calibration(*trust.measure(apply, dropout, x, y, task.name, PASSES))
        x, y = (np.stack([np.asarray(i, np.float32) for i in images]) for images in (task.test_x, task.test_y))
        deviations, errors = trust.measure(apply, dropout, x, y, task.name, PASSES)
        draw_calibration(calibration_panel, task.name, calibration.error(deviations), errors)
        check = CheckMap(apply_cin, apply.metadata.normalization, task.name)
        scores = planted_scores(check, apply, x[:CHECKED], deviations.reshape(x.shape)[:CHECKED], rng)
        draw_roc(roc_panel, task.name, scores)
        shares = [f"{share:.0f} %" for share in trust.coverage(calibration, deviations, errors).values()]
        rows.append([task.name, *shares, *(f"{area(of_map):.2f}" for kind in CHANGES for of_map in scores[kind])])
    head = ["task", "in 50 %", "in 80 %", "in 95 %", *(f"{name}, {kind}" for kind in CHANGES for name in MAPS)]
    write_text(output / "trust.md", print_table(head, rows))
    for figure, name in zip(figures, ("calibration", "roc"), strict=True):
        figure.savefig(output / f"{name}.png", dpi=100)
