"""How well recipe `tuned` restores: headline, seeds, folds, pairs, unpaired, ablation, length, precision, noise levels.

    python benchmarks/quality.py --part=headline --data_dir=REAL --dir=OUT  the README's row `tuned`, ten pairs
    python benchmarks/quality.py --part=seeds --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=folds --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=pairs --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=pool --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=unpaired --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=ablation --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=length --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=precision --data_dir=REAL --dir=OUT
    python benchmarks/quality.py --part=noise --dir=OUT                     simulates its own images

Every training has a fixed number of iterations, those that 225 s of training steps (75 s a task for CARE) allowed on
2 CPU cores (part `length`: up to eight times as many; `precision`: 400 of batch 2), so that neither the machine's mood
nor its neighbours change a number. A part prints its table and writes PART.md and PART.json below --dir; what is
finished is kept, and the same command goes on where it was stopped: another --data_dir needs another --dir.

Part `pool` asks what CIN-GAN is worth beside the control, a defect model with a handful of numbers fitted to the ten
pairs (parametric_generator.py), from those pairs' images alone and with all unpaired images of the folder. Part
`unpaired` trains without pairs, beside a CycleGAN that is small enough to come to its end on a CPU. Part `folds` is for
choosing a recipe without test images: it trains on ten pairs of the training rows and scores others of them.
"""

import argparse
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from ablation import NETWORK, RECIPE, TERMS

import table_jobs
from data_utils import load_tasks
from errors import InputError, run_script
from run_folder import write_text

SECONDS_225, CIN, UNPAIRED, CARE, PRECISION = 2100, 1000, 1000, 335, 400  # iterations
SEEDS = (42, 43, 44)
PHOTONS = (5, 20, 100)
FOLDS, VALIDATION = 3, range(40, 56)  # of ten training rows each; the rows that score them
CIN_FLAGS = ("--cin_augment=True", "--cin_generator_path={cin}/CIN-GAN_results/generator.h5")
POOL = "--unpaired_limit=-1"
BASELINES = {"care": "CARE_results", "cyclegan": "CycleGAN_results"}
PARTS = ["headline", "seeds", "folds", "pairs", "pool", "unpaired", "ablation", "length", "precision", "noise"]


class Cell(NamedTuple):
    """One training and how it is scored: script and flags, where its pairs come from, pairs a task, seed, turns."""

    label: str
    words: tuple
    limit: int = 10
    seed: int = 42
    average: int = 8
    cin: str = ""  # "cin" or "parametric"
    data: str = ""


def tuned(label="tuned", iterations=SECONDS_225, flags=(), **options):
    return Cell(label, ("train_cGAN.py", "--recipe=tuned", f"--num_iters={iterations}", *flags), **options)


def with_cin(label="tuned + CIN", cin="cin", flags=(), iterations=SECONDS_225, **options):
    words = ("train_cGAN.py", "--recipe=tuned", f"--num_iters={iterations}", *CIN_FLAGS, *flags)
    return Cell(label, words, cin=cin, **options)


def changed(label, change, iterations=SECONDS_225, **options):
    return Cell(label, ("benchmarks/ablation.py", change, *tuned(iterations=iterations).words[1:]), **options)


def care(**options):
    return Cell("CARE", ("train_baseline.py", "--method=care", f"--num_iters={CARE}"), average=1, **options)


def cyclegan(iterations, **options):
    words = ("benchmarks/reduced_cyclegan.py", "--method=cyclegan", f"--num_iters={iterations}")
    return Cell(f"CycleGAN, a quarter of its filters, {iterations} iterations", words, average=1, **options)


def cells_of(part):
    """The trainings of a part, in the order in which they run."""
    if part == "headline":
        return [tuned(seed=seed) for seed in SEEDS]
    if part == "seeds":
        unpaired = {"label": "tuned, no pairs", "flags": ("--alpha=1",), "iterations": UNPAIRED}
        rows = [tuned, with_cin, lambda seed: with_cin(**unpaired, seed=seed), care]
        return [row(seed=seed) for row in rows for seed in SEEDS]
    if part == "folds":
        # Two of the ingredients that were chosen last; `ablation` removes the others too, one by one.
        rows = [tuned, *[partial(changed, f"without {name}", f"--without={name}") for name in ("leaky", "intensities")]]
        return [row(data=f"fold{k}", seed=k) for row in rows for k in range(FOLDS)]
    if part == "pool":
        made = [("cin", "CIN"), ("parametric", "control")]
        kinds = [(cin, f"tuned + {name}", flags) for flags in ((), (POOL,)) for cin, name in made]
        rows = [with_cin(f"{label}{', pool' * bool(flags)}", cin, flags) for cin, label, flags in kinds]
        flags = ("--alpha=1", POOL)
        return [tuned(), *rows, with_cin("tuned, no pairs, pool", flags=flags, iterations=UNPAIRED)]
    if part == "unpaired":
        # The seconds of CIN-GAN and cGAN together, and four times as many.
        rows = [cyclegan(n) for n in (750, 3000)]
        return [*rows, with_cin("tuned, no pairs", flags=("--alpha=1",), iterations=UNPAIRED)]
    if part == "pairs":
        pool = partial(with_cin, "tuned + CIN, pool", flags=(POOL,))
        limits = {tuned: (10, 3, 1, 30, -1), care: (10, 3, 1, 30, -1), with_cin: (10, 3, 1, 30), pool: (10, 3, 1)}
        return [row(limit=limit, seed=seed) for seed in SEEDS for row in limits for limit in limits[row]]
    if part == "length":
        return length_cells()
    if part == "precision":
        kinds = ("float32", "bfloat16")
        # Batch 2: a CPU without instructions for bfloat16 takes several times as long for a step.
        flags = {kind: (f"--precision={kind}", "--batch_size=2") for kind in kinds}
        return [tuned(kind, PRECISION, flags[kind], seed=seed) for seed in SEEDS for kind in kinds]
    if part == "noise":
        return [tuned(f"tuned, {n} photons", data=f"photons{n}") for n in PHOTONS]
    return ablation_cells()


def length_cells():
    """Four and eight times as long, mixup removed and CIN-GAN's pairs added."""
    long = {"iterations": 8 * SECONDS_225}
    return [
        tuned("tuned, 225 s"),
        tuned("tuned, 8 x 225 s", **long),
        changed("without mixup, 8 x 225 s", "--without=mixup", **long),
        *[with_cin(f"tuned + CIN, pool, {n} x 225 s", flags=(POOL,), iterations=n * SECONDS_225) for n in (4, 8)],
    ]


def ablation_cells():
    """One ingredient removed at a time; mixup sets in later than these trainings end."""
    ingredients = [name for name in (*TERMS, *RECIPE, *NETWORK) if name != "mixup"]
    removed = [changed(f"without {name}", f"--without={name}") for name in ingredients]
    return [tuned("all of it"), *removed, tuned("without turns averaged", average=1)]


def run_once(words, folder, results):
    """Run a script unless its results folder is finished; its output goes to a log beside."""
    if not (folder / "done").is_file():
        again = ["--overwrite"] if (folder / results).exists() else []
        table_jobs.run_logged([*words, f"--dir={folder}", "--eval_every=100000", *again], folder / "log.txt")
        (folder / "done").touch()
    return folder / results


def score(cell, args):
    """{task: [affine psnr, ssim, paper psnr, ssim]} of one cell, trained first where it is missing."""
    data = args.dir / cell.data if cell.data else args.data_dir
    shared = [f"--data_dir={data}", f"--images_limit={cell.limit}", f"--seed={cell.seed}", "--num_gpu=0"]
    name = f"limit{cell.limit}_seed{cell.seed}{cell.data and '_' + cell.data}"
    words = list(cell.words)
    if cell.cin:
        words = [word.format(cin=defect_generator(cell, args, shared, name)) for word in words]
    baseline = next((folder for method, folder in BASELINES.items() if f"--method={method}" in words), None)
    results = baseline or "Microscopy_cGAN_results" + "_CIN_augm" * bool(cell.cin)
    tag = "".join(c if c.isalnum() else "_" for c in " ".join(cell.words[1:]).replace("{cin}", f"{{{cell.cin}}}"))
    run = run_once([*words, *shared], args.dir / "runs" / f"{tag}_{name}", results)
    tasks, _ = load_tasks(data, None, cell.limit, None, 0, cell.seed)
    return {task.name: generator_scores(cell, task, run / task.name if baseline else run) for task in tasks}


def defect_generator(cell, args, shared, name):
    """Folder that holds CIN-GAN_results/generator.h5, trained or fitted first where it is missing."""
    pool = [POOL] * (POOL in cell.words)
    folder = args.dir / "runs" / f"{cell.cin}{'_pool' * bool(pool) * (cell.cin == 'cin')}_{name}"
    path = folder / "CIN-GAN_results/generator.h5"
    if cell.cin == "cin":
        run_once(["train_CIN_GAN.py", "--recipe=tuned", f"--num_iters={CIN}", *pool, *shared], folder, path.parent.name)
    elif not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, str(ROOT / "benchmarks/parametric_generator.py"), f"--output={path}", *shared[:2]]
        subprocess.run(command, check=True)
    return folder


def generator_scores(cell, task, run):
    """Mean scores of a generator on the test images of a task."""
    from table_scores import score_generator

    images = score_generator(SimpleNamespace(average=cell.average), task, run, None)[0]["images"]
    return means(images)


def means(images):
    keys = ("affine_psnr", "affine_ssim", "paper_psnr", "paper_ssim")
    return [float(np.mean([image[key] for image in images])) for key in keys]


def make_folds(args):
    """Write `folds`' pair sets: ten training rows of every task each, and the rows to score them by as test files."""
    tasks, _ = load_tasks(args.data_dir)
    short = [task.name for task in tasks if len(task.train_x) <= VALIDATION.start]
    if short:
        raise InputError(f"part folds needs more than {VALIDATION.start} training rows, which {', '.join(short)} lack")
    for k in range(FOLDS):
        folder = args.dir / f"fold{k}"
        folder.mkdir(parents=True, exist_ok=True)
        for task in tasks:
            for letter, images in (("X", task.train_x), ("Y", task.train_y)):
                for end, rows in (("", range(10 * k, 10 * k + 10)), ("_test", VALIDATION)):
                    stack = [images[row] for row in rows if row < len(images)]
                    np.save(folder / f"{task.name}_{letter}{end}.npy", np.stack(stack))


def simulate(args):
    """Make the images of part `noise`, and score input, total variation and BM3D on them."""
    from filters import has_bm3d
    from table_scores import score_filter

    rows = {}
    for photons in PHOTONS:
        folder = args.dir / f"photons{photons}"
        if not (folder / "Nuclei_X.npy").is_file():
            command = [sys.executable, str(ROOT / "data/simulate.py"), f"--output={folder}", f"--photons={photons}"]
            subprocess.run(command, check=True)
        tasks, _ = load_tasks(folder, None, 10, None, 0, 42)
        for name in ("input", "total_variation", *["bm3d"] * has_bm3d()):
            row = {task.name: means(score_filter(name, task)[0]["images"]) for task in tasks}
            rows[f"{name.replace('_', ' ')}, {photons} photons"] = {"42 10": row}
    return rows


def table(record):
    """Markdown: affine PSNR / SSIM, mean over seeds and its deviation, and the mean over the tasks."""
    names = sorted({task for cells in record.values() for scores in cells.values() for task in scores})
    lines = ["| | pairs | seeds | " + " | ".join(names) + " | mean |", "|---" * (len(names) + 4) + "|"]
    for label, cells in record.items():
        for limit in dict.fromkeys(key.split()[1] for key in cells):
            of_limit = [scores for key, scores in cells.items() if key.split()[1] == limit]
            values = np.array([[scores[name] for name in names] for scores in of_limit])
            row = [describe(values[:, i]) for i in range(len(names))] + [describe(values.mean(axis=1))]
            shown = "all" if limit == "-1" else limit
            lines.append(f"| {label} | {shown} | {len(of_limit)} | " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def describe(scores):
    """'28.05 ± 0.04 / 0.808' of (seeds, 4) scores."""
    spread = f" ± {scores[:, 0].std(ddof=1):.2f}" if len(scores) > 1 else ""
    return f"{scores[:, 0].mean():.2f}{spread} / {scores[:, 1].mean():.3f}"


def main(args):
    args.dir.mkdir(parents=True, exist_ok=True)
    if args.part == "folds":
        make_folds(args)
    path = args.dir / f"{args.part}.json"
    record = json.loads(path.read_text()) if path.is_file() else simulate(args) if args.part == "noise" else {}
    for cell in cells_of(args.part):
        key = f"{cell.seed} {cell.limit}"
        if key not in record.get(cell.label, {}):
            record.setdefault(cell.label, {})[key] = score(cell, args)
            write_text(path, json.dumps(record, indent=1) + "\n")
            write_text(args.dir / f"{args.part}.md", table(record))
            print(cell.label, key, flush=True)
    print(table(record))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--data_dir", type=Path, help="real pair sets; part noise needs none")
    parser.add_argument("--dir", type=Path, required=True, help="folder of the runs and tables")
    run_script(main, parser.parse_args())
