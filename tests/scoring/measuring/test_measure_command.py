"""``medpodium measure``: files and folders without a challenge file, and the challenge file that says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner, Result

from medpodium.cli import main


def run(*words: object, code: int = 0) -> Result:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done


def written(mask: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image: Any = SimpleITK.GetImageFromArray(mask)
    if mask.ndim == 3 and path.suffix != ".png":
        image.SetSpacing((1.25, 0.75, 2.5))
    SimpleITK.WriteImage(image, str(path))
    return path


def case(number: int, shift: int = 0) -> Any:
    mask = np.zeros((10, 16, 18), np.uint8)
    mask[2:8, 4 + shift : 12 + shift, 3 : 12 + number] = 1
    mask[9, 1:4, 2:6] = 2
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """Three cases; ``beta`` calls a structure 3 once, and forgets a case."""
    for number in range(3):
        written(case(number), tmp_path / "refs" / f"c{number}.nii.gz")
        written(case(number, 1), tmp_path / "alpha" / f"c{number}.mha")
        other = case(number, 2)
        other[(other == 2) & (number == 1)] = 3
        if number < 2:
            written(other, tmp_path / "beta" / f"c{number}.nii.gz")
    return tmp_path


def test_two_files_by_hand(folders: Path) -> None:
    got = json.loads(
        run("measure", folders / "refs/c0.nii.gz", folders / "alpha/c0.mha", "--metrics", "dice,hd", "--json").output
    )
    assert [(row["structure"], row["dice"], row["hd"]) for row in got["structures"]] == [
        ("label 1", 7 / 8, 0.75),
        ("label 2", 1.0, 0.0),
    ]
    assert got["findings"] == []


def test_the_line_of_the_shell(folders: Path) -> None:
    """Files may be called as they like; the table of a file names it, its metrics and their definitions."""
    words = ["measure", "refs/c0.nii.gz", "beta/c1.nii.gz", "--structures", "liver=1,all=1+2"]
    done = subprocess.run(
        [sys.executable, "-m", "medpodium.cli", *words], cwd=folders, capture_output=True, encoding="utf-8", check=True
    )
    lines = done.stdout.splitlines()
    assert lines[0].strip() == "c0"
    assert lines[1].split() == ["structure", "dice", "nsd", "hd95", "(mm)", "assd", "(mm)"]
    assert [line.split()[0] for line in lines[2:4]] == ["liver", "all"]
    assert "nsd: surfel-area, tolerance 2 mm" in done.stdout


def test_saved_challenge_gives_the_same_table(folders: Path) -> None:
    """Byte for byte, through the verb that takes a challenge file; and it is ranked by it."""
    teams = ["--predictions", f"alpha={folders / 'alpha'}", "--predictions", f"beta={folders / 'beta'}"]
    rules, table = folders / "mine.yaml", folders / "table.csv"
    more = ["--metrics", "dice,nsd,hd95,fp_volume,lesion_f1", "--tolerance", "1.5", "--workers", "1"]
    run("measure", folders / "refs", *teams, *more, "--out", table, "--save-challenge", rules, code=1)
    assert "error" not in run("lint", rules).output
    run(
        "score",
        rules,
        "--references",
        folders / "refs",
        *teams,
        "--out",
        folders / "again.csv",
        "--workers",
        "1",
        code=1,
    )
    assert (folders / "again.csv").read_bytes() == table.read_bytes()
    scores = pd.read_csv(table, keep_default_na=False)
    assert set(scores["structure"]) == {"label 1", "label 2", "label 3"}
    lost = scores[(scores["submission"] == "beta") & (scores["case"] == "c2") & (scores["metric"] == "dice")]
    assert lost["status"].tolist() == ["missing"] * 3
    assert set(lost["value"].astype(float)) == {0.0}
    board = json.loads(run("rank", rules, table, "--bootstrap", "0", "--json").output)["leaderboard"]
    assert [row["submission"] for row in board] == ["alpha", "beta"]


def test_pair_of_files_and_folders_agree(folders: Path) -> None:
    for where, first, second in (("one", "refs/c0.nii.gz", "alpha/c0.mha"), ("all", "refs", "alpha")):
        run("measure", folders / first, folders / second, "--out", folders / f"{where}.csv", "--workers", "1")
    one, every = (pd.read_csv(folders / f"{name}.csv") for name in ("one", "all"))
    pd.testing.assert_frame_equal(one, every[every["case"] == "c0"].reset_index(drop=True), check_exact=True)


def test_names_of_a_data_set(folders: Path) -> None:
    """nnU-Net's names, its regions, and voxels that it leaves out of everything."""
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    listed = folders / "dataset.json"
    listed.write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}), encoding="utf-8")
    mask = case(0)
    mask[2:5] = np.where(mask[2:5] == 1, 3, mask[2:5])  # half of the reference is unknown
    reference = written(mask, folders / "half.nii.gz")
    words = ["measure", reference, folders / "refs/c0.nii.gz", "--metrics", "dice", "--labels", listed, "--json"]
    got = json.loads(run(*words).output)["structures"]
    assert [(row["structure"], row["dice"]) for row in got] == [("whole", 1.0), ("core", 1.0)]


def test_segments_are_called_as_their_file_calls_them(folders: Path) -> None:
    nrrd: Any = pytest.importorskip("nrrd")
    header: dict[str, Any] = {"space": "left-posterior-superior", "space directions": np.diag([1.25, 0.75, 2.5])}
    header["space origin"] = np.zeros(3)
    for at, name in enumerate(("liver", "spleen")):
        header |= {f"Segment{at}_Name": name, f"Segment{at}_LabelValue": str(at + 1), f"Segment{at}_Layer": "0"}
        header |= {f"Segment{at}_ID": name, f"Segment{at}_Extent": "0 17 0 15 0 9"}
    nrrd.write(str(folders / "s.seg.nrrd"), case(0).T, header)
    nrrd.write(str(folders / "t.seg.nrrd"), case(1).T, header)
    got = json.loads(
        run("measure", folders / "s.seg.nrrd", folders / "t.seg.nrrd", "--json", "--metrics", "dice").output
    )
    assert [row["structure"] for row in got["structures"]] == ["liver", "spleen"]


def test_pictures_are_measured_in_pixels(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[5:15, 5:15] = 1
    for name, shift in (("refs", 0), ("team", 3)):
        written(np.roll(mask, shift, 1), tmp_path / name / "a.png")
    done = run("measure", tmp_path / "refs", tmp_path / "team", "--metrics", "dice,hd", "--workers", "1")
    assert "hd (px)" in done.output
    assert done.output.split("hd (px)")[1].split()[:4] == ["label", "1", "0.7000", "3"]


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["refs/c0.nii.gz", "alpha"], 2, "is a folder, and"),
        (["refs/c0.nii.gz", "--predictions", "a=alpha"], 2, "is no folder"),
        (["refs"], 2, "give PREDICTION"),
        (["refs", "alpha", "--structures", "liver:1"], 2, "'liver:1' is not NAME=LABEL"),
        (["refs", "alpha", "--metrics", "dcie"], 2, "did you mean 'dice'"),
        (["refs", "alpha", "--tolerance", "-1"], 2, "metrics.nsd.tolerance_mm"),
        (["refs/none.nii.gz", "alpha/c0.mha", "--structures", "a=1"], 1, "mask-file-missing"),
        (["refs/c0.nii.gz", "refs/other.nii.gz"], 1, "geometry-shape-differs"),
    ],
)
def test_mistakes_and_exit_codes(
    folders: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, told: str
) -> None:
    monkeypatch.chdir(folders)
    written(case(0)[1:], folders / "refs" / "other.nii.gz")
    assert told in " ".join(run("measure", *words, code=code).output.split())


def test_raw_data_set_of_nnunet_names_its_structures(folders: Path) -> None:
    """With a union, and a label that the saved challenge leaves out, too."""
    raw = folders / "Dataset001_Own"
    (folders / "refs").rename(folders / "labelsTs")
    raw.mkdir()
    (folders / "labelsTs").rename(raw / "labelsTs")
    labels = {"background": 0, "all": [1, 2], "core": 2, "ignore": 9}
    (raw / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".nii.gz"}), encoding="utf-8")
    words = ["measure", raw, folders / "alpha", "--metrics", "dice", "--workers", "1", "--json"]
    got = json.loads(run(*words, "--save-challenge", folders / "raw.yaml").output)
    assert [row["structure"] for row in got["structures"]] == ["all", "core"]
    assert [row["n"] for row in got["structures"]] == [3, 3]
    assert "ignore_labels: [9]" in (folders / "raw.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize("prediction", ["none.nii.gz", "other.nii.gz"])
def test_two_files_that_cannot_be_compared_give_no_numbers(folders: Path, prediction: str) -> None:
    """In a challenge a lost prediction counts as the worst value, which is no answer to who compares two files."""
    written(case(0)[1:], folders / "refs" / "other.nii.gz")
    out = folders / "scores.csv"
    done = run("measure", folders / "refs" / "c0.nii.gz", folders / "refs" / prediction, "--out", out, code=1)
    assert "fix:" in done.output
    assert "Summary" not in done.output
    assert not out.exists()


def test_labels_of_totalsegmentator_by_name(tmp_path: Path) -> None:
    """Labels as its ``map_to_binary.py`` numbers them: liver 5, hip_left 77 and rib_right_12 115 of 117."""
    mask, other = (np.zeros((4, 6, 8), np.uint8) for _ in range(2))
    mask[0], mask[1], mask[2:, :3] = 5, 77, 115
    other[0], other[1, :2], other[2:, :3] = 5, 77, 115
    files = written(mask, tmp_path / "a.nii.gz"), written(other, tmp_path / "b.nii.gz")

    def found(structures: str) -> dict[str, float]:
        given = "measure", *files, "--metrics", "dice", "--structures", structures, "--json"
        rows = json.loads(run(*given).output)["structures"]
        return {row["structure"]: row["dice"] for row in rows if row["n"]}

    assert found("totalsegmentator") == {"liver": 1.0, "hip_left": 0.5, "rib_right_12": 1.0}
    given = "measure", *files, "--metrics", "dice", "--structures", "totalsegmentator:liver,heart_left", "--json"
    assert "totalsegmentator has no structure 'heart_left'" in run(*given, code=2).output
