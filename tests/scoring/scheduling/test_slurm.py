"""Slurm: settings with units, and the submission script, without a cluster."""

from __future__ import annotations

import builtins
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.findings import InfrastructureError, UsageError
from medpodium.scoring.scheduling.options import Where, choose
from medpodium.scoring.scheduling.scheduler import LocalScheduler
from medpodium.scoring.scheduling.slurm import SlurmScheduler, SlurmSettings, read_settings, submission_script

pytestmark = pytest.mark.usefixtures("scale_installed")

FULL = """
queue: gpu
account: radiology
time: 1.5 d
memory: 64 GiB
cores: 16
gpus: 2
gpu_type: a100
jobs: 8
interface: ib0
local_directory: /scratch/me
python: /opt/env/bin/python
prologue: [module load docker, ulimit -n 4096]
directives: [--exclude=node7]
"""


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "slurm.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def _directives(script: str) -> dict[str, str]:
    found = {}
    for line in re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE):
        name, _, value = line.replace("=", " ", 1).partition(" ")
        found[name] = value
    return found


def test_script_says_what_the_file_asks_for(tmp_path: Path) -> None:
    script = submission_script(read_settings(_file(tmp_path, FULL)), "tcp://10.0.0.1:8786")
    assert script.startswith("#!")
    found = _directives(script)
    assert found["-p"] == "gpu"
    assert found["-A"] == "radiology"
    assert found["-t"] == "1-12:00:00"
    assert found["--cpus-per-task"] == "16"
    assert found["--mem"] == "64G"
    assert found["--gres"] == "gpu:a100:2"
    assert found["--exclude"] == "node7"
    worker = script.strip().splitlines()[-1]
    assert worker.startswith("/opt/env/bin/python -m distributed.cli.dask_worker tcp://10.0.0.1:8786 ")
    for part in (
        "--nworkers 2",
        "--nthreads 1",
        "--resources GPU=1",
        "--local-directory /scratch/me",
        "--interface ib0",
    ):
        assert part in worker
    # Workers stop by themselves before Slurm would kill them.
    lifetime = int(re.search(r"--lifetime (\d+)s", worker)[1])
    assert 0.9 * 36 * 3600 < lifetime < 36 * 3600 - 60
    lines = script.splitlines()
    assert lines.index("module load docker") < lines.index("ulimit -n 4096") < len(lines) - 1


def test_script_is_valid_shell(require: Callable[[bool, str], None]) -> None:
    shell = shutil.which("bash")
    require(shell is not None, "bash")
    assert shell is not None
    script = submission_script(SlurmSettings(time="30 min", memory="4 GB", cores=2))
    subprocess.run([shell, "-n"], input=script, text=True, check=True)
    assert _directives(script)["-t"] == "0-00:30:00"
    assert "GPU" not in script
    assert "--nworkers 2" in script


def test_printing_the_script_needs_neither_slurm_nor_files(tmp_path: Path) -> None:
    path = _file(tmp_path, FULL)
    for verb in ("score", "rank", "run"):
        result = CliRunner().invoke(main, [verb, "--slurm", str(path), "--slurm-script"])
        assert result.exit_code == 0, result.output
        assert result.output == submission_script(read_settings(path))
    result = CliRunner().invoke(main, ["score", "--slurm-script"])
    assert result.exit_code == 2
    assert "needs --slurm" in result.output


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time: 4\nmemory: 1 GB\ncores: 1", r"has no unit"),
        ("time: 4 h\nmemory: 16\ncores: 1", r"has no unit"),
        ("time: 4 h\nmemory: 1 GB\ncores: 0", r"cores: .*greater than or equal to 1"),
        ("time: 4 h\nmemory: 1 GB", r"cores: .*required"),
        ("time: 4 h\nmemory: 1 GB\ncores: 1\nqeue: x", r"qeue: .*not permitted"),
        ('time: 4 h\nmemory: 1 GB\ncores: 1\ndirectives: ["-a\\nrm -rf x"]', r"one line"),
        ("[1", r"slurm-settings-invalid"),
        ("just text", r"time: .*required"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_settings(_file(tmp_path, text))
    with pytest.raises(UsageError):
        read_settings(tmp_path / "absent.yaml")


def test_without_sbatch_the_error_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InfrastructureError, match=r"no sbatch") as caught:
        SlurmScheduler(SlurmSettings(time="1 h", memory="1 GB", cores=1))
    assert caught.value.exit_code == 3


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.split(".")[0] in ("dask", "distributed", "dask_jobqueue"):
            raise ImportError(name)
        return real(name, *rest)

    def absent(name: str, package: str | None = None) -> Any:
        return without(name)

    monkeypatch.setattr("importlib.import_module", absent)
    for scheduler, slurm in (("tcp://127.0.0.1:1", None), (None, _file(tmp_path, FULL))):
        with pytest.raises(InfrastructureError, match=r"pip install 'medpodium\[scale\]'") as caught:
            choose(Where(scheduler, slurm))
        assert caught.value.exit_code == 3
        assert len(str(caught.value).splitlines()) == 1


def test_one_place_at_a_time(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"both --scheduler and --slurm"):
        choose(Where("tcp://127.0.0.1:1", _file(tmp_path, FULL)))
    assert isinstance(choose(Where(workers=2)), LocalScheduler)
