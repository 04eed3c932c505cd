"""reproduce_tables.py --runs: finished runs of any length and precision are scored as they stand; none is trained."""

import shutil

import pytest
from small_generators import write_run

import reproduce_tables
from common.errors import InputError
from methods import filters
from tables import trainings

PAIRS = {"images_limit": 4, "seed": 42, "eval_limit": None}


@pytest.fixture
def runs(tmp_path):
    """Recipe paper for 60 iterations, with pairs for 30 in bfloat16; DeblurGAN, one network per task."""
    folder = tmp_path / "runs"
    tasks = ["Layers", "Speckle"]
    write_run(folder / "paper/Microscopy_cGAN_results", tasks, 60, gained=0.1, batch_size=100, **PAIRS)
    cin = {"batch_size": 50, "precision": "bfloat16", **PAIRS}
    write_run(folder / "paper_cin/Microscopy_cGAN_results_CIN_augm", tasks, 30, gained=3, **cin)
    write_run(folder / "cin_paper/CIN-GAN_results", tasks, 12, batch_size=100, **PAIRS)
    for number, task in enumerate(tasks):
        write_run(folder / "deblurgan/DeblurGAN_results" / task, [task], 90 + number, batch_size=1, **PAIRS)
    return folder


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    monkeypatch.setattr(trainings, "run_logged", lambda *received: pytest.fail("a training was started"))
    monkeypatch.setattr(filters, "has_bm3d", lambda: False)


def score(runs, pair_folder, *flags):
    """{label: the values of a row below the affine metric} of the table that comes out."""
    out = runs.parent / "results"
    words = ["--setting=A", f"--runs={runs}", f"--data_dir={pair_folder}", "--images_limit=4", f"--dir={out}", *flags]
    assert reproduce_tables.main(reproduce_tables.make_parser().parse_args(words)) == 0
    lines = (out / "table_A.md").read_text().split("| paper metric")[0].splitlines()
    return {cells[0]: cells[1:] for cells in (line.strip("| ").split(" | ") for line in lines if line[:2] == "| ")}


def test_every_row_has_its_own_length_batch_and_precision(runs, pair_folder):
    """Seconds are half the iterations; the generators give back their input."""
    rows = score(runs, pair_folder)
    costs = {label: row[3:6] for label, row in rows.items()}
    assert costs["cGAN `paper`"] == ["30", "60 x 100", "float32"]
    assert costs["cGAN `paper` + CIN"] == ["15 + 6 CIN-GAN", "30 x 50", "bfloat16"]
    assert costs["DeblurGAN"] == ["90", "90 x 1 / 91 x 1", "float32"], "45 and 45.5 s, of both tasks' networks"
    assert rows["cGAN `paper`"][:2] == rows["input"][:2]


def test_a_row_that_still_improves_is_marked(runs, pair_folder):
    rows = score(runs, pair_folder)
    assert [cell.endswith("†") for cell in rows["cGAN `paper` + CIN"][:2]] == [True, True]
    assert [cell.endswith("†") for cell in rows["cGAN `paper`"][:2]] == [False, False]


def test_rows_without_a_run_are_left_out_with_a_note(runs, pair_folder, capsys):
    (runs / "mine").mkdir()
    assert set(score(runs, pair_folder)) == {
        "affine metric",
        "input",
        "total variation",
        "DeblurGAN",
        "cGAN `paper`",
        "cGAN `paper` + CIN",
    }
    said = capsys.readouterr().out
    assert f"note: no row for CARE; {runs / 'care/CARE_results'} holds no finished run" in said
    assert "note: no row uses mine in" in said


def test_runs_that_went_on_are_scored_anew(runs, pair_folder):
    score(runs, pair_folder)
    shutil.rmtree(runs / "paper")
    write_run(runs / "paper/Microscopy_cGAN_results", ["Layers", "Speckle"], 120, batch_size=100, **PAIRS)
    assert score(runs, pair_folder)["cGAN `paper`"][4] == "120 x 100"


def test_a_cin_gan_that_is_not_there_costs_an_unknown_time(runs, pair_folder):
    shutil.rmtree(runs / "cin_paper")
    assert score(runs, pair_folder)["cGAN `paper` + CIN"][3] == "15 + CIN-GAN (unknown)"


def test_a_task_that_a_run_has_not_seen_fails_alone(runs, pair_folder):
    shutil.rmtree(runs / "paper")
    write_run(runs / "paper/Microscopy_cGAN_results", ["Layers"], 60, batch_size=100, **PAIRS)
    layers, speckle = score(runs, pair_folder)["cGAN `paper`"][:2]
    assert layers.split(" / ")[0] > "1" and speckle == "failed: not trained on Speckle"


@pytest.mark.parametrize("other", ["--images_limit=5", "--seed=7", "--eval_limit=1"])
def test_runs_of_other_pairs_are_refused(other, runs, pair_folder):
    """The test images of the table may be among the pairs that they were trained on."""
    with pytest.raises(InputError, match="was trained with"):
        score(runs, pair_folder, other)


def test_a_folder_without_runs_says_what_is_expected(runs, pair_folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no run of table A; expected .*CARE_results"):
        score(runs, pair_folder, f"--runs={tmp_path / 'empty'}")
    with pytest.raises(InputError, match="no such folder"):
        score(runs, pair_folder, f"--runs={tmp_path / 'none'}")


def test_length_is_asked_for_where_there_are_no_runs(pair_folder):
    with pytest.raises(InputError, match="--num_iters or --seconds, or finished --runs"):
        reproduce_tables.main(reproduce_tables.make_parser().parse_args(["--setting=A", f"--data_dir={pair_folder}"]))
