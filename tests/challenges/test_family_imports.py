"""Importing and analysing from the command line; bad input is a finding with file and remedy, never a traceback."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from scipy import stats

from medpodium.challenges import registry
from medpodium.challenges.rows import read_sheet
from medpodium.cli import main
from medpodium.findings import UsageError
from medpodium.scoring.evidence import subgroups
from medpodium.scoring.exchange import importers, pairing
from medpodium.scoring.kinds.engine import score_task
from medpodium.scoring.table import read_scores


def run(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def models(folder: Path, tables: dict[str, pd.DataFrame]) -> Path:
    for name, frame in tables.items():
        for file in ("dsc.csv", "nsd.csv"):
            (folder / name).mkdir(parents=True, exist_ok=True)
            frame.to_csv(folder / name / file, index=False)
    return folder


@pytest.fixture
def made_up(tmp_path: Path) -> Path:
    """Return a folder of three made-up models of 60 cases; A is best, C lacks ten cases."""
    rng = np.random.default_rng(5)
    base = rng.uniform(0.4, 0.9, (60, 2))
    names = [f"s{index:04d}" for index in range(60)]
    frames = {}
    for model, shift in (("A", 0.08), ("B", 0.02), ("C", 0.0)):
        values = np.clip(base + shift + rng.normal(0, 0.02, base.shape), 0, 1).round(6)
        frame = pd.DataFrame({"name": names, "aorta": values[:, 0], "liver": values[:, 1]})
        frame.loc[:4, "liver"] = np.nan
        frames[model] = frame
    frames["C"] = frames["C"].iloc[10:]
    meta = pd.DataFrame(
        {"image_id": names, "age": 50, "gender": ["m", "f", ""] * 20, "institute": ["A"] * 57 + ["B"] * 3}
    )
    meta.to_csv(tmp_path / "meta.csv", sep=";", index=False, encoding="utf-8-sig")
    return models(tmp_path / "models", frames)


def test_import_rank_and_analyse_from_the_command_line(made_up: Path, tmp_path: Path) -> None:
    scores = tmp_path / "scores.csv"
    done = run("import", "touchstone", made_up, "--metadata", tmp_path / "meta.csv", "--out", scores, "--json")
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert report["submissions"] == 3
    assert {item["code"] for item in report["findings"]} >= {"row-sets-differ", "import-level-unknown"}
    frame = read_scores(scores)
    assert set(frame[frame["status"] == "empty-reference"]["structure"]) == {"liver"}
    done = run("rank", "touchstone", scores, "--bootstrap", 0, "--json")
    assert [row["submission"] for row in json.loads(done.stdout)["leaderboard"]] == ["A", "B", "C"]
    done = run("analyse", "pairs", scores, "--metric", "dice", "--json")
    rows = pd.DataFrame(json.loads(done.stdout)["pairs"]).set_index(["target", "better", "worse"])
    wide = frame[(frame["metric"] == "dice") & (frame["structure"] == "aorta")].pivot(
        index="case", columns="submission", values="value"
    )
    both = wide[["A", "C"]].dropna()
    assert rows.loc[("aorta", "A", "C"), "n_pairs"] == 50
    expected = stats.wilcoxon(both["A"], both["C"], alternative="greater", method="approx").pvalue
    assert rows.loc[("aorta", "A", "C"), "p"] == pytest.approx(expected, rel=1e-9)
    done = run(
        "analyse", "subgroups", scores, "--metric", "dice", "--group", "sex", "--group", "institute", "--out", tmp_path
    )
    assert done.exit_code == 0, done.output
    assert "institute = B" in done.output
    groups = pd.read_csv(tmp_path / "subgroups.csv")
    assert set(groups[groups["group"] == "sex"]["level"]) == {"male", "female", "unknown"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 lines"),
        ("name,aorta\n", "1 lines"),
        ("case,aorta\ns1,0.5\n", "no column 'name'"),
        ("name,aorta\ns1,abc\n", "no finite number"),
        ("name,aorta\ns1,1.5\n", "not within 0 and 1"),
        ("name,aorta\ns1,inf\n", "no finite number"),
    ],
)
def test_bad_tables_are_findings(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "models" / "A").mkdir(parents=True)
    (tmp_path / "models" / "A" / "dsc.csv").write_text(text)
    done = run("import", "touchstone", tmp_path / "models", "--out", tmp_path / "scores.csv")
    assert done.exit_code in (1, 2), done.output
    assert said in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"name,aorta\n\xe9\xe8,0.5\n"])
def test_text_that_is_not_utf_8_is_a_finding(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.csv").write_bytes(content)
    with pytest.raises(UsageError, match="table-text-"):
        read_sheet(tmp_path / "bad.csv")


def test_usage_errors_have_exit_code_2(tmp_path: Path, made_up: Path) -> None:
    scores = tmp_path / "scores.csv"
    run("import", "touchstone", made_up, "--out", scores)
    for words in (
        ("import", "touchstone", tmp_path / "nowhere", "--out", scores),
        ("import", "suite", tmp_path / "nowhere.csv", "--out", scores),
        ("import", "suite", tmp_path / "meta.csv", "--out", scores),
        ("import", "dataset", tmp_path, "--out", tmp_path / "own.yaml"),
        ("import", "biometry", "--reference", tmp_path / "meta.csv", "--predictions", "a=b", "--out", scores),
        ("analyse", "subgroups", scores, "--metric", "dice", "--group", "sex"),
        ("analyse", "subgroups", scores, "--metric", "iou", "--group", "test_set"),
        ("analyse", "pairs", scores, "--metric", "iou"),
        ("analyse", "suite", scores, "--pair", "A=Z"),
        ("analyse", "suite", scores, "--pair", "A"),
        ("analyse", "pairs", tmp_path / "nowhere.csv", "--metric", "dice"),
    ):
        done = run(*words)
        assert done.exit_code == 2, (words, done.output)
        assert "Traceback" not in done.output


def test_gaps_of_one_model_are_missing_and_reported() -> None:
    tables = [
        pairing.WideTable(name, "dice", name, ("a", "b"), ("liver",), np.array(values)[:, None])
        for name, values in (("A", [0.5, np.nan]), ("B", [0.6, np.nan]), ("C", [np.nan, 0.1]))
    ]
    cleaned, findings = pairing.audit(tables)
    (finding,) = findings
    assert finding.code is pairing.PairingCode.GAPS
    assert "1 values where most have none, 1 gaps where most have a value" in finding.cause
    scores = pairing.to_scores(cleaned, challenge="x", edition="1", task="t").set_index(["submission", "case"])[
        "status"
    ]
    assert scores["C", "a"] == "missing"
    assert scores["A", "b"] == "missing"  # somebody has a value, so it was asked for


def test_metadata_with_two_different_rows_is_refused(tmp_path: Path) -> None:
    (tmp_path / "meta.csv").write_text("image_id;age;gender\ns1;40;m\ns1;50;f\n")
    with pytest.raises(UsageError, match="two rows with different values"):
        importers.read_metadata(tmp_path / "meta.csv")


def test_levels_without_a_single_score_stay_visible() -> None:
    rows = [
        {
            "submission": "A",
            "case": f"c{index}",
            "structure": "liver",
            "metric": "dice",
            "value": value,
            "centre": centre,
        }
        for index, (value, centre) in enumerate([(0.5, "x"), (0.7, "x"), (np.nan, "y")])
    ]
    scores = pd.DataFrame(rows).assign(challenge="c", edition="1", task="t", status="ok")
    found = subgroups.analyse(scores, "dice", ["centre"], 2)
    levels = found.summary.set_index("level")
    assert levels.at["y", "n_cases"] == 0
    assert bool(levels.at["y", "too_small"]) is True
    assert levels.at["x", "mean"] == pytest.approx(0.6)
    assert [item.where for item in found.findings] == ["centre = y"]


STAGES = "Case,stage,center\n1-A,S4,A\n2-A,S1,A\n3-C,S4,C\n4-C,S2,C\n"


ANSWERS = "Case,Subtask1_prob_S4,Subtask2_prob_S1\n1-A,1,0\n"


@pytest.mark.parametrize(
    ("stages", "answers", "code", "said"),
    [
        (STAGES.replace("S2", "S9"), ANSWERS, 1, "class 'S9'"),
        (STAGES.replace("2-A", "1-A"), ANSWERS, 1, "occurs twice"),
        (STAGES.replace("stage", "grade"), ANSWERS, 2, "no column 'stage'"),
        (STAGES.replace("center", "town"), ANSWERS, 2, "have no domain"),
        (STAGES, "Case,P4,P1\n1-A,1,0\n", 1, "no column 'Subtask1_prob_S4'"),
        (STAGES, None, 1, "no such file"),
    ],
    ids=["class", "twice", "class-column", "domain", "answer-column", "no-file"],
)
def test_bad_staging_tables_are_findings(
    tmp_path: Path, stages: str, answers: str | None, code: int, said: str
) -> None:
    (tmp_path / "stages.csv").write_text(stages)
    (tmp_path / "good.csv").write_text(ANSWERS + "2-A,0,1\n3-C,1,0\n4-C,0,0\n")
    if answers is not None:
        (tmp_path / "team.csv").write_text(answers)
    teams = [f"--predictions={name}={tmp_path / name}.csv" for name in ("team", "good")]
    out = tmp_path / "scores.csv"
    done = run(
        "score", "liqa/2025", "--task", "lifs-contrast", "--references", tmp_path / "stages.csv", *teams, "--out", out
    )
    assert done.exit_code == code, done.output
    assert said in done.output
    assert "Traceback" not in done.output
    if code == 1 and stages == STAGES:  # one team's broken table does not keep the others from being scored
        scores = read_scores(out)
        assert (scores[scores["submission"] == "team"]["status"] == "missing").all()
        assert scores[(scores["submission"] == "good") & (scores["metric"] == "acc_s4")]["value"].tolist() == [1.0, 1.0]


def test_staging_is_scored_and_ranked_from_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "stages.csv").write_text(STAGES.replace("4-C,S2", "4-C,S1"))
    header = "Case,Setting,Subtask1_prob_S4,Subtask2_prob_S1\n"
    good = header + "1-A,Contrast,0.9,0.1\n2-A,Contrast,0.1,0.9\n3-C,Contrast,0.8,0.1\n4-C,Contrast,0.1,0.8\n"
    (tmp_path / "good.csv").write_text(good)
    clash = good + "1-A,Contrast,0.2,0.2\n3-C,NonContrast,0.1,0.9\n4-C,sometimes,0,0\n"
    (tmp_path / "clash.csv").write_text(clash)
    teams = [f"--predictions={name}={tmp_path / name}.csv" for name in ("good", "clash")]
    scores = tmp_path / "scores.csv"
    done = run(
        "score",
        "liqa/2025",
        "--task",
        "lifs-contrast",
        "--references",
        tmp_path / "stages.csv",
        *teams,
        "--out",
        scores,
    )
    assert done.exit_code == 1, done.output
    assert "answers-case-twice" in done.output
    assert "answers-setting-unknown" in done.output
    frame = read_scores(scores).set_index(["submission", "domain", "metric"])["value"]
    assert frame["good", "id", "acc_s4"] == frame["good", "ood", "auc_s1"] == 1.0
    assert frame["clash", "id", "acc_s4"] == 0.5
    assert frame["clash", "ood", "acc_s4"] == 1.0
    done = run("rank", "liqa/2025", scores, "--bootstrap", 0, "--json")
    board = json.loads(done.stdout)["leaderboard"]
    assert [(row["submission"], row["rank"]) for row in board] == [("good", 1), ("clash", 2)]


def test_a_folder_with_one_table_is_accepted(tmp_path: Path) -> None:
    (tmp_path / "stages.csv").write_text(STAGES)
    (tmp_path / "team").mkdir()
    (tmp_path / "team" / "LiFS_pred.csv").write_text("Case,Subtask1_prob_S4,Subtask2_prob_S1\n1-A,1,0\n")
    (tmp_path / "team" / "Unsupervised_Segmentation_List.csv").write_text("Case,Modality\n")
    challenge = registry.load("liqa/2025")
    result = score_task(challenge, "lifs-contrast", tmp_path / "stages.csv", {"t": tmp_path / "team"})
    values = result.scores.set_index(["domain", "metric"])
    assert values.at[("id", "acc_s4"), "value"] == 0.5
    assert values.at[("ood", "acc_s4"), "status"] == "missing"
