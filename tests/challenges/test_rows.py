"""The reader of text tables: compressed ones are read as they are without, and none unpacks to more than its limit."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from medpodium.challenges import rows
from medpodium.findings import UsageError

TEXT = b"case;value\n001;0,5\n002;0,25\n"


def test_compressed_table_is_the_table(tmp_path: Path) -> None:
    (tmp_path / "plain.csv").write_bytes(TEXT)
    (tmp_path / "small.csv.gz").write_bytes(gzip.compress(TEXT[:9]) + gzip.compress(TEXT[9:]))
    plain, small = (rows.read_sheet(tmp_path / name) for name in ("plain.csv", "small.csv.gz"))
    assert small.columns == plain.columns == ["case", "value"]
    assert small.cells == plain.cells == [["001", "0,5"], ["002", "0,25"]]


@pytest.mark.parametrize(
    ("content", "cause"),
    [(gzip.compress(TEXT)[:-9], "damaged gzip"), (gzip.compress(bytes(5000)), "unpacks to more than 1000 bytes")],
    ids=["cut off", "bomb"],
)
def test_damaged_or_growing_table_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, cause: str
) -> None:
    monkeypatch.setattr(rows, "MAX_BYTES", 1000)
    (tmp_path / "table.csv.gz").write_bytes(content)
    with pytest.raises(UsageError, match="table") as caught:
        rows.read_sheet(tmp_path / "table.csv.gz")
    assert cause in caught.value.findings[0].cause
