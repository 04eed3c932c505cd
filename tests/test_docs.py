"""Every command of docs/from_your_microscope.md, in its order, with two iterations a training."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import tifffile

ROOT = Path(__file__).resolve().parents[1]


def test_the_page_runs_as_it_stands(tmp_path):
    page = (ROOT / "docs/from_your_microscope.md").read_text(encoding="utf-8")
    script = "set -e\n" + "\n".join(re.findall(r"```bash\n(.*?)```", page, re.DOTALL))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "REPOSITORY": str(ROOT), "ITERATIONS": "2", "PATH": path, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    restored = tifffile.imread(tmp_path / "restored/field10.tif")
    assert restored.shape == (128, 128) and np.isfinite(restored).all() and "flux" in done.stdout
    assert len(list((tmp_path / "checked").glob("*_check.tif"))) == 10
