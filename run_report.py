"""report.html of a run folder: one self-contained page on how a training went and what to do next. No TensorFlow.

python run_report.py Microscopy_cGAN_results        writes it anew; every training writes it at its end
"""

import argparse
import base64
import csv
import html
import io
import json
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from arguments import OneLineParser
from errors import InputError, run_script
from metrics import fit_affine
from run_folder import write_text, written_whole

TEMPLATE = Path(__file__).resolve().with_name("run_report.html")
SETTLED = 0.1  # dB that an evaluation differs by without saying anything


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run_folder", type=Path, help="results folder of a training")
    return parser


def main(args):
    """Write the report; returns the exit code."""
    if not (args.run_folder / "args.json").is_file():
        raise InputError(f"{args.run_folder}: expected the results folder of a training (args.json is missing)")
    print(write_report(args.run_folder))
    return 0


def save_latest(path, scores, input_scores, panels):
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


def write_report(folder):
    """Write report.html into a run folder from the files that lie there; gives its path."""
    folder = Path(folder)
    record = json.loads((folder / "args.json").read_text(encoding="utf-8"))
    rows = read_log(folder / "log.csv")
    scores, panels = read_latest(folder / "samples" / "latest.npz")
    fields = {
        "title": html.escape(folder.resolve().name),
        "summary": summary(record, rows),
        "sliders": "".join(slider(task, images) for task, images in panels.items()) or "<p>No evaluation yet.</p>",
        "scores": score_table(scores, panels),
        "curves": picture(folder / "losses.png", "losses and PSNR over the iterations"),
        "choice": choice(folder),
        "advice": "".join(f"<li>{line}</li>" for line in advice(folder, record, rows, scores)),
        "arguments": arguments_table(record),
    }
    write_text(folder / "report.html", Template(TEMPLATE.read_text(encoding="utf-8")).substitute(fields))
    return folder / "report.html"


def read_log(path):
    """The rows of log.csv, list of {column: text}; none where there is no evaluation yet."""
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def read_latest(path):
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


def summary(record, rows):
    """One sentence: what was trained, how long, with what."""
    given, versions = record["arguments"], record["versions"]
    done = rows[-1] if rows else {"iteration": 0, "seconds": 0}
    how = given.get("recipe") or given.get("method")
    return html.escape(
        f"{how}, {done['iteration']} iterations of {given['num_iters']}, {float(done['seconds']) / 60:.1f} minutes of "
        f"training, batch {given['batch_size']}, seed {given['seed']}, {given['precision']}; "
        f"TensorFlow {versions['tensorflow']}, Keras {versions['keras']}"
    )


def slider(task, images):
    """Two images of a task under a slider, and the third beside them."""
    comparison = compare(images)
    before, after, beside = (embed(gray_png(gray)) for _, gray in comparison)
    name, titles = html.escape(task), [html.escape(title) for title, _ in comparison]
    return (
        f'<figure class="compare"><figcaption>{name}: {titles[0]} | {titles[1]}, and {titles[2]}</figcaption>'
        f'<div class="pair"><img src="{after}" alt="{name} {titles[1]}"><img class="before" src="{before}" '
        f'alt="{name} {titles[0]}"><input type="range" min="0" max="100" value="50" '
        f'aria-label="{name}: {titles[0]} or {titles[1]}"></div><img src="{beside}" alt="{name} {titles[2]}"></figure>'
    )


def compare(images):
    """What becomes what, beside what: three images of a task in gray values that can be compared.

    Restored images and their input are shown in the range of the ground truth, after the affine metric's straight
    line; generated defects in the range of the real ones, as they are.

    Args:
        images: {title: (H, W) image} of one task, as `read_latest` gives them.

    Returns:
        [(title, (H, W) uint8), ...] of before, after and beside.
    """
    if "restored" in images:
        truth, names = images["y"], ("x", "restored", "y")
        shown = [fit_affine(images[name], truth) for name in names]
    else:
        truth, names = images["real x"], ("generated x", "real x", "y")
        shown = [images[name] for name in names]
    ranges = [np.percentile(truth, [0.5, 99.5])] * 2 + [np.percentile(shown[2], [0.5, 99.5])]
    return [(name, to_gray(i, *limits)) for name, i, limits in zip(names, shown, ranges, strict=True)]


def to_gray(image, low, high):
    """An (H, W) image as uint8, 0 at `low` and 255 at `high`."""
    return np.round(255 * np.clip((image - low) / ((high - low) or 1.0), 0, 1)).astype(np.uint8)


def gray_png(gray):
    """An (H, W) uint8 image as the bytes of a PNG."""
    buffer = io.BytesIO()
    Image.fromarray(gray).save(buffer, "PNG")
    return buffer.getvalue()


def embed(png):
    """Bytes of a PNG as a data URL."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def picture(path, alt):
    """An <img> with the file inside, or nothing where there is no file."""
    return f'<img class="wide" alt="{alt}" src="{embed(path.read_bytes())}">' if path.is_file() else ""


def score_table(scores, tasks):
    """Rows of the table: input and output of each task in both metrics."""
    lines = []
    for task in tasks:
        output = {key.removesuffix(f"_{task}"): v for key, v in scores["output"].items() if key.endswith(f"_{task}")}
        for name, values in (("input", scores["input"].get(task, {})), ("output", output)):
            if not values:
                continue
            cells = [f"{values[f'{m}_psnr']:.2f} dB / {values[f'{m}_ssim']:.3f}" for m in ("affine", "paper")]
            noise = f"{values['noise_ratio']:.2f}" if "noise_ratio" in values else ""
            cells = [html.escape(task), name, *cells, noise]
            lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return "".join(lines)


def arguments_table(record):
    """Rows of all arguments; those that are no defaults in bold."""
    lines = []
    for key, value in record["arguments"].items():
        text = html.escape(", ".join(map(str, value)) if isinstance(value, list) else str(value))
        text = f"<b>{text}</b>" if key in record["not_default"] else text
        lines.append(f"<tr><td>--{html.escape(key)}</td><td>{text}</td></tr>")
    return "".join(lines)


def choice(folder):
    """How evaluate.py chose generator.h5 among the checkpoints, where it did."""
    path = folder / "evaluation.json"
    if not path.is_file():
        return "<p>generator.h5 is that of the last iteration; no checkpoint was chosen.</p>"
    record = json.loads(path.read_text(encoding="utf-8"))
    text = (
        f"evaluate.py scored {len(record['iterations'])} checkpoints on {record['images']} images of {record['x']}; "
        f"the best is that of iteration {record['best']}"
    )
    promoted = " and is generator.h5 now." if record["promoted"] else "; generator.h5 is another one's."
    return f"<p>{html.escape(text + promoted)}</p>" + picture(folder / "evaluation.png", "PSNR of the checkpoints")


def advice(folder, record, rows, scores):
    """What to do next, as HTML lines, from how the training went."""
    given, lines = record["arguments"], []
    done = int(rows[-1]["iteration"]) if rows else 0
    if done < given["num_iters"]:
        lines.append("It was stopped early: go on with the same command and <code>--resume</code>.")
    for task, own in scores["input"].items():
        key = f"affine_psnr_{task}"
        if "noise_ratio" in "".join(scores["output"]):
            continue
        name, best = html.escape(task), max(float(row[key]) for row in rows)
        last = float(rows[-1][key])
        if last < own["affine_psnr"]:
            lines.append(f"{name}: worse than its input. Train longer, or look at its pairs: are they registered?")
        elif last < best - SETTLED:
            lines.append(
                f"{name}: an earlier evaluation was {best - last:.2f} dB better. Train with "
                "<code>--keep_checkpoints=-1</code> and choose with <code>evaluate.py</code>."
            )
        elif len(rows) > 2 and last > float(rows[-2][key]) + SETTLED:
            lines.append(f"{name}: still getting better; more <code>--num_iters</code> will help.")
    needs_task = " --task=NAME" if given.get("recipe") == "paper" or "CIN-GAN" in folder.name else ""
    path = html.escape(str(folder / "generator.h5"))
    command = f"python restore.py --generator_path={path} --input=IMAGE.tif --output=RESULT.tif{needs_task}"
    return [*lines, f"Use it on your own images: <code>{command}</code>"]


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
