"""The whole path on the shipped sample: restore with nothing, with ten unpaired images, with ten pairs; compare.

    python demo.py                   results in demo_results/
    python demo.py --dir=FOLDER

The shipped generator restores as it is, without a training. CIN-GAN then learns the defects of ten images of each kind,
and a cGAN is fine-tuned on the pairs that it makes; another is fine-tuned on ten pairs per task. All trainings are
short: it takes about 4 minutes on two cores with AVX-512, longer on slower ones. The table and before_after.png
compare them with the ground truth of the 10 test images of each task. The commands train on your own data too (README).
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from data_utils import SAMPLE_DIR, find_task_names
from training.commands import run_command

COMMON = ["--recipe=tuned", "--images_limit=10", f"--data_dir={SAMPLE_DIR}", "--eval_every=100"]
CIN = "CIN-GAN_results"
# Few enough for two slow cores to finish, so that the same numbers come out everywhere.
TRAININGS = [
    ("train_CIN_GAN.py", "--num_iters=200", "--max_seconds=240"),
    ("train_cGAN.py", "--num_iters=300", "--max_seconds=240", "--cin_augment=True", "--alpha=1"),
    ("train_cGAN.py", "--num_iters=300", "--max_seconds=240"),
]
# {row of the table: folder of its generator below --dir, or None for the shipped one}
GENERATORS = {
    "no training": None,
    "ten unpaired images": "Microscopy_cGAN_results_CIN_augm",
    "ten pairs": "Microscopy_cGAN_results",
}
MADE = (CIN, *filter(None, GENERATORS.values()), "shipped", "before_after.png")


def make_parser() -> argparse.ArgumentParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("--dir", type=Path, default=Path("demo_results"), help="results folder (default: demo_results)")
    return parser


def main(args: argparse.Namespace) -> int:
    """Run the demonstration; returns the exit code."""
    began = time.monotonic()
    if args.dir.exists():
        if any(path.name not in MADE for path in args.dir.iterdir() if not path.name.startswith(".")):
            raise InputError(f"--dir={args.dir} holds other things than the demonstration's; choose a new folder")
        kept = args.dir.with_name(f"{args.dir.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        args.dir.rename(kept)
        print(f"note: the earlier results are now {kept}")
    for script, *flags in TRAININGS:
        if "--cin_augment=True" in flags:
            flags.append(f"--cin_generator_path={args.dir / CIN / 'generator.h5'}")
        run_command(script, [*COMMON, f"--dir={args.dir}", *flags])
    names = find_task_names(SAMPLE_DIR)
    restored = {label: restore(args.dir, folder, names) for label, folder in GENERATORS.items()}
    compare(args.dir, names, restored)
    print(f"{(time.monotonic() - began) / 60:.1f} minutes in all")
    return 0


def restore(folder: Path, run: str | None, names: list[str]) -> dict[str, np.ndarray]:
    """Restore the test images of every task; returns {task: (N, H, W) restored}."""
    from restoring.generator_file import SHIPPED
    from restoring.image_files import read_image
    from restoring.options import RestoreOptions
    from restoring.restore_files import Restorer

    generator, results = folder / run / "generator.h5" if run else SHIPPED, {}
    print(f"\nrestoring the test images with {generator}", flush=True)
    for name in names:
        options = RestoreOptions(generator, task=name if run else None, average=8)
        source = read_image(SAMPLE_DIR / f"{name}_X_test.npy")
        results[name] = Restorer(options).restore(source, folder / (run or "shipped") / "restored" / f"{name}.npy")
    return results


def compare(folder: Path, names: list[str], restored: dict[str, dict[str, np.ndarray]]) -> None:
    """Print the table and draw before_after.png."""
    from common.metrics import affine_metric, mean_scores
    from training.plots import save_before_after

    tests = {name: [np.load(SAMPLE_DIR / f"{name}_{kind}_test.npy") for kind in "XY"] for name in names}
    rows = {"input": {name: tests[name][0] for name in names}, **restored}
    for metric in ("affine", "paper"):
        print(f"\n| PSNR dB / SSIM, {metric} metric | {' | '.join(names)} | mean |")
        print("|---" * (len(names) + 2) + "|")
        for label, images in rows.items():
            scores = [mean_scores(images[name], tests[name][1]) for name in names]
            pairs = [(score[f"{metric}_psnr"], score[f"{metric}_ssim"]) for score in scores]
            cells = [f"{psnr:.2f} / {ssim:.3f}" for psnr, ssim in [*pairs, np.mean(pairs, axis=0)]]
            print(f"| {label} | {' | '.join(cells)} |")
    panels = []
    for name in names:
        y = tests[name][1][0]
        row = [
            (f"{label}, {affine_metric(images[name][0], y)['psnr']:.1f} dB", images[name][0])
            for label, images in rows.items()
        ]
        panels.append((name, row, y))
    save_before_after(folder / "before_after.png", panels)
    print(f"\n{folder / 'before_after.png'} shows the first test image of each task")


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
