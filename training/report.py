"""report.html of a run folder: one self-contained page on how a training went and what to do next. No TensorFlow."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from markupsafe import Markup

from common.files import write_text, written_whole
from common.pages import render, to_gray
from recipes import RECIPES
from training.options import CGANOptions, in_vain
from training.run_folder import RunFolder, read_args, read_log

TEMPLATE = Path(__file__).resolve().with_name("report.html")
SETTLED = 0.1  # dB that an evaluation differs by without saying anything
SHOWN = 512  # pixels of an image's side
# What a cGAN has in common with the CIN-GAN whose pairs it takes: where the results appear, which rows are pairs (on
# others it would take unpaired images for pairs), what is never turned, and VGG16's filters.
SHARED_FLAGS = "dir data_dir tasks images_limit unpaired_limit eval_limit seed no_rotate rotate vgg_weights".split()


def save_latest(
    path: Path, scores: dict[str, float], input_scores: dict[str, dict], panels: list[tuple[str, list]]
) -> None:
    """Save what the report shows of the latest evaluation, as .npz.

    Args:
        path: file to write.
        scores: {metric_task: value}.
        input_scores: {task: {metric: value}} of the images as they came.
        panels: [(task, [(title, (H, W) image), ...]), ...].
    """
    images = {f"{task}/{title}": image for task, row in panels for title, image in row}
    with written_whole(path) as beside, open(beside, "wb") as file:
        np.savez_compressed(file, scores=json.dumps({"output": scores, "input": input_scores}), **images)


def write_report(folder: str | Path) -> Path:
    """Write report.html into a run folder from the files that lie there; gives its path. Raises InputError."""
    folder = Path(folder)
    record, rows, done = read_args(folder), read_log(folder), RunFolder(folder).iterations_done()
    scores, panels = read_latest(folder / "samples" / "latest.npz")
    page = render(
        TEMPLATE,
        title=folder.resolve().name,
        summary=summary(record, rows, done),
        comparisons={task: compare(images) for task, images in panels.items()},
        scored=f"after iteration {rows[-1]['iteration']}" if rows else "none yet",
        scores=score_rows(scores, panels),
        makes_defects=makes_defects(record),
        curves=read_picture(folder / "losses.png"),
        spectra=spectra(panels) if makes_defects(record) and panels else None,
        choice=choice(folder),
        choice_curve=read_picture(folder / "evaluation.png"),
        advice=advice(folder, record, rows, done, scores),
        next_step=next_step(folder, record),
        arguments=record["arguments"],
        not_default=record["not_default"],
    )
    write_text(folder / "report.html", page)
    return folder / "report.html"


def read_latest(path: Path) -> tuple[dict[str, dict], dict[str, dict[str, np.ndarray]]]:
    """({"input", "output"} scores, {task: {title: (H, W) image}}) of the latest evaluation."""
    panels = {}
    if not path.is_file():
        return {"input": {}, "output": {}}, panels
    with np.load(path, allow_pickle=False) as stored:
        for key in stored.files:
            if "/" in key:
                task, title = key.split("/")
                panels.setdefault(task, {})[title] = stored[key]
        return json.loads(str(stored["scores"])), panels


def summary(record: dict, rows: list[dict], done: int) -> str:
    """One sentence: what was trained, how long, with what."""
    given, versions = record["arguments"], record["versions"]
    trained = f"{float(rows[-1]['seconds']) / 60:.1f} minutes of training" if rows else "no evaluation yet"
    return (
        f"{given.get('recipe') or given.get('method')}, {done} iterations of {given['num_iters']}, {trained}, "
        f"batch {given['batch_size']}, seed {given['seed']}, {given['precision']}; "
        f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}"
    )


def middle(image: np.ndarray) -> np.ndarray:
    """The middle of an (H, W) image, SHOWN pixels on a side at most: the page stays small."""
    rows, columns = (slice(max(size - SHOWN, 0) // 2, max(size - SHOWN, 0) // 2 + SHOWN) for size in image.shape)
    return image[rows, columns]


def compare(images: dict[str, np.ndarray]) -> list[tuple[str, np.ndarray]]:
    """What becomes what, beside what: three images of a task in gray values that can be compared.

    Restored images and their input are shown in the range of the ground truth, after the affine metric's straight
    line; generated defects in the range of the real ones, as they are.

    Args:
        images: {title: (H, W) image} of one task, as `read_latest` gives them.

    Returns:
        [(title, (H, W) uint8), ...] of before, after and beside.
    """
    from common.metrics import fit_affine

    if "restored" in images:
        truth, names = images["y"], ("x", "restored", "y")
        shown = [fit_affine(images[name], truth) for name in names]
    else:
        truth, names = images["real x"], ("generated x", "real x", "y")
        shown = [images[name] for name in names]
    ranges = [np.percentile(truth, [0.5, 99.5])] * 2 + [np.percentile(shown[2], [0.5, 99.5])]
    return [(name, to_gray(middle(i), *limits)) for name, i, limits in zip(names, shown, ranges, strict=True)]


def read_picture(path: Path) -> bytes | None:
    """A picture file's bytes, or None where there is no file."""
    return path.read_bytes() if path.is_file() else None


def spectra(panels: dict[str, dict[str, np.ndarray]]) -> bytes:
    """A .png of the spectra of generated x, real x and y of each task, from what `read_latest` gives."""
    from training.plots import draw_spectra

    names = ("generated x", "real x", "y")
    return draw_spectra({task: {name: images[name] for name in names} for task, images in panels.items()})


def makes_defects(record: dict) -> bool:
    """Whether a CIN-GAN was trained, from what `read_args` gives."""
    given = record["arguments"]
    # Run folders of earlier versions do not name their script; of the recipes' two, CIN-GAN's alone has a critic.
    earlier = "CIN-GAN" if "recipe" in given and "n_critic" in given else "another"
    return record.get("script", earlier) == "CIN-GAN"


def score_rows(scores: dict[str, dict], tasks: Iterable[str]) -> list[tuple[str, str, dict[str, float]]]:
    """(task, "input" or "output", {metric: value}) of each task, as far as there are scores.

    Args:
        scores: as `read_latest` gives them.
        tasks: names.
    """
    rows = []
    for task in tasks:
        output = {key.removesuffix(f"_{task}"): v for key, v in scores["output"].items() if key.endswith(f"_{task}")}
        rows += [(task, "input", scores["input"].get(task)), (task, "output", output)]
    return [row for row in rows if row[2]]


def read_choice(folder: Path) -> dict | None:
    """What evaluate.py wrote, with "generator" the iteration of generator.h5 as it stands now; None without it."""
    if not (folder / "evaluation.json").is_file():
        return None
    record = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    generator = folder / "generator.h5"
    if hashlib.sha256(generator.read_bytes()).hexdigest() != record["generator_sha256"]:
        record["generator"] = None
    return record


def choice(folder: Path) -> str | None:
    """How evaluate.py chose generator.h5 among the checkpoints, or None where it did not."""
    record = read_choice(folder)
    if record is None:
        return None
    text = (
        f"evaluate.py scored {len(record['iterations'])} checkpoints by {record['metric'].upper()} on "
        f"{record['images']} images, {record['x']} and {record['y']}; the best is that of iteration {record['best']}, "
    )
    if record["generator"] == record["best"]:
        return text + "and it is generator.h5."
    if record["generator"] is None:
        return text + "but generator.h5 is none of them: it was written by a training since, or replaced."
    return text + f"but generator.h5 is that of iteration {record['generator']} (--promote was not given)."


def advice(folder: Path, record: dict, rows: list[dict], done: int, scores: dict[str, dict]) -> list[str]:
    """What to do better, one line each, from how the training went."""
    given, lines = record["arguments"], []
    if done < given["num_iters"]:
        lines.append(Markup("It was stopped early: go on with the same command and <code>--resume</code>."))
    if makes_defects(record):
        return lines
    if given.get("cin_augment") and given.get("alpha") == 1:
        return [*lines, "It trained unpaired: PSNR and SSIM have a meaning only if its test images are pairs."]
    chosen = read_choice(folder)
    settled = chosen is not None and chosen["generator"] == chosen["best"]
    return lines + list(filter(None, (trend(task, own, rows, settled) for task, own in scores["input"].items())))


def next_step(folder: Path, record: dict) -> tuple[str | Markup, str]:
    """(what the generator is for, the command)."""
    given, generator = record["arguments"], folder / "generator.h5"
    if makes_defects(record):
        use = Markup("Train a cGAN with its pairs (without real ones: add <code>--alpha=1</code>)")
        return use, cgan_command(given, generator)
    recipe = RECIPES.get(given.get("recipe"))
    needs_task = recipe is not None and recipe.cgan.normalizing.kind == "fixed"
    return "Use it on your own images", restore_command(generator, needs_task)


def restore_command(generator: Path, needs_task: bool) -> str:
    """The command that restores an image with a generator.

    Args:
        generator: its generator.h5.
        needs_task: --task is to be filled in.
    """
    flag = " --task=NAME" if needs_task else ""
    path = shlex.quote(str(generator))
    return f"python restore.py --generator_path={path} \\\n    --input=IMAGE.tif --output=RESULT.tif --average=8{flag}"


def cgan_command(given: dict, generator: Path) -> str:
    """The command that trains a cGAN on the same rows, with the pairs of a CIN-GAN's generator.

    Args:
        given: the arguments of the CIN-GAN's training; those of SHARED_FLAGS may be missing.
        generator: its generator.h5.
    """
    options = CGANOptions(recipe=given["recipe"], cin_augment=True)
    defaults, idle = options.values(), in_vain(options.command, options)
    words = [f"--recipe={options.recipe}"]
    for name in SHARED_FLAGS:
        value = given.get(name, defaults[name])
        if name not in idle and str(value) != str(defaults[name]):
            value = ",".join(value) if isinstance(value, list) else str(value)
            words.append(f"--{name}={shlex.quote(value)}")
    path = shlex.quote(str(generator))
    return f"python train_cGAN.py {' '.join(words)} \\\n    --cin_augment=True --cin_generator_path={path}"


def trend(task: str, own: dict[str, float], rows: list[dict], chosen: bool) -> str | None:
    """One line on how a task's PSNR went, or None where there is nothing to do.

    Args:
        task: name.
        own: {metric: value} of the input.
        rows: of log.csv.
        chosen: a checkpoint was chosen already.
    """
    psnr = [float(row[f"affine_psnr_{task}"]) for row in rows]
    best, last = max(psnr), psnr[-1]
    # Neighbouring evaluations may be a fiftieth of a training apart: what it gained lately is seen over a sixth.
    recent = 5 / 6 * int(rows[-1]["iteration"])
    before = [value for value, row in zip(psnr, rows, strict=True) if int(row["iteration"]) <= recent]
    if last < own["affine_psnr"]:
        return f"{task}: worse than its input. Train longer, or look at its pairs: are they registered?"
    if last < best - SETTLED and not chosen:
        return Markup(
            "{}: an earlier evaluation was {:.2f} dB better. Train with <code>--keep_checkpoints=-1</code> and choose "
            "with <code>evaluate.py</code>, on images set aside for it."
        ).format(task, best - last)
    if len(before) > 1 and last > before[-1] + SETTLED:
        return Markup("{}: still getting better; more <code>--num_iters</code> will help.").format(task)
    return None
