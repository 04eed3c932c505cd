"""Runs that were stopped under the code before checkpoints had a version go on: earlier_runs.zip."""

import importlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from earlier_runs import COMMON, RUNS, shrink_networks, write_pairs

from common.errors import InputError
from restoring.generator_file import load_generator
from training.run_folder import RunFolder

NOTE = "was begun by an earlier version; it goes on with the tasks that it never turned"


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] * ("CIN" in name)) for name in RUNS])
def earlier(request, tmp_path, monkeypatch):
    """(run folder, function that resumes it with more flags)."""
    monkeypatch.chdir(tmp_path)
    shrink_networks(monkeypatch.setattr)
    write_pairs(Path("pairs"))
    with zipfile.ZipFile(Path(__file__).with_name("earlier_runs.zip")) as packed:
        packed.extractall(".", [name for name in packed.namelist() if name.startswith(f"{request.param}/")])
    command, flags = RUNS[request.param]
    script = importlib.import_module(command)

    def resume(*more):
        kept = [flag for flag in flags if not flag.startswith("--no_rotate")]
        words = [*COMMON, *kept, f"--dir={request.param}", "--resume", *more]
        return script.main(script.make_parser().parse_args(words))

    return RunFolder(next(Path(request.param).iterdir())), resume


def read_checkpoint(run):
    with np.load(run / "checkpoints" / "000002.npz") as stored:
        state = json.loads(str(stored["state"]))
        return {name: stored[name] for name in stored.files if "/" in name}, state


def test_every_variable_is_loaded_to_the_bit_and_the_run_goes_on_as_often_as_one_likes(earlier, capsys):
    run, resume = earlier
    before, state = read_checkpoint(run)
    generator = load_generator(run / "generator.h5")[0].get_weights()
    for _ in range(2):
        assert resume() == 0 and NOTE in capsys.readouterr().out
        after, kept = read_checkpoint(run)
        assert before.keys() == after.keys() and all(np.array_equal(before[name], after[name]) for name in before)
        # Tasks that were never turned are not turned now, although B is none of the default's.
        model, metadata = load_generator(run / "generator.h5")
        assert "version" not in kept and metadata.no_rotate == kept["no_rotate"] == state["no_rotate"]
        assert all(np.array_equal(a, b) for a, b in zip(generator, model.get_weights(), strict=True))


def test_another_first_image_is_refused_as_it_was(earlier):
    _, resume = earlier
    images = np.load("pairs/A_X.npy")
    np.save("pairs/A_X.npy", images[::-1])
    with pytest.raises(InputError, match="data was"):
        resume()


def test_other_tasks_that_are_never_turned_are_refused(earlier):
    run, resume = earlier
    if read_checkpoint(run)[1]["recipe"] == "tuned":
        with pytest.raises(InputError, match=r"no_rotate was \['B'\], is now \['A', 'B'\]"):
            resume("--no_rotate=A")
