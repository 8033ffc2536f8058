"""Outputs that the kernel cannot bound, where nobody is root, are watched: deleted files count while open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from medpodium.containers.sandbox import bounds
from medpodium.containers.sandbox.monitor import deleted_bytes
from medpodium.containers.sandbox.outputs import Outputs


def test_deleted_but_open_files_are_counted(posix: None, tmp_path: Path) -> None:
    with (tmp_path / "gone").open("wb") as file:
        file.write(bytes(3 << 20))
        file.flush()
        os.fsync(file.fileno())
        (tmp_path / "gone").unlink()
        assert deleted_bytes([os.getpid()], tmp_path) == 3 << 20

        class Group:
            """The control group of this process."""

            def pids(self) -> set[int]:
                return {os.getpid()}

        found = Outputs(tmp_path, 2 << 20, 10).problem("here", Group())  # type: ignore[arg-type]
        assert found is not None
        assert str(found.code) == "output-too-large"
        assert Outputs(tmp_path, 4 << 20, 10).problem("here", Group()) is None  # type: ignore[arg-type]
    assert deleted_bytes([os.getpid()], tmp_path) == 0


@pytest.mark.docker
def test_who_hides_files_is_killed_where_outputs_are_only_watched(
    tiny: Any, docker_engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "available", lambda: False)
    write = "".join(f"exec {n}> /output/d; rm /output/d; head -c 8388608 /dev/zero >&{n}; " for n in (3, 4, 5))
    campaign = tiny.campaign(tmp_path, count=1)
    archives = {
        "hides": tiny.archive(tmp_path / "hides.tar", f"{write} sleep 5; {tiny.GOOD}"),
        "honest": tiny.archive(tmp_path / "honest.tar", tiny.GOOD),
    }
    tiny.run(docker_engine, campaign, archives)
    table = campaign.resources().set_index("submission")
    campaign.close()
    assert table.loc["hides", "code"] == "output-too-large"
    assert table.loc["honest", "status"] == "ok"
