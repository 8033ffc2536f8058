"""The page 'The life of a campaign' does what it says: every line is run, in order, with functions for containers."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

PAGE = Path(__file__).resolve().parents[2] / "docs" / "campaign.md"
BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def lines() -> list[str]:
    return [line for block in BLOCK.findall(PAGE.read_text("utf-8")) for line in block.strip().split("\n")]


class Desk:
    """The folder in which the page is followed, and what happens in it between its lines."""

    def __init__(self, folder: Path, tiny: Any) -> None:
        self.folder, self.tiny = folder, tiny
        self.printed: list[tuple[str, str]] = []
        data = json.loads(json.dumps(tiny.CHALLENGE))
        task, first = data["tasks"]["segmentation"], data["containers"]["default"]
        data["tasks"] = {"organs": {**task, "container": "organs"}, "lesions": {**task, "container": "lesions"}}
        cascade = {"path": "/before", "kind": "cascade", "task": "organs"}
        data["containers"] = {"organs": first, "lesions": {**first, "mounts": [*first["mounts"], cascade]}}
        data["ranking"] = {"organs": "mean", "lesions": "mean"}
        (folder / "challenge.yaml").write_text(json.dumps(data))
        for index in range(3):
            self.case(f"case_{index + 1}", index)

    def case(self, name: str, seed: int, reference: int | None = None) -> None:
        for place, ending, number in (("images", "_0000", seed), ("labels", "", reference or seed)):
            (self.folder / "hidden" / place).mkdir(parents=True, exist_ok=True)
            data = self.tiny.nifti(self.tiny.mask(number, (8, 20, 18)))
            (self.folder / "hidden" / place / f"{name}{ending}.nii.gz").write_bytes(data)

    def before(self, number: int, line: str) -> None:
        """Do what the page says an organizer did before a line."""
        if "add-cases" in line:
            self.case("case_4", 11)
        if "exit code 3" in line:
            self.case("case_1", 0, 9)

    def follow(self) -> None:
        for number, line in enumerate(lines()):
            assert line.startswith("$ medpodium "), line
            self.before(number, line)
            command, _, comment = line.removeprefix("$ medpodium ").partition("   # exit code ")
            done = CliRunner().invoke(main, shlex.split(command))
            said = done.stdout + done.stderr
            assert done.exit_code == int(comment or 0), f"{line}\n{said}\n{done.exception!r}"
            self.printed.append((command, said))

    def said(self, start: str, number: int = 0) -> str:
        return [said for command, said in self.printed if command.startswith(start)][number]


@pytest.fixture(scope="module")
def desk(tiny: Any, inprocess: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Follow the page from top to bottom; containers are functions of the image and the case."""
    from medpodium.containers.intake import image
    from medpodium.containers.run import runner
    from medpodium.containers.sandbox import engine

    folder = tmp_path_factory.mktemp("page")
    crashed: list[str] = []

    class Machine(runner.Runner):
        """Runs an image as a function; ``borealis`` crashes on a case the first time."""

        @contextmanager
        def session(self) -> Any:
            self.campaign.ledger.lock()
            self._clear_leftovers()
            yield

        def contain(self, submission: Any, protocol: Any, pinned: Any, name: str, work: Path) -> Any:
            from medpodium.containers.failures import RunCode, finding

            seed = int(self.campaign.manifest[name].id[-1]) - 1
            seed = 11 if seed == 3 else seed
            shift = {"aurora": 1, "borealis": 2, "cirrus": 3}[submission.team] + (
                submission.digest == digest("aurora-2")
            )
            mask = np.roll(tiny.mask(seed, (8, 20, 18)), shift, axis=2)
            crash = submission.team == "borealis" and submission.task == "organs" and name == "case_2" and not crashed
            crashed.extend([name] * crash)
            problem = finding(RunCode.CRASH, name, "exit code 139") if crash else None
            return lambda: inprocess.outcome(work, protocol, {} if crash else {name: tiny.nifti(mask)}, problem)

    def digest(name: str) -> str:
        return inprocess.image(sum(name.encode()))

    def take(client: Any, source: str, *given: Any, **more: Any) -> Any:
        name = Path(source).name.partition(".")[0]
        own = str(Path(source).resolve())
        return image.Pinned(digest(name), digest(name), "t:1", (), (), 1, own, "", existed=True), []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "take", take)
        patch.setattr(engine, "connect", lambda: None)
        patch.setattr(engine, "describe", lambda client: {})
        patch.setattr(engine, "preflight", lambda client, gpus=False: [])
        patch.setattr(runner, "Runner", Machine)
        patch.chdir(folder)
        found = Desk(folder, tiny)
        for name in ("aurora", "aurora-2", "borealis", "cirrus"):
            (folder / f"{name}.tar").write_bytes(name.encode())
        found.follow()
        yield found


def test_page_has_every_verb() -> None:
    verbs = [
        "withdraw",
        "disqualify",
        "reinstate",
        "rerun",
        "add-cases",
        "remove-cases",
        "update-references",
        "move",
        "archive",
        "restore",
    ]
    for verb in verbs:
        assert any(f"campaign {verb} " in line for line in lines())


def test_status_and_watch_name_failures(desk: Desk) -> None:
    assert "exit code 139" in desk.said("status")
    for number in (0, 1):
        frame = desk.said("watch", number)
        assert "exit code 139" in frame
        assert "0 pending, 0 running, 10 done, 2 failed" in frame
        assert "everything is done" in frame


def test_late_team_is_said_first_and_scored_alone(desk: Desk) -> None:
    first = desk.said("rank", 1).splitlines()[0]
    assert "cirrus: 3 case" in first
    assert "not ranked" in first
    assert "3 results (a team on a case) scored now, 12 stand as they were" in desk.said("score", 1)
    assert "cirrus" in desk.said("rank", 2)


def test_rerun_takes_back_one_failure(desk: Desk) -> None:
    assert "1 runs are pending again" in desk.said("campaign rerun")


def test_team_that_is_out_is_named_with_the_reason(desk: Desk) -> None:
    first, *rest = desk.said("rank", 3).splitlines()
    assert "borealis was withdrawn" in first
    assert "asked to leave" in first
    assert not any("borealis" in line for line in rest)
    assert "trained on test cases" in desk.said("submit campaign cirrus.tar", 1)
    report = (desk.folder / "report" / "report.md").read_text("utf-8")
    assert "trained on test cases" in report
    assert "asked to leave" not in report


def test_only_new_cases_are_pending(desk: Desk) -> None:
    assert "1 case(s) joined: case_4; 4 runs pending" in desk.said("campaign add-cases")
    assert "1 case(s) left: case_2; 0 runs pending" in desk.said("campaign remove-cases")


def test_corrected_reference_scores_its_case_again(desk: Desk) -> None:
    said = desk.said("campaign update-references")
    assert "1 case(s) corrected: case_1" in said
    assert "4 results (a team on a case) scored again, 8 stand as they were" in said


def test_second_phase_waits_for_the_first(desk: Desk) -> None:
    said = desk.said("status", 2)
    assert "has not been run yet" in said


def test_restored_campaign_gives_the_same_scores(desk: Desk) -> None:
    mine = pd.read_parquet(desk.folder / "2026" / "campaign" / "scores.parquet")
    pd.testing.assert_frame_equal(mine, pd.read_parquet(desk.folder / "restored" / "scores.parquet"))
    assert set(mine["case"]) == {"case_1", "case_3", "case_4"}
    assert set(mine["submission"]) == {"aurora", "borealis"}
