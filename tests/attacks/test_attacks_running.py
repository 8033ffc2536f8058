"""Hostile containers, in two campaigns at once with an honest team before and after them, on this machine's Docker.

Every attack ends as a typed failure (or as a success that gained nothing), within its limit and ten seconds; the host
is as before, and the honest teams' predictions and scores are those of a campaign without attackers.
"""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.docker

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def lanes(tiny: Any, arenas: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run everybody once, in two campaigns at the same time."""
    folder = tmp_path_factory.mktemp("arena")
    engine = arenas.load("containers/engines").own_docker(folder)
    made = arenas.fight_at_once(tiny, engine, folder, arenas.attacks(tiny))
    yield made
    for lane in made:
        lane.close()


def of(lanes: Any, attack: str) -> Any:
    """Return the campaign that an attack took part in."""
    return next(lane for lane in lanes if attack in lane.attacks)


def test_attack_ends_as_typed_failure(lanes: Any, attack: str) -> None:
    assert of(lanes, attack).problem(attack) == ""


def test_honest_teams_are_as_in_a_campaign_without_attackers(
    lanes: Any, tiny: Any, arenas: Any, tmp_path: Path
) -> None:
    quiet = arenas.fight(tiny, lanes[0].engine, tmp_path, {})
    assert [wrong for lane in lanes for wrong in lane.harm(quiet)] == []
    quiet.close()


def test_host_is_as_before(lanes: Any, tiny: Any, arenas: Any) -> None:
    assert [left for lane in lanes for left in lane.left_behind()] == []
    assert [lane.most for lane in lanes if lane.most > arenas.OUTPUT + (16 << 20)] == []
    assert subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip() != "evil"
    assert tiny.tags(lanes[0].engine.client, "medpodium/n1", "medpodium/r1") == []


def test_nothing_hidden_survives_collection(lanes: Any) -> None:
    team = of(lanes, "n8-voxels-in-header").campaign.predictions_dirs()["n8-voxels-in-header"]
    raw = gzip.decompress((team / "case1.nii.gz").read_bytes())
    assert b"SECRET" not in raw
    assert b"HIDDEN" not in raw
    wrote = of(lanes, "t2-write-scores").campaign.predictions_dirs()["t2-write-scores"]
    assert {path.name for path in wrote.rglob("*")} == {"case1.nii.gz"}


def test_logs_are_capped_and_harmless(lanes: Any) -> None:
    limit = 64 << 10
    for name in ("r11-log-flood", "r11-endless-line", "r11-nul-bytes", "t7-terminal-escapes"):
        campaign = of(lanes, name).campaign
        submission = campaign.submissions(team=name)[0]
        logs = list(campaign.runs_dir(submission).rglob("log.txt"))
        assert len(logs) == 1
        data = logs[0].read_bytes()
        assert len(data) <= 6 * limit  # an escaped control character takes up to six bytes
        assert not [byte for byte in data if byte < 32 and byte != 10]


def test_own_findings_name_what_was_ignored(lanes: Any) -> None:
    for name, code in (("t3-other-case", "unexpected-output"), ("r10-newline-name", "output-bad-name")):
        campaign = of(lanes, name).campaign
        submission = campaign.submissions(team=name)[0]
        notes = campaign.ledger.results(submission.id)[0].detail["notes"]
        assert code in {note["code"] for note in notes}
        assert all(note["where"].isprintable() and note["cause"].isprintable() for note in notes)


def test_threat_model_names_every_attack(names: list[str]) -> None:
    page = (HERE.parents[1] / "docs" / "threat-model.md").read_text(encoding="utf-8")
    assert [name for name in names if f"`{name}`" not in page] == []


def test_table_of_the_threat_model_is_that_of_these_attacks(arenas: Any, names: list[str]) -> None:
    """The page is written by ``tests/attacks/table.py``, from this list and from what the attacks ended as."""
    tables = arenas.load("attacks/table")
    results = tables.read()
    assert sorted(results["attacks"]) == sorted(names)
    page = (HERE.parents[1] / "docs" / "threat-model.md").read_text(encoding="utf-8")
    assert tables.render(results) in page
