"""A campaign names what has changed, what is pending and what waits, before it scores, ranks or runs anything.

The runs are written into the ledger by the test: what is asked here is what the verbs make of it.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from medpodium.cli import main


def medpodium(*words: str | Path, code: int | None = None) -> str:
    """Run a verb; return what it printed, on stdout first."""
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert code is None or done.exit_code == code, done.output
    return done.stdout + done.stderr


def opened(root: Path) -> Any:
    """Open a campaign, in the present house or that of version 0.1.0."""
    try:
        folder = importlib.import_module("medpodium.challenges.campaign.folder")
    except ModuleNotFoundError:
        folder = importlib.import_module("medpodium.challenges.campaign")
    return folder.opened(root)


@dataclass
class Made:
    """A campaign and the folders it was made of."""

    root: Path
    references: Path
    tiny: Any

    def submit(self, team: str, task: str = "default") -> None:
        """Register a submission as intake does."""
        with opened(self.root) as campaign:
            digest = "sha256:" + hashlib.sha256(f"{team}/{task}".encode()).hexdigest()
            image = {"digest": digest, "engine_id": digest, "tag": "t:1", "layers": [], "volumes": [], "bytes": 1}
            campaign.ledger.add_submission(team, task, digest, {"image": image, "findings": []})

    def run(self, team: str, *cases: str, shift: int = 0, task: str = "default") -> None:
        """Note runs as the runner does: predictions that are off by some voxels."""
        import numpy as np

        with opened(self.root) as campaign:
            submission = next(one for one in campaign.submissions(team=team) if one.task == task)
            folder = campaign.predictions_dir(submission)
            folder.mkdir(parents=True, exist_ok=True)
            for case in cases:
                mask = np.roll(self.tiny.mask(int(case[-1]) - 1), shift, axis=2)
                data = self.tiny.nifti(mask)
                (folder / f"{case}.nii.gz").write_bytes(data)
                attempt = campaign.ledger.start(submission.id, case, campaign.keys(submission)[case])
                output = (case, f"{case}.nii.gz", hashlib.sha256(data).hexdigest(), len(data))
                detail = {"attempt": attempt, "resources": {"running_time": 1.0}}
                campaign.ledger.finish(attempt, "done", detail=detail, outputs=[output])

    def prediction(self, team: str, case: str) -> Path:
        """Return where a collected prediction lies."""
        return next((self.root / "predictions").glob(f"*/{team}/*/{case}.nii.gz"))


@pytest.fixture
def made(tiny: Any, tmp_path: Path) -> Made:
    """Make a campaign of three cases with a good and a middling team, all of it run."""
    images, references = tiny.cases(tmp_path, 3)
    root = tmp_path / "campaign"
    medpodium("init", tiny.challenge(tmp_path), root, "--cases", images, "--references", references, code=0)
    found = Made(root, references, tiny)
    for team, shift in (("good", 1), ("middling", 2)):
        found.submit(team)
        found.run(team, "case1", "case2", "case3", shift=shift)
    return found


def changes(tiny: Any, made: Made) -> dict[str, tuple[Path, bytes | None]]:
    """Return what can happen to a file behind the campaign's back: the file and its new bytes (none: deleted)."""
    other = tiny.nifti(tiny.mask(5))
    return {
        "reference-edited": (made.references / "case1.nii.gz", other),
        "reference-deleted": (made.references / "case2.nii.gz", None),
        "prediction-edited": (made.prediction("good", "case3"), other),
        "prediction-deleted": (made.prediction("good", "case3"), None),
        "prediction-put-there": (made.prediction("good", "case3").with_name("extra.nii.gz"), other),
    }


@pytest.mark.parametrize(
    "what", ["reference-edited", "reference-deleted", "prediction-edited", "prediction-deleted", "prediction-put-there"]
)
def test_what_has_changed_since_it_was_hashed_is_named(tiny: Any, made: Made, what: str) -> None:
    """0.1.0: exit code 0, and another leaderboard."""
    path, data = changes(tiny, made)[what]
    medpodium("score", made.root, code=0)
    before = (made.root / "scores.parquet").read_bytes()
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    said = medpodium("score", made.root, code=3)
    assert path.name in said
    assert (made.root / "scores.parquet").read_bytes() == before


def test_other_folder_of_references_is_compared_by_content(tiny: Any, made: Made, tmp_path: Path) -> None:
    """Pointing cases.json at another folder changes nothing where the files are the same, and is named where not."""
    moved = tmp_path / "moved"
    shutil.copytree(made.references, moved)
    listed = made.root / "cases.json"
    listed.write_text(listed.read_text().replace(str(made.references.resolve()), str(moved.resolve())))
    medpodium("score", made.root, code=0)
    (moved / "case1.nii.gz").write_bytes(tiny.nifti(tiny.mask(7)))
    assert "case1.nii.gz" in medpodium("score", made.root, code=3)


def test_corrected_reference_is_recorded_and_only_its_case_scored_again(tiny: Any, made: Made, tmp_path: Path) -> None:
    """The table is that of a campaign that had the right reference from the beginning."""
    import pandas as pd

    medpodium("score", made.root, code=0)
    fresh = tiny.nifti(tiny.mask(4))
    (made.references / "case1.nii.gz").write_bytes(fresh)
    said = medpodium("campaign", "update-references", made.root, "--reason", "wrong side", code=0)
    assert "case1" in said
    assert "case2" not in said
    mine = pd.read_parquet(made.root / "scores.parquet")
    medpodium("score", made.root, "--out", tmp_path / "whole.parquet", code=0)
    pd.testing.assert_frame_equal(mine, pd.read_parquet(tmp_path / "whole.parquet"))
    with opened(made.root) as campaign:
        event = campaign.ledger.events("update-references")[0]
    assert event["detail"]["reason"] == "wrong side"
    assert event["detail"]["cases"]["case1"]["after"] == [hashlib.sha256(fresh).hexdigest()]
    assert "scored before" not in medpodium("rank", made.root, "--bootstrap", 0)


def test_pending_teams_are_said_first_and_not_ranked(made: Made) -> None:
    """0.1.0 counted what was not run yet as lost: the leader fell to the third place in silence."""
    made.submit("late")
    made.run("late", "case1", "case2", shift=0)
    medpodium("score", made.root)
    said = medpodium("rank", made.root, "--bootstrap", 0)
    assert "late: 1 case" in said.splitlines()[0]
    board = [line.split() for line in said.splitlines()[1:]]
    ranked = [team for team in ("good", "middling", "late") if any(team in row for row in board[:8])]
    assert ranked == ["good", "middling"]
    assert "late" in " ".join(medpodium("rank", made.root, "--bootstrap", 0, "--with-pending").splitlines()[1:])
    assert "late: 1 case" in medpodium("status", made.root).splitlines()[0]


def test_report_says_first_who_is_pending(made: Made, tmp_path: Path) -> None:
    made.submit("late")
    made.run("late", "case1", shift=0)
    medpodium("score", made.root)
    said = medpodium("report", made.root, "--out", tmp_path / "r", "--formats", "markdown", "--bootstrap", 0)
    assert "late: 2 case" in said.splitlines()[0]
    text = next((tmp_path / "r").glob("*.md")).read_text()
    assert "late: 2 case" in "\n".join(text.splitlines()[:8])


def test_scores_older_than_the_runs_are_said(made: Made) -> None:
    """A team that was finished after the scores were made is neither ranked by old scores nor forgotten."""
    medpodium("score", made.root, code=0)
    made.submit("late")
    made.run("late", "case1", "case2", "case3")
    said = medpodium("rank", made.root, "--bootstrap", 0)
    assert "late" in said.splitlines()[0]


def test_withdrawn_team_is_neither_ranked_nor_lost(made: Made) -> None:
    medpodium("score", made.root, code=0)
    medpodium("campaign", "withdraw", made.root, "--team", "middling", "--reason", "asked to leave", code=0)
    said = medpodium("rank", made.root, "--bootstrap", 0).splitlines()
    assert "middling was withdrawn" in said[0]
    assert "asked to leave" in said[0]
    assert "middling" not in "".join(said[1:])
    with opened(made.root) as campaign:
        assert campaign.ledger.events("withdraw")[0]["detail"]["reason"] == "asked to leave"


# -- tasks that feed each other --


@pytest.fixture
def phases(tiny: Any, tmp_path: Path) -> Made:
    """Make a campaign whose second container sees the first one's predictions."""
    data = json.loads(json.dumps(tiny.CHALLENGE))
    task, first = data["tasks"]["segmentation"], data["containers"]["default"]
    data["tasks"] = {"organs": {**task, "container": "organs"}, "lesions": {**task, "container": "lesions"}}
    cascade = {"path": "/before", "kind": "cascade", "task": "organs"}
    second = json.loads(json.dumps(first)) | {"mounts": [first["mounts"][0], cascade, first["mounts"][1]]}
    data["containers"] = {"organs": first, "lesions": second}
    data["ranking"] = {"organs": "mean", "lesions": "mean"}
    file, root = tmp_path / "challenge.yaml", tmp_path / "campaign"
    file.write_text(json.dumps(data))
    images, references = tiny.cases(tmp_path, 2)
    medpodium("init", file, root, "--cases", images, "--references", references, "--task", "organs", code=0)
    return Made(root, references, tiny)


def states(made: Made) -> dict[str, tuple[int, int, int]]:
    """Return (done, failed, pending) of every task."""
    found = CliRunner().invoke(main, ["status", str(made.root), "--json"])
    rows = json.loads(found.stdout)["submissions"]
    return {row["task"]: (row["done"], row["failed"], row["pending"]) for row in rows}


def test_second_task_is_pending_again_when_the_first_has_changed(phases: Made) -> None:
    """0.1.0 kept results of the second task that were made of predictions which are no longer there."""
    phases.submit("team", "organs")
    phases.run("team", "case1", "case2", task="organs")
    phases.submit("team", "lesions")
    phases.run("team", "case1", "case2", task="lesions")
    assert states(phases) == {"organs": (2, 0, 0), "lesions": (2, 0, 0)}
    with opened(phases.root) as campaign:
        digest = "sha256:" + "5" * 64
        image = {"digest": digest, "engine_id": digest, "tag": "t:2", "layers": [], "volumes": [], "bytes": 1}
        campaign.ledger.add_submission("team", "organs", digest, {"image": image, "findings": []})
    phases.run("team", "case1", shift=3, task="organs")
    assert states(phases) == {"organs": (1, 0, 1), "lesions": (0, 0, 2)}
    medpodium("score", phases.root)
    left = [path for path in phases.root.rglob("*.nii.gz") if "lesions" in path.parts]
    assert len(left) == 2, "what was computed is set aside, not deleted"
    assert all("superseded" in path.parts for path in left)


def hurt(what: str, data: bytes) -> bytes:
    """Return a file as a broken copy, disk or upload leaves it."""
    plain = gzip.decompress(data)
    return {
        "cut-off": data[: len(data) // 2],
        "voxels-missing": gzip.compress(plain[:-100]),
        "header-only": gzip.compress(plain[:352]),
        "one-bit": data[:-20] + bytes([data[-20] ^ 4]) + data[-19:],
        "checksum": data[:-8] + b"abcd" + data[-4:],
    }[what]


@pytest.mark.parametrize("what", ["cut-off", "voxels-missing", "header-only", "one-bit", "checksum"])
def test_damaged_hidden_image_is_named_when_the_campaign_is_made(tiny: Any, tmp_path: Path, what: str) -> None:
    """0.1.0 read no more than the header, and every team failed on the case."""
    images, references = tiny.cases(tmp_path, 3)
    path = images / "case2_0000.nii.gz"
    path.write_bytes(hurt(what, path.read_bytes()))
    root = tmp_path / "campaign"
    said = medpodium(
        "init", tiny.challenge(tmp_path), root, "--cases", images, "--references", references, "--json", code=1
    )
    found = json.loads(said[said.index("{") : said.rindex("}") + 1])
    assert {one["where"] for one in found["findings"]} == {"case2: case2_0000.nii.gz"}
    assert {one["code"] for one in found["findings"]} == {"case-unreadable"}
    assert not root.exists()


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("{case}.npz", "npz"),
        ("{case}.csv.gz", "gz"),
        ("{case}.mha", "mha"),
        ("{case}.nrrd", "nrrd"),
        ("{case}.png", "png"),
    ],
)
def test_damaged_hidden_input_of_any_kind_is_named(tiny: Any, tmp_path: Path, name: str, good: str) -> None:
    import numpy as np
    import SimpleITK

    def write(path: Path) -> None:
        image = SimpleITK.GetImageFromArray(tiny.mask(0)[3] if good == "png" else tiny.mask(0).astype(np.int16))
        if good == "npz":
            np.savez_compressed(path, volume=tiny.mask(0))
        elif good == "gz":
            path.write_bytes(gzip.compress(b"a,b\n1,2\n" * 1000))
        else:
            SimpleITK.WriteImage(image, str(path), good != "png")

    (tmp_path / "images").mkdir()
    for case in ("a", "b"):
        write(tmp_path / "images" / name.format(case=case))
    mounts = [
        {"path": "/input", "files": [{"source": name, "target": name}]},
        {"path": "/output", "kind": "output"},
    ]
    rules = tiny.challenge(tmp_path, mounts=mounts)
    words = ("init", rules, tmp_path / "campaign", "--cases", tmp_path / "images", "--json")
    said = medpodium(*words)
    assert "case-unreadable" not in said
    shutil.rmtree(tmp_path / "campaign", ignore_errors=True)
    path = tmp_path / "images" / name.format(case="b")
    path.write_bytes(path.read_bytes()[:-30])
    said = medpodium(*words, code=1)
    assert "case-unreadable" in said
    assert f"b: {path.name}" in said
    assert f"a: {name.format(case='a')}" not in said
