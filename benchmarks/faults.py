"""What a training loses when it is killed, stopped, or runs out of disk: it should be nothing.

    python benchmarks/faults.py               all, about 20 minutes on 2 CPU cores
    python benchmarks/faults.py --only=kill   one fault

Every fault befalls a real training of small images (32 x 32 pixels of the shipped sample, CPU). It is then resumed to
its end, and its generator's weights are compared, bit by bit, with those of a training that nothing befell. `lost`
counts the cases in which they differ, or in which the message or exit code was not the promised one.
"""

import argparse
import ctypes
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
ITERATIONS = 12
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
        words += ["--vgg_weights=random", f"--num_iters={ITERATIONS}", "--save_every=2", "--eval_every=6", *flags]
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
            if self.start(name, name).wait():
                raise RuntimeError(f"{name}: {self.log(name)}")
            self.references[name] = weights(self.results(name, name)), time.monotonic() - began
        return self.references[name]

    def recover(self, name, into):
        """Resume (or start again where nothing was saved yet); gives (whether nothing is lost, seconds)."""
        began = time.monotonic()
        run = self.results(name, into)
        flags = ["--resume"] if list(run.glob("checkpoints/[0-9]*.npz")) else ["--overwrite"]
        code = self.start(name, into, *flags).wait()
        seconds = time.monotonic() - began
        same = code == 0 and all(map(np.array_equal, weights(run), self.reference(name)[0]))
        if not same:
            print(f"{name} in {into} lost something:\n{self.log(into)}", flush=True)
        return same, seconds

    def wait_for(self, name, into, pattern="checkpoints/[0-9]*.npz", process=None):
        """Wait until a file appears in the results folder, or the process ends."""
        run, deadline = self.results(name, into), time.monotonic() + 120
        while not list(run.glob(pattern)) and time.monotonic() < deadline and (not process or process.poll() is None):
            time.sleep(0.002)


def weights(run):
    """All weights of a results folder's generator.h5."""
    arrays = []
    with h5py.File(run / "generator.h5", "r") as file:
        file["model_weights"].visititems(lambda _, v: arrays.append(v[()]) if isinstance(v, h5py.Dataset) else None)
    return arrays


def kill(bench, rng):
    """SIGKILL at a random moment of the training, and while a checkpoint is being written."""
    for name, (_, _, times) in TRAININGS.items():
        seconds = bench.reference(name)[1]
        for number in range(times):
            into = f"{name} killed {number}"
            process = bench.start(name, into)
            if number % 2:
                time.sleep(rng.uniform(0.5, 1.0) * seconds)
            else:
                bench.wait_for(name, into, f"checkpoints/.{2 * rng.randint(1, 5):06d}.*", process)
            process.kill()
            process.wait()
            yield bench.recover(name, into)


def stop(bench, rng, number, code):
    """A signal: saved within one iteration, said how to go on, the shell's exit code."""
    name = "cGAN tuned"
    for attempt in range(3):
        into = f"signal {number} {attempt}"
        process = bench.start(name, into, "--eval_every=1000")
        bench.wait_for(name, into, process=process)
        time.sleep(rng.uniform(0, 0.2))
        process.send_signal(number)
        ended = process.wait(60)
        if ended == 0:
            print(f"{into}: ended before the signal came and is not counted", flush=True)
            continue
        promised = ended == code and "--resume" in bench.log(into)
        same, seconds = bench.recover(name, into)
        yield same and promised, seconds


def interrupt(bench, rng):
    """Ctrl-C."""
    yield from stop(bench, rng, signal.SIGINT, 130)


def terminate(bench, rng):
    """SIGTERM, as a cluster's scheduler sends it."""
    yield from stop(bench, rng, signal.SIGTERM, 143)


def second_interrupt(bench, rng):
    """Ctrl-C twice, the second while it saves: ends at once, and the last checkpoint is whole."""
    name = "cGAN paper"
    for attempt in range(2):
        into = f"twice {attempt}"
        process = bench.start(name, into)
        bench.wait_for(name, into, process=process)
        process.send_signal(signal.SIGINT)
        time.sleep(rng.uniform(0.05, 0.3))
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.wait(60)
        at_once = time.monotonic() - began < 2
        same, seconds = bench.recover(name, into)
        yield same and at_once, seconds


def refused(bench, name, into, message, before=None, **limits):
    """A resumed training that meets the limit ends with one error line; without the limit it goes on to its end.

    Where `message` is None the limit may also leave it enough room to train.
    """
    first = bench.start(name, into, "--max_seconds=0.001")
    first.wait()
    if before:
        before(bench.results(name, into))
    code = bench.start(name, into, "--resume", **limits).wait()
    said = [line for line in bench.log(into).splitlines() if line.startswith("error: ")]
    if before:
        subprocess.run(["chmod", "-R", "u+w", str(bench.folder / into)], check=True)
    promised = code == 2 and len(said) == 1 and (message or "") in said[0] and "Traceback" not in bench.log(into)
    promised = promised or (message is None and code == 0)
    if not promised:
        print(f"{into}: exit code {code}, {bench.log(into)[-3000:]}", flush=True)
    same, seconds = bench.recover(name, into)
    return same and promised, seconds


def full_disk(bench, rng):
    """No file may grow beyond a limit, as on a full disk: every file of a save in turn is the first that fails."""
    for size in (10_000, 100_000, 400_000, 1_500_000):
        limit = lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: E731
        yield refused(bench, "cGAN tuned", f"full disk {size}", "File too large", preexec_fn=limit)


def read_only(bench, rng):
    """A results folder that may not be written, as an ordinary user."""

    def forbid(run):
        subprocess.run(["chmod", "-R", "a-w", str(run)], check=True)

    def ordinary():
        # Root reads and writes whatever the bits say, unless it has given that right away.
        if os.getuid() == 0 and ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0):
            raise OSError("the right to write everywhere cannot be given away")

    yield refused(bench, "cGAN tuned", "read only", "Permission denied", forbid, preexec_fn=ordinary)


def few_files(bench, rng):
    """A low limit of open files: one error line, or it trains."""
    for count in (8, 14, 18, 20, 24):
        limit = lambda count=count: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))  # noqa: E731
        yield refused(bench, "cGAN tuned", f"few files {count}", None, preexec_fn=limit)


def deleted_folder(bench, rng):
    """The results folder is deleted under the run: made again, with the whole state, at the next save."""
    name, into = "cGAN tuned", "deleted"
    process = bench.start(name, into)
    bench.wait_for(name, into, process=process)
    shutil.rmtree(bench.results(name, into), ignore_errors=True)
    process.wait()
    yield bench.recover(name, into)


def two_runs(bench, rng):
    """A second training in the folder of one that runs is refused, and the first does not notice."""
    name, into = "cGAN tuned", "two runs"
    process = bench.start(name, into, "--eval_every=1")
    bench.wait_for(name, into, process=process)
    process.send_signal(signal.SIGSTOP)  # so that it does not end before the second has begun
    code = bench.start(name, into, "--resume", log="second").wait()
    process.send_signal(signal.SIGCONT)
    promised = code == 2 and "in use by another training" in bench.log("second")
    promised = process.wait() == 0 and promised
    same, seconds = bench.recover(name, into)
    yield same and promised, seconds


def long_run(bench, rng):
    """2000 iterations: memory within 50 MB of that after 200, as many open files, a log that can be read meanwhile."""
    name, into, began = "cGAN tuned", "long run", time.monotonic()
    process = bench.start(name, into, "--num_iters=2200", "--save_every=200", "--eval_every=100")
    measured = {}
    while process.poll() is None:
        log = bench.results(name, into) / "log.csv"
        done = int(log.read_text().splitlines()[-1].split(",")[0]) if log.exists() else 0
        if done in (200, 2000) and done not in measured:
            measured[done] = memory_and_files(process.pid)
        time.sleep(0.05)
    (memory, files), (later, later_files) = measured[200], measured[2000]
    print(f"after 200 iterations {memory:.0f} MB and {files} files, after 2000 {later:.0f} MB and {later_files} files")
    yield later - memory < 50 and later_files == files, time.monotonic() - began


def memory_and_files(pid):
    """Resident megabytes and open files of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6, len(os.listdir(f"/proc/{pid}/fd"))


FAULTS = (
    kill,
    interrupt,
    terminate,
    second_interrupt,
    full_disk,
    read_only,
    few_files,
    deleted_folder,
    two_runs,
    long_run,
)


def main(args):
    rng = random.Random(args.seed)
    chosen = [fault for fault in FAULTS if args.only in (None, fault.__name__)]
    lines = ["| fault | tried | lost | seconds to recover |", "|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        for fault in chosen:
            cases = list(fault(bench, rng))
            lost, seconds = sum(not same for same, _ in cases), max((seconds for _, seconds in cases), default=0)
            lines.append(f"| {fault.__doc__.splitlines()[0].rstrip('.')} | {len(cases)} | {lost} | {seconds:.0f} |")
            print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[fault.__name__ for fault in FAULTS])
    parser.add_argument("--seed", type=int, default=1)
    main(parser.parse_args())
