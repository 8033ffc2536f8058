"""What a team is told of an image that does not start names nothing of the organizer's machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges.registry import load
from medpodium.containers.failures import RunCode
from medpodium.containers.run.blame import _of_the_image
from medpodium.containers.sandbox.profile import Bind, sandbox


@pytest.mark.parametrize("folder", ["campaign", "our campaigns (hidden)", "work"])
@pytest.mark.parametrize("linked", [False, True])
def test_cause_hides_where_the_cases_lie(tiny: Any, tmp_path: Path, folder: str, linked: bool) -> None:
    real = tmp_path / folder / "work" / "0123456789abcdef"
    (real / "input").mkdir(parents=True)
    given = tmp_path / "link" if linked else real
    if linked:
        given.symlink_to(real, target_is_directory=True)
    said = real if linked else given  # engines name what a link leads to
    error = RuntimeError(
        "OCI runtime create failed: runc create failed: unable to start container process: error mounting "
        f'"{said}/input" to rootfs at "/input": not a directory'
    )
    binds = (Bind(f"{given}/input", "/input"), Bind(f"{given}/output", "/output", True))
    protocol = load(tiny.challenge(tmp_path)).containers["default"]
    found = _of_the_image(error, sandbox(protocol, "sha256:0", binds, {}), "team")
    assert found.code == RunCode.CANNOT_START
    assert str(tmp_path) not in found.cause
    assert '"(staged)" to rootfs at "/input"' in found.cause
