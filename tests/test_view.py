"""view.py and restore.py --view: one page that works offline, right in what it shows, and alive in a browser."""

import base64
import io
import json
import re

import numpy as np
import pytest
import tifffile
from PIL import Image
from small_generators import identity_generator, metadata
from test_run_report import Page, is_self_contained, narrow, seen

import models
import restore
import view as command
from common.errors import InputError
from common.pages import to_gray
from restoring import view
from restoring.generator_file import save_generator
from restoring.image_files import read_image

RNG = np.random.default_rng(0)


def planes_of(path):
    """What the page shows, plane by plane, with its pictures as arrays."""
    text = re.search(r'<script id="data"[^>]*>(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)[1]
    planes = json.loads(text)
    for plane in planes:
        plane["images"] = {name: decoded(url) for name, url in plane["images"].items()}
    return planes


def decoded(url):
    image = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    return np.asarray(image.convert("RGBA") if image.mode == "P" else image)


@pytest.fixture
def pair(tmp_path):
    """Writes x and a restored image as TIFFs; gives (path of the restored, path of x)."""

    def write(x, restored, **options):
        paths = tmp_path / "restored.tif", tmp_path / "x.tif"
        for path, image in zip(paths, (restored, x), strict=True):
            tifffile.imwrite(path, image.astype(np.float32), photometric="minisblack", **options)
        return paths

    return write


def write_page(restored, x, *flags):
    assert command.main(command.make_parser().parse_args([str(restored), f"--input={x}", *flags])) == 0
    return restored.with_name("restored_view.html")


def gray(count=1, height=48, width=64):
    return RNG.gamma(4, 50, (count, height, width)).astype(np.float32)


def test_before_and_after_have_one_gray_range_and_the_page_loads_nothing(pair):
    x = gray(3)
    restored = 0.9 * x + 20
    restored[2] *= 1.5
    path = write_page(*pair(x, restored, imagej=True, metadata={"axes": "ZYX"}))
    page = Page(path)
    page.html = re.sub('"data:image/png;base64,[^"]*"', "", page.html)
    assert is_self_contained(page) and "x.tif → restored.tif" in page.text
    planes = planes_of(path)
    assert [plane["label"] for plane in planes] == ["Z 0", "Z 1", "Z 2"]
    ends = [np.percentile(image, [0.5, 99.8]) for image in (*x, *restored)]
    low, high = min(e[0] for e in ends), max(e[1] for e in ends)
    for i, plane in enumerate(planes):
        assert np.array_equal(plane["images"]["before"], to_gray(x[i], low, high))
        assert np.array_equal(plane["images"]["after"], to_gray(restored[i], low, high))
        assert f"black to white: {low:.4g} to {high:.4g}" in plane["facts"]
    assert "restored = 0.9 * x + 20, flux " in planes[0]["facts"]


def test_channels_have_their_names_and_ranges(pair):
    x = np.stack([gray()[0], 50 * gray()[0]] * 2).reshape(2, 2, 48, 64)
    details = {"axes": "ZCYX", "Channel": {"Name": ["DAPI", "<b>GFP"]}}
    planes = planes_of(write_page(*pair(x, x, ome=True, metadata=details)))
    assert [plane["label"] for plane in planes][:2] == ["Z 0, channel DAPI", "Z 0, channel <b>GFP"]
    ranges = [plane["facts"].split(";")[0] for plane in planes]
    assert ranges[0] == ranges[2] != ranges[1] == ranges[3]


def test_what_is_in_other_units_is_shown_on_one_range_and_it_is_said(pair):
    x = gray()
    path = write_page(*pair(x, 40 * x + 1000))
    (plane,) = planes_of(path)
    before, after = (plane["images"][name].astype(int) for name in ("before", "after"))
    assert np.abs(before - after).max() <= 1 and "other units than x" in Page(path).text
    assert "other units" not in Page(write_page(*pair(x, 1.4 * x))).text


def test_outliers_are_marked_as_the_generator_sees_them(pair):
    assert (models.LOWEST_SEEN, models.HIGHEST_SEEN) == view.OUTLIERS
    x = gray(1, 96, 128)
    assert view.find_outliers(x[0]) == ([], 0)
    x[0, 10:14, 20:23] = 9000
    x[0, 40, 50] = 9000
    circles, count = view.find_outliers(x[0])
    assert count == 2 and [circle[:2] for circle in circles] == [(21.5, 12.0), (50.5, 40.5)]
    assert circles[0][2] == pytest.approx(5 / 2 + 3) and circles[1][2] < circles[0][2]
    (plane,) = planes_of(write_page(*pair(x, x)))
    assert plane["outliers"] == [list(circle) for circle in circles] and plane["count"].startswith("2, ")


def test_flux_is_blue_where_light_is_lost_and_red_where_it_is_added(pair):
    x = np.tile(np.linspace(0, 100, 40), (40, 1)).astype(np.float32)  # blocks of 16, 16 and 8 pixels
    restored = x.copy()
    restored[:16, :16] -= 5
    restored[32:, 32:] += 50
    (plane,) = planes_of(write_page(*pair(x, restored)))
    flux = plane["images"]["flux"].astype(int)
    assert flux.shape == (3, 3, 4) and tuple(flux[0, 0, :3]) == view.BLUE and tuple(flux[2, 2, :3]) == view.RED
    span = np.subtract(*np.percentile(restored, [99.8, 0.5])) + 5
    assert flux[2, 2, 3] == 255 and flux[0, 0, 3] == pytest.approx(255 * 5 / span / 0.1, rel=0.1)
    assert (np.delete(flux[..., 3].ravel(), [0, 8]) == 0).all()


def test_uncertainty_and_check_are_layers(pair):
    x = gray()
    restored, path = pair(x, x)
    uncertainty, check = np.zeros((2, 48, 64), np.float32)
    uncertainty[5], check[7], check[8] = 1e6, 3.9, -20
    tifffile.imwrite(restored.with_name("restored_uncertainty.tif"), uncertainty)
    tifffile.imwrite(restored.with_name("restored_check.tif"), check)
    page = write_page(restored, path)
    (plane,) = planes_of(page)
    orange, magenta = (plane["images"][kind] for kind in ("uncertainty", "check"))
    assert set(np.nonzero(orange[..., 3])[0]) == {5} and tuple(orange[5, 0, :3]) == view.ORANGE
    assert set(np.nonzero(magenta[..., 3])[0]) == {8} and tuple(magenta[8, 0, :3]) == view.MAGENTA
    assert "by more than 4 deviations" in Page(page).text


@pytest.mark.parametrize(
    ("shape", "layers", "channels", "steps"),
    [
        ((1, 2048, 2048), 2, 1, (1, 1)),
        ((1, 12000, 12000), 2, 1, (5, 1)),
        ((100, 1024, 1024), 2, 1, (2, 4)),
        ((100, 1024, 1024), 2, 2, (2, 5)),
        ((1000, 256, 256), 4, 1, (1, 20)),
    ],
)
def test_what_does_not_fit_is_shown_in_steps(shape, layers, channels, steps):
    assert view.choose_steps(shape, layers, channels) == steps


def test_a_page_stays_below_its_limit_and_says_what_it_leaves_out(pair, monkeypatch):
    monkeypatch.setattr(view, "LARGEST", 3e5)
    x = RNG.random((3, 400, 300)).astype(np.float32)  # noise in all gray values
    path = write_page(*pair(x, x))
    planes, text = planes_of(path), Page(path).text
    step = -(-400 // planes[0]["images"]["after"].shape[0])
    assert path.stat().st_size <= 3e5 and step > 1
    assert f"every {({2: '2nd', 3: '3rd'}).get(step, f'{step}th')} pixel" in text and "of 3 x 400 x 300" in text
    assert re.search(r"width: 300px; height: 400px", path.read_text())


def test_images_that_do_not_belong_together_are_named(pair, tmp_path):
    restored, x = pair(gray(2), gray(3))
    with pytest.raises(
        InputError, match=r"restored.tif: \(3, 48, 64\) planes and pixels, but --input has \(2, 48, 64\)"
    ):
        write_page(restored, x)
    with pytest.raises(InputError, match="a folder"):
        write_page(tmp_path, x)
    with pytest.raises(InputError, match="no such file"):
        write_page(restored, tmp_path / "none.tif")


def test_x_of_a_coarser_camera_is_enlarged(pair):
    x = gray()
    planes = planes_of(write_page(*pair(x[:, ::2, ::2], x)))
    assert planes[0]["images"]["before"].shape == (48, 64)


@pytest.fixture
def generator(tmp_path):
    save_generator(identity_generator(), tmp_path / "generator.h5", metadata())
    return tmp_path / "generator.h5"


def restored_with(generator, *flags):
    return restore.main(restore.make_parser().parse_args([f"--generator_path={generator}", *map(str, flags)]))


def test_restore_writes_the_page_with_the_maps_of_the_same_call(generator, tmp_path, capsys):
    (tmp_path / "in").mkdir()
    for name in "ab":
        tifffile.imwrite(tmp_path / f"in/{name}.tif", gray()[0])
    flags = f"--input={tmp_path / 'in'}", f"--output={tmp_path / 'out'}", "--view"
    assert restored_with(generator, *flags, "--uncertainty=4") == 0
    assert "a_view.html: open it in a browser" in capsys.readouterr().out
    for name in "ab":
        (plane,) = planes_of(tmp_path / f"out/{name}_view.html")
        assert set(plane["images"]) == {"before", "after", "flux", "uncertainty"}
    with pytest.raises(InputError, match="exists"):
        restored_with(generator, *flags)
    assert restored_with(generator, *flags, "--overwrite") == 0
    (plane,) = planes_of(tmp_path / "out/a_view.html")
    assert "uncertainty" not in plane["images"], "a map of an earlier call"
    for path in (tmp_path / "out").glob("b*"):
        path.unlink()
    assert restored_with(generator, *flags, "--skip_existing") == 0
    assert (tmp_path / "out/b_view.html").is_file() and "1 of 2 files" in capsys.readouterr().out
    with pytest.raises(InputError, match="--view is for image files"):
        restored_with(generator, f"--input={tmp_path}/v.zarr", f"--output={tmp_path}/r.zarr", "--view")


def test_a_view_of_restores_own_files_needs_no_generator(generator, tmp_path):
    image = gray(2).astype(np.uint16)
    tifffile.imwrite(tmp_path / "x.ome.tif", image, ome=True, metadata={"axes": "TYX"})
    restored_with(generator, f"--input={tmp_path}/x.ome.tif", f"--output={tmp_path}/r.ome.tif", "--dtype=uint16")
    command.main(command.make_parser().parse_args([f"{tmp_path}/r.ome.tif", f"--input={tmp_path}/x.ome.tif"]))
    assert len(planes_of(tmp_path / "r_view.html")) == 2
    assert read_image(tmp_path / "r.ome.tif").axes == "TYX"


@pytest.fixture
def stack_page(pair):
    """A page on two planes: after is brighter than before in the first, which has an outlier, dimmer in the second."""
    x = np.full((2, 60, 90), 100, np.float32) + RNG.normal(0, 1, (2, 60, 90)).astype(np.float32)
    x[0, 30, 10] = 5000
    restored = x + 20
    restored[1] -= 60
    files = pair(x, restored, imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(files[0].with_name("restored_uncertainty.tif"), np.full((2, 60, 90), 1e6, np.float32))
    return write_page(*files)


@pytest.fixture
def find(browser, stack_page):
    """The elements of the page on two planes in a browser, by their selector."""
    browser.get(stack_page.as_uri())
    return lambda name: browser.find_element("css selector", name)


def middle_row(element):
    """Gray values along the middle of what an element shows, and half their number."""
    shown = seen(element)
    return shown[len(shown) // 2], shown.shape[1] // 2


def click_at(browser, slider, share):
    from selenium.webdriver.common.action_chains import ActionChains

    offset = round((share - 0.5) * slider.rect["width"])
    ActionChains(browser).move_to_element_with_offset(slider, offset, 0).click().perform()


def test_the_slider_uncovers_the_restored_image(browser, find, stack_page):
    row, half = middle_row(find("#stage"))
    assert np.median(row[half + 20 : half + 120]) > np.median(row[half - 120 : half - 20]) + 20, "after is brighter"
    click_at(browser, find("#cut"), 0.2)
    assert float(find("#cut").get_attribute("value")) == pytest.approx(20, abs=2)
    row, half = middle_row(find("#stage"))
    assert abs(np.median(row[half - 120 : half - 20]) - np.median(row[half + 20 : half + 120])) < 5
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [m["params"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    asked = [p["request"]["url"] for p in sent if p["documentURL"] == stack_page.as_uri()]
    assert [url for url in asked if not url.startswith("data:")] == [stack_page.as_uri()]


def test_the_image_is_zoomed_and_moved(browser, find):
    from selenium.webdriver.common.action_chains import ActionChains

    def place(side):
        return browser.execute_script(f"return document.getElementById('after').getBoundingClientRect().{side}")

    stage, whole = find("#stage"), place("width")
    assert whole <= stage.rect["width"] + 1 and find("#zoom").text.endswith("%")
    find("#closer").click()
    assert place("width") == pytest.approx(1.5 * whole, rel=0.01)
    before = place("x")
    ActionChains(browser).drag_and_drop_by_offset(stage, 70, 0).perform()
    assert place("x") == pytest.approx(before + 70, abs=2)
    find("#farther").click()
    assert place("width") == pytest.approx(whole, rel=0.01)
    find("#pixels").click()
    assert place("width") == 90 and find("#zoom").text == "100 %"
    x = place("x")
    wheel = "{deltaY: -400, clientX: arguments[1], clientY: 300, bubbles: true, cancelable: true}"
    browser.execute_script(f"arguments[0].dispatchEvent(new WheelEvent('wheel', {wheel}))", stage, x)
    assert place("width") == pytest.approx(90 * np.e, rel=0.01)
    assert place("x") == pytest.approx(x, abs=1), "what is under the pointer stays there"
    find("#whole").click()
    assert place("width") == pytest.approx(whole, rel=0.01)


def test_layers_and_planes_are_switched(browser, find):
    stage = find("#stage")
    assert len(browser.find_elements("css selector", "#outliers circle")) == 1 and "1, far" in find("#count").text
    find("[data-layer=outliers]").click()
    assert not find("#outliers").is_displayed()
    for layer in ("uncertainty", "flux"):
        box, drawn = find(f"[data-layer={layer}]"), seen(stage)
        assert not find(f"#{layer}").is_displayed()
        box.click()
        assert find(f"#{layer}").is_displayed() and np.abs(seen(stage) - drawn).mean() > 2
        box.click()
    click_at(browser, find("#plane"), 0.98)
    assert find("#label").text == "Z 1" and not browser.find_elements("css selector", "#outliers circle")
    row, half = middle_row(stage)
    assert np.median(row[half + 20 : half + 120]) < np.median(row[half - 120 : half - 20]) - 20, "after is dimmer"


def test_a_page_fits_a_narrow_window(browser, pair):
    page = write_page(*pair(gray(2), gray(2)))
    narrow(browser)
    browser.get(page.as_uri())
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 420
