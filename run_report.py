"""report.html of a run folder: one self-contained page on how a training went and what to do next. No TensorFlow.

python run_report.py Microscopy_cGAN_results        writes it anew; every training writes it at its end
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import html
import io
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from string import Template

import numpy as np

from arguments import Arguments, OneLineParser, idle
from errors import run_script
from recipes import NO_ROTATE
from run_folder import RunFolder, read_args, write_text, written_whole

TEMPLATE = Path(__file__).resolve().with_name("run_report.html")
SETTLED = 0.1  # dB that an evaluation differs by without saying anything
SHOWN = 512  # pixels of an image's side
# What a cGAN has in common with the CIN-GAN whose pairs it takes, and its defaults: where the results appear, which
# rows are pairs (on others it would take unpaired images for pairs), what is never turned, and VGG16's filters.
SHARED_FLAGS = {
    "dir": Path("."),
    "data_dir": None,
    "tasks": None,
    "images_limit": -1,
    "unpaired_limit": 0,
    "eval_limit": None,
    "seed": 42,
    "no_rotate": list(NO_ROTATE),
    "vgg_weights": "imagenet",
}


def make_parser() -> OneLineParser:
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("run_folder", type=Path, help="results folder of a training")
    return parser


def main(args: argparse.Namespace) -> int:
    """Write the report; returns the exit code."""
    print(write_report(args.run_folder))
    return 0


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
    record, rows, done = read_args(folder), read_log(folder / "log.csv"), RunFolder(folder).iterations_done()
    scores, panels = read_latest(folder / "samples" / "latest.npz")
    fields = {
        "title": html.escape(folder.resolve().name),
        "summary": summary(record, rows, done),
        "sliders": "".join(slider(task, images) for task, images in panels.items()) or "<p>No evaluation yet.</p>",
        "scores": score_table(scores, panels, makes_defects(record)),
        "scored": f"after iteration {rows[-1]['iteration']}" if rows else "none yet",
        "curves": picture(folder / "losses.png", "losses and PSNR over the iterations"),
        "choice": choice(folder),
        "advice": "".join(f"<li>{line}</li>" for line in advice(folder, record, rows, done, scores)),
        "arguments": arguments_table(record),
    }
    write_text(folder / "report.html", Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields))
    return folder / "report.html"


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of log.csv, list of {column: text}; none where there is no evaluation yet."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


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
    return html.escape(
        f"{given.get('recipe') or given.get('method')}, {done} iterations of {given['num_iters']}, {trained}, "
        f"batch {given['batch_size']}, seed {given['seed']}, {given['precision']}; "
        f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}"
    )


def slider(task: str, images: dict[str, np.ndarray]) -> str:
    """Two images of a task under a slider, and the third beside them."""
    comparison = compare(images)
    before, after, beside = (embed(gray_png(middle(gray))) for _, gray in comparison)
    name, titles = html.escape(task), [html.escape(title) for title, _ in comparison]
    return (
        f'<figure class="compare"><figcaption>{name}: {titles[0]} | {titles[1]}, and {titles[2]}</figcaption>'
        f'<div class="pair"><img src="{after}" alt="{name} {titles[1]}"><img class="before" src="{before}" '
        f'alt="{name} {titles[0]}"><input type="range" min="0" max="100" value="50" '
        f'aria-label="{name}: {titles[0]} or {titles[1]}"></div><img src="{beside}" alt="{name} {titles[2]}"></figure>'
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
    from metrics import fit_affine

    if "restored" in images:
        truth, names = images["y"], ("x", "restored", "y")
        shown = [fit_affine(images[name], truth) for name in names]
    else:
        truth, names = images["real x"], ("generated x", "real x", "y")
        shown = [images[name] for name in names]
    ranges = [np.percentile(truth, [0.5, 99.5])] * 2 + [np.percentile(shown[2], [0.5, 99.5])]
    return [(name, to_gray(i, *limits)) for name, i, limits in zip(names, shown, ranges, strict=True)]


def to_gray(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """An (H, W) image as uint8, 0 at `low` and 255 at `high`."""
    return np.round(255 * np.clip((image - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)


def gray_png(gray: np.ndarray) -> bytes:
    """An (H, W) uint8 image as the bytes of a PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "PNG")
    return buffer.getvalue()


def embed(png: bytes) -> str:
    """Bytes of a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def picture(path: Path, alt: str) -> str:
    """An <img> with the file inside, or nothing where there is no file."""
    return f'<img class="wide" alt="{alt}" src="{embed(path.read_bytes())}">' if path.is_file() else ""


def makes_defects(record: dict) -> bool:
    """Whether a CIN-GAN was trained, from what `read_args` gives."""
    given = record["arguments"]
    # Run folders of earlier versions do not name their script; of the recipes' two, CIN-GAN's alone has a critic.
    earlier = "CIN-GAN" if "recipe" in given and "n_critic" in given else "another"
    return record.get("script", earlier) == "CIN-GAN"


def score_table(scores: dict[str, dict], tasks: Iterable[str], defects: bool) -> str:
    """Rows of the table: input and output of each task in both metrics.

    Args:
        scores: as `read_latest` gives them.
        tasks: names.
        defects: they are a CIN-GAN's: a column with the noise's ratio to that of x.
    """
    heads = ["task", "", "affine metric, PSNR / SSIM", "the paper's metric"]
    heads += ["noise of real"] * defects
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"]
    for task in tasks:
        output = {key.removesuffix(f"_{task}"): v for key, v in scores["output"].items() if key.endswith(f"_{task}")}
        for name, values in (("input", scores["input"].get(task, {})), ("output", output)):
            if not values:
                continue
            cells = [f"{values[f'{m}_psnr']:.2f} dB / {values[f'{m}_ssim']:.3f}" for m in ("affine", "paper")]
            if defects:
                cells.append(f"{values['noise_ratio']:.2f}" if "noise_ratio" in values else "")
            cells = [html.escape(task), name, *cells]
            lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "".join(lines)


def arguments_table(record: dict) -> str:
    """Rows of all arguments; those that are no defaults in bold."""
    lines = []
    for key, value in record["arguments"].items():
        text = html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
        text = f"<b>{text}</b>" if key in record["not_default"] else text
        lines.append(f"<tr><td>--{html.escape(key)}</td><td>{text}</td></tr>")
    return "".join(lines)


def read_choice(folder: Path) -> dict | None:
    """What evaluate.py wrote, with "generator" the iteration of generator.h5 as it stands now; None without it."""
    if not (folder / "evaluation.json").is_file():
        return None
    record = json.loads((folder / "evaluation.json").read_text(encoding="utf-8"))
    generator = folder / "generator.h5"
    if hashlib.sha256(generator.read_bytes()).hexdigest() != record["generator_sha256"]:
        record["generator"] = None
    return record


def choice(folder: Path) -> str:
    """How evaluate.py chose generator.h5 among the checkpoints, where it did."""
    record = read_choice(folder)
    if record is None:
        return "<p>generator.h5 is that of the last iteration; no checkpoint was chosen.</p>"
    text = (
        f"evaluate.py scored {len(record['iterations'])} checkpoints by {record['metric'].upper()} on "
        f"{record['images']} images, {record['x']} and {record['y']}; the best is that of iteration {record['best']}, "
    )
    if record["generator"] == record["best"]:
        text += "and it is generator.h5."
    elif record["generator"] is None:
        text += "but generator.h5 is none of them: it was written by a training since, or replaced."
    else:
        text += f"but generator.h5 is that of iteration {record['generator']} (--promote was not given)."
    return f"<p>{html.escape(text)}</p>" + picture(folder / "evaluation.png", "PSNR and SSIM of the checkpoints")


def advice(folder: Path, record: dict, rows: list[dict], done: int, scores: dict[str, dict]) -> list[str]:
    """What to do next, as HTML lines, from how the training went."""
    given, generator, lines = record["arguments"], folder / "generator.h5", []
    use, command = "Use it on your own images", restore_command(generator, given.get("recipe") == "paper")
    if done < given["num_iters"]:
        lines.append("It was stopped early: go on with the same command and <code>--resume</code>.")
    if makes_defects(record):
        use = "Train a cGAN with its pairs (without real ones: add <code>--alpha=1</code>)"
        command = cgan_command(given, generator)
    elif given.get("cin_augment") and given.get("alpha") == 1:
        lines.append("It saw no pairs: PSNR and SSIM mean something only where its test images are pairs.")
    else:
        chosen = read_choice(folder)
        settled = chosen is not None and chosen["generator"] == chosen["best"]
        lines += [trend(task, own, rows, settled) for task, own in scores["input"].items()]
    lines.append(f'{use}: <code class="command">{html.escape(command)}</code>')
    return [line for line in lines if line]


def restore_command(generator: Path, needs_task: bool) -> str:
    """The command that restores an image with a generator.

    Args:
        generator: its generator.h5.
        needs_task: --task is to be filled in.
    """
    flag = " --task=NAME" if needs_task else ""
    path = shlex.quote(str(generator))
    return f"python restore.py --generator_path={path} \\\n    --input=IMAGE.tif --output=RESULT.tif{flag}"


def cgan_command(given: dict, generator: Path) -> str:
    """The command that trains a cGAN on the same rows, with the pairs of a CIN-GAN's generator.

    Args:
        given: the arguments of the CIN-GAN's training; those of SHARED_FLAGS may be missing.
        generator: its generator.h5.
    """
    args = Arguments(recipe=given["recipe"], cin_augment=True, alpha=0.3, named=SHARED_FLAGS.keys())
    in_vain = idle("train_cGAN", args)
    words = [f"--recipe={given['recipe']}"]
    for name, default in SHARED_FLAGS.items():
        value = given.get(name, default)
        if name not in in_vain and str(value) != str(default):
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
    name, best, last = html.escape(task), max(psnr), psnr[-1]
    if last < own["affine_psnr"]:
        return f"{name}: worse than its input. Train longer, or look at its pairs: are they registered?"
    if last < best - SETTLED and not chosen:
        return (
            f"{name}: an earlier evaluation was {best - last:.2f} dB better. Train with "
            "<code>--keep_checkpoints=-1</code> and choose with <code>evaluate.py</code>, on images set aside for it."
        )
    if len(psnr) > 2 and last > psnr[-2] + SETTLED:
        return f"{name}: still getting better; more <code>--num_iters</code> will help."
    return None


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
