"""What a cluster refuses is said in its own words, at once."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

WORDS = "Invalid account or account/partition combination specified"


@pytest.mark.usefixtures("scale_installed", "posix")
def test_a_refused_job_is_told_in_slurms_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.1.0 printed a traceback and waited for workers until its patience ended, which is a day."""
    import numpy as np
    import SimpleITK
    from click.testing import CliRunner

    from medpodium.cli import main

    rules = {
        "schema": 1, "name": "small", "title": "Small",
        "tasks": {"it": {
            "kind": "segmentation", "structures": {"a": {"label": 1}},
            "empty": {"both": "skip", "reference": "worst", "prediction": "worst"},
            "metrics": {"dice": {"kind": "dice"}},
        }},
        "recipes": {"mean": {"steps": [{"mean": ["case", "structure", "metric"]}, {"rank": {}}]}},
        "ranking": {"it": "mean"},
    }  # fmt: skip
    (tmp_path / "rules.yaml").write_text(json.dumps(rules), encoding="utf-8")
    folder = tmp_path / "masks"
    folder.mkdir()
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.ones((3, 3, 3), np.uint8)), str(folder / "c1.nii.gz"))
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, script in {
        "sbatch": f"echo 'sbatch: error: Batch job submission failed: {WORDS}' >&2; exit 1",
        "squeue": "exit 0",
        "scancel": "exit 0",
    }.items():
        (programs / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = "time: 10 min\nmemory: 1 GiB\ncores: 1\npatience: 30 s\n"  # so that this test ends on 0.1.0
    (tmp_path / "slurm.yaml").write_text(settings, encoding="utf-8")
    given = ["score", tmp_path / "rules.yaml", "--references", folder, "--predictions", f"a={folder}"]
    given += ["--out", tmp_path / "scores.csv", "--slurm", tmp_path / "slurm.yaml"]
    began = time.monotonic()
    done = CliRunner().invoke(main, [str(word) for word in given])
    assert WORDS in done.output
    assert "Traceback" not in done.output
    assert done.exit_code == 3
    assert time.monotonic() - began < 30
