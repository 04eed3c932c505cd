"""reproduce_tables.py: fair budgets, honest cells, and a whole table from trainings that are stood in for."""

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from scipy.stats import wilcoxon
from small_generators import write_run

import reproduce_tables
from common.errors import InputError
from common.metrics import affine_metric
from data_utils import load_tasks
from methods import filters
from tables import page, statistics, trainings
from tables.rows import JOBS, ROWS, budget, jobs_of

RNG = np.random.default_rng(0)


def images(psnr, ssim=0.5):
    scores = ({"affine_psnr": p, "affine_ssim": ssim, "paper_psnr": p, "paper_ssim": ssim} for p in psnr)
    return [{"row": i, **values} for i, values in enumerate(scores)]


def cells_of(*seeds, **extra):
    """{seed: {"A": cell}} of a row, one list of PSNRs per seed."""
    return {str(i): {"A": {"images": images(psnr), **extra}} for i, psnr in enumerate(seeds)}


@pytest.mark.parametrize("setting", list(ROWS))
def test_every_row_costs_the_same(setting):
    """Networks per task share a row's seconds; without pairs its CIN-GAN's training counts too."""
    for row in ROWS[setting]:
        if not row.training:
            continue
        counted = [row.job, JOBS[row.job].cin] if setting == "B" and JOBS[row.job].cin else [row.job]
        networks = {name: 3 if JOBS[name].per_task else 1 for name in counted}
        assert sum(budget(setting, name, 225, 3) * count for name, count in networks.items()) == pytest.approx(225)


@pytest.mark.parametrize("setting", list(ROWS))
def test_a_cin_gan_comes_before_the_cgan_that_uses_it(setting):
    names = jobs_of(setting)
    assert len(set(names)) == len(names) and {row.job for row in ROWS[setting]} & JOBS.keys() <= set(names)
    assert all(names.index(JOBS[name].cin) < names.index(name) for name in names if JOBS[name].cin)


def test_significance_is_scipys_wilcoxon_against_the_best_other_row():
    """Seeds are averaged first; the best other row is the one with the highest mean, not the first."""
    best, mine = RNG.normal(25, 1, 12), RNG.normal(26, 1, (2, 12))
    cells = {"input": cells_of(best - 3, best), "care": cells_of(best, best), "tuned": cells_of(*mine)}
    cells["paper"] = cells_of(best + 9)  # ours too: not compared with
    difference = mine.mean(axis=0) - best
    expected = f"{difference.mean():+.2f} dB to CARE, p {wilcoxon(mine.mean(axis=0), best).pvalue:.1g}"
    assert statistics.significance("A", cells, "A", "tuned") == expected


def test_only_seeds_that_both_rows_have_are_compared():
    cells = {"care": cells_of([20.0] * 6), "tuned": cells_of(np.arange(21.0, 27), [90.0] * 6)}
    assert statistics.significance("A", cells, "A", "tuned").startswith("+3.50 dB")


def test_images_that_seeds_split_off_differently_are_not_averaged():
    cells = cells_of([20, 30], [40, 50])
    cells["1"]["A"]["images"][1]["row"] = 7
    assert statistics.image_means(cells, "A", "affine_psnr", ["0", "1"]) == {0: 30, 1: 30, 7: 50}


def test_significance_of_few_images_is_not_claimed():
    cells = {"care": cells_of([20.0] * 5), "tuned": cells_of([30.0] * 5)}
    assert statistics.significance("A", cells, "A", "tuned") == "+10.00 dB to CARE, p -"


def test_cell_gives_mean_and_deviation_over_seeds():
    assert page.cell_text(cells_of([20, 22]), "A", "affine") == "21.00 / 0.500"
    text = page.cell_text(cells_of([20, 22], [23, 25]), "A", "affine")
    assert text == f"22.50 ± {np.std([21, 24], ddof=1):.2f} / 0.500 ± 0.000"


def test_cell_that_still_improves_is_marked():
    assert page.cell_text(cells_of([20, 22], last_third=0.5), "A", "affine").endswith(" †")
    assert page.cell_text(cells_of([20, 22], last_third=None), "A", "affine").endswith(" †"), "cannot be told"
    assert not page.cell_text(cells_of([20, 22], last_third=0.1), "A", "affine").endswith(" †")


@pytest.mark.parametrize(("iterations", "expected"), [([4, 8, 10], 2.0), ([15, 30, 45], 15.0), ([1], None)])
def test_last_third_is_from_the_evaluation_nearest_to_it(iterations, expected):
    from tables.scores import last_third

    assert last_third([{"iteration": i, "affine_psnr_A": float(i)} for i in iterations], "A") == expected


def test_failed_cell_says_why():
    failed = {"0": {"A": {"failed": "the training diverged"}}}
    assert page.cell_text(failed, "A", "affine") == "failed: the training diverged"
    some = {**failed, "1": cells_of([20, 22])["0"]}
    assert page.cell_text(some, "A", "affine") == "21.00 / 0.500 (1 of 2 seeds failed)"


def test_step_is_the_mean_between_log_rows():
    """The first row holds the compilation."""
    log = [{"iteration": i, "seconds": s} for i, s in ((10, 60.0), (20, 65.0), (40, 71.0))]
    assert trainings.seconds_per_logged_iteration(log) == pytest.approx((5 + 6) / 30)
    assert trainings.seconds_per_logged_iteration(log[:1]) == pytest.approx(6)


def test_total_variation_is_fitted_on_the_training_pairs(pair_folder):
    task = load_tasks(pair_folder, ["Speckle"], images_limit=4)[0][0]
    weight = filters.fit(filters.total_variation, filters.TV_WEIGHTS, task)

    def mean_psnr(candidate):
        pairs = [(task.train_x[i], task.train_y[i]) for i in range(4)]
        return np.mean([affine_metric(filters.total_variation(x, candidate), y)["psnr"] for x, y in pairs])

    assert all(mean_psnr(weight) >= mean_psnr(other) for other in filters.TV_WEIGHTS)
    assert mean_psnr(weight) > np.mean([affine_metric(task.train_x[i], task.train_y[i])["psnr"] for i in range(4)]) + 2


class Trainings:
    """Stands in for the training scripts: writes the run folders that they would, and remembers the commands."""

    def __init__(self):
        self.commands, self.broken = [], set()

    def __call__(self, arguments, log):
        flags = dict(flag.split("=", 1) for flag in arguments[1:] if "=" in flag)
        name = flags.get("--method") or f"{Path(arguments[0]).stem}_{flags['--recipe']}"
        self.commands.append((name, flags, "--resume" in arguments))
        if name in self.broken:
            raise InputError("out of patience")
        folder, iterations = Path(flags["--dir"]), int(flags["--num_iters"])
        tasks = flags.get("--tasks", "Layers,Speckle").split(",")
        results = next(job.folder for job in JOBS.values() if set(job.command) <= set(arguments))
        if "--cin_augment=True" in arguments:
            assert Path(flags["--cin_generator_path"]).is_file()
            results += "_CIN_augm" * (not results.endswith("augm"))
        for task in tasks if "--method" in flags else [None]:
            batch_size = int(flags.get("--batch_size", 8))
            run = folder / results / (task or "")
            write_run(run, [task] if task else tasks, iterations, batch_size=batch_size)


@pytest.fixture
def stand_in(monkeypatch):
    made = Trainings()
    monkeypatch.setattr(trainings, "run_logged", made)
    monkeypatch.setattr(filters, "has_bm3d", lambda: False)
    return made


def reproduce(pair_folder, *flags):
    folder = pair_folder.parent / "results"
    common = [f"--data_dir={pair_folder}", "--images_limit=4", f"--dir={folder}", "--vgg_weights=random"]
    assert reproduce_tables.main(reproduce_tables.make_parser().parse_args([*common, *flags])) == 0
    return folder


def test_every_published_cell_stands_below_our_table(stand_in, pair_folder):
    """Typed from arXiv 1910.14207: denoising, axial inpainting, super-resolution."""
    expected = {
        "A": [
            "| CARE | 21.6 / 0.56 | 12.8 / 0.29 | 14.1 / 0.20 |",
            "| DeblurGAN | 18.0 / 0.33 | 14.6 / 0.20 | 11.2 / 0.14 |",
            "| the paper's cGAN | 22.4 / 0.56 | 17.4 / 0.38 | 14.3 / 0.22 |",
        ],
        "B": [
            "| CycleGAN | 21.3 / 0.49 | 15.3 / 0.27 | 12.7 / 0.14 |",
            "| the paper's cGAN | 21.9 / 0.57 | 15.1 / 0.32 | 8.9 / 0.07 |",
        ],
    }
    for setting, rows in expected.items():
        folder = reproduce(pair_folder, f"--setting={setting}", "--num_iters=6")
        text = (folder / f"table_{setting}.md").read_text()
        assert text.split("| published, ")[1].splitlines()[2:] == rows
    page = (Path(__file__).resolve().parents[1] / "docs/differences.md").read_text(encoding="utf-8")
    cells = [row.partition(" | ")[2] for rows in expected.values() for row in rows]
    assert all(cell in page for cell in cells)


def test_a_whole_table_once(stand_in, pair_folder, capsys):
    """Seconds become iterations; the same command again trains nothing."""
    folder = reproduce(pair_folder, "--setting=A", "--seconds=30")
    lines = (folder / "table_A.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| CARE |")).split(" | ")
    assert row[-3] == "30 x 8 / 30 x 8", "half a row's 30 s, at 0.5 s a step, for each of two tasks"
    assert any("Layers: 4 pairs, 2 test images, 32 x 32 pixels" in line for line in lines)
    input_row = next(line for line in lines if line.startswith("| input |"))
    assert row[1].removesuffix(" †") in input_row and row[1].endswith("†")
    assert any(line.startswith("| cGAN `tuned` + CIN |") and "CIN-GAN" in line for line in lines)
    assert not any(line.startswith("| BM3D") for line in lines) and "non-commercial" in capsys.readouterr().out
    record = json.loads((folder / "table_A.json").read_text())
    assert len(record["cells"]["care"]["42"]["Speckle"]["images"]) == 2
    assert imread(folder / "table_A.png").std() > 0
    trained = len(stand_in.commands)
    reproduce(pair_folder, "--setting=A", "--seconds=30")
    assert len(stand_in.commands) == trained


def test_every_network_makes_num_iters_and_another_seed_trains_its_own(stand_in, pair_folder):
    folder = reproduce(pair_folder, "--setting=B", "--num_iters=6", "--batch_size=2")
    trained = [(name, flags) for name, flags, _ in stand_in.commands if "results" in flags["--dir"]]
    assert {flags["--num_iters"] for _, flags in trained} == {"6"}
    alone = [flags for name, flags in trained if name.startswith("train_cGAN")]
    assert len(alone) == 3 and all(flags["--alpha"] == "1" for flags in alone)
    paper = [flags for name, flags in trained if name.endswith("_paper")]
    assert all(flags["--batch_size"] == "2" for flags in paper)
    before = len(stand_in.commands)
    reproduce(pair_folder, "--setting=B", "--num_iters=6", "--batch_size=2", "--seeds=2")
    assert {flags["--seed"] for _, flags, _ in stand_in.commands[before:]} == {"43"}
    assert "±" in (folder / "table_B.md").read_text()


def test_failed_training_is_shown_and_tried_again(stand_in, pair_folder):
    """Its own row fails, and those that need it; the others stand."""
    stand_in.broken = {"train_CIN_GAN_tuned"}
    folder = reproduce(pair_folder, "--setting=B", "--num_iters=6")
    text = (folder / "table_B.md").read_text()
    failed = next(line for line in text.splitlines() if line.startswith("| cGAN `tuned`, CIN-GAN's pairs |"))
    assert "failed: out of patience" in failed and text.count("failed") == 8, "two rows, two tasks, two metrics"
    stand_in.broken = set()
    reproduce(pair_folder, "--setting=B", "--num_iters=6")
    assert "failed" not in (folder / "table_B.md").read_text()


def test_stopped_training_is_resumed(tmp_path):
    """A folder with a checkpoint goes on; one without starts anew."""
    run = tmp_path / "CARE_results" / "A"
    run.mkdir(parents=True)
    arguments = ("care", trainings.Shared([], 2, 4), 10, 1, tmp_path)
    assert "--num_gpu=1" in trainings.training_arguments(*arguments), "a baseline uses one GPU at most"
    assert "--overwrite" in trainings.training_arguments(*arguments)
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "000002.npz").touch()
    assert "--resume" in trainings.training_arguments(*arguments)


def test_runs_of_other_arguments_or_without_their_record_are_not_taken_for_finished(stand_in, pair_folder):
    folder = reproduce(pair_folder, "--setting=B", "--num_iters=6")
    with pytest.raises(InputError, match=r"num_iters=6\); use the same, or another --dir"):
        reproduce(pair_folder, "--setting=B", "--num_iters=7")
    (folder / "table_B.json").unlink()
    with pytest.raises(InputError, match=r"not its table_B\.json"):
        reproduce(pair_folder, "--setting=B", "--num_iters=6")


def test_length_is_iterations_or_seconds(capsys):
    with pytest.raises(SystemExit) as stop:
        reproduce_tables.make_parser().parse_args(["--setting=A", "--seconds=5", "--num_iters=5"])
    assert stop.value.code == 2 and "--num_iters" in capsys.readouterr().err
