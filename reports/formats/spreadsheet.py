"""CSV that is safe to open in a spreadsheet: no string can become a formula."""

from __future__ import annotations

import io

import pandas as pd

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
    safe = frame.copy()
    for at, column in enumerate(safe.columns):
        values = safe.iloc[:, at]
        if values.dtype == object or isinstance(values.dtype, (pd.StringDtype, pd.CategoricalDtype)):
            # once per value: names of cases and teams come a hundred thousand times over
            known = {item: safe_text(item) for item in values.unique() if isinstance(item, str)}
            if any(item != shown for item, shown in known.items()):
                safe.isetitem(at, [known[item] if isinstance(item, str) else item for item in values])
        del column
    safe.columns = [safe_text(str(name)) for name in safe.columns]
    buffer = io.StringIO(newline="")
    safe.to_csv(buffer, index=False, lineterminator="\n", float_format=None)
    return buffer.getvalue().encode("utf-8")
