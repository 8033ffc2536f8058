"""Campaign folder and ledger, without any container engine."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges import registry
from medpodium.challenges.campaign import folder as campaigns
from medpodium.challenges.campaign.ledger import DONE, FAILED, INFRA, Ledger, LedgerCode, work_key
from medpodium.challenges.sources import package_version, source_hash
from medpodium.findings import Finding, InfrastructureError, UsageError


def test_frozen_definition_is_the_same_for_every_built_in_challenge(tmp_path: Path) -> None:
    from medpodium.challenges.campaign.cases import Manifest

    for number, name in enumerate(registry.names()):
        source, _ = registry.locate(name)
        for edition in dict.fromkeys([*source.editions[:1], *source.editions[-1:]]) or ["1"]:
            loaded = registry.load(f"{name}/{edition}") if source.editions else registry.load(name)
            root = tmp_path / f"{number}-{edition}"
            made = campaigns.create(root, loaded, Manifest(str(tmp_path), "", ()))
            reference = made.challenge_reference
            made.close()
            with campaigns.opened(root) as opened:
                assert opened.challenge.digest == loaded.digest
                assert registry.load(reference).digest == loaded.digest


def test_edited_definition_or_manifest_is_noticed(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=2)
    made.close()
    path = made.root / "challenge.yaml"
    path.write_text(path.read_text().replace("20 s", "21 s"))
    with pytest.raises(UsageError, match="definition-changed"):
        campaigns.open(made.root)
    path.write_text(path.read_text().replace("21 s", "20 s"))
    campaigns.open(made.root).close()
    listed = made.root / "cases.json"
    listed.write_text(listed.read_text().replace('"case1"', '"case7"'))
    with pytest.raises(UsageError, match="definition-changed"):
        campaigns.open(made.root)


def test_folder_in_use_and_folder_without_campaign_are_refused(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=1)
    with pytest.raises(UsageError, match="campaign-exists"):
        campaigns.create(made.root, made.challenge, made.manifest)
    with pytest.raises(UsageError, match="campaign-absent"):
        campaigns.open(tmp_path / "images")
    made.close()


def test_work_is_pending_until_it_has_a_result_of_its_own(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=3)
    ledger = made.ledger
    ledger.add_submission("aurora", "default", "sha256:a", {})
    entry = made.submissions()[0]
    assert made.pending(entry) == ["case1", "case2", "case3"]
    keys = made.keys(entry)
    bad = Finding(LedgerCode.BUSY, "case2", "cause", "fix")
    lost = ledger.start(entry.id, "case1", keys["case1"])
    ledger.finish(lost, INFRA, finding=bad)
    assert made.pending(entry) == ["case1", "case2", "case3"], "a failure of the machine is no result"
    done = ledger.start(entry.id, "case1", keys["case1"])
    detail = {"resources": {"running_time": 2.5, "peak_memory": None}}
    ledger.finish(done, DONE, detail=detail, outputs=[("case1", "case1.nii.gz", "00", 3)])
    failed = ledger.start(entry.id, "case2", keys["case2"])
    ledger.finish(failed, FAILED, finding=bad)
    ledger.start(entry.id, "case3", keys["case3"])
    assert made.pending(entry) == ["case3"]
    assert len(ledger.interrupt_running()) == 1
    assert made.pending(entry) == ["case3"]
    table = made.resources().set_index("case")
    assert list(table["status"]) == ["ok", "failed:campaign-busy", "pending"]
    assert list(table["attempts"]) == [2, 1, 1]
    assert table.loc["case1", "running_time"] == 2.5
    assert math.isnan(table.loc["case1", "peak_memory"])
    assert [*made.failures()] == [("aurora", "case2")]
    made.close()


def test_a_result_cannot_be_written_twice(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=1)
    number = made.ledger.add_submission("aurora", "default", "sha256:a", {})
    for expected in (True, False):
        attempt = made.ledger.start(number, "case1", "key")
        if expected:
            made.ledger.finish(attempt, DONE)
        else:
            with pytest.raises(sqlite3.IntegrityError):
                made.ledger.finish(attempt, DONE, outputs=[("case1", "p", "0", 1)])
            assert made.ledger.outputs(attempt) == [], "the whole transaction is undone"
    made.close()


def test_new_image_of_a_team_replaces_the_old_one_and_old_results_stay(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=1)
    first = made.ledger.add_submission("aurora", "default", "sha256:a", {})
    key = made.keys(made.submissions()[0])["case1"]
    made.ledger.finish(made.ledger.start(first, "case1", key), DONE)
    made.ledger.add_submission("aurora", "default", "sha256:b", {})
    assert [one.digest for one in made.submissions()] == ["sha256:b"]
    assert made.pending(made.submissions()[0]) == ["case1"]
    made.ledger.add_submission("aurora", "default", "sha256:a", {})
    assert made.pending(made.submissions()[0]) == [], "the earlier image's result is found again"
    made.close()


def test_key_depends_on_image_case_and_protocol() -> None:
    keys = {work_key(*parts) for parts in (("a", "b", "c"), ("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"))}
    assert len(keys) == 4


def test_events_name_version_and_sources(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=1)
    made.ledger.event("noted", "team", why="because")
    assert made.ledger.events()[0]["kind"] == "init"
    for event in made.ledger.events():
        assert event["detail"]["medpodium"] == package_version()
        assert event["detail"]["sources"] == source_hash()
    assert made.ledger.events("noted")[0]["detail"]["why"] == "because"
    made.close()


def test_lock_is_exclusive_and_dies_with_its_process(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=1)
    made.close()
    code = (
        "import sys, time; from pathlib import Path; from medpodium.challenges.campaign.ledger import Ledger; "
        "one = Ledger(Path(sys.argv[1])); one.lock(); print('held', flush=True); time.sleep(60)"
    )
    path = made.root / "ledger.sqlite"
    process = subprocess.Popen([sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    with pytest.raises(InfrastructureError, match="campaign-busy"):
        Ledger(path).lock()
    process.kill()
    process.wait()
    mine = Ledger(path)
    mine.lock()
    mine.close()


def test_damaged_ledger_is_a_finding(tiny: Any, tmp_path: Path) -> None:
    made = tiny.campaign(tmp_path, count=1)
    made.close()
    for name in ("ledger.sqlite-wal", "ledger.sqlite-shm"):
        (made.root / name).unlink(missing_ok=True)
    (made.root / "ledger.sqlite").write_bytes(b"not a database" * 100)
    with pytest.raises(InfrastructureError, match="ledger-damaged"):
        campaigns.open(made.root)


@pytest.mark.parametrize(("name", "expected"), [("liseg", "liseg"), ("lifs", "lifs"), ("liseg-ged4", "liseg")])
def test_container_is_found_by_its_name_or_a_task(name: str, expected: str) -> None:
    assert campaigns.container_name(registry.load("liqa"), name) == expected


def test_container_must_be_named_where_there_are_several() -> None:
    with pytest.raises(UsageError, match="name one with --task"):
        campaigns.container_name(registry.load("liqa"))
    with pytest.raises(UsageError, match="no task 'other'"):
        campaigns.container_name(registry.load("flare-pancancer"), "other")
    with pytest.raises(UsageError, match="no-container-protocol"):
        campaigns.container_name(registry.load("stunet-transfer"))
