"""The two collections of micrographs: from small made-up sources, from servers on this machine, from the real ones."""

import hashlib
import http.server
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from common.errors import InputError
from data import downloads, prepare_micrographs
from data_utils import load_tasks

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
TABLE = prepare_micrographs.read_table()
SOURCES = [name.removeprefix("sources/") for name in TABLE if name.startswith("sources/")]
FIRST = SOURCES[0]


def make_image(name):
    """A field of waves, 256 x 256: four tiles that show something. Channels are where the real file has them."""
    rows, columns = np.mgrid[:256, :256]
    field = 110 + 90 * np.sin(rows / 9 + len(name)) * np.cos(columns / 7 + sum(map(ord, name)) % 6)
    if "hela" in name:
        return np.stack([field // 2, field // 3, field], axis=-1).astype(np.uint16)
    return (np.stack([field, field[::-1], field[:, ::-1]]) if "xyc" in name else field).astype(np.uint8)


def write_sources(folder):
    """All files that the two collections are made of, small; returns the lines of a table of their checksums."""
    lines = []
    for name in SOURCES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".tif":
            tifffile.imwrite(path, make_image(name), photometric="minisblack")
        else:
            Image.fromarray(make_image(name)).save(path)
        lines.append(f"{hashlib.sha256(path.read_bytes()).hexdigest()}  sources/{name}\n")
    return lines


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Small sources, and beside them a table that pins these and the arrays that come of them."""
    place = tmp_path_factory.mktemp("micrographs")
    lines = write_sources(place / "sources")
    folder = place / "sources"
    arrays = prepare_micrographs.make_arrays(lambda name: prepare_micrographs.load_image(folder, name))
    for name, array in arrays.items():
        np.save(place / "array.npy", array)
        lines.append(f"{hashlib.sha256((place / 'array.npy').read_bytes()).hexdigest()}  {name}\n")
    (place / "table").write_text("".join(lines))
    return folder


@pytest.fixture(autouse=True)
def pinned(sources, monkeypatch):
    monkeypatch.setattr(prepare_micrographs, "TABLE", sources.parent / "table")
    monkeypatch.setattr(prepare_micrographs, "SERVER", "http://127.0.0.1:9")


def run(output, *flags):
    return prepare_micrographs.main(prepare_micrographs.make_parser().parse_args([f"--output={output}", *flags]))


def arrays_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.glob("*/*.npy")}


def test_every_file_that_is_pinned_is_used_and_no_other(sources):
    used = set()

    def load(name):
        used.add(name)
        return prepare_micrographs.load_image(sources, name)

    arrays = prepare_micrographs.make_arrays(load)
    assert used == set(SOURCES)
    assert {f"sources/{name}" for name in used} | set(arrays) == set(TABLE)
    assert all(name.split("/")[0] in prepare_micrographs.COMMITS for name in used)


def test_both_collections_are_made_from_a_local_copy(tmp_path, sources, capsys):
    assert run(tmp_path / "out", f"--input={sources}") == 0
    assert "note:" not in capsys.readouterr().out
    names = [[task.name for task in load_tasks(tmp_path / "out" / folder)[0]] for folder in ("real", "second")]
    assert names == [["Axial", "Noise", "Tubules"], ["Axial2", "Noise2", "Tubules2"]]
    for name, content in arrays_in(tmp_path / "out").items():
        array = np.load(tmp_path / "out" / name)
        assert array.shape[1:] == (128, 128) and array.dtype == (np.uint8 if "/Noise_" in name else np.uint16)
        assert len(content) > 128 * 128
    assert "CC-BY-4.0" in (tmp_path / "out/README.md").read_text()
    assert not list((tmp_path / "out").rglob(".*")) and not (tmp_path / "out/sources").exists()


def test_noise_pairs_show_one_field_and_hold_its_lowest_quarter(sources):
    """Two rows of two tiles: the last one of each field is for the test, its x from the fourth exposure."""
    train, test = prepare_micrographs.make_real(lambda name: prepare_micrographs.load_image(sources, name))["Noise"]
    assert (len(train), len(test)) == (36, 12)
    field = prepare_micrographs.FMD_FIELDS[3]
    x, y = (make_image(f"{prepare_micrographs.FMD}{end}.png") for end in (f"raw/{field}_4", f"gt/{field}_1"))
    assert np.array_equal(test[3][0], x[128:, 128:]) and np.array_equal(test[3][1], y[128:, 128:])


def test_an_axial_view_is_blurred_along_its_first_axis_and_linear_between_planes():
    image = np.zeros((40, 30), np.float32)
    image[22] = 1
    microscope = prepare_micrographs.AXIAL._replace(photons=1e6, read_noise=0.0, lateral=0.1, offset=10)
    view = prepare_micrographs.axial_view(np.random.default_rng(0), image, microscope)
    assert view.shape == image.shape and np.allclose(view[2], 10)  # the first plane taken, far from the line
    assert np.allclose(view[22], 10 + 1e6 / (3 * np.sqrt(2 * np.pi)), rtol=0.01)
    assert np.allclose(np.diff(view[17:23], axis=0), (view[22] - view[17]) / 5)


def test_a_coarse_camera_keeps_the_mean_photons():
    image = np.full((64, 64), 0.5, np.float32)
    seen = prepare_micrographs.coarse_camera(np.random.default_rng(0), image, prepare_micrographs.TUBULES)
    assert seen.shape == image.shape and abs(seen.mean() - (10 + 0.5 * 80)) < 1.5 and 3 < seen.std() < 9


def test_arrays_that_differ_in_bits_are_said(tmp_path, sources, monkeypatch, capsys):
    table = tmp_path / "table"
    table.write_text(prepare_micrographs.TABLE.read_text().replace("  real/Noise_Y.npy", "0  real/Noise_Y.npy"))
    monkeypatch.setattr(prepare_micrographs, "TABLE", table)
    assert run(tmp_path / "out", f"--input={sources}") == 0
    assert "note: real/Noise_Y.npy differ in bits" in capsys.readouterr().out


def test_nothing_is_overwritten_unless_asked(tmp_path, sources):
    (tmp_path / "second").mkdir()
    (tmp_path / "second/Axial2_Y.npy").write_text("mine")
    with pytest.raises(InputError, match=r"second/Axial2_Y\.npy exists.*--overwrite"):
        run(tmp_path, f"--input={sources}")
    assert [path.name for path in tmp_path.rglob("*.npy")] == ["Axial2_Y.npy"]
    assert (tmp_path / "second/Axial2_Y.npy").read_text() == "mine"
    assert run(tmp_path, f"--input={sources}", "--overwrite") == 0
    assert len(np.load(tmp_path / "second/Axial2_Y.npy")) > 0


def test_a_folder_that_cannot_take_all_gets_none(tmp_path, sources):
    (tmp_path / "second").write_text("a file where the folder should be")
    with pytest.raises(OSError):
        run(tmp_path, f"--input={sources}")
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "second"]


@pytest.mark.parametrize("damage", ["missing", "other", "folder"])
def test_a_local_copy_that_lacks_a_file_is_refused(tmp_path, sources, damage):
    copy = tmp_path / "copy"
    write_sources(copy)
    (copy / FIRST).unlink()
    if damage == "other":
        Image.new("L", (256, 256)).save(copy / FIRST)
    if damage == "folder":
        (copy / FIRST).mkdir()
    message = "is not the pinned file" if damage == "other" else "no such file, 1 in all"
    with pytest.raises(InputError, match=message) as failure:
        run(tmp_path / "out", f"--input={copy}")
    page = "https://github.com/Danielement321/FM2S/tree/afc05d8d8025"
    assert FIRST in str(failure.value) and page in str(failure.value)
    assert not (tmp_path / "out").exists()


class Server(http.server.BaseHTTPRequestHandler):
    """GitHub's raw files, from the small sources; one of them can be damaged."""

    folder, damaged, asked = None, None, ()

    def do_GET(self):
        owner, repository, commit, path = self.path[1:].split("/", 3)
        name = f"{owner}+{repository}/{path}"
        assert commit == prepare_micrographs.COMMITS[name.split("/")[0]]
        Server.asked = (*Server.asked, name)
        body = (Server.folder / name).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:-9] if name == Server.damaged else body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server(sources, monkeypatch):
    Server.folder, Server.damaged, Server.asked = sources, None, ()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setattr(prepare_micrographs, "SERVER", f"http://127.0.0.1:{running.server_address[1]}")
        yield
        running.shutdown()


def test_downloads_give_the_arrays_of_a_local_copy(tmp_path, server, sources):
    assert run(tmp_path / "a") == 0 and run(tmp_path / "b", f"--input={sources}") == 0
    assert Server.asked == tuple(SOURCES)
    assert arrays_in(tmp_path / "a") == arrays_in(tmp_path / "b")
    assert run(tmp_path / "c", f"--input={tmp_path / 'a/sources'}") == 0  # the downloads are a local copy


def test_a_download_that_broke_off_is_not_kept_and_the_next_run_goes_on(tmp_path, server):
    Server.damaged = SOURCES[5]
    with pytest.raises(InputError, match="arrived damaged"):
        run(tmp_path)
    kept = {str(path.relative_to(tmp_path / "sources")) for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == set(SOURCES[:5])
    Server.damaged, Server.asked = None, ()
    assert run(tmp_path) == 0 and Server.asked == tuple(SOURCES[5:])


def test_a_damaged_file_among_the_downloads_is_named_not_replaced(tmp_path, server):
    path = tmp_path / "sources" / SOURCES[7]
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(InputError, match="is not the pinned file"):
        run(tmp_path)
    assert path.read_text() == "mine" and not Server.asked


def test_a_server_that_refuses_is_said_with_both_ways_out(tmp_path, capsys):
    with pytest.raises(InputError) as failure:
        run(tmp_path / "out")
    message = str(failure.value)
    assert "could not be downloaded" in message and "refused" in message and "--input=FOLDER" in message
    pages = [f"github.com/{name.replace('+', '/')}/tree/" for name in prepare_micrographs.COMMITS]
    assert all(page in message for page in pages) and "\n" not in message
    assert not (tmp_path / "out").exists() and capsys.readouterr().err == ""  # one line, of run_script


def test_a_server_that_never_answers_is_left_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(prepare_micrographs, "SERVER", f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        with pytest.raises(InputError, match="could not be downloaded"):
            run(tmp_path)
        assert time.monotonic() - began < 10


def test_a_name_server_that_never_answers_is_left_in_time(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(downloads, "CONNECT_SECONDS", 0.2)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *words, **options: ended.wait(60) * [])
    try:
        with pytest.raises(TimeoutError, match=r"no answer within 0\.2 s"):
            downloads.open_url("http://somewhere.invalid/file")
    finally:
        ended.set()


@pytest.mark.skipif(not (SHARED / "sources").is_dir(), reason="needs the public images in ../shared/data/sources")
def test_the_measured_collections_are_made_bit_for_bit(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(prepare_micrographs, "TABLE", prepare_micrographs.HERE / "micrographs.sha256")
    assert run(tmp_path, f"--input={SHARED / 'sources'}") == 0
    assert "note:" not in capsys.readouterr().out
    for collection in ("real", "second"):
        expected = {path.name: path.read_bytes() for path in (SHARED / collection).glob("*.npy")}
        assert len(expected) == 12
        assert {path.name: path.read_bytes() for path in (tmp_path / collection).glob("*.npy")} == expected
