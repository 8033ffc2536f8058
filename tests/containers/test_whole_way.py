"""The whole way with real containers on real masks: three teams, from init to the report, through the command line."""

from __future__ import annotations

import hashlib
import json
import math
import subprocess
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.docker, pytest.mark.slow]

STRUCTURES = {"spleen": 1, "liver": 5, "stomach": 6}
LOOKUP = (
    'f=$(echo /input/*); s=$(sha256sum "$f" | cut -c1-64); b=${f##*/}; '
    'cp /answers/$s.nii.gz "/output/${b%_0000.nii.gz}.nii.gz" || exit 4'
)
"""A method that recognises its inputs and has the answers ready: real masks need no real network here."""


def command(python: list[str], *words: str | Path, code: int = 0) -> str:
    done = subprocess.run(
        [*python, "-m", "medpodium.cli", *map(str, words)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def real(tiny: Any, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Cut three cases out of a real segmentation; the good team's answers are the truth moved by one voxel."""
    from medpodium.scoring.masks.reader import read_mask

    folder = tmp_path_factory.mktemp("real")
    whole = read_mask(shared / "data" / "masks" / "totalsegmentator" / "example_seg.nii.gz").array
    answers, truth = {}, {}
    for name in ("images", "labels"):
        (folder / name).mkdir()
    for number, part in enumerate((whole[:, :, :61], whole[:, :, 61:], whole[:, 20:, 20:80])):
        mask = np.where(np.isin(part, list(STRUCTURES.values())), part, 0).astype(np.uint8)
        moved = np.roll(mask, 1, axis=2)
        image = tiny.nifti((mask.astype(np.int16) * 37 + number), (3.0, 3.0, 3.0))
        (folder / "images" / f"case{number}_0000.nii.gz").write_bytes(image)
        (folder / "labels" / f"case{number}.nii.gz").write_bytes(tiny.nifti(mask, (3.0, 3.0, 3.0)))
        answers[f"answers/{hashlib.sha256(image).hexdigest()}.nii.gz"] = tiny.nifti(moved, (3.0, 3.0, 3.0))
        truth[f"case{number}"] = (mask, moved)
    data = json.loads(json.dumps(tiny.CHALLENGE))
    data["tasks"]["segmentation"] = {
        "structures": {name: {"label": label} for name, label in STRUCTURES.items()},
        "empty": {"both": 1.0, "reference": 0.0, "prediction": 0.0},
        "metrics": {
            "dice": {"kind": "dice"},
            "nsd": {"kind": "nsd", "tolerance_mm": 3.0},
            "running_time": {"kind": "running_time", "worst": 3600},
        },
    }
    data["recipes"]["mean"]["steps"] = [
        {"mean": ["structure", "case"]},
        {"rank": {"within": ["metric"]}},
        {"mean": "metric"},
        {"rank": {}},
    ]
    data["containers"]["default"] |= {"pseudonym": "scan-{token}"}
    data["containers"]["default"]["limits"] |= {"time": "5 s"}
    (folder / "challenge.yaml").write_text(json.dumps(data))
    tiny.archive(folder / "good.tar.gz", LOOKUP, files=answers)
    dropped = dict(list(answers.items())[:2])
    tiny.archive(folder / "partial.tar.zst", LOOKUP, files=dropped)
    hostile = (
        "ln -s /etc/passwd /output/x; cat /dev/zero > /output/a & cat /dev/zero > /output/b & while true; do :; done"
    )
    tiny.archive(folder / "hostile.tar", hostile)
    return {"folder": folder, "truth": truth}


def test_from_init_to_report(real: dict[str, Any], tiny: Any, warm: Any, docker_engine: Any, tmp_path: Path) -> None:
    import pandas as pd

    medpodium = partial(command, warm.python("tables"))

    folder, root = real["folder"], tmp_path / "campaign"
    medpodium("init", folder / "challenge.yaml", root, "--cases", folder / "images", "--references", folder / "labels")
    for team, name in (("good", "good.tar.gz"), ("partial", "partial.tar.zst"), ("hostile", "hostile.tar")):
        medpodium("submit", root, folder / name, "--team", team)
    runs = json.loads(medpodium("run", root, "--json"))["runs"]
    assert len(runs) == 9
    assert json.loads(medpodium("run", root, "--json"))["runs"] == [], "nothing is run twice"

    state = json.loads(medpodium("status", root, "--json"))
    counts = {row["team"]: (row["done"], row["failed"], row["pending"]) for row in state["submissions"]}
    assert counts == {"good": (3, 0, 0), "partial": (2, 1, 0), "hostile": (0, 3, 0)}
    codes = {row["code"] for row in state["failures"] if row["team"] == "hostile"}
    assert codes <= {"output-too-large", "file-size-limit", "timeout", "oom"}

    medpodium("score", root, code=1)  # the findings are the failed cases
    scores = pd.read_parquet(root / "scores.parquet")
    good = scores[(scores["submission"] == "good") & (scores["metric"] == "dice")]
    for row in good.itertuples():
        mask, moved = real["truth"][row.case]
        a, b = mask == STRUCTURES[row.structure], moved == STRUCTURES[row.structure]
        total = int(a.sum()) + int(b.sum())
        expected = 2 * int((a & b).sum()) / total if total else 1.0
        assert row.value == pytest.approx(expected, abs=1e-12)
    lost = scores[(scores["submission"] == "partial") & scores["status"].str.startswith("failed:")]
    assert set(lost["case"]) == {"case2"}
    assert set(lost["status"]) == {"failed:crash"}
    times = scores[scores["metric"] == "running_time"].set_index(["submission", "case"])["value"]
    assert all(0 < times["good", case] < 60 for case in real["truth"])
    assert all(times["hostile", case] == 3600 for case in real["truth"])

    medpodium("rank", root, "--out", tmp_path / "board.csv", "--bootstrap", 0)
    board = pd.read_csv(tmp_path / "board.csv")
    assert board.iloc[0]["submission"] == "good"
    assert board.iloc[-1]["submission"] == "hostile"
    medpodium("report", root, "--out", tmp_path / "report", "--bootstrap", 50)
    page = next((tmp_path / "report").glob("*.html")).read_text(encoding="utf-8")
    assert all(team in page for team in counts)


def test_pseudonyms_reach_the_container_and_real_names_come_back(
    real: dict[str, Any], tiny: Any, docker_engine: Any, tmp_path: Path
) -> None:
    campaign = tiny.campaign(tmp_path, count=3, pseudonym="scan-{token}")
    script = "ls /input; " + tiny.GOOD
    tiny.run(docker_engine, campaign, {"team": tiny.archive(tmp_path / "team.tar", script)})
    submission = campaign.submissions()[0]
    logs = "".join(path.read_text() for path in campaign.runs_dir(submission).rglob("log.txt"))
    assert logs.count("scan-") == 3
    assert "case" not in logs
    files = sorted(path.name for path in campaign.predictions_dir(submission).iterdir())
    assert files == ["case1.nii.gz", "case2.nii.gz", "case3.nii.gz"]
    assert not math.isnan(campaign.resources()["running_time"].sum())
    campaign.close()
