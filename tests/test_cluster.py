"""Training by two processes on this machine, as on two machines."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from common.errors import InputError
from training import cluster

SCRIPTS = Path(__file__).resolve().parents[1]
PATIENCE = 300  # seconds, for machines that are busy otherwise; a quick one takes a tenth of it


def free_ports(count):
    """Ports that nothing listens on."""
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def tf_config(count):
    """TF_CONFIG of each of `count` workers on this machine."""
    addresses = [f"localhost:{port}" for port in free_ports(count)]
    return [
        {"TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})}
        for index in range(count)
    ]


@pytest.fixture
def start(tmp_path, pair_folder):
    """Start a small training in as many processes as environments are given; all are ended after the test."""
    processes = []

    def run(environments, *flags, folder="run"):
        common = [f"--data_dir={pair_folder}", f"--dir={tmp_path / folder}", "--num_gpu=0", "--batch_size=4"]
        command = [sys.executable, str(SCRIPTS / "train_cGAN.py"), "--recipe=tuned", *common, *flags]
        for number, environment in enumerate(environments):
            log = open(tmp_path / f"{folder}{number}.log", "w")  # noqa: SIM115, the process writes to it
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", **environment}
            process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
            processes.append((process, Path(log.name)))
        return processes[-len(environments) :], tmp_path / folder / "Microscopy_cGAN_results"

    yield run
    for process, _ in processes:
        process.kill()
        process.wait()


def finish(started):
    """What each process said; all must end well."""
    for process, log in started:
        assert process.wait(PATIENCE) == 0, log.read_text()
    return [log.read_text() for _, log in started]


def weights(run):
    arrays = []
    with h5py.File(run / "generator.h5", "r") as file:
        file["model_weights"].visititems(lambda _, v: arrays.append(v[()]) if isinstance(v, h5py.Dataset) else None)
    return arrays


@pytest.mark.slow
def test_two_workers_train_what_one_process_trains_and_the_chief_alone_writes(start):
    flags = ("--num_iters=3", "--eval_every=2", "--save_every=2")
    started, alone = start([{}], *flags, folder="alone")
    finish(started)
    started, together = start(tf_config(2), *flags, folder="together")
    chief, other = finish(started)
    assert "2 workers" in chief and "generator.h5 is ready after 3 iterations" in chief
    assert "the chief has saved everything" in other and "restore.py" not in other
    for a, b in zip(weights(alone), weights(together), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-4)
    # One process goes on with what two have made.
    started, _ = start([{}], "--num_iters=3", "--resume", folder="together")
    assert "ready after 3 iterations" in finish(started)[0]


@pytest.mark.slow
def test_a_worker_that_dies_is_told_and_resume_goes_on_with_another_number(start):
    flags = ("--num_iters=400", "--save_every=2", "--eval_every=1000")
    started, run = start(tf_config(2), *flags)
    deadline = time.monotonic() + PATIENCE
    while not list(run.glob("checkpoints/[0-9]*.npz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    started[1][0].send_signal(signal.SIGKILL)
    assert started[0][0].wait(PATIENCE) == 2, started[0][1].read_text()
    last = started[0][1].read_text().strip().splitlines()[-1]
    assert last.startswith("error: another worker ended or cannot be reached") and "--resume" in last
    started, _ = start([{}], *flags, "--resume", "--max_seconds=0.01")
    assert "is ready after" in finish(started)[0]


@pytest.mark.slow
def test_all_workers_stop_with_the_one_that_is_told_to(start):
    started, run = start(tf_config(2), "--num_iters=4000", "--save_every=2", "--eval_every=10000")
    deadline = time.monotonic() + PATIENCE
    while not list(run.glob("checkpoints/[0-9]*.npz")) and time.monotonic() < deadline:
        time.sleep(0.1)
    started[0][0].terminate()
    assert started[0][0].wait(PATIENCE) == 143 and "--resume" in started[0][1].read_text()
    assert started[1][0].wait(PATIENCE) == 0


NO_SUCH_TASK = '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}'


@pytest.mark.parametrize("text", ["{", "[]", NO_SUCH_TASK])
def test_a_broken_tf_config_is_told(monkeypatch, text):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match="TF_CONFIG"):
        cluster.is_asked_for()


@pytest.mark.slow
def test_a_slurm_step_of_two_tasks_is_several_workers(monkeypatch, start):
    """The variables that srun sets, with both tasks on this machine."""
    step = {"SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_TASKS_PER_NODE": "2"}
    started, run = start([{**step, "SLURM_PROCID": str(rank)} for rank in range(2)], "--num_iters=2")
    assert "2 workers" in finish(started)[0] and (run / "generator.h5").is_file()
