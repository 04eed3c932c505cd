"""Is the uncertainty calibrated, and does the check find planted inventions? On the test images of real pair sets.

    python benchmarks/trust_figures.py --generator_path=generator.h5 --cin_generator_path=CIN_generator.h5 \\
        --data_dir=REAL --images_limit=10 --output=OUT

Uncertainty: calibrated on the training rows after the first `images_limit`, which neither network has seen, then how
many errors of the test images lie in their 50, 80 and 95 % intervals, and error against predicted deviation in bins.
Check: into each restored test image a spot is planted, or a structure is erased (its neighbourhood smoothed away), four
times each; a score is the largest value of a map around the place, with and without the deed. Maps: the check, the
plain difference between restored image and input, and the uncertainty. Written: trust.md, calibration.png, roc.png.
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

matplotlib.use("Agg")
from matplotlib import pyplot as plt

import calibrate
from common.errors import InputError, run_script
from common.files import write_text
from data_utils import load_tasks
from restore import load_uncertain
from restoring import trust
from restoring.apply import Applier
from restoring.generator_file import load_generator, read_metadata
from restoring.trust_maps import CheckReport

SIGMA, REACH, PLACES = 2.0, 6, 4  # pixels, pixels, deeds of each kind per image
DEEDS = ("planted", "erased")
MAPS = ("check", "|restored - input|", "uncertainty")
BINS = 8


def set_aside(folder, name, first, count=16):
    """x and y of the training rows after the first ones; without test files these would not be the rows after them."""
    if not (folder / f"{name}_X_test.npy").is_file():
        raise InputError(f"{folder} has no {name}_X_test.npy; what is set aside here needs test files")
    return (np.asarray(np.load(folder / f"{name}_{k}.npy")[first : first + count], np.float32) for k in "XY")


def do(deed, image, row, column):
    """A restored image with a spot planted, or what is there smoothed away."""
    spot = np.zeros(image.shape)
    spot[row, column] = 1.0
    spot = gaussian_filter(spot, SIGMA)
    window = spot / spot.max()
    if deed == "planted":
        return image + 0.5 * np.subtract(*np.percentile(image, [99.8, 2])) * window
    smooth = gaussian_filter(image, 3 * SIGMA)
    return image + np.minimum(3 * window, 1) * (smooth - image)


def places(image, deed, rng):
    """Where deeds are done: anywhere, or where there is something to erase."""
    detail = np.abs(image - gaussian_filter(image, 3 * SIGMA))
    detail[:16], detail[-16:], detail[:, :16], detail[:, -16:] = -1, -1, -1, -1
    allowed = detail >= (np.quantile(detail[16:-16, 16:-16], 0.98) if deed == "erased" else 0)
    return rng.permutation(np.argwhere(allowed))[:PLACES]


def maps_of(check, restored, x, deviation):
    """The three maps that may show an invention."""
    difference = uniform_filter(restored - x, trust.WINDOW)
    y = check.in_units_of_y(restored, x)
    found = trust.contradiction(x, *trust.made_again(check.apply_cin, y, check.task))
    return {"check": np.abs(found), "|restored - input|": np.abs(difference), "uncertainty": deviation}


def planted_scores(check, apply, x_images, deviations, rng):
    """{deed: {map: (scores without, scores with)}} over all images and places."""
    scores = {deed: {} for deed in DEEDS}
    for x, deviation in zip(x_images, deviations, strict=True):
        restored = apply(x, check.task)
        before = maps_of(check, restored, x, deviation)
        for deed in DEEDS:
            for row, column in places(restored, deed, rng):
                after = maps_of(check, do(deed, restored, row, column), x, deviation)
                around = (slice(row - REACH, row + REACH + 1), slice(column - REACH, column + REACH + 1))
                for name in after:
                    pair = scores[deed].setdefault(name, ([], []))
                    pair[0].append(before[name][around].max())
                    pair[1].append(after[name][around].max())
    return scores


def area(without, with_deed):
    """Area under the ROC curve: how often a place with a deed scores higher than one without."""
    without, with_deed = np.asarray(without)[:, None], np.asarray(with_deed)[None]
    return float(np.mean((with_deed > without) + 0.5 * (with_deed == without)))


def draw_calibration(axis, name, error, errors):
    """Root mean square error against predicted deviation, in equally filled bins."""
    order = np.argsort(error.ravel())
    groups = np.array_split(order, BINS)
    predicted = [np.sqrt(np.mean(error.ravel()[g] ** 2)) for g in groups]
    found = [np.sqrt(np.mean(errors.ravel()[g] ** 2)) for g in groups]
    axis.plot(predicted, found, "o-", label="in bins")
    axis.plot([0, max(predicted)], [0, max(predicted)], "k:", label="as predicted")
    axis.set(title=name, xlabel="predicted deviation", ylabel="root mean square error")
    axis.legend()


def draw_roc(axis, name, scores):
    """ROC curves of all maps, both deeds together."""
    for kind in scores[DEEDS[0]]:
        without, with_deed = (np.concatenate([scores[deed][kind][i] for deed in DEEDS]) for i in (0, 1))
        levels = np.sort(np.concatenate([without, with_deed]))[::-1]
        rates = [[np.mean(values >= level) for level in levels] for values in (without, with_deed)]
        axis.plot(*rates, label=f"{kind}, area {area(without, with_deed):.2f}")
    axis.plot([0, 1], [0, 1], "k:")
    axis.set(title=name, xlabel="false alarms", ylabel="found", aspect="equal")
    axis.legend(loc="lower right", fontsize=7)


def main(args):
    apply, dropout = load_uncertain(args.generator_path)
    metadata, (cin, cin_metadata) = read_metadata(args.generator_path), load_generator(args.cin_generator_path)
    apply_cin = Applier(lambda inputs, training: cin.predict_on_batch(inputs), cin_metadata)
    tasks, _ = load_tasks(args.data_dir, None, args.images_limit, None, 0, 42)
    rng = np.random.default_rng(0)
    figures = [plt.subplots(1, len(tasks), figsize=(4 * len(tasks), 4.6), layout="constrained") for _ in range(2)]
    lines = ["| task | in 50 % | in 80 % | in 95 % | " + " | ".join(f"{m}, {d}" for d in DEEDS for m in MAPS) + " |"]
    lines.append("|---" * (4 + len(MAPS) * len(DEEDS)) + "|")
    for index, task in enumerate(tasks):
        x, y = set_aside(args.data_dir, task.name, args.images_limit)
        calibration = trust.fit_calibration(*calibrate.measure(apply, dropout, x, y, task.name, args.uncertainty))
        test_x, test_y = (
            np.stack([np.asarray(i, np.float32) for i in images]) for images in (task.test_x, task.test_y)
        )
        deviations, errors = calibrate.measure(apply, dropout, test_x, test_y, task.name, args.uncertainty)
        covered = calibrate.coverage(calibration, deviations, errors)
        draw_calibration(figures[0][1][index], task.name, calibration.error(deviations), errors)
        check = CheckReport(apply_cin, metadata.normalization, task.name)
        deviations = deviations.reshape(test_x.shape)[: args.limit]
        scores = planted_scores(check, apply, test_x[: args.limit], deviations, rng)
        draw_roc(figures[1][1][index], task.name, scores)
        areas = [f"{area(*scores[deed][kind]):.2f}" for deed in DEEDS for kind in MAPS]
        shares = [f"{share:.0f} %" for share in covered.values()]
        lines.append(f"| {task.name} | " + " | ".join(shares + areas) + " |")
        print(lines[-1], flush=True)
    args.output.mkdir(parents=True, exist_ok=True)
    for (figure, _), name in zip(figures, ("calibration", "roc"), strict=True):
        figure.savefig(args.output / f"{name}.png", dpi=100)
    write_text(args.output / "trust.md", "\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--generator_path", type=Path, required=True)
    parser.add_argument("--cin_generator_path", type=Path, required=True)
    parser.add_argument("--data_dir", type=Path, required=True)
    parser.add_argument("--images_limit", type=int, default=10)
    parser.add_argument("--uncertainty", type=int, default=4)
    parser.add_argument("--limit", type=int, default=12, help="test images for the check")
    parser.add_argument("--output", type=Path, required=True)
    run_script(main, parser.parse_args())
