"""CARE's archives and the original's zip files, as small local ones, and a download from a server on this machine."""

import hashlib
import http.server
import json
import tarfile
import threading
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest

from common.errors import InputError
from data import prepare_care


def make_archive(folder, samples=30, channels=2, axes="SCYX", compressed=False):
    """A small archive in CARE's layout; returns (its path, X, Y)."""
    rng = np.random.default_rng(0)
    x = rng.random((samples, channels, 16, 16)).astype(np.float32)
    save = np.savez_compressed if compressed else np.savez
    save(folder / "data_label.npz", X=x, Y=2 * x, axes=axes)
    path = folder / "Isotropic_Retina.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder / "data_label.npz", "Isotropic_Retina/train_data/data_label.npz")
    return path, x, 2 * x


def run(*flags):
    return prepare_care.main(prepare_care.make_parser().parse_args(list(map(str, flags))))


@pytest.mark.parametrize("compressed", [False, True])
def test_channels_become_images_and_stay_on_one_side(tmp_path, compressed):
    archive, x, y = make_archive(tmp_path, compressed=compressed)
    output = tmp_path / "out"
    run(f"--output={output}", "--tasks=Retina", f"--input={archive}", "--n_test=10")
    arrays = {path.stem: np.load(path) for path in output.glob("Retina_*.npy")}
    images_x, images_y = (a.reshape(-1, 16, 16) for a in (x, y))
    assert np.array_equal(arrays["Retina_X"], images_x[:50]) and np.array_equal(arrays["Retina_Y"], images_y[:50])
    assert np.array_equal(arrays["Retina_X_test"], images_x[50:])
    assert np.array_equal(arrays["Retina_Y_test"], images_y[50:])


def test_odd_counts_do_not_split_a_sample(tmp_path):
    """7 test images take 4 samples of 2 channels; none of their other channels is trained on."""
    make_archive(tmp_path)
    run(f"--output={tmp_path / 'o'}", "--tasks=Retina", f"--input={tmp_path / 'data_label.npz'}", "--n_test=7")
    assert (
        len(np.load(tmp_path / "o" / "Retina_X.npy")) == 52 and len(np.load(tmp_path / "o" / "Retina_X_test.npy")) == 7
    )
    run(
        f"--output={tmp_path / 'p'}",
        "--tasks=Retina",
        f"--input={tmp_path / 'data_label.npz'}",
        "--n_test=6",
        "--n_images=5",
    )
    assert len(np.load(tmp_path / "p" / "Retina_Y.npy")) == 5


def damage(folder, kind):
    archive, _, _ = make_archive(folder, axes="SYXC" if kind == "axes" else "SCYX")
    if kind == "cut":
        archive.write_bytes(archive.read_bytes()[:-2000])
    if kind == "text":
        archive.write_text("no archive")
    if kind == "other":
        with tarfile.open(archive, "w:gz") as tar:
            tar.add(folder / "data_label.npz", "readme.txt")
    if kind == "keys":
        np.savez(folder / "data_label.npz", A=np.zeros((3, 1, 16, 16)))
        return folder / "data_label.npz"
    return archive


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("axes", "expected SCYX"),
        ("cut", "download it again"),
        ("text", "not a .tar.gz file"),
        ("other", "holds no train_data/data_label.npz"),
        ("keys", "expected CARE's keys"),
    ],
)
def test_damage_is_named_and_leaves_no_array(tmp_path, kind, message):
    archive = damage(tmp_path, kind)
    with pytest.raises(InputError, match=message):
        run(f"--output={tmp_path / 'out'}", "--tasks=Retina", f"--input={archive}", "--n_test=4")
    assert not list((tmp_path / "out").glob("*.npy")) and not list((tmp_path / "out").glob(".*"))


def test_existing_arrays_are_kept(tmp_path):
    archive, _, _ = make_archive(tmp_path)
    flags = [f"--output={tmp_path / 'out'}", "--tasks=Retina", f"--input={archive}", "--n_test=4"]
    run(*flags)
    with pytest.raises(InputError, match="exists"):
        run(*flags)


SHORTENED = "Drosophila_{}_shortened.npy"


def write_zip(path, array, name):
    """One array in a zip file as a Mac packs it, with the hidden file that it adds."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open(name, "w") as file:
            np.lib.format.write_array(file, array)
        archive.writestr(f"__MACOSX/._{name}", b"\0\5\x16\7")


def write_shortened(folder, x, y, names=SHORTENED):
    """The original repository's layout; returns the paths of x's and y's zip files."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{names.format(key)}.zip" for key in "XY"]
    for path, array in zip(paths, (x, y), strict=True):
        write_zip(path, array, path.stem)
    return paths


@pytest.mark.parametrize("shape", [(20, 16, 12), (20, 16, 12, 1), (10, 2, 16, 12)], ids=str)
@pytest.mark.parametrize("given", ["folder", "x", "y"])
def test_the_shortened_arrays_of_the_original_repository(given, shape, tmp_path):
    """One .npy a zip file, uint16 here; the folder, or either file, names both."""
    x = np.arange(20 * 16 * 12, dtype=np.uint16).reshape(shape)
    paths = write_shortened(tmp_path / "data", x, x[::-1])
    source = {"folder": tmp_path / "data", "x": paths[0], "y": paths[1]}[given]
    run(f"--output={tmp_path / 'out'}", "--tasks=Drosophila", f"--input={source}", "--n_test=4")
    arrays = {path.stem: np.load(path) for path in (tmp_path / "out").glob("*.npy")}
    for key, images in (("X", x), ("Y", x[::-1])):
        images = images.reshape(20, 16, 12).astype(np.float32)
        assert np.array_equal(arrays[f"Drosophila_{key}"], images[:16])
        assert np.array_equal(arrays[f"Drosophila_{key}_test"], images[16:])


def test_a_folder_gives_all_tasks(tmp_path):
    for name in prepare_care.SOURCES:
        write_shortened(tmp_path / "data", *np.random.default_rng(0).random((2, 6, 8, 8)), name + "_{}_shortened.npy")
    run(f"--output={tmp_path / 'out'}", f"--input={tmp_path / 'data'}", "--n_test=2")
    assert len(list((tmp_path / "out").glob("*_X.npy"))) == len(list((tmp_path / "out").glob("*_Y_test.npy"))) == 3


def spoil(folder, kind):
    """Zip files of a task of which x's is not what it should be; returns the folder."""
    images = np.random.default_rng(0).random((8, 16, 16))
    path, y_path = write_shortened(folder, images, images)
    name = SHORTENED.format("X")
    if kind == "y missing":
        y_path.unlink()
    if kind == "no zip":
        path.write_text("no zip")
    if kind == "flipped":
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    if kind == "bomb":  # 10,000 GB by its header, 2 kB in its file
        header = {"descr": "<f8", "fortran_order": False, "shape": (10**8, 128, 128)}
        with zipfile.ZipFile(path, "w") as archive, archive.open(name, "w") as file:
            np.lib.format.write_array_header_1_0(file, header)
            file.write(bytes(2000))
    members = {
        "no array": {"readme.txt": "none"},
        "two arrays": {"a.npy": "", "b.npy": ""},
        "way out": {f"../../{name}": ""},
        "absolute": {f"/tmp/{name}": ""},
        "text": {name: "no array"},
    }
    if kind in members:
        with zipfile.ZipFile(path, "w") as archive:
            for member, text in members[kind].items():
                archive.writestr(member, text)
    if kind == "objects":
        write_zip(path, np.array([{}] * 8), name)
    if kind == "other shape":
        write_zip(path, images[:5], name)
    return folder


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("y missing", "Drosophila_Y_shortened.npy.zip: no such file"),
        ("no zip", "not a zip file"),
        ("flipped", "is damaged"),
        ("bomb", "is cut short"),
        ("no array", "holds 0 .npy files"),
        ("two arrays", "holds 2 .npy files"),
        ("way out", "leads out of its folder"),
        ("absolute", "leads out of its folder"),
        ("text", "no readable array"),
        ("objects", "expected real numbers"),
        ("other shape", "they must agree"),
    ],
)
def test_a_hostile_zip_file_is_one_line_and_leaves_nothing(kind, message, tmp_path):
    source, output = spoil(tmp_path / "data", kind), tmp_path / "out"
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InputError, match=message) as failure:
        run(f"--output={output}", "--tasks=Drosophila", f"--input={source}", "--n_test=4")
    assert "\n" not in str(failure.value) and sorted(tmp_path.rglob("*")) == sorted([*before, output])


def test_arrays_that_the_disk_cannot_hold_are_refused(tmp_path, monkeypatch):
    """What a zip file unpacks to is known before anything is written."""
    paths = write_shortened(tmp_path / "data", *np.zeros((2, 20, 64, 64)))
    monkeypatch.setattr(prepare_care.shutil, "disk_usage", lambda path: SimpleNamespace(free=600_000))
    with pytest.raises(InputError, match=r"need 0\.000655 GB, 0\.0006 GB are free"):
        run(f"--output={tmp_path / 'out'}", "--tasks=Drosophila", f"--input={paths[0]}", "--n_test=4")
    assert not list((tmp_path / "out").iterdir())


class Server(http.server.BaseHTTPRequestHandler):
    """A Dataverse server with one file, which honours ranges and can break off once."""

    content = b""
    break_after = None
    checksum = None

    def do_GET(self):
        if "/api/datasets/" in self.path:
            file = {"id": 5, "filename": "a.tar.gz", "filesize": len(self.content)}
            file["checksum"] = {"type": "MD5", "value": self.checksum or hashlib.md5(self.content).hexdigest()}
            body, status = json.dumps({"data": [{"dataFile": file}]}).encode(), 200
        else:
            start = int(self.headers.get("Range", "bytes=0-")[6:-1])
            body, status = self.content[start:], 206 if start else 200
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if status == 200 and Server.break_after and b"dataFile" not in body[:100]:
            body, Server.break_after = body[: Server.break_after], None
        self.wfile.write(body)

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    Server.content = np.random.default_rng(0).bytes(3 << 20)
    Server.break_after, Server.checksum = None, None
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    Server.break_after = 1 << 20
    with pytest.raises(InputError, match="run again"):
        prepare_care.download("a.tar.gz", tmp_path, server)
    assert (tmp_path / "a.tar.gz.part").stat().st_size == 1 << 20
    path = prepare_care.download("a.tar.gz", tmp_path, server)
    assert path.read_bytes() == Server.content and list(tmp_path.iterdir()) == [path]


def test_a_damaged_download_is_not_kept(server, tmp_path):
    Server.checksum = "0" * 32
    with pytest.raises(InputError, match="arrived damaged"):
        prepare_care.download("a.tar.gz", tmp_path, server)
    assert not list(tmp_path.iterdir())


def test_no_internet_is_said_with_both_ways_out(tmp_path):
    with pytest.raises(InputError) as failure:
        prepare_care.download("a.tar.gz", tmp_path, "http://127.0.0.1:9")
    assert "10.17617/3.FDFZOF" in str(failure.value) and "--input" in str(failure.value)


def test_an_unknown_file_is_said(server, tmp_path):
    with pytest.raises(InputError, match=r"holds no file b\.tar\.gz"):
        prepare_care.download("b.tar.gz", tmp_path, server)
