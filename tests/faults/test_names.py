"""File names as people deliver them: hidden files, suffixes, other capitals, underscores, placeholders of their own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner, Result

from medpodium.cli import main

SEGMENTATION = """
schema: 1
name: example
title: Example
groups: {{}}
tasks:
  seg:
    files: {files}
    empty: {{both: skip, reference: skip, prediction: worst}}
    structures: {structures}
    metrics: {{dice: {{kind: dice}}}}
recipes:
  main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}
ranking: {{seg: main}}
"""
PLAIN = '{reference: "{case}.nii.gz", prediction: "{case}.nii.gz"}'


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def rules(folder: Path, files: str = PLAIN, structures: str = "{liver: {label: 1}}") -> Path:
    path = folder / "rules.yaml"
    path.write_text(SEGMENTATION.format(files=files, structures=structures), encoding="utf-8")
    return path


def mask(path: Path, shift: int = 0, *, label: int = 1, mark: int | None = None) -> None:
    array = np.zeros((4, 8, 8), np.uint8)
    if mark is not None:
        array.flat[mark] = label
    array[1:3, 2:6, 1 + shift : 5 + shift] = label
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), str(path))


def score(folder: Path, *options: object) -> tuple[Result, pd.DataFrame | None]:
    out = folder / "scores.csv"
    done = run("score", folder / "rules.yaml", "--references", folder / "ref", "--out", out, "--workers", 1, *options)
    assert "Traceback" not in done.output
    return done, pd.read_csv(out, dtype={"case": str}) if out.exists() else None


def said(done: Result) -> str:
    return " ".join(done.output.split())


SYSTEM = ["._liver_1.nii.gz", ".DS_Store", "Thumbs.db", "desktop.ini", "~$notes.xlsx", "__MACOSX/._liver_2.nii.gz"]
SYSTEM += [".ipynb_checkpoints/liver_1.nii.gz", ".liver_9.nii.gz", "__MACOSX/liver_3.nii.gz"]


@pytest.fixture
def with_system_files(tmp_path: Path) -> Path:
    """Return a folder of two cases, references and a team, with what macOS, Windows and Jupyter leave in it."""
    rules(tmp_path)
    for side in ("ref", "team"):
        for case in ("liver_1", "liver_2"):
            mask(tmp_path / side / f"{case}.nii.gz")
        for name in SYSTEM:
            (tmp_path / side / name).parent.mkdir(exist_ok=True)
            (tmp_path / side / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X        ")
    return tmp_path


def test_hidden_files_are_no_cases(with_system_files: Path) -> None:
    """macOS' ._x beside references: nnUNet#240."""
    done, scores = score(with_system_files, "--predictions", f"team={with_system_files / 'team'}")
    assert done.exit_code == 0, done.output
    assert scores is not None
    assert sorted(scores["case"]) == ["liver_1", "liver_2"]
    assert set(scores["value"]) == {1.0}
    check = run("check", "predictions", with_system_files / "rules.yaml", "--references", with_system_files / "ref",
                "--predictions", with_system_files / "team", "--json")  # fmt: skip
    assert check.exit_code == 0, check.output
    assert not [
        one for one in json.loads(check.stdout)["findings"] if "._" in one["where"] or "belongs" in one["cause"]
    ]


def test_hidden_files_are_no_training_cases(tmp_path: Path) -> None:
    """nnUNet#240: the archive holds imagesTr/._liver_x.nii.gz."""
    raw = tmp_path / "Dataset501_Mine"
    for index in range(6):
        mask(raw / "labelsTr" / f"liver_{index}.nii.gz")
        (raw / "labelsTr" / f"._liver_{index}.nii.gz").write_bytes(b"\0\5\x16\7")
    facts = {"labels": {"background": 0, "liver": 1}, "channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps({**facts, "numTraining": 6}))
    done = run("import", "dataset", raw, "--out", tmp_path / "own.yaml", "--cases", tmp_path / "fold0.csv")
    assert done.exit_code == 0, done.output
    fold = (tmp_path / "fold0.csv").read_text().split()[1:]
    # nnU-Net's split: sorted names shuffled by the legacy generator with seed 12345, cut into five
    order = np.arange(6)
    np.random.RandomState(12345).shuffle(order)
    assert fold == [f"liver_{index}" for index in sorted(order[:2])]


def test_hidden_files_are_no_hidden_cases(tmp_path: Path) -> None:
    for name in ("c1_0000.nii.gz", "._c1_0000.nii.gz", "__MACOSX/c2_0000.nii.gz", ".trash/c3_0000.nii.gz"):
        mask(tmp_path / "hidden" / name)
    for name in ("c1.nii.gz", "._c1.nii.gz"):
        mask(tmp_path / "ref" / name, label=14)
    done = run("init", "flare-pancancer/2023", tmp_path / "campaign", "--cases", tmp_path / "hidden",
               "--references", tmp_path / "ref")  # fmt: skip
    assert done.exit_code == 0, done.output
    manifest = json.loads((tmp_path / "campaign" / "cases.json").read_text())
    assert [case["id"] for case in manifest["cases"]] == ["c1"]
    assert "._c1" not in done.output


AFFIXES = [
    ("{}_0000.nii.gz", "channel suffix '_0000'"),
    ("{}_seg.nii.gz", "suffix '_seg'"),
    ("pred_{}.nii.gz", "prefix 'pred_'"),
    ("predictions/{}.nii.gz", "one level too deep"),
    ("{}.nii", "'.nii'"),
]


@pytest.mark.parametrize(("pattern", "words"), AFFIXES, ids=[words for _, words in AFFIXES])
def test_one_cause_of_all_names_is_told_once(tmp_path: Path, pattern: str, words: str) -> None:
    """nnU-Net's channel suffix delivered with the label maps, and what is alike: nnUNet#231."""
    rules(tmp_path)
    for index in range(30):
        mask(tmp_path / "ref" / f"case_{index:03d}.nii.gz", mark=index)
        mask(tmp_path / "team" / pattern.format(f"case_{index:03d}"))
    done, scores = score(tmp_path, "--predictions", f"team={tmp_path / 'team'}", "--json")
    assert done.exit_code == 1, done.output
    assert scores is not None
    assert set(scores["status"]) == {"missing"}
    found = [one for own in json.loads(done.stdout)["findings"].values() for one in own]
    (told,) = found
    assert words in told["cause"]
    assert "30 of 30" in told["cause"]


def test_stripped_zeros_and_capitals_are_named(tmp_path: Path) -> None:
    rules(tmp_path)
    for index in (1, 2, 10):
        mask(tmp_path / "ref" / f"Case{index:03d}.nii.gz")
        mask(tmp_path / "zeros" / f"Case{index}.nii.gz")
        mask(tmp_path / "lower" / f"case{index:03d}.nii.gz")
    done, _ = score(tmp_path, *(f"--predictions={name}={tmp_path / name}" for name in ("zeros", "lower")))
    assert done.exit_code == 1
    assert "3 of 3 files lack their leading zeros" in said(done)
    assert "3 of 3 files differ in upper and lower case" in said(done)
    assert "belongs to no case" not in said(done)


def test_a_subset_of_cases_makes_no_strangers_of_the_others(tmp_path: Path) -> None:
    rules(tmp_path)
    for index in range(5):
        for side in ("ref", "team"):
            mask(tmp_path / side / f"case_{index}.nii.gz")
    mask(tmp_path / "team" / "somebody.nii.gz")
    (tmp_path / "cases.csv").write_text("case\ncase_1\ncase_3\n")
    done, scores = score(tmp_path, "--cases", tmp_path / "cases.csv", "--predictions", f"team={tmp_path / 'team'}")
    assert done.exit_code == 0, done.output
    assert scores is not None
    assert sorted(scores["case"]) == ["case_1", "case_3"]
    assert "case_0" not in done.output
    assert "case_4" not in done.output
    assert "somebody.nii.gz" in done.output


def test_two_teams_are_never_told_apart_by_capitals(tmp_path: Path) -> None:
    rules(tmp_path)
    mask(tmp_path / "ref" / "c.nii.gz")
    for one, other in (("one", "One"), ("caf\u00e9", "cafe\u0301"), ("one", "one ")):
        done, scores = score(tmp_path, "--predictions", f"{one}={tmp_path / 'ref'}",
                             "--predictions", f"{other}={tmp_path / 'ref'}")  # fmt: skip
        assert done.exit_code == 2, done.output
        assert scores is None
    table = "submission,case,metric,value\none,c,dice,0.5\nOne,c,dice,0.6\n"
    (tmp_path / "hand.csv").write_text(table)
    done = run("rank", tmp_path / "rules.yaml", tmp_path / "hand.csv")
    assert done.exit_code == 2, done.output
    assert "'one' and 'One'" in said(done)


def test_equal_masks_without_labels_are_no_duplicates(tmp_path: Path) -> None:
    rules(tmp_path)
    for case in ("a", "b"):
        mask(tmp_path / "ref" / f"{case}.nii.gz", shift=case == "b")
        mask(tmp_path / "team" / f"{case}.nii.gz", label=0)
    options = ("--references", tmp_path / "ref", "--predictions", tmp_path / "team")
    assert "same bytes" not in said(run("check", "predictions", tmp_path / "rules.yaml", *options))
    for case in ("a", "b"):
        mask(tmp_path / "team" / f"{case}.nii.gz")
    assert "same bytes" in said(run("check", "predictions", tmp_path / "rules.yaml", *options))


KIDNEYS = "{kidney: {label: 1}, left_kidney: {label: 2}, liver: {label: 3}}"
SPLIT = '{reference: "{case}_{structure}.nii.gz", prediction: "{case}_{structure}.nii.gz"}'


def test_underscores_in_cases_and_structures_are_read_the_one_way_that_fits(tmp_path: Path) -> None:
    rules(tmp_path, SPLIT, KIDNEYS)
    for case in ("p1", "p1_2"):
        for structure in ("kidney", "left_kidney", "liver"):
            mask(tmp_path / "ref" / f"{case}_{structure}.nii.gz")
            mask(tmp_path / "team" / f"{case}_{structure}.nii.gz", shift=int(case == "p1_2"))
    done, scores = score(tmp_path, "--predictions", f"team={tmp_path / 'team'}")
    assert done.exit_code == 0, done.output
    assert scores is not None
    means = scores.groupby("case")["value"].mean()
    # a box of 2 x 4 x 4 voxels shifted by one: 2 * 24 / 64
    assert dict(means) == {"p1": 1.0, "p1_2": 0.75}
    assert len(scores) == 6


def test_a_name_with_two_meanings_is_refused_with_both(tmp_path: Path) -> None:
    rules(tmp_path, SPLIT, KIDNEYS)
    for name in ("p1_liver", "p1_left_liver", "p1_left_kidney", "p1_kidney"):
        mask(tmp_path / "ref" / f"{name}.nii.gz")
    done, scores = score(tmp_path, "--predictions", f"team={tmp_path / 'ref'}")
    assert done.exit_code == 2, done.output
    assert scores is None
    assert "'p1'" in said(done)
    assert "'p1_left'" in said(done)


def test_placeholders_of_ones_own_name_the_case(tmp_path: Path) -> None:
    """autoPET: one folder per patient, one per study in it, SEG.nii.gz in all of them."""
    own = '{reference: "{patient}/{study}/SEG.nii.gz", prediction: "{patient}/{study}/SEG.nii.gz"}'
    flat = '{reference: "{patient}/{study}/SEG.nii.gz", prediction: "{case}.nii.gz"}'
    for patient, study in (("PETCT_1", "first"), ("PETCT_1", "second"), ("PETCT_2", "first")):
        mask(tmp_path / "ref" / patient / study / "SEG.nii.gz")
        mask(tmp_path / "team" / patient / study / "SEG.nii.gz", shift=int(study == "second"))
        mask(tmp_path / "flat" / f"{patient}_{study}.nii.gz", shift=int(study == "second"))
    for files, team in ((own, "team"), (flat, "flat")):
        path = rules(tmp_path, files)
        assert run("lint", path).exit_code == 0, run("lint", path).output
        done, scores = score(tmp_path, "--predictions", f"team={tmp_path / team}")
        assert done.exit_code == 0, done.output
        assert scores is not None
        values = scores.set_index("case")["value"]
        assert dict(values) == {"PETCT_1_first": 1.0, "PETCT_1_second": 0.75, "PETCT_2_first": 1.0}
        assert list(scores.set_index("case")["patient"].loc[list(values.index)]) == ["PETCT_1", "PETCT_1", "PETCT_2"]
        (tmp_path / "scores.csv").unlink()


def test_bids_sessions_name_the_case(tmp_path: Path) -> None:
    stem = "sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_dseg.nii.gz"
    rules(tmp_path, f'{{reference: "{stem}", prediction: "{stem}"}}')
    for subject, session in (("01", "a"), ("01", "b"), ("02", "a")):
        mask(tmp_path / "ref" / stem.format(subject=subject, session=session))
    done, scores = score(tmp_path, "--predictions", f"team={tmp_path / 'ref'}")
    assert done.exit_code == 0, done.output
    assert scores is not None
    assert sorted(scores["case"]) == ["01_a", "01_b", "02_a"]
    assert list(scores["subject"].astype(int)) == [1, 1, 2]


WRONG = ["{case}_*.nii.gz", "{patient}.nii.gz", "{Case}.nii.gz", "{case:03d}.nii.gz", "{case}}.nii.gz"]
WRONG += [".hidden/{case}.nii.gz", "{status}/{case}.nii.gz", "{case}{value}.nii.gz"]


@pytest.mark.parametrize("pattern", WRONG)
def test_a_pattern_that_means_nothing_is_an_error_of_lint_and_no_traceback(tmp_path: Path, pattern: str) -> None:
    path = rules(tmp_path, f'{{reference: "{{case}}.nii.gz", prediction: "{pattern}"}}')
    done = run("lint", path)
    assert done.exit_code == 1, done.output
    assert "file-pattern" in done.output
    mask(tmp_path / "ref" / "c.nii.gz")
    done, _ = score(tmp_path, "--predictions", f"team={tmp_path / 'ref'}")
    assert done.exit_code == 2, done.output


def test_a_placeholder_that_the_references_lack_is_told_what_is_allowed(tmp_path: Path) -> None:
    path = rules(tmp_path, '{reference: "{case}.nii.gz", prediction: "{patient}.nii.gz"}')
    assert "use {case} and {structure}" in said(run("lint", path))


RESERVED = ["value", "Value", " value ", "STATUS", "metric", "submission", "truth"]


@pytest.mark.parametrize("column", RESERVED)
def test_a_column_named_like_a_score_is_refused_before_it_overwrites_one(tmp_path: Path, column: str) -> None:
    """Columns that collide with those of the results: onecodex#497, scoringutils#239."""
    rules(tmp_path)
    mask(tmp_path / "ref" / "c.nii.gz")
    (tmp_path / "cases.csv").write_text(f"case,{column}\nc,0.123\n")
    done, scores = score(tmp_path, "--cases", tmp_path / "cases.csv", "--predictions", f"team={tmp_path / 'ref'}")
    assert done.exit_code == 2, done.output
    assert scores is None
    assert column.strip() in done.output
    board = tmp_path / "board.csv"
    board.write_text(f"team,dice,{column}\nA,0.5,north\n")
    done = run("import", "leaderboard", board, "--challenge", tmp_path / "rules.yaml", "--task", "seg",
               "--group", f"{column.strip()}={column.strip()}", "--out", tmp_path / "board_scores.csv")  # fmt: skip
    assert done.exit_code == 2, done.output
    assert not (tmp_path / "board_scores.csv").exists()


def test_a_campaign_refuses_such_a_column_too(tmp_path: Path) -> None:
    mask(tmp_path / "hidden" / "c1_0000.nii.gz")
    mask(tmp_path / "ref" / "c1.nii.gz", label=14)
    (tmp_path / "groups.csv").write_text("case;Value\nc1;3\n")
    done = run("init", "flare-pancancer/2023", tmp_path / "campaign", "--cases", tmp_path / "hidden",
               "--references", tmp_path / "ref", "--groups", tmp_path / "groups.csv")  # fmt: skip
    assert done.exit_code == 2, done.output
    assert "Value" in done.output
