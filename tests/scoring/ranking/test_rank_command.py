"""The verb ``rank``: as a user types it, with good input and with bad."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

from medpodium.cli import main
from medpodium.scoring.evidence.tables.columns import TABLES

CHALLENGE = """\
schema: 1
name: mini
title: A small challenge
edition: "1"
tasks:
  organs:
    kind: segmentation
    structures: {liver: {label: 1}, spleen: {label: 2}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice}
      time: {kind: running_time, worst: 600}
  tumours:
    kind: segmentation
    structures: {tumour: {label: 1}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice}
recipes:
  rank-cases:
    steps:
      - mean: structure
      - rank: {within: [case, metric], missing: worst}
      - mean: [case, metric]
      - rank
  mean:
    steps: [{select: {metric: [dice]}}, {mean: structure}, {mean: [case, metric]}, rank]
  bad-mixture:
    steps: [{mean: structure}, {mean: [case, metric]}, rank]
ranking: {organs: rank-cases, tumours: mean}
debatable:
  organs: {recipes: [mean], ties: [average]}
"""


def scores() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for index, name in enumerate(("aurora", "borealis", "corona")):
        for case in range(12):
            group = "north" if case < 6 else "south"
            for structure in ("liver", "spleen"):
                value = 0.9 - 0.05 * index + rng.normal(0, 0.03)
                rows.append(("organs", name, f"c{case:02d}", structure, "dice", value, "ok", group))
            rows.append(("organs", name, f"c{case:02d}", "", "time", 20.0 + index + rng.random(), "ok", group))
            rows.append(("tumours", name, f"c{case:02d}", "tumour", "dice", rng.random(), "ok", group))
    frame = pd.DataFrame(
        rows, columns=["task", "submission", "case", "structure", "metric", "value", "status", "centre"]
    )
    frame.insert(0, "edition", "1")
    frame.insert(0, "challenge", "mini")
    return frame


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "mini.yaml").write_text(CHALLENGE)
    scores().to_csv(tmp_path / "scores.csv", index=False)
    return tmp_path


OBSERVED = [f"{name}.csv" for name in (
    "views", "confusion", "hardest", "agreement", "places", "reliability", "calibration_levels", "curves", "limits",
    "scatter", "judges", "extraction", "risk_groups", "time_auc",
)]  # fmt: skip
"""Tables of what observations show, which values computed elsewhere have none of."""


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(main, ["rank", *map(str, arguments)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_leaderboard_and_every_table(folder: Path) -> None:
    result = run(
        folder / "mini.yaml", folder / "scores.csv", "--out", folder / "board.csv", "--evidence", folder / "evidence",
        "--bootstrap", 300, "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    board = pd.read_csv(folder / "board.csv")
    organs = board[board["task"] == "organs"]
    assert organs["submission"].tolist() == ["aurora", "borealis", "corona"]
    assert organs["rank"].tolist() == [1, 2, 3]
    assert organs["letters"].tolist()[0].startswith("a")
    assert set(organs["guarantee"]) == {"95 % unless rare failures differ"}
    assert (organs["rank_low"] <= organs["rank"]).all()
    assert (organs["set_high"] >= organs["rank"]).all()
    for name, columns in TABLES.items():
        frame = pd.read_csv(folder / "evidence" / name)
        assert list(frame.columns[: len(columns)]) == list(columns), name
        assert len(frame) or name in OBSERVED, f"{name} is empty"
    payload = json.loads((folder / "evidence" / "evidence.json").read_text())
    assert payload["challenge"] == "mini"
    assert payload["tables"]["leaderboard"][0]["submission"] == "aurora"
    assert json.loads(result.stdout)["leaderboard"][0]["rank"] == 1
    effects = pd.read_csv(folder / "evidence" / "effect_sizes.csv")
    best = effects[
        (effects["submission"] == "aurora") & (effects["versus"] == "corona") & (effects["metric"] == "time")
    ]
    assert best["rank_biserial"].iloc[0] == 1  # always faster, and smaller is better


def test_one_seed_one_answer_byte_for_byte_whatever_the_workers(folder: Path) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        common = [folder / "mini.yaml", folder / "scores.csv", "--seed", 4, "--bootstrap", 520, "--workers", workers]
        assert run(*common, "--out", folder / f"{name}.csv", "--evidence", folder / name).exit_code == 0
    files = sorted(str(path.relative_to(folder / "one")) for path in (folder / "one").rglob("*") if path.is_file())
    kept = [f"kept/{name.removesuffix('.csv')}.parquet" for name in TABLES]
    assert files == sorted([*TABLES, "evidence.json", "kept/kept.json", *kept])
    for name in files:
        assert (folder / "one" / name).read_bytes() == (folder / "two" / name).read_bytes(), name
    run(folder / "mini.yaml", folder / "scores.csv", "--seed", 5, "--bootstrap", 520, "--evidence", folder / "other")
    assert (folder / "other/kendall_tau.csv").read_bytes() != (folder / "one/kendall_tau.csv").read_bytes()


def test_other_recipe_task_and_schemes(folder: Path) -> None:
    common = [folder / "mini.yaml", folder / "scores.csv", "--bootstrap", 50, "--json"]
    found = json.loads(run(*common, "--recipe", "mean").stdout)["leaderboard"]
    assert {row["recipe"] for row in found} == {"mean"}
    found = json.loads(run(*common, "--task", "tumours").stdout)["leaderboard"]
    assert {row["task"] for row in found} == {"tumours"}
    for extra in (["--stratify", "centre"], ["--cluster", "centre"], ["--compat", "challenger"]):
        assert run(*common, *extra).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "meen"], "did you mean 'mean'"),
        (["--recipe", "bad-mixture"], "ranking-mixed-directions"),
        (["--task", "organ"], "did you mean 'organs'"),
        (["--stratify", "center"], "did you mean 'centre'"),
    ],
)
def test_wrong_requests(folder: Path, arguments: list[str], words: str) -> None:
    result = run(folder / "mini.yaml", folder / "scores.csv", "--bootstrap", 20, *arguments)
    assert words in result.output.replace("\n", " ")
    assert "Traceback" not in result.output
    assert result.exit_code in (1, 2)


def change(frame: pd.DataFrame, kind: str) -> pd.DataFrame:
    first = (frame["submission"] == "aurora") & (frame["case"] == "c00") & (frame["metric"] == "dice")
    if kind == "no case":
        lost = frame["submission"] == "aurora"
        return frame.assign(value=frame["value"].mask(lost), status=frame["status"].mask(lost, "failed:timeout"))
    if kind == "one case":
        return frame[frame["case"] == "c00"]
    if kind == "one submission":
        return frame[frame["submission"] == "aurora"]
    if kind == "all ties":
        return frame.assign(value=0.5)
    if kind == "all missing":
        return frame.assign(value=np.nan, status="missing")
    if kind == "infinite":
        return frame.assign(value=frame["value"].mask(first, np.inf))
    if kind == "duplicates":
        return pd.concat([frame, frame[first]])
    if kind == "unknown metric":
        return frame.assign(metric=frame["metric"].replace("dice", "dyce"))
    if kind == "empty":
        return frame.head(0)
    if kind == "no value column":
        return frame.drop(columns="value")
    if kind == "text":
        return frame.assign(value=frame["value"].astype(object).mask(first, "good"))
    if kind == "rows left out":
        return frame[~first]
    raise AssertionError(kind)


@pytest.mark.parametrize(
    ("kind", "code", "exit_code"),
    [
        ("no case", "ranking-submission-without-cases", 0),
        ("one case", "ranking-one-case", 0),
        ("one submission", "ranking-one-submission", 0),
        ("all ties", "ranking-all-tied", 0),
        ("all missing", "ranking-all-missing", 1),
        ("infinite", "table-value-infinite", 2),
        ("duplicates", "table-duplicate-rows", 2),
        ("unknown metric", "ranking-no-direction", 1),
        ("empty", "table-empty", 2),
        ("no value column", "table-column-missing", 2),
        ("text", "table-value-not-numeric", 2),
        ("rows left out", "ranking-missing-values", 0),
    ],
)
def test_bad_scores_are_findings(folder: Path, kind: str, code: str, exit_code: int) -> None:
    change(scores(), kind).to_csv(folder / "bad.csv", index=False)
    options = ["--evidence", folder / "e", "--out", folder / "b.csv", "--bootstrap", 30]
    result = run(folder / "mini.yaml", folder / "bad.csv", *options)
    assert code in result.output
    assert "Traceback" not in result.output
    assert result.exit_code == exit_code, result.output
    if exit_code == 0:
        board = pd.read_csv(folder / "b.csv")
        organs = board[board["task"] == "organs"].set_index("submission")
        if kind == "no case":
            assert organs.loc["aurora", "rank"] == 3
            assert organs.loc["aurora", "missing"] == 36
        if kind == "all ties":
            assert (organs["rank"] == 1).all()
        if kind == "one submission":
            assert organs["rank"].tolist() == [1]


def test_challenger_table_needs_no_challenge(shared: Path, tmp_path: Path) -> None:
    source = shared / "oracle" / "inputs" / "vignette.csv"
    wanted = {"mean-then-rank": [1, 2, 5, 3, 4], "rank-then-mean": [1, 3, 5, 2, 4], "test-then-rank": [1, 2, 2, 2, 2],
              "median-then-rank": [1, 2, 5, 4, 3], "rank-then-median": [1, 2, 2, 2, 2]}  # fmt: skip
    for method, expected in wanted.items():
        result = run("--challenger", source, "--method", method, "--out", tmp_path / "ranking.csv")
        assert result.exit_code == 0
        found = pd.read_csv(tmp_path / "ranking.csv")
        assert list(found.columns) == ["task", "algorithm", "value", "rank"]
        own = found[found["task"] == "c_random"].sort_values("algorithm")
        assert own["rank"].tolist() == expected
    result = run("--challenger", source, "--method", "test-then-rank", "--adjust", "holm", "--json")
    own = [row["rank"] for row in json.loads(result.stdout)["ranking"] if row["task"] == "c_random"]
    assert own == [1, 1, 1, 1, 1]


def test_challenger_options(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("task,case,algorithm,value\nT,1,A,2\nT,2,A,\nT,1,B,3\nT,2,B,1\n")
    result = run("--challenger", path)
    assert result.exit_code == 1
    assert "--na worst, --na 0 or --na rm" in result.output.replace("\n", " ")

    def ranks(*extra: str) -> dict[str, float]:
        rows = json.loads(run("--challenger", path, "--json", *extra).stdout)["ranking"]
        return {row["algorithm"]: row["rank"] for row in rows}

    assert ranks("--na", "worst") == {"A": 2, "B": 1}
    assert ranks("--na", "0") == {"A": 2, "B": 1}
    assert ranks("--na", "0", "--smaller-better") == {"A": 1, "B": 2}
    assert ranks("--na", "rm") == {"A": 1, "B": 1}
    assert ranks("--na", "rm", "--ties", "average") == {"A": 1.5, "B": 1.5}
    assert ranks("--method", "rank-then-mean") == {"A": 2, "B": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("task,case,algorithm,value\nT,1,A,1\nT,1,A,2\nT,1,B,2\n", "ranking-duplicate-rows"),
        ("task,case,algorithm,value\nT,1,A,good\n", "is no number"),
        ("task,case,algo,value\nT,1,A,1\n", "did you mean 'algo'"),
        ("", "table-text-no-rows"),
        ("task,case,algorithm,value\n", "no rows"),
        ("task,case,algorithm,value\nT,1,,1\n", "is empty"),
        ("task,case,algorithm,value\nT,1,A,1\nT,1,B,inf\nT,2,A,1\nT,2,B,2\n", "ranking-infinite-value"),
        ("task,case,algorithm,value\nT,1,A,1\n", "ranking-one-submission"),
        ("task,case,algorithm,value\nT,1,A,\nT,1,B,\n", "ranking-missing-values"),
    ],
)
def test_bad_challenger_tables_are_findings(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "d.csv").write_text(text)
    result = run("--challenger", tmp_path / "d.csv")
    assert words in result.output.replace("\n", " ")
    assert "Traceback" not in result.output


def test_missing_file_and_missing_arguments(tmp_path: Path) -> None:
    assert run("--challenger", tmp_path / "none.csv").exit_code == 2
    assert run("touchstone").exit_code == 2
    assert run().exit_code == 2
    assert "Example" in run("--help").output


def test_touchstone_multiverse_from_one_command(shared: Path, tmp_path: Path) -> None:
    """Three different winners in the five published aggregations, from the built-in definition."""
    frames = []
    for path in sorted((shared / "data" / "touchstone" / "totalsegmentator_results").iterdir()):
        wide = pd.read_csv(path / "dsc.csv").rename(columns={"name": "case"})
        frames.append(wide.melt(id_vars="case", var_name="structure").assign(submission=path.name))
    frame = pd.concat(frames).assign(challenge="touchstone", edition="", task="segmentation", metric="dice")
    keep = frame["submission"].isin(["nnU-Net_ResEncL", "nnU-Net_STU-Net_L", "nnU-Net_STU-Net_B", "nnU-Net_STU-Net_H"])
    frame = frame[keep].assign(status=np.where(frame[keep]["value"].isna(), "empty-reference", "ok"))
    frame.to_csv(tmp_path / "scores.csv", index=False)
    result = run("touchstone", tmp_path / "scores.csv", "--evidence", tmp_path / "e", "--bootstrap", 0)
    assert result.exit_code == 0, result.output
    winners = pd.read_csv(tmp_path / "e" / "multiverse_winners.csv", keep_default_na=False)
    default = winners[(winners["metrics"] == "") & (winners["ties"] == "") & (winners["empty"] == "")]
    by_recipe = dict(zip(default["recipe"], default["winners"], strict=True))
    assert by_recipe["organ-means-all-rows"] == "nnU-Net_STU-Net_L"
    assert by_recipe["organ-means-common-cases"] == by_recipe["mean-of-case-means"] == "nnU-Net_ResEncL"
    assert by_recipe["mean-of-organ-medians"] == by_recipe["median-of-case-means"] == "nnU-Net_STU-Net_B"
