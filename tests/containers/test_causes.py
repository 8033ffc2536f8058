"""What a team is told of an image that does not start names nothing of the organizer's machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from medpodium.containers.failures import EngineCode, Retry, RunCode, finding
from medpodium.containers.run.execute import _start_problem
from medpodium.containers.sandbox.profile import Bind


@pytest.mark.parametrize("folder", ["campaign", "our campaigns (hidden)", "work"])
@pytest.mark.parametrize("linked", [False, True])
def test_cause_hides_where_the_cases_lie(tmp_path: Path, folder: str, linked: bool) -> None:
    real = tmp_path / folder / "work" / "0123456789abcdef"
    (real / "input").mkdir(parents=True)
    given = tmp_path / "link" if linked else real
    if linked:
        given.symlink_to(real, target_is_directory=True)
    said = real if linked else given  # engines name what a link leads to
    error = Retry(finding(EngineCode.IMAGE_ABSENT, "team", "no"))
    error.__cause__ = RuntimeError(
        "OCI runtime create failed: runc create failed: unable to start container process: error mounting "
        f'"{said}/input" to rootfs at "/input": not a directory'
    )
    found = _start_problem(error, "team", [Bind(f"{given}/input", "/input"), Bind(f"{given}/output", "/output", True)])
    assert found is not None
    assert found.code == RunCode.CANNOT_START
    assert str(tmp_path) not in found.cause
    assert '"(staged)" to rootfs at "/input"' in found.cause
