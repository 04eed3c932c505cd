"""A run's results folder: arguments, log, checkpoints. Every file is written beside its place and renamed into it."""

from __future__ import annotations

import csv
import json
import os
import platform
import subprocess
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from common.errors import InputError
from common.files import json_values, write_text, written_whole

KEEP_CHECKPOINTS = 2


def read_args(folder: str | Path) -> dict:
    """What `RunFolder.write_args` wrote. Raises InputError where the folder is none of a training."""
    try:
        record = json.loads((Path(folder) / "args.json").read_text(encoding="utf-8"))
        record["arguments"], record["versions"], record["not_default"]
    except FileNotFoundError as failure:
        raise InputError(f"{folder}: expected the results folder of a training (args.json is missing)") from failure
    except (ValueError, KeyError, TypeError, NotADirectoryError) as failure:
        raise InputError(f"{folder}: expected the results folder of a training (args.json: {failure!r})") from failure
    return record


def read_log(folder: str | Path) -> list[dict[str, str]]:
    """The rows of a run folder's log.csv, list of {column: text}; none where there is no evaluation yet."""
    path = Path(folder) / "log.csv"
    if not path.is_file():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


class RunFolder:
    """Reads and writes one results folder.

    Args:
        path: the folder; nothing is created before `create`.
        keep: how many of the last checkpoints are kept; -1 for all.
    """

    def __init__(self, path: str | Path, keep: int = KEEP_CHECKPOINTS):
        self.path, self.keep = Path(path), keep
        self.rows = []

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def check(self, resume: bool, overwrite: bool, probe_lock: bool = True) -> None:
        """Raise InputError where the folder's state and the wish disagree. Writes nothing."""
        if resume and overwrite:
            raise InputError("--resume and --overwrite exclude each other; choose one")
        if resume and not self.checkpoints():
            raise InputError(f"--resume: {self.path} holds no checkpoint to go on from; start without --resume")
        if probe_lock and self._lock_path.exists():
            self._lock().release()
        if self.path.exists() and not (resume or overwrite) and any(self.path.iterdir()):
            raise InputError(
                f"{self.path} holds an earlier run; go on with --resume, choose another --dir, "
                "or start anew with --overwrite (the earlier run is then kept under another name)"
            )

    @property
    def _lock_path(self):
        # Beside the folder, because --overwrite renames the folder.
        path = self.path.absolute()
        return path.with_name(f".{path.name}.lock")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other trainings out of the folder; the system lets go of the lock if this process dies."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = self._lock()
        try:
            if lock.is_locked:
                self._lock_path.write_text(str(os.getpid()))
            yield
        finally:
            lock.release()

    def _lock(self):
        """The lock, held; not held on a file system without locks. Raises InputError where another training has it."""
        open(self._lock_path, "a").close()  # raises where the file is another user's, or nothing can be written
        # A soft lock would outlive a killed training: another machine of a cluster could not go on with its run.
        lock = FileLock(self._lock_path, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
        except Timeout:
            owner = self._lock_path.read_text() or "unknown"
            raise InputError(
                f"{self.path} is in use by another training (process {owner}); wait for it, or choose another --dir"
            ) from None
        except OSError:
            pass
        return lock

    def create(self, resume: bool, overwrite: bool) -> str | None:
        """Make the folder. An earlier run is renamed, never deleted; returns a notice or None."""
        notice = None
        if overwrite and self.path.exists():
            kept = self.path.with_name(f"{self.path.name}.{time.strftime('%Y%m%d-%H%M%S')}")
            self.path.rename(kept)
            notice = f"the earlier run is now {kept}"
        (self.path / "samples").mkdir(parents=True, exist_ok=True)
        (self.path / "checkpoints").mkdir(exist_ok=True)
        if resume:
            self.rows = read_log(self.path)
        return notice

    def write_args(self, arguments: dict[str, Any], not_default: Sequence[str], script: str) -> None:
        """Save what was trained, all arguments, the names of those that are not defaults, versions and the git commit.

        Args:
            script: as in `generator_file.Metadata`: "cGAN", "CIN-GAN", or the name of a baseline.
        """
        import tensorflow as tf  # Its distribution may be tensorflow-cpu, so it is asked itself.

        record = {
            "script": script,
            "arguments": json_values(arguments),
            "not_default": not_default,
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                **{name: version(name) for name in ("keras", "numpy", "scikit-image")},
            },
            "git_commit": _git_commit(),
        }
        write_text(self.path / "args.json", json.dumps(record, indent=2) + "\n")

    def log(self, row: dict) -> None:
        """Add one row (a dict with "iteration") to log.csv; rows at or after its iteration are replaced."""
        self.rows = [old for old in self.rows if int(old["iteration"]) < row["iteration"]] + [row]
        columns = dict.fromkeys(key for each in self.rows for key in each)
        with written_whole(self.path / "log.csv") as beside, open(beside, "w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(columns), restval="")
            writer.writeheader()
            writer.writerows(self.rows)

    def checkpoints(self) -> list[Path]:
        """Paths of the whole checkpoints, oldest first."""
        return sorted((self.path / "checkpoints").glob("[0-9]*.npz"), key=lambda path: int(path.stem))

    def iterations_done(self) -> int:
        """Finished iterations, by the last checkpoint: a training that is stopped saves, but does not evaluate."""
        checkpoints = self.checkpoints()
        return int(checkpoints[-1].stem) if checkpoints else 0

    def evaluated(self) -> int | None:
        """Iteration of the last evaluation in log.csv; None where there is none."""
        try:
            return max(int(row["iteration"]) for row in read_log(self.path))
        except (OSError, ValueError, KeyError):
            return None

    def finished(self, num_iters: int) -> bool:
        """Whether a generator stands here after exactly that many iterations, and their evaluation was logged."""
        return self.evaluated() == num_iters and (self.path / "generator.h5").is_file()

    def save_checkpoint(
        self, iteration: int, variables: dict[str, list], state: dict, seconds: float = 0.0, rollbacks: int = 0
    ) -> None:
        """Save everything that training needs to go on; the last `keep` checkpoints are kept.

        Args:
            iteration: number of finished iterations.
            variables: {name: list of variables}.
            state: plain values that must agree on resume.
            seconds: of training so far.
            rollbacks: after divergence, so far.
        """
        arrays = {f"{name}/{i}": np.asarray(v) for name, group in variables.items() for i, v in enumerate(group)}
        with written_whole(self.path / "checkpoints" / f"{iteration:06d}.npz") as beside, open(beside, "wb") as file:
            np.savez(file, iteration=iteration, seconds=seconds, rollbacks=rollbacks, state=json.dumps(state), **arrays)
        for old in self.checkpoints()[: -self.keep] if self.keep > 0 else ():
            old.unlink()

    def load_checkpoint(self, variables: dict[str, list], state: dict) -> tuple[int, float, int]:
        """Load the newest checkpoint into the variables.

        Returns:
            (number of finished iterations, seconds of training that they took, rollbacks so far).

        Raises:
            InputError: the checkpoint was made with other arguments or another network.
        """
        path, arrays = self._newest_whole_checkpoint()
        _check_same_state(path, json.loads(str(arrays["state"])), state)
        for name, group in variables.items():
            for i, variable in enumerate(group):
                stored = arrays.get(f"{name}/{i}")
                if stored is None or stored.shape != np.shape(variable):
                    raise InputError(f"--resume: {path} is of another network ({name}/{i}); choose another --dir")
                variable.assign(stored)
        return int(arrays["iteration"]), float(arrays["seconds"]), int(arrays["rollbacks"])

    def read_state(self) -> dict:
        """The newest checkpoint's `state`, as `save_checkpoint` got it; {} where none can be read."""
        for path in reversed(self.checkpoints()):
            try:
                with np.load(path, allow_pickle=False) as stored:
                    return json.loads(str(stored["state"]))
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                continue  # `load_checkpoint` says so.
        return {}

    def load_released(self, path: Path) -> list[np.ndarray] | None:
        """Weights of the released generator in one checkpoint, list of arrays; None where the file is damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                count = sum(key.startswith("released/") for key in stored.files)
                return [stored[f"released/{i}"] for i in range(count)]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as failure:
            print(f"note: {path} is damaged ({failure}); left out")
            return None

    def _newest_whole_checkpoint(self):
        for path in reversed(self.checkpoints()):
            try:
                with np.load(path, allow_pickle=False) as stored:
                    return path, dict(stored)
            except (OSError, ValueError, EOFError, zipfile.BadZipFile) as failure:
                print(f"note: {path} is damaged ({failure}); going on from the one before")
        raise InputError(f"--resume: every checkpoint in {self.path} is damaged; start anew with --overwrite")


def _check_same_state(path, stored, state):
    state = json.loads(json.dumps(state))
    changed = [key for key in state if stored.get(key) != state[key]]
    if changed:
        changes = "; ".join(f"{key} was {stored.get(key)}, is now {state[key]}" for key in changed)
        raise InputError(f"--resume: {path} was made with other settings ({changes}); use the same, or another --dir")


def _git_commit():
    """Commit of the code that runs, or None outside a repository."""
    command = ["git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
