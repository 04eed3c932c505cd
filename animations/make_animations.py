"""Turn the samples of a run folder into animated GIFs: input wiping to restored, and the progress of the training.

    python train_cGAN.py --recipe=tuned --images_limit=10 --num_iters=500 --eval_every=50
    python animations/make_animations.py Microscopy_cGAN_results --output=FOLDER

wipe.gif shows every task of the latest evaluation, ground truth below; input, restored and truth in one gray range,
each after the affine metric's straight line. progress.gif shows the sample grids of the evaluations one after the
other, each image in the range that is written above it. Both are gray, loop, and stay below 400 KB. Those in this
folder are of the two commands above, on the shipped sample.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from common.command_line import OneLineParser
from common.errors import InputError, run_script
from common.files import written_whole
from training.report import compare, read_latest

LARGEST = 400_000  # bytes
GRAYS = 64  # one of them is left for what does not change between frames
WIDEST = 820  # pixels
STEPS, STEP, PAUSE = 16, 60, 1400  # frames of one wipe, milliseconds of each, of the ends
MOST_FRAMES = 20  # of the progress
TITLE, GAP = 22, 8  # pixels
NAMES = {"x": "input", "y": "ground truth"}
SIZES = (1.0, 0.85, 0.7, 0.55, 0.4, 0.3)  # tried in turn until a GIF is small enough


def make_parser():
    """The script's arguments."""
    parser = OneLineParser(__doc__)
    parser.add_argument("run_folder", type=Path, help="results folder of a training")
    parser.add_argument("--output", type=Path, required=True, help="folder to write the GIFs into")
    return parser


def main(args):
    """Write both GIFs; returns the exit code."""
    _, panels = read_latest(args.run_folder / "samples" / "latest.npz")
    grids = sorted((args.run_folder / "samples").glob("[0-9]*.png"), key=lambda path: int(path.stem))
    if not panels or not grids:
        raise InputError(f"{args.run_folder}: expected the results folder of a training that was evaluated")
    wipe = wipe_frames({task: compare(images) for task, images in panels.items()})
    save_gif(args.output / "wipe.gif", *wipe)
    save_gif(args.output / "progress.gif", *progress_frames(grids))
    return 0


def wipe_frames(comparisons):
    """Frames that wipe every task from before to after and back, with the third image below.

    Args:
        comparisons: {task: what `run_report.compare` gives}.

    Returns:
        (frames, milliseconds of each): (height, width) uint8 arrays.
    """
    shares = np.linspace(0, 1, STEPS + 1)
    shares = [*shares, *shares[-2:0:-1]]
    zoom = max(WIDEST // sum(images[0][1].shape[1] + GAP for images in comparisons.values()), 1)
    frames = [_side_by_side([_column(task, i, share, zoom) for task, i in comparisons.items()]) for share in shares]
    return frames, [PAUSE if share in (0, 1) else STEP for share in shares]


def wipe(before, after, share):
    """`after` in the left `share` of the width, `before` in the rest, a white line between them."""
    edge = round(share * before.shape[1])
    image = np.concatenate([after[:, :edge], before[:, edge:]], axis=1)
    if 0 < edge < before.shape[1]:
        image[:, edge] = 255
    return image


def _column(task, images, share, zoom):
    """One task: title, wiped image, title, ground truth."""
    (before_title, before), (after_title, after), (beside_title, beside) = images
    rows = [(before_title if share < 0.5 else after_title, wipe(before, after, share)), (beside_title, beside)]
    parts = [_titled(f"{task}: {NAMES.get(title, title)}", image, zoom) for title, image in rows]
    return np.concatenate([part for pair in parts for part in pair])


def _titled(text, image, zoom):
    enlarged = np.kron(image, np.ones((zoom, zoom), np.uint8))
    title = Image.new("L", (enlarged.shape[1], TITLE))
    ImageDraw.Draw(title).text((2, 3), text, fill=255, font=ImageFont.load_default(13))
    return np.asarray(title), enlarged


def _side_by_side(columns):
    """Columns with black gaps; those of smaller images end in black."""
    height = max(len(column) for column in columns)
    padded = [np.pad(column, ((0, height - len(column)), (0, GAP))) for column in columns]
    return np.concatenate(padded, axis=1)[:, :-GAP]


def progress_frames(paths):
    """The sample grids as frames, as `wipe_frames` gives them; of many, evenly spread ones with first and last."""
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), MOST_FRAMES)).round().astype(int))
    frames = [np.asarray(Image.open(paths[index]).convert("L")) for index in chosen]
    return frames, [PAUSE // 2] * (len(frames) - 1) + [2 * PAUSE]


def save_gif(path, frames, milliseconds):
    """Write frames as a looping GIF of GRAYS grays, scaled down until it is small enough, and say how large it is.

    Raises:
        InputError: even the smallest size is too large.
    """
    palette = np.repeat(np.linspace(0, 255, GRAYS).round().astype(np.uint8), 3).tobytes()
    for size in SIZES:
        images = [_indexed(frame, size, palette) for frame in frames]
        with written_whole(path) as beside:
            images[0].save(beside, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
        if path.stat().st_size <= LARGEST:
            print(f"{path}: {images[0].width} x {images[0].height} pixels, {path.stat().st_size / 1000:.0f} KB")
            return
    raise InputError(f"{path}: larger than {LARGEST / 1000:.0f} KB at every size")


def _indexed(frame, size, palette):
    image = Image.fromarray(frame)
    if size < 1:
        image = image.resize((round(image.width * size), round(image.height * size)), Image.Resampling.LANCZOS)
    indices = np.round(np.asarray(image) * ((GRAYS - 1) / 255)).astype(np.uint8)
    indexed = Image.fromarray(indices, "P")
    indexed.putpalette(palette)
    return indexed


if __name__ == "__main__":
    run_script(main, make_parser().parse_args())
