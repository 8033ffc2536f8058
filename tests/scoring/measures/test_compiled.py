"""Compiled code is kept where it can be, and scoring works where it cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import medpodium

SCORE = """
import numpy as np
from medpodium.scoring.measures import kernels
volume = np.zeros((2, 3, 16), np.uint8)
volume[1, 1, 4:9] = 3
volume.flags.writeable = False
start, stop = kernels.row_extents(volume)
print(kernels.__file__, start[1, 1], stop[1, 1])
"""


@pytest.mark.parametrize("home_is_writable", [True, False])
def test_an_installation_that_cannot_be_written_still_scores(tmp_path: Path, home_is_writable: bool) -> None:
    package = tmp_path / "installed" / "medpodium"
    source = Path(medpodium.__file__).parent
    for folder in ("scoring", "challenges"):
        shutil.copytree(source / folder, package / folder, ignore=shutil.ignore_patterns("__pycache__", "*.yaml"))
    shutil.copy(source / "__init__.py", package)
    # a file in the folder's place stops even an administrator, whom permissions would not
    (package / "scoring" / "measures" / "__pycache__").write_text("")
    home = tmp_path / "home"
    if home_is_writable:
        home.mkdir()
    else:
        home.write_text("")
    places = dict.fromkeys(("HOME", "USERPROFILE", "LOCALAPPDATA", "XDG_CACHE_HOME"), str(home))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= places | {"PYTHONPATH": str(package.parent)}
    done = subprocess.run(
        [sys.executable, "-c", SCORE], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    path, start, stop = done.stdout.rsplit(maxsplit=2)
    assert Path(path).is_relative_to(package)
    assert (int(start), int(stop)) == (4, 9)
    kept = [found.name for found in tmp_path.rglob("*.nbi")]
    assert any("row_extents" in name for name in kept) == home_is_writable
