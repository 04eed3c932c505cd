"""Pairs whose gain and offset differ from image to image: found, each scaled by its own, and said so."""

import json

import keras
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, gaussian_filter1d

import restore
import train_cGAN
from data_utils import load_tasks
from methods.batches import PairBatches, Sampling
from restoring.generator_file import Metadata, read_metadata, save_generator
from restoring.normalization import (
    FixedNormalization,
    PercentileNormalization,
    fit_gain,
    fit_gains,
    fit_line,
    from_json,
    percentile_scale,
)
from training.run_folder import RunFolder


def smooth(rng, sigma, size=128):
    image = gaussian_filter(rng.random((size, size)), sigma)
    return (image - image.min()) / np.ptp(image)


def cells(rng, size=128):
    """Textured blobs on a dark background, about 0 to 1000."""
    blobs = smooth(rng, size / 20, size)
    return 20 + 1000 * (blobs > np.quantile(blobs, 0.75)) * smooth(rng, 2, size)


def layers(rng, size=128):
    """Layers of one or two pixels, of uneven brightness, about 0 to 1000."""
    return 20 + 1000 * smooth(rng, 1, size).mean(axis=1, keepdims=True).repeat(size, 1) / 0.6 * smooth(rng, 12, size)


def noisy(y, rng, photons=100, blur=(0, 0)):
    """A camera's image of y: `photons` where y is 1000, read noise of 2, offset 100."""
    return rng.poisson(gaussian_filter(y, blur) * photons / 1000) + rng.normal(0, 2, y.shape) + 100


def write_task(folder, x, y, name="A"):
    folder.mkdir(exist_ok=True)
    for kind, images in (("X", x), ("Y", y)):
        np.save(folder / f"{name}_{kind}.npy", np.stack(images).astype(np.float32))
        np.save(folder / f"{name}_{kind}_test.npy", np.stack(images)[:2].astype(np.float32))


def fit(tmp_path, x, y):
    write_task(tmp_path / "pairs", x, y)
    return fit_gains(load_tasks(tmp_path / "pairs")[0])


def stretched(image):
    """As an export with automatic contrast writes it: percentiles 0.4 and 99.6 to 0 and 255."""
    low, high = np.percentile(image, [0.4, 99.6])
    return np.clip((image - low) / (high - low), 0, 1) * 255


def test_line_of_a_pair_without_noise_is_exact():
    y = cells(np.random.default_rng(0))
    line = fit_line(0.3 * y + 7, y)
    assert line.gain == pytest.approx(0.3) and line.gain_and_offset(1.0) == pytest.approx((0.3, 7))
    assert line.gain_deviation < 1e-6 and line.level == pytest.approx(0.3 * y.mean() + 7) and line.is_certain


@pytest.mark.parametrize(("scene", "blur"), [(layers, (4, 0.9)), (layers, (2.2, 0.9)), (cells, (3, 3))])
def test_blur_lowers_the_contrast_of_x_but_not_the_gain(scene, blur):
    rng = np.random.default_rng(0)
    scenes = [scene(rng) for _ in range(8)]
    gains = np.array([fit_line(noisy(y, rng, blur=blur), y).gain for y in scenes]) / 0.1
    assert gains.mean() == pytest.approx(1, abs=0.03) and np.abs(gains - 1).max() < 0.08


def test_block_means_alone_take_the_blur_of_thin_layers_for_a_smaller_gain():
    """Why `fit_line` has second differences."""
    rng = np.random.default_rng(0)
    y = [gaussian_filter1d(rng.random((128, 128)), 30, axis=1) * 1e4 for _ in range(4)]
    x = [noisy(image, rng, 1000, (4, 0)) for image in y]
    plain = np.mean([fit_gain([a], [b])[0] for a, b in zip(x, y, strict=True)])
    assert plain < 0.75 and np.mean([fit_line(a, b).gain for a, b in zip(x, y, strict=True)]) > plain + 0.1


@pytest.mark.parametrize("photons", [2, 20, 500])
@pytest.mark.parametrize("size", [128, 32])
def test_deviation_of_a_gain_is_that_of_repeated_noise(photons, size):
    """Within a factor of two, from few photons to many, and in images of 8 x 8 blocks of 4 pixels."""
    rng = np.random.default_rng(0)
    y = cells(rng, size)
    lines = [fit_line(noisy(y, rng, photons), y) for _ in range(100)]
    gains = np.array([line.gain for line in lines])
    assert gains.mean() == pytest.approx(photons / 1000, abs=4 * gains.std() / 10)
    assert np.median([line.gain_deviation for line in lines]) == pytest.approx(gains.std(), rel=0.5)


def test_an_image_without_contrast_has_no_gain_of_its_own():
    rng = np.random.default_rng(0)
    y = 500 + smooth(rng, 2)
    line = fit_line(noisy(y, rng), y)
    gain, offset = line.gain_and_offset(0.1)
    assert not line.is_certain and gain == 0.1 and offset == pytest.approx(100, abs=0.2)


def many(scene, photons, blur=(0, 0), count=10, size=128, gains=(1.0,), offsets=(0.0,)):
    """(x images, y images): as `noisy`, then gains and offsets (of a span of about 1000) in turn on y."""
    rng = np.random.default_rng(1)
    y = [scene(rng, size) for _ in range(count)]
    x = [noisy(image, rng, photons, blur) for image in y]
    return x, [gains[i % len(gains)] * image + offsets[i % len(offsets)] for i, image in enumerate(y)]


AGREE = {
    "noise": many(cells, 20),
    "little light": many(cells, 1),
    "small images": many(cells, 5, size=32),
    "smallest images": many(cells, 50, size=16),
    "layers under an axial blur": many(layers, 60, (4, 0.9)),
    "blurs that differ": tuple(a + b for a, b in zip(many(cells, 50, (1, 1)), many(layers, 50, (3, 3)), strict=True)),
    "gains within 10 %": many(cells, 100, gains=np.linspace(0.9, 1.1, 10)),
    "offsets within 6 %": many(cells, 100, offsets=np.linspace(-30, 30, 10)),
    "one pair": tuple(images[:1] for images in many(cells, 50)),
}
DIFFER = {
    "gains within a factor of 2": many(cells, 100, gains=np.geomspace(0.7, 1.4, 10)),
    "offsets within half the range": many(cells, 100, offsets=np.linspace(0, 500, 10)),
    "noise and gains": many(cells, 5, gains=np.geomspace(0.5, 2, 10)),
    "half of them": many(cells, 100, gains=(1, 2)),
    "blur and gains": many(layers, 60, (4, 0.9), gains=(0.5, 1, 2)),
    "two pairs": many(cells, 100, count=2, gains=(1, 3)),
}


@pytest.mark.parametrize("case", AGREE)
def test_pairs_that_agree_share_one_gain_whatever_the_defect(tmp_path, case):
    x, y = AGREE[case]
    found = fit(tmp_path, x, y)
    assert not found.own_gains and found.gains["A"] == fit_gain(np.float32(x), np.float32(y))


@pytest.mark.parametrize("case", DIFFER)
def test_pairs_that_differ_each_have_their_own(tmp_path, case):
    found = fit(tmp_path, *DIFFER[case])
    low, high = found.own_gains["A"]
    assert low <= found.gains["A"][0] <= high


def test_one_wrong_pair_in_ten_changes_nothing(tmp_path):
    x, y = many(cells, 50)
    y[3] = y[3][::-1, ::-1]
    assert not fit(tmp_path, x, y).own_gains


def test_pairs_on_one_scale_keep_it(tmp_path):
    x, y = many(cells, 1000)
    assert fit(tmp_path, [image - 100 for image in x], y).gains == {"A": (1.0, 0.0)}


def test_a_pair_is_scaled_by_its_own_gain_and_offset_and_x_by_its_percentiles(tmp_path):
    """Stretched images of one field are equally bright in network units, cut from a larger image too."""
    rng = np.random.default_rng(0)
    scenes = [cells(rng) for _ in range(6)]
    x, y = [stretched(noisy(image, rng, 100)) for image in scenes], [stretched(image) for image in scenes]
    normalization = fit(tmp_path, x, y)
    for image, target in zip(x, y, strict=True):
        a, b = normalization.normalize_pair("A", image, target)
        assert np.percentile(a, [2, 99.8]) == pytest.approx([0, 1], abs=1e-4)
        wide = [gaussian_filter(part, 4)[8:-8, 8:-8] for part in (a, b)]
        assert np.polyfit(wide[1].ravel(), wide[0].ravel(), 1) == pytest.approx([1, 0], abs=0.06)
        whole = percentile_scale(image)
        cut = normalization.pair_scales("A", image[:64, :96], target[:64, :96], whole)
        assert cut[0] == whole and cut[1].span == pytest.approx(
            normalization.pair_scales("A", image, target)[1].span, rel=0.1
        )


def test_batches_hold_the_pairs_so_scaled_and_fit_each_once(tmp_path, monkeypatch):
    x, y = many(cells, 1000, gains=np.geomspace(0.3, 3, 10), offsets=(0, 300))
    normalization = fit(tmp_path, x, y)
    tasks, _ = load_tasks(tmp_path / "pairs")
    batches = PairBatches(tasks, normalization, Sampling(10, (128, 128), 0, [], True, 0.3, 0))
    for iteration in range(2):
        batch = batches(iteration)
        means = [gaussian_filter(batch[kind], (0, 5, 5, 0)) for kind in "xy"]
        assert np.abs(means[0] - means[1]).max() < 0.06
    monkeypatch.setattr("restoring.normalization.fit_line", None)
    assert batches(2)["x"].shape == (10, 128, 128, 1)


def test_metadata_says_which_tasks_and_earlier_files_have_none():
    normalization = PercentileNormalization({"A": (2, 3), "B": (1, 0)}, {"A": (1, 4)})
    again = from_json(json.loads(json.dumps(normalization.to_json())))
    assert again.own_gains == {"A": (1, 4)} and again.gains == normalization.gains
    image = np.random.default_rng(0).random((16, 16))
    assert again.restored_scale("A", image) == percentile_scale(image)
    assert from_json({"kind": "percentile", "gains": {"A": [2, 3]}}).own_gains == {}


@pytest.fixture
def stretched_pairs(pair_folder):
    """The small pair sets with y of Layers stretched image by image, so that gains and offsets differ."""
    y = np.load(pair_folder / "Layers_Y.npy").astype(np.float32)
    rng = np.random.default_rng(0)
    y = rng.uniform(0.3, 3, (len(y), 1, 1)) * y + rng.uniform(0, 900, (len(y), 1, 1))
    np.save(pair_folder / "Layers_Y.npy", y)


def test_a_training_says_it_and_its_generator_holds_it(stretched_pairs, train, capsys):
    run = train(train_cGAN, "--recipe=tuned")
    said = capsys.readouterr().out
    assert "note: Layers: gain and offset differ from pair to pair" in said and "note: Speckle: gain" not in said
    assert read_metadata(run / "generator.h5").normalization.own_gains.keys() == {"Layers"}


def test_a_run_of_version_2_goes_on_with_one_gain_for_each_task(stretched_pairs, train, capsys):
    run = train(train_cGAN, "--recipe=tuned", "--init_from=none")
    checkpoint = run / "checkpoints" / "000002.npz"
    with np.load(checkpoint) as stored:
        arrays = dict(stored)
    state = json.loads(str(arrays["state"]))
    np.savez(checkpoint, **{**arrays, "state": json.dumps({**state, "version": 2})})
    capsys.readouterr()
    for _ in range(2):  # the second time from a checkpoint that the first has written
        train(train_cGAN, "--recipe=tuned", "--resume", "--num_iters=3")
        assert "differ from pair to pair" not in capsys.readouterr().out
        assert RunFolder(run).read_state()["version"] == 2
        assert not read_metadata(run / "generator.h5").normalization.own_gains


def save(path, script, normalization, noise_channels=0):
    inputs = [keras.Input((None, None, 1))]
    image = keras.layers.Rescaling(1.0)(inputs[0])
    if noise_channels:  # of the image's span, a twentieth
        inputs += [keras.Input((1,), dtype="int32"), keras.Input((None, None, 1))]
        gate = keras.layers.Reshape((1, 1, 1))(keras.layers.Embedding(1, 1, embeddings_initializer="ones")(inputs[1]))
        grain = keras.layers.Multiply()([keras.layers.Rescaling(0.05)(inputs[2]), gate])
        image = keras.layers.Add()([image, grain])
    details = Metadata(script, "tuned", ["A"], normalization, [], 4, noise_channels)
    save_generator(keras.Model(inputs, image), path, details)
    return path


@pytest.mark.parametrize("own_gains", [{}, {"A": (0.2, 1.0)}])
def test_the_check_of_such_a_task_goes_by_brightness_and_says_so(tmp_path, capsys, own_gains):
    """CIN-GAN's y has four times the contrast of its x; the gain of 3 would contradict a perfect image."""
    x = 100 + 400 * cells(np.random.default_rng(0), 64).astype(np.float32) / 1000
    np.save(tmp_path / "x.npy", x)
    restores = save(tmp_path / "g.h5", "cGAN", PercentileNormalization({"A": (3.0, 0.0)}, own_gains))
    cin = save(tmp_path / "c.h5", "CIN-GAN", FixedNormalization({"A": ((100, 400), (0, 1600))}), 1)
    words = [f"--generator_path={restores}", f"--input={tmp_path}/x.npy", f"--output={tmp_path}/r.npy", "--task=A"]
    flags = ["--check", f"--cin_generator_path={cin}"]
    assert restore.main(restore.make_parser().parse_args([*words, *flags])) == 0
    assert ("differ in gain, so the scale of its y is unknown" in capsys.readouterr().out) == bool(own_gains)
    contradicted = np.mean(np.abs(np.load(tmp_path / "r_check.npy")) > 4)
    assert contradicted < 0.01 if own_gains else contradicted > 0.1
