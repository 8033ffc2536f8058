"""The reader of text tables: compressed ones are read as they are without, and none unpacks to more than its limit."""

from __future__ import annotations

import gzip
from collections.abc import Callable
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


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text,
        lambda text: text + "\n",
        lambda text: text + ",,,\n",
        lambda text: text[:-1],
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + '"t 1",x,"0,5",\n',
        lambda text: text.replace("t3", "e\u0301\u200b").replace("c7 ", "=x\0"),
        lambda text: text.replace(",", ";"),
    ],
)
def test_tables_that_are_read_by_columns_say_what_those_read_by_rows_say(
    change: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large tables without quotes go through another parser, and are kept by columns: nothing shows it."""
    rows_of = [f"t{at % 7},c{at // 7} ,{'' if at % 5 == 0 else repr(at / 97)},ok\n" for at in range(40_000)]
    for text in (change("submission,case,value,status\n" + "".join(rows_of[:number])) for number in (0, 9, 40_000)):
        found = rows.parse_sheet(text, "here", rows=0)
        monkeypatch.setattr(rows, "_large", lambda *_: None)
        expected = rows.parse_sheet(text, "here", rows=0)
        monkeypatch.undo()
        assert found == expected
        assert [found.column(name) for name in found.columns] == [expected.column(name) for name in expected.columns]
        assert found.rows == expected.rows
