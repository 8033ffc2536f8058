"""What a team learns at home: why a PASS is worth nothing, what is wrong with a script, and a line that can be run."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.cli import main

pytestmark = pytest.mark.docker


def check(tiny: Any, folder: Path, script: str | bytes, *more: object, changes: Any = None, name: str = "home") -> Any:
    rules = tiny.challenge(folder, **(changes or {}))
    images, references = tiny.cases(folder, 1)
    files = {"run.sh": script} if isinstance(script, bytes) else tiny.script(script)
    path = tiny.archive(folder / f"{name}.tar", layers=[tiny.layer(files)])
    words = ["check", "image", rules, path, "--cases", images, "--references", references, "--team", name, *more]
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module", autouse=True)
def clean(tiny: Any, docker_engine: Any) -> Any:
    yield
    tiny.clean(docker_engine, "medpodium/home")


def test_a_pass_with_flipped_axes_says_so_in_the_last_line(tiny: Any, tmp_path: Path) -> None:
    """0.1.0 said PASS and Dice 0."""
    labels = np.zeros((12, 24, 20), np.uint8)
    labels[2:9, 2:10, 1:4] = 1  # far from the middle of x, so that nothing of it lies on its mirror image,
    labels[2:5, 12:20, 1:8] = 1  # and no shift makes it its mirror image
    flipped = tiny.nifti(np.ascontiguousarray(labels[:, :, ::-1]))
    rules = tiny.challenge(tmp_path)
    images, references = tiny.cases(tmp_path, 1)
    for folder, suffix in ((images, "_0000"), (references, "")):
        (folder / f"case1{suffix}.nii.gz").write_bytes(tiny.nifti(labels))
    layer = tiny.layer({**tiny.script("cp /flipped.nii.gz /output/case1.nii.gz"), "flipped.nii.gz": flipped})
    path = tiny.archive(tmp_path / "home.tar", layers=[layer])
    words = ["check", "image", rules, path, "--cases", images, "--references", references, "--team", "home"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "prediction-looks-flipped" in result.output
    last = result.stdout.strip().splitlines()[-1]
    assert last.startswith("PASS")
    assert "flipped along x" in last


def test_the_printed_command_runs_as_printed(tiny: Any, tmp_path: Path) -> None:
    """0.1.0 printed one whose folders and image it had deleted."""
    result = check(tiny, tmp_path, tiny.GOOD, "--keep", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    line = next(line for line in result.stdout.splitlines() if "docker run" in line)
    done = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [path for path in (tmp_path / "kept").rglob("case1.nii.gz") if "predictions" not in path.parts]
    made = [SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path))) for path in found]
    assert any(np.array_equal(one, tiny.mask(0)) for one in made)


@pytest.mark.parametrize(
    ("script", "command", "words"),
    [
        (b"#!/bin/sh\r\necho\r\n", ["/run.sh"], ["Windows line ends"]),
        (b"cd /tmp\r\nls /input\r\n", ["/bin/sh", "-c", "sh /run.sh"], ["windows-line-ends"]),
        (b"#!/usr/bin/python9\nprint()\n", ["/run.sh"], ["/usr/bin/python9"]),
        (b"#!/bin/sh\n/nothing/there\n", ["/run.sh"], ["end of the log", "/nothing/there"]),
        (b"#!/bin/sh\nwhoami || exit 1\n", ["/run.sh"], ["user-without-name", "ENV USER="]),
    ],
    ids=["shebang", "sourced", "interpreter", "log", "nameless"],
)
def test_what_is_wrong_with_a_script_is_told(
    tiny: Any, tmp_path: Path, script: bytes, command: list[str], words: list[str]
) -> None:
    """0.1.0 told a team to read a log that it had deleted."""
    result = check(tiny, tmp_path, script, changes={"command": command})
    assert result.exit_code == 1, result.output
    for word in words:
        assert word in result.output, result.output
    assert "read the log;" not in result.output
