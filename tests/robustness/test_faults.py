"""A training that is killed, stopped, or runs out of disk loses nothing.

    make test-robustness                                              all, about 20 minutes on 2 CPU cores
    python -m pytest tests/robustness/test_faults.py -rP -k kill      one fault; says how long it took to recover

Every fault befalls a real training of small images (32 x 32 pixels of the shipped sample, CPU). It is then resumed to
its end, and its generator's weights are compared, bit by bit, with those of a training that nothing befell.
"""

import ctypes
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1  # of linux/prctl.h and linux/capability.h
CIN = "--cin_augment=True --cin_generator_path={cin}"
# Script and flags, results folder, how often it is killed.
TRAININGS = {
    "cGAN tuned": ("train_cGAN.py --recipe=tuned", "Microscopy_cGAN_results", 5),
    "cGAN tuned + CIN": (f"train_cGAN.py --recipe=tuned {CIN}", "Microscopy_cGAN_results_CIN_augm", 3),
    "cGAN paper": ("train_cGAN.py --recipe=paper", "Microscopy_cGAN_results", 2),
    "CIN-GAN tuned": ("train_CIN_GAN.py --recipe=tuned", "CIN-GAN_results", 4),
    "CIN-GAN paper": ("train_CIN_GAN.py --recipe=paper --n_critic=1", "CIN-GAN_results", 2),
    "CARE": ("train_baseline.py --method=care --tasks=Nuclei", "CARE_results/Nuclei", 2),
    "DeblurGAN": ("train_baseline.py --method=deblurgan --n_critic=1 --tasks=Nuclei", "DeblurGAN_results/Nuclei", 1),
    "CycleGAN": ("train_baseline.py --method=cyclegan --tasks=Nuclei", "CycleGAN_results/Nuclei", 1),
}


class Bench:
    """The small data, one undisturbed training of each kind, and how the others are started."""

    def __init__(self, folder):
        self.folder, self.references = folder, {}
        self.data = folder / "data"
        self.data.mkdir()
        for path in (ROOT / "data").glob("*_[XY]*.npy"):
            np.save(self.data / path.name, np.load(path)[:12, 48:80, 48:80])

    def start(self, name, into, *flags, log=None, **options):
        """Start a training in its own process, its output in a file."""
        cin = self.folder / "CIN-GAN tuned/CIN-GAN_results/generator.h5"
        words = [word.format(cin=cin) for word in TRAININGS[name][0].split()]
        words += [f"--data_dir={self.data}", f"--dir={self.folder / into}", "--num_gpu=0", "--batch_size=2"]
        words += ["--vgg_weights=random", "--num_iters=12", "--save_every=2", "--eval_every=6", *flags]
        command = [sys.executable, str(ROOT / words[0]), *words[1:]]
        with open(self.folder / f"{log or into}.log", "w") as file:
            return subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, **options)

    def log(self, into):
        """What a training said."""
        return (self.folder / f"{into}.log").read_text()

    def results(self, name, into):
        """Its results folder."""
        return self.folder / into / TRAININGS[name][1]

    def reference(self, name):
        """Weights of the undisturbed training, and its seconds."""
        if name not in self.references:
            if "+ CIN" in name:
                self.reference("CIN-GAN tuned")
            began = time.monotonic()
            assert self.start(name, name).wait() == 0, self.log(name)
            self.references[name] = weights(self.results(name, name)), time.monotonic() - began
        return self.references[name]

    def recover(self, name, into):
        """Resume (or start again where nothing was saved yet), and compare."""
        began, run = time.monotonic(), self.results(name, into)
        flags = ["--resume"] if list(run.glob("checkpoints/[0-9]*.npz")) else ["--overwrite"]
        assert self.start(name, into, *flags).wait() == 0, self.log(into)
        print(f"recovered in {time.monotonic() - began:.0f} s")
        assert all(map(np.array_equal, weights(run), self.reference(name)[0])), self.log(into)

    def started(self, name, into, *flags, pattern="checkpoints/[0-9]*.npz"):
        """A training of which a file is there in the results folder, or that has ended."""
        process, deadline = self.start(name, into, *flags), time.monotonic() + 120
        while not list(self.results(name, into).glob(pattern)) and time.monotonic() < deadline:
            if process.poll() is not None:
                break
            time.sleep(0.002)
        return process

    def refused(self, name, into, message, before=lambda run: None, **limits):
        """A resumed training that meets a limit ends with one error line, or (`message` None) it may train."""
        self.start(name, into, "--max_seconds=0.001").wait()
        before(self.results(name, into))
        code = self.start(name, into, "--resume", **limits).wait()
        subprocess.run(["chmod", "-R", "u+w", str(self.folder / into)], check=True)
        errors = [line for line in self.log(into).splitlines() if line.startswith("error: ")]
        if code or message:
            assert code == 2 and len(errors) == 1 and "Traceback" not in self.log(into), self.log(into)
            assert (message or "") in errors[0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return Bench(tmp_path_factory.mktemp("faults"))


def weights(run):
    """All weights of a results folder's generator.h5."""
    arrays = []
    with h5py.File(run / "generator.h5", "r") as file:
        file["model_weights"].visititems(lambda _, v: arrays.append(v[()]) if isinstance(v, h5py.Dataset) else None)
    return arrays


KILLS = [(name, number) for name, (_, _, times) in TRAININGS.items() for number in range(times)]


@pytest.mark.parametrize(("name", "number"), KILLS)
def test_killed_at_a_random_moment_or_while_a_checkpoint_is_written_it_loses_nothing(bench, name, number):
    into, rng = f"{name} killed {number}", random.Random(f"{name} {number}")
    seconds = bench.reference(name)[1]
    if number % 2:
        process = bench.start(name, into)
        time.sleep(rng.uniform(0.5, 1.0) * seconds)
    else:
        process = bench.started(name, into, pattern=f"checkpoints/.{2 * rng.randint(1, 5):06d}.*")
    process.kill()
    process.wait()
    bench.recover(name, into)


@pytest.mark.parametrize("attempt", range(3))
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_stopped_by_a_signal_it_saves_and_says_how_to_go_on(bench, number, code, attempt):
    into = f"signal {number} {attempt}"
    process = bench.started("cGAN tuned", into, "--eval_every=1000")
    time.sleep(random.Random(into).uniform(0, 0.2))
    process.send_signal(number)
    ended = process.wait(60)
    if ended == 0:
        pytest.skip("it ended before the signal came")
    assert ended == code and "--resume" in bench.log(into)
    bench.recover("cGAN tuned", into)


@pytest.mark.parametrize("attempt", range(2))
def test_a_second_ctrl_c_while_it_saves_ends_it_at_once_and_the_last_checkpoint_is_whole(bench, attempt):
    into = f"twice {attempt}"
    process = bench.started("cGAN paper", into)
    process.send_signal(signal.SIGINT)
    while process.poll() is None and catches(process.pid, signal.SIGINT):
        time.sleep(0.01)  # It notes the first after the step that it is in.
    time.sleep(random.Random(into).uniform(0.05, 0.3))
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    process.wait(60)
    assert time.monotonic() - began < 2
    bench.recover("cGAN paper", into)


def catches(pid, number):
    """Whether a process handles a signal itself."""
    caught = re.search(r"SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text()).group(1)
    return bool(int(caught, 16) >> (number - 1) & 1)


@pytest.mark.parametrize("size", [10_000, 100_000, 400_000, 1_500_000])
def test_on_a_full_disk_it_ends_in_one_error_and_goes_on_later(bench, size):
    """No file may grow beyond a limit: every file of a save in turn is the first that fails."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
    bench.refused("cGAN tuned", f"full disk {size}", "File too large", preexec_fn=limit)
    bench.recover("cGAN tuned", f"full disk {size}")


def test_in_a_read_only_folder_it_ends_in_one_error_and_goes_on_later(bench):
    def forbid(run):
        subprocess.run(["chmod", "-R", "a-w", str(run)], check=True)

    def become_ordinary():
        # Root reads and writes whatever the bits say, unless it has given that right away.
        if os.getuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
            raise OSError("the right to write everywhere cannot be given away")

    bench.refused("cGAN tuned", "read only", "Permission denied", forbid, preexec_fn=become_ordinary)
    bench.recover("cGAN tuned", "read only")


@pytest.mark.parametrize("count", [8, 14, 18, 20, 24])
def test_with_few_open_files_it_trains_or_ends_in_one_error(bench, count):
    limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))  # noqa: E731
    bench.refused("cGAN tuned", f"few files {count}", None, preexec_fn=limit)
    bench.recover("cGAN tuned", f"few files {count}")


def test_a_results_folder_deleted_under_the_run_is_made_again_with_the_whole_state(bench):
    process = bench.started("cGAN tuned", "deleted")
    shutil.rmtree(bench.results("cGAN tuned", "deleted"), ignore_errors=True)
    process.wait()
    bench.recover("cGAN tuned", "deleted")


def test_a_second_training_in_the_same_folder_is_refused_and_the_first_does_not_notice(bench):
    process = bench.started("cGAN tuned", "two runs", "--eval_every=1")
    process.send_signal(signal.SIGSTOP)  # so that it does not end before the second has begun
    code = bench.start("cGAN tuned", "two runs", "--resume", log="second").wait()
    process.send_signal(signal.SIGCONT)
    assert process.wait() == 0
    assert code == 2 and "in use by another training" in bench.log("second")
    bench.recover("cGAN tuned", "two runs")


def test_over_2000_iterations_memory_stays_within_50_mb_and_no_file_stays_open(bench):
    process = bench.start("cGAN tuned", "long run", "--num_iters=2200", "--save_every=200", "--eval_every=100")
    log, measured = bench.results("cGAN tuned", "long run") / "log.csv", {}
    while process.poll() is None:
        done = int(log.read_text().splitlines()[-1].split(",")[0]) if log.exists() else 0
        if done in (200, 2000) and done not in measured:
            measured[done] = memory_and_files(process.pid)
        time.sleep(0.05)
    (memory, files), (later, later_files) = measured[200], measured[2000]
    print(f"after 200 iterations {memory:.0f} MB and {files} files, after 2000 {later:.0f} MB and {later_files} files")
    assert later - memory < 50 and later_files == files


def memory_and_files(pid):
    """Resident megabytes and open files of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6, len(os.listdir(f"/proc/{pid}/fd"))
