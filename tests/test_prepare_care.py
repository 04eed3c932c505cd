"""CARE's archives on local files of the same layout, and a download from a server on this machine."""

import hashlib
import http.server
import json
import tarfile
import threading

import numpy as np
import pytest

from data import prepare_care
from errors import InputError


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
        ("text", "no .tar.gz"),
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
