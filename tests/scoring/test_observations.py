"""The contract of observations: columns, checks, and the file beside the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.findings import UsageError
from medpodium.scoring import observations
from medpodium.scoring.observations import ObservationCode


def _rows(**changes: object) -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "task": "t",
            "submission": ["a", "a", "b", "b"],
            "case": ["001", "002", "001", "002"],
            "truth": ["S1", "S4", "S1", "S4"],
            "answer": ["S1", "", "S4", "S4"],
            "confidence": [0.9, np.nan, 0.25, 1 / 3],
            "domain": ["id", "ood", "id", "ood"],
        }
    )
    return frame.assign(**changes)


def test_columns_are_filled_in_and_a_blank_answer_is_missing() -> None:
    frame = observations.normalise(_rows(), "x")
    assert list(frame.columns) == [*observations.COLUMNS, "domain"]
    assert frame["status"].tolist() == ["ok", "missing", "ok", "ok"]
    assert frame["count"].isna().all()
    assert frame["count"].dtype == frame["event"].dtype == np.float64


def test_the_file_lies_beside_the_scores_and_gives_back_every_bit(tmp_path: Path) -> None:
    frame = observations.normalise(_rows(), "x")
    assert observations.write_beside(frame, tmp_path / "scores.csv") == tmp_path / "scores.observations.parquet"
    again = observations.read_beside(tmp_path / "scores.csv")
    assert again is not None
    pd.testing.assert_frame_equal(again, frame, check_exact=True)
    assert observations.observations_path("x/scores.parquet") == Path("x/scores.observations.parquet")
    # a table without observations takes the place of one with: nothing of the old one stays beside it
    assert observations.write_beside(None, tmp_path / "scores.csv") is None
    assert observations.read_beside(tmp_path / "scores.csv") is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ({"confidence": ["0.9", "high", "1", "0"]}, ObservationCode.NOT_NUMERIC, "confidence 'high' in data row 2"),
        ({"confidence": [0.9, np.inf, 1, 0]}, ObservationCode.NOT_NUMERIC, "confidence 'inf'"),
        ({"status": ["ok", "lost", "ok", "ok"]}, ObservationCode.STATUS_UNKNOWN, "status: 'lost'"),
        ({"case": "001", "truth": "S1", "domain": "id"}, ObservationCode.DUPLICATE_ROWS, "4 rows share their key"),
        ({"truth": ["S1", "S4", "S2", "S4"]}, ObservationCode.TRUTH_CONFLICT, "case '001' of task 't' has 'S1', 'S2'"),
        ({"domain": ["id", "ood", "id", "id"]}, ObservationCode.GROUP_CONFLICT, "column domain: case '002'"),
    ],
)
def test_what_breaks_the_contract_is_named(changes: dict[str, object], code: ObservationCode, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        observations.normalise(_rows(**changes), "file.parquet")
    finding = caught.value.findings[0]
    assert (finding.code, finding.where) == (code, "file.parquet")
    assert said in finding.cause
    assert finding.fix


def test_a_column_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no column 'truth'"):
        observations.normalise(_rows().drop(columns="truth"), "x")


def test_a_broken_file_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "scores.observations.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(UsageError, match="observations-unreadable"):
        observations.read_beside(tmp_path / "scores.csv")


def test_tasks_with_other_groups_are_joined() -> None:
    joined = observations.concatenate(
        [None, observations.normalise(_rows(), "x"), observations.normalise(_rows(task="u", sex="f"), "y")]
    )
    assert joined is not None
    assert list(joined.columns) == [*observations.COLUMNS, "domain", "sex"]
    assert joined["sex"].tolist() == [""] * 4 + ["f"] * 4
    assert observations.concatenate([None, None]) is None
