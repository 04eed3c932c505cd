"""The rows of the paper's two tables, and the trainings that they need."""

from __future__ import annotations

from typing import NamedTuple


class Job(NamedTuple):
    """One training.

    Args:
        command: script and flags that every run of it has.
        folder: results folder that the script makes.
        per_task: one network, and one run folder, per task.
        cin: name of the job whose CIN-GAN makes its pairs, or None.
        speed_of: name of the job whose step takes as long, itself as a rule.
        probe: iterations that measure its speed.
    """

    command: tuple[str, ...]
    folder: str
    per_task: bool
    cin: str | None
    speed_of: str
    probe: int


def _baseline(method, folder, probe, *flags):
    return Job(("train_baseline.py", f"--method={method}", *flags), folder, True, None, method, probe)


def _cgan(recipe, probe, cin=None, *flags):
    folder = "Microscopy_cGAN_results_CIN_augm" if cin else "Microscopy_cGAN_results"
    cin_flags = ("--cin_augment=True", *flags) if cin else ()
    return Job(("train_cGAN.py", f"--recipe={recipe}", *cin_flags), folder, False, cin, recipe, probe)


def _cin(recipe, probe):
    return Job(("train_CIN_GAN.py", f"--recipe={recipe}"), "CIN-GAN_results", False, None, f"cin_{recipe}", probe)


JOBS = {
    "care": _baseline("care", "CARE_results", 90),
    "care_augmented": _baseline("care", "CARE_results", 90, "--augment"),
    "deblurgan": _baseline("deblurgan", "DeblurGAN_results", 30),
    "cyclegan": _baseline("cyclegan", "CycleGAN_results", 18),
    "cin_paper": _cin("paper", 4),
    "cin_tuned": _cin("tuned", 90),
    "paper": _cgan("paper", 9),
    "paper_cin": _cgan("paper", 9, "cin_paper"),
    "paper_unpaired": _cgan("paper", 9, "cin_paper", "--alpha=1"),
    "tuned": _cgan("tuned", 150),
    "tuned_cin": _cgan("tuned", 150, "cin_tuned"),
    "tuned_unpaired": _cgan("tuned", 150, "cin_tuned", "--alpha=1"),
}


class Row(NamedTuple):
    """One row of a table: its label, its job (or the name of a filter), whether it averages, whether it is ours."""

    label: str
    job: str
    average: int = 1
    ours: bool = False


ROWS = {
    "A": [
        Row("input", "input"),
        Row("total variation", "total_variation"),
        Row("BM3D", "bm3d"),
        Row("CARE", "care"),
        Row("CARE, augmented", "care_augmented", average=8),
        Row("DeblurGAN", "deblurgan"),
        Row("cGAN `paper`", "paper", ours=True),
        Row("cGAN `paper` + CIN", "paper_cin", ours=True),
        Row("cGAN `tuned`", "tuned", average=8, ours=True),
        Row("cGAN `tuned` + CIN", "tuned_cin", average=8, ours=True),
    ],
    "B": [
        Row("input", "input"),
        Row("CycleGAN", "cyclegan"),
        Row("cGAN `paper`, CIN-GAN's pairs", "paper_unpaired", ours=True),
        Row("cGAN `tuned`, CIN-GAN's pairs", "tuned_unpaired", average=8, ours=True),
    ],
}

# arXiv 1910.14207, PSNR / SSIM on CARE's data: denoising, axial inpainting, super-resolution. All cells of both tables.
PUBLISHED = {
    "A": [
        ("CARE", "21.6 / 0.56", "12.8 / 0.29", "14.1 / 0.20"),
        ("DeblurGAN", "18.0 / 0.33", "14.6 / 0.20", "11.2 / 0.14"),
        ("the paper's cGAN", "22.4 / 0.56", "17.4 / 0.38", "14.3 / 0.22"),
    ],
    "B": [
        ("CycleGAN", "21.3 / 0.49", "15.3 / 0.27", "12.7 / 0.14"),
        ("the paper's cGAN", "21.9 / 0.57", "15.1 / 0.32", "8.9 / 0.07"),
    ],
}


def jobs_of(setting: str) -> list[str]:
    """Names of the jobs of a setting in the order in which they can run: a CIN-GAN before the cGAN that uses it."""
    names = []
    for row in ROWS[setting]:
        if row.job in JOBS:
            names += [name for name in (JOBS[row.job].cin, row.job) if name and name not in names]
    return names


def budget(setting: str, name: str, seconds: float, num_tasks: int) -> float:
    """Seconds of training for each network of a job. Without pairs, a CIN-GAN counts in the seconds of its row."""
    job = JOBS[name]
    shared = setting == "B" and (job.cin or name.startswith("cin_"))
    return seconds / (num_tasks if job.per_task else 1) / (2 if shared else 1)
