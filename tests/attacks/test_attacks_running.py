"""Hostile containers, all in one campaign with an honest team before and after them, on this machine's Docker.

Every attack ends as a typed failure (or as a success that gained nothing), within its limit and ten seconds; the host
is as before, and the honest teams' predictions and scores are those of a campaign without attackers.
"""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytestmark = pytest.mark.docker

HERE = Path(__file__).resolve().parent


def loaded(name: str) -> ModuleType:
    """Return a module beside this one."""
    key = f"medpodium_tests_attacks_{name}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, HERE / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


arenas = loaded("arena")
tables = loaded("table")
NAMES = [*arenas.attacks(arenas.load("containers/tiny"), files=False)]


@pytest.fixture(scope="module")
def arena(tiny: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run everybody once."""
    folder = tmp_path_factory.mktemp("arena")
    engine = arenas.load("containers/engines").own_docker(folder)
    made = arenas.fight(tiny, engine, folder, arenas.attacks(tiny))
    yield made
    made.close()


@pytest.mark.parametrize("name", NAMES)
def test_attack_ends_as_typed_failure(arena: Any, name: str) -> None:
    assert arena.problem(name) == ""


def test_honest_teams_are_as_in_a_campaign_without_attackers(
    arena: Any, tiny: Any, docker_engine: Any, tmp_path: Path
) -> None:
    quiet = arenas.fight(tiny, arena.engine, tmp_path, {})
    assert arena.harm(quiet) == []
    quiet.close()


def test_host_is_as_before(arena: Any, tiny: Any) -> None:
    assert arena.left_behind() == []
    assert arena.most <= arenas.OUTPUT + (16 << 20)
    assert subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip() != "evil"
    assert tiny.tags(arena.engine.client, "medpodium/n1", "medpodium/r1") == []


def test_nothing_hidden_survives_collection(arena: Any) -> None:
    team = arena.campaign.predictions_dirs()["n8-voxels-in-header"]
    raw = gzip.decompress((team / "case1.nii.gz").read_bytes())
    assert b"SECRET" not in raw
    assert b"HIDDEN" not in raw
    assert {path.name for path in arena.campaign.predictions_dirs()["t2-write-scores"].rglob("*")} == {"case1.nii.gz"}


def test_logs_are_capped_and_harmless(arena: Any) -> None:
    limit = 64 << 10
    for name in ("r11-log-flood", "r11-endless-line", "r11-nul-bytes", "t7-terminal-escapes"):
        submission = arena.campaign.submissions(team=name)[0]
        logs = list(arena.campaign.runs_dir(submission).rglob("log.txt"))
        assert len(logs) == 1
        data = logs[0].read_bytes()
        assert len(data) <= 6 * limit  # an escaped control character takes up to six bytes
        assert not [byte for byte in data if byte < 32 and byte != 10]


def test_own_findings_name_what_was_ignored(arena: Any) -> None:
    for name, code in (("t3-other-case", "unexpected-output"), ("r10-newline-name", "output-bad-name")):
        submission = arena.campaign.submissions(team=name)[0]
        notes = arena.campaign.ledger.results(submission.id)[0].detail["notes"]
        assert code in {note["code"] for note in notes}
        assert all(note["where"].isprintable() and note["cause"].isprintable() for note in notes)


def test_threat_model_names_every_attack() -> None:
    page = (HERE.parents[1] / "docs" / "threat-model.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"`{name}`" not in page] == []


def test_table_of_the_threat_model_is_that_of_these_attacks() -> None:
    """The page is written by ``tests/attacks/table.py``, from this list and from what the attacks ended as."""
    results = tables.read()
    assert sorted(results["attacks"]) == sorted(NAMES)
    page = (HERE.parents[1] / "docs" / "threat-model.md").read_text(encoding="utf-8")
    assert tables.render(results) in page
