"""The benchmarks that the documentation names run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import medpodium

HERE = Path(medpodium.__file__).resolve().parent / "benchmarks"


def test_synthetic_case_of_the_scoring_benchmark_is_drawn_whatever_its_size() -> None:
    """A structure near the border has a box that ends at the border; 0.1.0 compared arrays of two shapes there."""
    code = """
import scoring_cases
for shape in ((64, 64, 64), (128, 128, 96)):
    labels = scoring_cases.synthetic(shape, 14)
    assert labels.shape == shape and len(set(labels.ravel())) > 8
    assert scoring_cases.perturbed(labels).any()
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=HERE, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_no_benchmark_is_called_like_a_library_that_the_engine_imports() -> None:
    """A script finds what lies beside it first, and so does everything it imports: Numba looks for ``coverage``."""
    command = [sys.executable, "-c", "import numba"]
    done = subprocess.run(command, cwd=HERE, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
