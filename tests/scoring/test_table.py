"""The score table: reading, writing, refusing, and challengeR's long format."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.findings import UsageError
from medpodium.scoring import table
from medpodium.scoring.table import TableCode


def _scores() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "challenge": "c",
            "edition": "1",
            "task": "t",
            "submission": ["a", "a", "ü b"],
            "case": ["001", "002", "001"],
            "structure": ["liver", "liver", "liver"],
            "metric": "dice",
            "value": [0.1 + 0.2, math.nan, 0.0696043893694877],
            "status": ["ok", "missing", "ok"],
            "centre": ["x", "y", "x"],
        }
    )


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_round_trip_keeps_every_bit(tmp_path: Path, ending: str) -> None:
    path = table.write_scores(_scores(), tmp_path / f"scöres{ending}")
    again = table.read_scores(path)
    pd.testing.assert_frame_equal(again, _scores(), check_dtype=False)
    assert again["value"].to_numpy()[[0, 2]].tobytes() == _scores()["value"].to_numpy()[[0, 2]].tobytes()
    assert list(again["case"]) == ["001", "002", "001"]
    assert list(again.columns[: len(table.COLUMNS)]) == list(table.COLUMNS)


def test_values_are_read_correctly_rounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.random(2000)
    path = tmp_path / "s.csv"
    frame = pd.DataFrame(
        {"submission": "a", "case": range(2000), "metric": "m", "value": [repr(float(v)) for v in values]}
    )
    frame.to_csv(path, index=False)
    assert table.read_scores(path)["value"].to_numpy().tobytes() == values.tobytes()


def _write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return path


HEAD = "submission,case,structure,metric,value,status\n"


@pytest.mark.parametrize(
    ("text", "code", "named"),
    [
        ("submission,case,metric\na,1,m\n", TableCode.COLUMN_MISSING, "value"),
        (HEAD + "a,1,,m,0.5;,ok\n", TableCode.VALUE_NOT_NUMERIC, "0.5;"),
        (HEAD + "a,1,,m,inf,ok\n", TableCode.VALUE_INFINITE, "a/1/m"),
        (HEAD + "a,1,,m,1,fine\n", TableCode.STATUS_UNKNOWN, "fine"),
        (HEAD + "a,1,,m,1,ok\na,1,,m,2,ok\n", TableCode.DUPLICATE_ROWS, "1 keys with different values"),
        (HEAD + "a,\x001,,m,1,ok\n", TableCode.CONTROL_CHARACTER, "\\x00"),
        (HEAD, TableCode.EMPTY, "no rows"),
        ("", TableCode.UNREADABLE, ""),
    ],
)
def test_bad_table_is_refused_by_name(tmp_path: Path, text: str, code: TableCode, named: str) -> None:
    path = _write(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        table.read_scores(path)
    finding = caught.value.findings[0]
    assert finding.code is code
    assert str(path) in finding.where
    assert named in finding.cause


def test_missing_file_is_a_finding(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        table.read_scores(tmp_path / "no.csv")
    assert caught.value.findings[0].code is TableCode.UNREADABLE


def test_pooled_rows_of_two_domains_are_two_scores(tmp_path: Path) -> None:
    text = "submission,case,metric,value,status,domain\na,,auc,0.5,ok,ID\na,,auc,0.6,ok,OOD\n"
    assert len(table.read_scores(_write(tmp_path, text))) == 2


def test_challenger_round_trip() -> None:
    scores = _scores()
    long = table.to_challenger(scores, "dice")
    assert list(long.columns) == ["task", "case", "algorithm", "value"]
    again = table.from_challenger(long, "dice")
    keys = ["submission", "case", "structure", "metric", "value", "status"]
    pd.testing.assert_frame_equal(again[keys], scores[keys])


def test_challenger_example_of_the_oracle(shared: Path) -> None:
    long = pd.read_csv(shared / "oracle" / "inputs" / "vignette.csv")
    scores = table.from_challenger(long, "value")
    back = table.to_challenger(scores, "value")
    merged = long.astype({"case": str}).merge(back, on=["task", "case", "algorithm"], suffixes=("", "_back"))
    assert len(merged) == len(long)
    assert (merged["value"] == merged["value_back"]).all()
