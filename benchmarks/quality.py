"""How well recipe `tuned` restores, from ten pairs and other numbers, unpaired, from the shipped start, and why.

    python -m benchmarks quality --part=headline --data_dir=REAL --dir=OUT     ten pairs, three seeds, nothing else
    python -m benchmarks quality --part=seeds --data_dir=REAL --dir=OUT        and CARE, CIN-GAN's pairs, no pairs
    ... --part=shipped                                    the shipped generator, untrained and as a start
    ... --part=folds, pairs, pool, unpaired, ablation, length or precision, with the same flags
    python -m benchmarks quality --part=noise --dir=OUT                        simulates its own images

Every training has a fixed number of iterations, those that 225 s of training steps (75 s a task for CARE) allowed on
2 CPU cores (part `length`: up to eight times as many; `precision`: 400 of batch 2). A part prints its table and writes
PART.md and PART.json below --dir; the same command goes on where it was stopped.

Part `pool` asks what CIN-GAN is worth beside the control (parametric_generator.py), from the images of ten pairs alone
and with all unpaired images of the folder; `unpaired` what it is without pairs, beside a small CycleGAN; `folds` trains
on ten pairs of the training rows and scores others of them, for choosing a recipe without test images.
"""

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.ablation import NETWORK, RECIPE, TERMS
from benchmarks.measuring import ROOT, Record, print_table, read_tasks, train_once
from common.errors import InputError
from common.files import write_text
from methods.filters import has_bm3d
from restoring.apply import Applier
from restoring.generator_file import SHIPPED
from tables.scores import score_filter, score_generator, score_images

SECONDS_225, CIN, UNPAIRED, CARE, PRECISION, FINE_TUNING = 2100, 1000, 1000, 335, 400, 600  # iterations
SEEDS = (42, 43, 44)
PHOTONS = (5, 20, 100)
FOLDS, VALIDATION = 3, range(40, 56)  # of ten training rows each; the rows that score them
POOL, NO_PAIRS = "--unpaired_limit=-1", "--alpha=1"
CIN_FLAGS = ("--cin_augment=True", "--cin_generator_path={cin}/CIN-GAN_results/generator.h5")
ABLATION = ("-m", "benchmarks", "ablation")
BASELINES = {"--method=care": "CARE_results", "--method=cyclegan": "CycleGAN_results"}


class Cell(NamedTuple):
    """One training and how it is scored: command, flags, pairs a task, seed, turns, what makes its pairs, its data."""

    label: str
    command: tuple
    flags: tuple
    limit: int = 10
    seed: int = 42
    average: int = 8
    cin: str = ""  # "cin" or "parametric"
    data: str = ""


def tuned(label="tuned", iterations=SECONDS_225, flags=(), command=("train_cGAN.py",), before=(), **options):
    """From random weights."""
    flags = (*before, "--recipe=tuned", "--init_from=none", f"--num_iters={iterations}", *flags)
    return Cell(label, command, flags, **options)


def fine_tuned(label="tuned, shipped start", flags=(), **options):
    return Cell(label, ("train_cGAN.py",), ("--recipe=tuned", f"--num_iters={FINE_TUNING}", *flags), **options)


def with_cin(label="tuned + CIN", cin="cin", flags=(), **options):
    return tuned(label, flags=(*CIN_FLAGS, *flags), cin=cin, **options)


def without(ingredient, also="", **options):
    return tuned(f"without {ingredient}{also}", command=ABLATION, before=(f"--without={ingredient}",), **options)


def care(**options):
    return Cell("CARE", ("train_baseline.py",), ("--method=care", f"--num_iters={CARE}"), average=1, **options)


def cyclegan(iterations):
    flags = ("--without=filters", "--method=cyclegan", f"--num_iters={iterations}")
    return Cell(f"CycleGAN, a quarter of its filters, {iterations} iterations", ABLATION, flags, average=1)


def small(precision, seed):
    """Batch 2: a CPU without instructions for bfloat16 takes several times as long for a step."""
    return tuned(precision, PRECISION, (f"--precision={precision}", "--batch_size=2"), seed=seed)


no_pairs = partial(with_cin, "tuned, no pairs", flags=(NO_PAIRS,), iterations=UNPAIRED)
with_pool = partial(with_cin, flags=(POOL,), label="tuned + CIN, pool")
LIMITS = {tuned: (10, 3, 1, 30, -1), care: (10, 3, 1, 30, -1), with_cin: (10, 3, 1, 30), with_pool: (10, 3, 1)}
LONG = {"iterations": 8 * SECONDS_225}
fine_tuned_unpaired = partial(fine_tuned, "tuned, shipped start, unpaired", flags=(*CIN_FLAGS, NO_PAIRS), cin="cin")
PARTS = {
    # The shipped generator as it is, and as the start of short trainings.
    "shipped": [
        Cell("shipped, untrained", (), (), limit=0),
        *[
            cell
            for seed in SEEDS
            for cell in (*[fine_tuned(limit=n, seed=seed) for n in (10, 3, 1)], fine_tuned_unpaired(seed=seed))
        ],
    ],
    "headline": [tuned(seed=seed) for seed in SEEDS],
    "seeds": [row(seed=seed) for row in (tuned, with_cin, no_pairs, care) for seed in SEEDS],
    # Two of the ingredients that were chosen last; `ablation` removes the others too, one by one.
    "folds": [
        *[tuned(data=f"fold{k}", seed=k) for k in range(FOLDS)],
        *[without(name, data=f"fold{k}", seed=k) for name in ("leaky", "intensities") for k in range(FOLDS)],
    ],
    "pairs": [row(limit=limit, seed=seed) for seed in SEEDS for row in LIMITS for limit in LIMITS[row]],
    "pool": [
        tuned(),
        with_cin(),
        with_cin("tuned + control", cin="parametric"),
        with_pool(),
        with_pool(label="tuned + control, pool", cin="parametric"),
        with_cin("tuned, no pairs, pool", flags=(NO_PAIRS, POOL), iterations=UNPAIRED),
    ],
    # CycleGAN: the seconds of CIN-GAN and cGAN together, and four times as many.
    "unpaired": [cyclegan(750), cyclegan(3000), no_pairs()],
    # One ingredient removed at a time; mixup sets in later than these trainings end.
    "ablation": [
        tuned("all of it"),
        *[without(name) for name in (*TERMS, *RECIPE, *NETWORK) if name != "mixup"],
        tuned("without turns averaged", average=1),
    ],
    "length": [
        tuned("tuned, 225 s"),
        tuned("tuned, 8 x 225 s", **LONG),
        without("mixup", also=", 8 x 225 s", **LONG),
        *[with_pool(label=f"tuned + CIN, pool, {n} x 225 s", iterations=n * SECONDS_225) for n in (4, 8)],
    ],
    "precision": [small(precision, seed) for seed in SEEDS for precision in ("float32", "bfloat16")],
    "noise": [tuned(f"tuned, {photons} photons", data=f"photons{photons}") for photons in PHOTONS],
}


def train_and_score(cell, data_dir, dir):
    """{task: [affine PSNR, SSIM, paper PSNR, SSIM]} of one cell, trained first where it is not."""
    if not cell.command:
        return {task.name: means({"images": score_shipped(task)}) for task in read_tasks(data_dir)}
    data = dir / cell.data if cell.data else data_dir
    shared = [f"--data_dir={data}", f"--images_limit={cell.limit}", f"--seed={cell.seed}", "--num_gpu=0"]
    name = f"limit{cell.limit}_seed{cell.seed}{cell.data and '_' + cell.data}"
    cin = defect_generator(cell, dir, shared, name) if cell.cin else None
    flags = [flag.format(cin=cin) for flag in cell.flags]
    baseline = next((folder for flag, folder in BASELINES.items() if flag in flags), None)
    results = baseline or "Microscopy_cGAN_results" + "_CIN_augm" * bool(cell.cin)
    tag = "".join(c if c.isalnum() else "_" for c in " ".join(cell.flags).replace("{cin}", f"{{{cell.cin}}}"))
    run = train_once([*cell.command, *flags, *shared], dir / "runs" / f"{tag}_{name}", results)
    tasks = read_tasks(data, cell.limit, cell.seed)
    return {t.name: means(score_generator(run / t.name if baseline else run, t, cell.average)[0]) for t in tasks}


def score_shipped(task):
    apply = Applier.load(SHIPPED)
    return score_images((apply(image, None, average=8) for image in task.test_x), task)


def defect_generator(cell, dir, shared, name):
    """Folder that holds CIN-GAN_results/generator.h5, trained or fitted first where it is missing."""
    pool = [POOL] * (POOL in cell.flags)
    folder = dir / "runs" / f"{cell.cin}{'_pool' * bool(pool) * (cell.cin == 'cin')}_{name}"
    path = folder / "CIN-GAN_results/generator.h5"
    if cell.cin == "cin":
        words = ["train_CIN_GAN.py", "--recipe=tuned", f"--num_iters={CIN}", *pool, *shared]
        train_once(words, folder, path.parent.name)
    elif not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "benchmarks", "parametric_generator", f"--output={path}", *shared[:2]]
        subprocess.run(command, check=True)
    return folder


def means(cell):
    """Mean scores of a cell of `table_scores` over its images."""
    keys = ("affine_psnr", "affine_ssim", "paper_psnr", "paper_ssim")
    return [float(np.mean([image[key] for image in cell["images"]])) for key in keys]


def make_folds(data_dir, dir):
    """Write `folds`' pair sets: ten training rows of every task each, and the rows to score them by as test files."""
    tasks = read_tasks(data_dir, -1)
    short = [task.name for task in tasks if len(task.train_x) <= VALIDATION.start]
    if short:
        raise InputError(f"part folds needs more than {VALIDATION.start} training rows, which {', '.join(short)} lack")
    for k in range(FOLDS):
        folder = dir / f"fold{k}"
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            for letter, images in (("X", task.train_x), ("Y", task.train_y)):
                for end, rows in (("", range(10 * k, 10 * k + 10)), ("_test", VALIDATION)):
                    stack = [images[row] for row in rows if row < len(images)]
                    np.save(folder / f"{task.name}_{letter}{end}.npy", np.stack(stack))


def simulate(dir, record):
    """Make the images of part `noise`, and score input, total variation and BM3D on them."""
    for photons in PHOTONS:
        folder, script = dir / f"photons{photons}", str(ROOT / "data/simulate.py")
        if not (folder / "Nuclei_X.npy").is_file():
            subprocess.run([sys.executable, script, f"--output={folder}", f"--photons={photons}"], check=True)
        for name in ("input", "total_variation", *["bm3d"] * has_bm3d()):
            record.add(f"{name.replace('_', ' ')}, {photons} photons", "42 10", partial(filter_scores, folder, name))


def filter_scores(folder, name):
    return {task.name: means(score_filter(name, task)[0]) for task in read_tasks(folder)}


def table(results):
    """(head, rows): affine PSNR / SSIM, mean over seeds and its deviation, and the mean over the tasks."""
    names = sorted({task for cells in results.values() for scores in cells.values() for task in scores})
    rows = []
    for label, cells in results.items():
        for limit in dict.fromkeys(key.split()[1] for key in cells):
            of_limit = [scores for key, scores in cells.items() if key.split()[1] == limit]
            values = np.array([[scores[name] for name in names] for scores in of_limit])
            row = map(describe, [*values.swapaxes(0, 1), values.mean(axis=1)])
            rows.append([label, "all" if limit == "-1" else limit, len(of_limit), *row])
    return ["", "pairs", "seeds", *names, "mean"], rows


def describe(scores):
    """'28.05 ± 0.04 / 0.808' of (seeds, 4) scores."""
    spread = f" ± {scores[:, 0].std(ddof=1):.2f}" if len(scores) > 1 else ""
    return f"{scores[:, 0].mean():.2f}{spread} / {scores[:, 1].mean():.3f}"


def main(*, part: str, data_dir: str = "", dir: Path):
    if part not in PARTS or not (data_dir or part == "noise"):
        raise InputError(f"expected --data_dir and one --part of {', '.join(PARTS)}, received --part={part}")
    record = Record(dir / f"{part}.json")
    if part == "folds":
        make_folds(data_dir, dir)
    if part == "noise":
        simulate(dir, record)
    for cell in PARTS[part]:
        record.add(cell.label, f"{cell.seed} {cell.limit}", partial(train_and_score, cell, data_dir, dir))
    write_text(dir / f"{part}.md", print_table(*table(record.results)))
