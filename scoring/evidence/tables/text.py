"""Tables as CSV text, a column at a time: names, ranks and shares come a million times over."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

_AT_ONCE = 100_000
"""So many rows are held as text at a time: a million of them take a gigabyte."""


def csv_text(frame: pd.DataFrame, number: Callable[[float], str], shown: Callable[[str], str] = str) -> str:
    """Return a table as CSV text with Unix line ends; what is no value is blank.

    Parameters
    ----------
    number : callable
        How a float is written.
    shown : callable
        What becomes of a text, column names included, before it is quoted.
    """
    starts = range(0, len(frame), _AT_ONCE)
    head = _row([shown(str(name)) for name in frame.columns])
    return "".join([head, *(_rows(frame.iloc[start : start + _AT_ONCE], number, shown) for start in starts)])


def _rows(frame: pd.DataFrame, number: Callable[[float], str], shown: Callable[[str], str]) -> str:
    columns = [_fields(frame.iloc[:, at], number, shown) for at in range(frame.shape[1])]
    return "".join(f"{','.join(row)}\n" for row in zip(*columns, strict=True))


def _fields(column: pd.Series, number: Callable[[float], str], shown: Callable[[str], str]) -> list[str]:
    """Return the values of a column as fields; each different one is made once."""

    def field(value: Any) -> str:
        return _row([shown(value) if isinstance(value, str) else value, ""]).removesuffix(",\n")

    if column.dtype == object and len({type(value) for value in column}) > 1:  # True, 1 and 1.0 are one key
        return ["" if pd.isna(value) else field(value) for value in column]
    text = number if pd.api.types.is_float_dtype(column) else field
    codes, known = pd.factorize(column)
    fields = np.array([*(text(value) for value in known), ""], dtype=object)  # -1, no value, is the last one
    return list(fields[codes])


def _row(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(values)
    return line.getvalue()
