"""Whether recipe `paper`'s CIN-GAN makes the defects, and whether its pairs help recipe `paper`'s cGAN.

    python -m benchmarks paper_pairs --data_dir=REAL --vgg_weights=vgg16_block1-3_notop.h5 --dir=OUT

Trains CIN-GAN with a quarter of its filters on x and y of ten rows a task, drawn independently, as published and with
one thing changed (ablation), and prints how far its defects are from real ones (defect_distance). Then it trains cGANs
with a quarter of their filters: on ten pairs alone, with its pairs (--alpha=0.3) and on its pairs alone (--alpha=1),
the same with the pairs of CIN-GAN at ten times its rate, and with those of the control (parametric_generator, which is
fitted to the ten pairs), and scores the test images in the affine metric. Written: paper_pairs.md and .json; the same
command goes on where it was stopped.
"""

from functools import partial
from pathlib import Path

from benchmarks.ablation import PAPER_CIN, PUBLISHED_FILTERS
from benchmarks.defect_distance import rows
from benchmarks.measuring import Record, print_table, read_tasks, train_once
from common.files import write_text
from common.metrics import mean_scores
from restoring.apply import Applier
from training.commands import run_logged

ALPHAS = {"with its pairs": 0.3, "on its pairs alone": 1.0}


def train(words, folder, results):
    """The generator.h5 of a training by ablation, unless it is finished."""
    words = ["-m", "benchmarks", "ablation", "--recipe=paper", "--num_gpu=0", "--batch_size=4", *words]
    return train_once(words, folder, results) / "generator.h5"


def train_control(data_dir, folder):
    """The generator.h5 of the parametric control."""
    path = folder / "parametric.h5"
    if not path.is_file():
        words = [f"--data_dir={data_dir}", "--images_limit=10", f"--output={path}"]
        run_logged(["-m", "benchmarks", "parametric_generator", *words], folder / "parametric.txt")
    return path


def measure(words, results, folder, tasks):
    """{task: [affine PSNR, SSIM]} of a cGAN on the test images; trained first."""
    apply = Applier.load(train(words, folder, results))
    found = {}
    for task in tasks:
        scores = mean_scores([apply(x, task.name) for x in task.test_x], list(task.test_y))
        found[task.name] = [scores["affine_psnr"], scores["affine_ssim"]]
    return found


def main(
    *,
    data_dir: Path,
    vgg_weights: str = "imagenet",
    num_iters: int = 1500,
    cin_iters: int = 1500,
    filters: int = PUBLISHED_FILTERS // 4,
    dir: Path,
):
    tasks = read_tasks(data_dir)
    names = [task.name for task in tasks]
    shared = [f"--filters={filters}", f"--vgg_weights={vgg_weights}", "--images_limit=10", f"--data_dir={data_dir}"]
    makers = {}
    for ingredient in ("", *PAPER_CIN):
        words = ["--gan=cin_gan", *shared, f"--num_iters={cin_iters}"]
        words += [f"--without={ingredient}"] if ingredient else []
        folder = dir / f"cin_gan_{ingredient or 'as published'}_{filters}_{cin_iters}".replace(" ", "_")
        label = f"CIN-GAN without {ingredient}" if ingredient else "CIN-GAN as published"
        makers[label] = train(words, folder, "CIN-GAN_results")
    makers["control"] = train_control(data_dir, dir)
    labels = {str(path): label for label, path in makers.items()}
    distances = [(labels.get(label, label), *cells) for label, *cells in rows(map(str, makers.values()), tasks)]
    text = print_table(["spectrum 0 / spectrum 1 / noise / gain / offset", *names], distances)

    record, pairs = Record(dir / "paper_pairs.json"), []
    settings = f"{filters}_{cin_iters}_{num_iters}"
    words = [*shared, f"--num_iters={num_iters}"]
    trained = partial(measure, words, "Microscopy_cGAN_results", dir / f"pairs_alone_{filters}_{num_iters}", tasks)
    found = {"ten pairs alone": record.add("ten pairs alone", settings, trained)}
    for maker in ("CIN-GAN as published", "CIN-GAN without rate of 1e-5", "control"):
        for how, alpha in ALPHAS.items():
            flags = ["--cin_augment=True", f"--alpha={alpha}", f"--cin_generator_path={makers[maker]}"]
            folder = dir / f"{maker}_{alpha}_{filters}_{cin_iters}_{num_iters}".replace(" ", "_")
            results = "Microscopy_cGAN_results_CIN_augm"
            trained = partial(measure, [*words, *flags], results, folder, tasks)
            found[f"{maker}, {how}"] = record.add(f"{maker}, {how}", settings, trained)
    for label, scores in found.items():
        pairs.append([label, *("{:.2f} / {:.3f}".format(*scores[name]) for name in names)])
    text += "\n" + print_table(["affine PSNR / SSIM", *names], pairs)
    write_text(dir / "paper_pairs.md", text)
