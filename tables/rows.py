"""The rows of the paper's two tables, the trainings that they need, and the numbers that the paper publishes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple


class Job(NamedTuple):
    """One training.

    Args:
        command: script and flags that every run of it has.
        folder: results folder that the script makes.
        per_task: one network, and one run folder, per task.
        speed_of: name of the job whose step takes as long, itself as a rule.
        probe: iterations that measure its speed.
        cin: name of the job whose CIN-GAN makes its pairs, or None.
        table_batch: its batch is the table's --batch_size; else its own default.
    """

    command: tuple[str, ...]
    folder: str
    per_task: bool
    speed_of: str
    probe: int
    cin: str | None = None
    table_batch: bool = False

    def run(self, jobs_folder: Path, name: str, task: str) -> Path:
        """The run folder of a task.

        Args:
            jobs_folder: holds a folder for each job.
            name: of this job.
            task: name.
        """
        folder = jobs_folder / name / self.folder
        return folder / task if self.per_task else folder

    def cin_run(self, jobs_folder: Path) -> Path | None:
        """The run folder of its CIN-GAN, which is one for all tasks; None where it uses none."""
        return JOBS[self.cin].run(jobs_folder, self.cin, "") if self.cin else None


class Row(NamedTuple):
    """One row of a table.

    Args:
        label: in the table.
        job: name of its training, or of a filter.
        training: what trains it; None for a filter.
        average: images of which the restored one is the mean: 8 for flips and turns.
        ours: a method of this repository or its paper.
        published: the paper's numbers (arXiv 1910.14207), PSNR / SSIM on CARE's data: denoising | axial inpainting |
            super-resolution. All cells of both tables are here.
    """

    label: str
    job: str
    training: Job | None = None
    average: int = 1
    ours: bool = False
    published: str = ""


def _baseline(name, probe, *flags):
    method = name.lower()
    return Job(("train_baseline.py", f"--method={method}", *flags), f"{name}_results", True, method, probe)


def _cgan(recipe, probe, cin=None, *flags, table_batch=False):
    folder = "Microscopy_cGAN_results_CIN_augm" if cin else "Microscopy_cGAN_results"
    cin_flags = ("--cin_augment=True",) if cin else ()
    command = ("train_cGAN.py", f"--recipe={recipe}", *cin_flags, *flags)
    return Job(command, folder, False, recipe, probe, cin, table_batch)


def _cin(recipe, probe, table_batch=False):
    command = ("train_CIN_GAN.py", f"--recipe={recipe}")
    return Job(command, "CIN-GAN_results", False, f"cin_{recipe}", probe, table_batch=table_batch)


def _tuned(cin=None, *flags, start="--init_from=none"):
    """From random weights as a rule; an empty `start` is the shipped generator."""
    return _cgan("tuned", 150, cin, *filter(None, [start]), *flags)


_paper = partial(_cgan, "paper", 9, table_batch=True)
_alone = "--alpha=1"  # generated pairs alone

ROWS = {
    "A": [
        Row("input", "input"),
        Row("total variation", "total_variation"),
        Row("BM3D", "bm3d"),
        Row("CARE", "care", _baseline("CARE", 90), published="21.6 / 0.56 | 12.8 / 0.29 | 14.1 / 0.20"),
        Row("CARE, augmented", "care_augmented", _baseline("CARE", 90, "--augment"), average=8),
        Row("DeblurGAN", "deblurgan", _baseline("DeblurGAN", 30), published="18.0 / 0.33 | 14.6 / 0.20 | 11.2 / 0.14"),
        Row("cGAN `paper`", "paper", _paper(), ours=True, published="22.4 / 0.56 | 17.4 / 0.38 | 14.3 / 0.22"),
        Row("cGAN `paper` + CIN", "paper_cin", _paper("cin_paper"), ours=True),
        Row("cGAN `tuned`", "tuned", _tuned(), average=8, ours=True),
        Row("cGAN `tuned` + CIN", "tuned_cin", _tuned("cin_tuned"), average=8, ours=True),
        Row("cGAN `tuned`, shipped start", "tuned_started", _tuned(start=""), average=8, ours=True),
    ],
    "B": [
        Row("input", "input"),
        Row("CycleGAN", "cyclegan", _baseline("CycleGAN", 18), published="21.3 / 0.49 | 15.3 / 0.27 | 12.7 / 0.14"),
        Row(
            "cGAN `paper`, CIN-GAN's pairs",
            "paper_unpaired",
            _paper("cin_paper", _alone),
            ours=True,
            published="21.9 / 0.57 | 15.1 / 0.32 | 8.9 / 0.07",
        ),
        Row("cGAN `tuned`, CIN-GAN's pairs", "tuned_unpaired", _tuned("cin_tuned", _alone), average=8, ours=True),
        Row(
            "cGAN `tuned`, CIN-GAN's pairs, shipped start",
            "tuned_unpaired_started",
            _tuned("cin_tuned", _alone, start=""),
            average=8,
            ours=True,
        ),
    ],
}

JOBS = {"cin_paper": _cin("paper", 4, table_batch=True), "cin_tuned": _cin("tuned", 90)}
JOBS |= {row.job: row.training for rows in ROWS.values() for row in rows if row.training}


def jobs_of(setting: str) -> list[str]:
    """Names of the jobs of a setting in the order in which they can run: a CIN-GAN before the cGAN that uses it."""
    names = []
    for row in ROWS[setting]:
        if row.training:
            names += [name for name in (row.training.cin, row.job) if name and name not in names]
    return names


def budget(setting: str, name: str, seconds: float, num_tasks: int) -> float:
    """Seconds of training for each network of a job. Without pairs, a CIN-GAN counts in the seconds of its row."""
    job = JOBS[name]
    shared = setting == "B" and (job.cin or any(other.cin == name for other in JOBS.values()))
    return seconds / (num_tasks if job.per_task else 1) / (2 if shared else 1)
