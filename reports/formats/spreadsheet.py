"""CSV that is safe to open in a spreadsheet: no string can become a formula."""

from __future__ import annotations

import pandas as pd

from medpodium.scoring.evidence.tables.text import csv_text

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


def safe_text(text: str) -> str:
    """Return a string that no spreadsheet evaluates.

    A leading ``= + - @ | %``, tab or line break gets an apostrophe in front, as OWASP recommends
    (owasp.org/www-community/attacks/CSV_Injection); leading spaces do not hide it. NUL characters vanish.
    """
    text = text.replace("\0", "")
    return f"'{text}" if text.lstrip(" \u00a0\ufeff").startswith(_FORMULA) or text.startswith(_FORMULA) else text


def raw_text(text: str) -> str:
    """Undo :func:`safe_text`."""
    return text[1:] if text.startswith("'") and safe_text(text[1:]) == text else text


def to_csv(frame: pd.DataFrame) -> bytes:
    """Return a table as UTF-8 CSV with Unix line ends and 17 significant digits, the same bytes every time."""
    return csv_text(frame, lambda value: repr(float(value)), safe_text).encode("utf-8")
