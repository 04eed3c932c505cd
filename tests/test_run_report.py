"""report.html: self-contained, right in what it says and advises, and alive in a browser."""

import csv
import io
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import restore
import train_cGAN
import train_CIN_GAN
from common.errors import InputError
from training import options
from training import report as run_report
from training.evaluation import Evaluator

RNG = np.random.default_rng(0)


class Page(HTMLParser):
    """What a page loads (src, href and the like), its tags, its text, and the lines of its lists."""

    LOADS = ("src", "href", "srcset", "data", "action", "poster", "background")

    def __init__(self, path):
        super().__init__()
        self.html = path.read_text(encoding="utf-8")
        self.loaded, self.tags, self.text, self.lines, self.open = [], [], "", [], []
        self.feed(self.html)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in self.LOADS]
        if tag == "li":
            self.lines.append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass

    def handle_data(self, data):
        if "style" not in self.open and "script" not in self.open:
            self.text += data
        if "li" in self.open:
            self.lines[-1] += data


def is_self_contained(page):
    outside = [url for url in page.loaded if not url.startswith("data:")]
    return not outside and not re.search(r"https?:|//\w|@import|url\(", re.sub(r'src="data:[^"]*"', "", page.html))


def panels(task, titles=("x", "restored", "y"), size=64):
    rows, columns = np.mgrid[:size, :size]
    y = 100 + 50 * np.sin(rows / 5) * np.cos(columns / 7)
    return task, [
        (title, y + noise * RNG.normal(size=y.shape)) for title, noise in zip(titles, (60, 8, 0), strict=True)
    ]


MADE = ("y", "generated x", "real x")


def make_run(folder, psnr, iterations=300, task="Nuclei", recipe="tuned", script="cGAN", **output):
    """A run folder as a training leaves it, with these PSNR at evaluations; the input's is 20 dB."""
    titles = MADE if script == "CIN-GAN" else ("x", "restored", "y")
    (folder / "samples").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    arguments = {
        "recipe": recipe,
        "num_iters": iterations,
        "batch_size": 8,
        "seed": 42,
        "precision": "float32",
        "data_dir": "my data",
    }
    record = {
        "script": script,
        "arguments": {**arguments, "tasks": ["A", "B"]},
        "not_default": ["num_iters"],
        "versions": {"tensorflow": "2.0", "keras": "3.0"},
    }
    (folder / "args.json").write_text(json.dumps(record))
    (folder / "generator.h5").write_bytes(b"weights")
    rows = [{"iteration": 100 * (n + 1), "seconds": 60 * n, f"affine_psnr_{task}": v} for n, v in enumerate(psnr)]
    with open(folder / "log.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "checkpoints" / f"{rows[-1]['iteration']:06d}.npz").touch()
    values = {
        f"{metric}_{key}": number for metric in ("affine", "paper") for key, number in (("psnr", 20), ("ssim", 0.5))
    }
    scores = {f"{key}_{task}": value for key, value in {**values, "affine_psnr": psnr[-1], **output}.items()}
    run_report.save_latest(folder / "samples" / "latest.npz", scores, {task: values}, [panels(task, titles)])
    return folder


@pytest.mark.parametrize(
    "psnr, iterations, found, missing",
    [
        ((21, 24, 25.0), 300, ["still getting better"], ["stopped early", "worse", "earlier"]),
        ((21, 24, 24.05), 300, [], ["still", "stopped early", "worse", "earlier"]),
        ((21, 24, 24.05), 500, ["go on with the same command and --resume"], ["still", "worse", "earlier"]),
        ((21, 26, 24), 300, ["earlier evaluation was 2.00 dB better", "evaluate.py"], ["still", "worse"]),
        ((19, 18, 19.5), 300, ["worse than its input"], ["still", "earlier", "stopped early"]),
        ((25,), 100, [], ["still", "worse", "earlier", "stopped early"]),
    ],
)
def test_advice_follows_from_how_the_training_went(tmp_path, psnr, iterations, found, missing):
    page = Page(run_report.write_report(make_run(tmp_path / "run", psnr, iterations)))
    lines = " ".join(page.lines)
    assert all(words in lines for words in found) and not any(words in lines for words in missing)
    assert "python restore.py --generator_path=" in page.lines[-1] and "--task" not in page.lines[-1]


def test_scores_without_pairs_are_not_taken_for_faults(tmp_path):
    folder = make_run(tmp_path / "run", (19, 18, 19.5), 300)
    record = json.loads((folder / "args.json").read_text())
    record["arguments"] |= {"cin_augment": True, "alpha": 1.0}
    (folder / "args.json").write_text(json.dumps(record))
    page = Page(run_report.write_report(folder))
    assert "It trained unpaired" in page.lines[0] and "worse than its input" not in page.text


def test_recipe_paper_needs_the_task_and_cin_gan_is_followed_by_a_cgan(tmp_path):
    page = Page(run_report.write_report(make_run(tmp_path / "paper", [21], 100, recipe="paper")))
    assert page.lines[-1].endswith("--task=NAME")
    page = Page(run_report.write_report(make_run(tmp_path / "my run", [5], 100, script="CIN-GAN", noise_ratio=0.93)))
    command = f"--cin_augment=True --cin_generator_path='{tmp_path}/my run/generator.h5'"
    assert command in page.lines[0] and "--recipe=tuned --data_dir='my data' --tasks=A,B \\\n" in page.lines[0]
    assert "worse" not in page.text
    assert "noise of real" in page.text and "0.93" in page.text
    assert "restore.py" not in page.text, "it makes defects"


def read_command(text):
    """The words of a command over several lines, without python and its script."""
    return shlex.split(text.replace("\\\n", ""))[2:]


@pytest.mark.parametrize(
    ("recipe", "kept"),
    [("paper", ["--vgg_weights=my weights.h5"]), ("tuned", ["--no_rotate=A,my b"]), ("tuned", ["--no_rotate="])],
)
def test_a_cgan_after_cin_gan_takes_the_same_rows_for_pairs_and_turns_as_many(recipe, kept):
    flags = [f"--recipe={recipe}", "--data_dir=a few", "--dir=my 'results'", "--images_limit=3", "--unpaired_limit=-1"]
    given = vars(train_CIN_GAN.make_parser().parse_args([*flags, *kept, "--tasks=A,my b"]))
    written = {"no_rotate": []} if recipe == "paper" else {}  # as a training records it
    words = read_command(run_report.cgan_command({**given, **written}, Path("my run/generator.h5")))
    args = train_cGAN.make_parser().parse_args(words)
    assert all(getattr(args, name) == given[name] for name in run_report.SHARED_FLAGS) and args.cin_augment
    assert args.cin_generator_path == Path("my run/generator.h5") and args.recipe == recipe
    assert not options.idle("train_cGAN", args)


def test_paths_with_blanks_can_be_pasted(train, capsys):
    run = train(train_cGAN, "--recipe=tuned", folder="my 'run'")
    printed = capsys.readouterr().out.partition("images:\n")[2]
    for command in (printed, Page(run / "report.html").lines[-1].partition(": ")[2]):
        args = restore.make_parser().parse_args(read_command(command))
        assert args.generator_path == run / "generator.h5" and args.output == Path("RESULT.tif")
        assert args.average == 8


@pytest.mark.parametrize("earlier", [False, True])
def test_a_cin_gan_stopped_before_its_first_evaluation_is_followed_by_a_cgan(earlier, train, monkeypatch):
    """Nothing but its arguments says what it is; those of an earlier version do not name the script."""
    monkeypatch.setattr(Evaluator, "bind", lambda *received: lambda *scores: None)
    run = train(train_CIN_GAN, "--recipe=tuned", "--n_critic=1", "--num_iters=9", "--max_seconds=0.001")
    assert not (run / "log.csv").exists()
    if earlier:
        record = json.loads((run / "args.json").read_text())
        assert record.pop("script") == "CIN-GAN"
        (run / "args.json").write_text(json.dumps(record))
    page = Page(run_report.write_report(run))
    assert "stopped early" in page.lines[0] and "python train_cGAN.py" in page.lines[1] and len(page.lines) == 2


def test_names_of_the_users_are_no_html(tmp_path):
    folder = make_run(tmp_path / "a<b>$title", [21], 100, task='<script>"A"&amp;')
    page = Page(run_report.write_report(folder))
    assert page.tags.count("script") == 1 and "b" not in page.tags[:5]
    assert '<script>"A"&amp;' in page.text and "a<b>$title" in page.text


def test_large_images_are_shown_by_their_middle(tmp_path):
    folder = make_run(tmp_path / "run", [21], 100)
    image = np.zeros((700, 40))
    image[350] = 1
    assert run_report.middle(image).shape == (512, 40) and run_report.middle(image)[256].all()
    scores, _ = run_report.read_latest(folder / "samples/latest.npz")
    big = [panels("Nuclei", size=600)]
    run_report.save_latest(folder / "samples/latest.npz", scores["output"], scores["input"], big)
    page = Page(run_report.write_report(folder))
    assert {Image.open(io.BytesIO(decoded(url))).size for url in page.loaded} == {(512, 512)}


def decoded(url):
    import base64

    return base64.b64decode(url.removeprefix("data:image/png;base64,"))


def test_a_folder_of_no_training_is_told(tmp_path):
    for text in (None, "{", '{"arguments": {}}', "[]"):
        if text:
            (tmp_path / "args.json").write_text(text)
        with pytest.raises(InputError, match="expected the results folder"):
            run_report.write_report(tmp_path)
    with pytest.raises(InputError, match="is missing"):
        run_report.write_report(tmp_path / "nowhere")


def test_a_report_at_the_end_and_on_resume_and_tensorboard_shows_the_same(train):
    flags = ("--recipe=tuned", "--num_iters=3", "--save_every=1")
    run = train(train_cGAN, *flags, "--max_seconds=0.001")
    first = Page(run / "report.html")
    assert is_self_contained(first) and "1 iterations of 3" in first.text and "--resume" in first.text
    assert first.html.count('type="range"') == 2 and "Layers: x | restored, and y" in first.text
    train(train_cGAN, *flags, "--resume")
    second = Page(run / "report.html")
    assert is_self_contained(second) and "3 iterations of 3" in second.text and "stopped early" not in second.text
    assert len(second.loaded) == 7, "three images of two tasks, and the curves"
    assert_events_equal_log(run, {1, 3})


def assert_events_equal_log(run, iterations):
    """TensorBoard's events hold the numbers of log.csv and the pictures of samples/."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    events = EventAccumulator(str(run / "events"))
    events.Reload()
    with open(run / "log.csv") as file:
        rows = {int(row.pop("iteration")): row for row in csv.DictReader(file)}
    names = set(rows[max(rows)]) - {"seconds"}
    assert set(rows) == iterations and set(events.Tags()["tensors"]) == names | {"samples"}
    for name in names:
        shown = {event.step: float(make_ndarray(event.tensor_proto)) for event in events.Tensors(name)}
        assert shown == {step: pytest.approx(float(row[name]), rel=1e-5) for step, row in rows.items()}
    for event in events.Tensors("samples"):
        width, height, png = make_ndarray(event.tensor_proto)
        shown = np.asarray(Image.open(io.BytesIO(png)))
        saved = np.asarray(Image.open(run / f"samples/{event.step:06d}.png").convert("RGB"))
        assert shown.shape == (int(height), int(width), 3) and np.array_equal(shown, saved)


def test_cin_gan_and_the_baselines_have_one_too(tmp_path):
    """As their trainings leave them: other titles, the noise's ratio, a method in place of a recipe, no --task."""
    page = Page(run_report.write_report(make_run(tmp_path / "CIN-GAN", [5], 100, script="CIN-GAN", noise_ratio=0.9)))
    assert is_self_contained(page) and "Nuclei: generated x | real x, and y" in page.text
    folder = make_run(tmp_path / "CARE_results/Nuclei", [21], 100)
    record = json.loads((folder / "args.json").read_text())
    record["arguments"]["method"] = record["arguments"].pop("recipe") and "care"
    (folder / "args.json").write_text(json.dumps(record))
    page = Page(run_report.write_report(folder))
    assert is_self_contained(page) and "care, 100 iterations" in page.text and "--task" not in page.lines[-1]


def seen(element):
    return np.asarray(Image.open(io.BytesIO(element.screenshot_as_png)).convert("L"), float)


def test_the_slider_moves_and_nothing_is_asked_for_over_the_network(browser, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains

    report = run_report.write_report(make_run(tmp_path / "run", (21, 24, 25)))
    browser.get(report.as_uri())
    pair, slider = (browser.find_element("css selector", name) for name in (".pair", ".pair input"))
    image = pair.find_element("css selector", "img")
    before, width = seen(image), image.size["width"]
    ActionChains(browser).move_to_element_with_offset(slider, round(-0.4 * width), 0).click().perform()
    after = seen(image)
    assert float(slider.get_attribute("value")) == pytest.approx(10, abs=3)
    assert browser.get_screenshot_as_png().startswith(b"\x89PNG")
    changed = np.abs(after - before).mean(axis=0) > 3
    assert changed[int(0.15 * width) : int(0.45 * width)].mean() > 0.9, "the restored image comes out from under x"
    assert not changed[: int(0.05 * width)].any() and not changed[int(0.55 * width) :].any()
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = [p["request"]["url"] for p in sent if p["documentURL"] == report.as_uri()]
    assert [url for url in asked if not url.startswith("data:")] == [report.as_uri()]


def narrow(browser):
    """A telephone's window: Chromium's own are 500 pixels wide at least."""
    metrics = {"width": 420, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def test_a_report_fits_a_narrow_window(browser, tmp_path):
    narrow(browser)
    browser.get(run_report.write_report(make_run(tmp_path / ("run_of_a_long_name_" * 4), (21, 24, 25))).as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 420


def test_cin_gans_report_explains_its_scores_and_shows_spectra(tmp_path):
    folder = make_run(tmp_path / "CIN-GAN", [5], 100, script="CIN-GAN", noise_ratio=0.9)
    page = Page(run_report.write_report(folder))
    assert (
        "the x that was generated from it" in page.text and "1 is right, below 1 the images are too clean" in page.text
    )
    shown = [url for url in page.loaded if Image.open(io.BytesIO(decoded(url))).size[0] > 64]
    assert len(shown) == 1 and "power spectra of generated x, real x and y" in page.html
    page = Page(run_report.write_report(make_run(tmp_path / "cGAN", [21], 100)))
    assert "Spectra" not in page.text and "generated" not in page.text.replace("generated defects in the range", "")


def test_what_a_training_gained_is_seen_over_a_sixth_of_it(tmp_path):
    """Fifty evaluations: each is 0.05 dB better than the one before."""
    page = Page(run_report.write_report(make_run(tmp_path / "run", 21 + 0.05 * np.arange(50), 5000)))
    assert "still getting better" in " ".join(page.lines)
