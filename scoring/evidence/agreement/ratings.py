"""Tables of ratings, as a person writes them: one rating a row, or one column per rater."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medpodium.challenges.naming.names import folded
from medpodium.challenges.rows import BLANK, Sheet, read_sheet
from medpodium.findings import Code, Finding, Severity, UsageError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]


class RatingCode(Code):
    """What can be wrong with a table of ratings."""

    TWICE = "rating-twice"
    UNNAMED = "rating-unnamed"
    NOT_IN_ORDER = "rating-not-in-order"
    ONE_RATER = "rating-one-rater"
    TOO_FEW = "rating-too-few-items"
    MISSING = "rating-missing"
    NO_NUMBERS = "rating-no-numbers"
    TORN = "rating-item-in-two-clusters"
    UNDEFINED = "rating-agreement-undefined"


@dataclass(frozen=True)
class Ratings:
    """Ratings of some items by some raters.

    Parameters
    ----------
    what : str
        Who is compared: ``raters``, ``round 2``, ``rater A`` (its rounds).
    items, raters : tuple of str
        Names.
    values : ndarray of float, shape (n_items, n_raters)
        Ratings; NaN where there is none. Words are numbered in their order.
    levels : tuple of str
        The values that occur, as written, in order; their position is what ``values`` holds where they are words.
    metric : bool
        Whether differences of ratings are numbers; else they are words.
    ordered : bool
        Whether the levels have an order.
    clusters : tuple of str
        Cluster of every item; the item itself where there are none.
    """

    what: str
    items: tuple[str, ...]
    raters: tuple[str, ...]
    values: Floats
    levels: tuple[str, ...]
    metric: bool
    ordered: bool
    clusters: tuple[str, ...]

    @property
    def missing(self) -> int:
        """How many items a rater has left out, all raters together."""
        return int(np.isnan(self.values).sum())

    @property
    def complete(self) -> int:
        """How many items every rater has rated."""
        return int((~np.isnan(self.values)).all(axis=1).sum())


@dataclass(frozen=True)
class _Row:
    item: str
    rater: str
    round: str
    cluster: str
    text: str
    line: int


def read_ratings(
    path: Path, *, order: Sequence[str] = (), cluster: str | None = None
) -> tuple[list[Ratings], list[Finding]]:
    """Read a table of ratings.

    Columns ``item``, ``rater``, ``value`` (and ``round``) hold one rating a row; in any other table with a column
    ``item``, every further column is a rater. Blank cells are missing ratings.

    Parameters
    ----------
    path : Path
        CSV or TSV.
    order : sequence of str, optional
        The levels from first to last, where they are words; numbers have their own order.
    cluster : str, optional
        Column whose levels (patients) are independent of each other, where items are not.

    Returns
    -------
    list of Ratings
        All raters; with several rounds, the raters within each round and then each rater's rounds.
    list of Finding
        What was missing.

    Raises
    ------
    UsageError
        Naming file, line and value of what cannot be used.
    """
    sheet = read_sheet(path)
    rows = _rows(sheet, cluster)
    texts = [row.text for row in rows if row.text.lower() not in BLANK]
    coded, levels, metric = _coded(sheet, texts, rows, order)
    joined: dict[str, str] = {}
    for row in rows:
        if cluster is not None and joined.setdefault(row.item, row.cluster) != row.cluster:
            cause = f"item {row.item!r} is of {cluster} {joined[row.item]!r} and of {row.cluster!r}"
            raise _error(RatingCode.TORN, sheet, row.line, cause, f"give every item one {cluster}")
    rounds = list(dict.fromkeys(row.round for row in rows))
    raters = list(dict.fromkeys(row.rater for row in rows))
    shape = (levels, metric, metric or bool(order))
    if len(rounds) == 1:
        tables = [_table("raters", rows, coded, [row.rater for row in rows], joined, shape)]
    else:
        tables = []
        for name in rounds:
            own = [row for row in rows if row.round == name]
            tables.append(_table(f"round {name}", own, coded, [row.rater for row in own], joined, shape))
        for name in raters:
            own = [row for row in rows if row.rater == name]
            tables.append(_table(f"rater {name}", own, coded, [row.round for row in own], joined, shape))
    kept = [table for table in tables if len(table.raters) > 1]
    if not kept:
        cause = f"{path}: only {raters[0]!r} has rated" if len(raters) == 1 else "nobody has rated twice"
        raise UsageError(
            Finding(RatingCode.ONE_RATER, str(path), cause, "give the ratings of two raters or two rounds")
        )
    return kept, _findings(path, kept, texts, metric)


def _rows(sheet: Sheet, cluster: str | None) -> list[_Row]:
    """Return one rating per row, from either form of table."""
    (item,) = sheet.need("item")
    grouped = sheet.need(cluster)[0] if cluster is not None else None
    rater, value, turn = sheet.find("rater"), sheet.find("value"), sheet.find("round")
    sheet.refuse_control_characters(name for name in (item, rater, turn, grouped) if name is not None)
    found = []
    if rater is not None:
        (value,) = sheet.need("value")
    keys = {name for name in (item, turn, grouped) if name is not None}
    columns = [name for name in sheet.named if name not in keys]
    for cells, line in zip(sheet.rows, sheet.lines, strict=True):
        place = (cells[turn] if turn else "", cells[grouped] if grouped else "")
        if not cells[item] or (rater is not None and not cells[rater]):
            cause = f"no {'item' if not cells[item] else 'rater'} is named"
            raise _error(RatingCode.UNNAMED, sheet, line, cause, "name it, or remove the row")
        if rater is not None and value is not None:
            found.append(_Row(cells[item], cells[rater], *place, cells[value], line))
        else:
            found += [_Row(cells[item], name, *place, cells[name], line) for name in columns]
    seen: dict[tuple[str, str, str], _Row] = {}
    for row in found:
        first = seen.setdefault((folded(row.item), folded(row.rater), row.round), row)
        if first is not row:
            cause = f"{row.rater!r} rates {row.item!r} a second time, with {row.text!r} after {first.text!r}"
            fix = "keep one of them, or number them in a column 'round'"
            raise _error(RatingCode.TWICE, sheet, row.line, f"{cause} in row {first.line}", fix)
    return found


def _coded(
    sheet: Sheet, texts: list[str], rows: list[_Row], order: Sequence[str]
) -> tuple[dict[str, float], tuple[str, ...], bool]:
    """Return the number of every value, the levels in order, and whether the values are numbers."""
    if order:
        places = {folded(name): float(at) for at, name in enumerate(order)}
        for row in rows:
            if row.text.lower() not in BLANK and folded(row.text) not in places:
                cause = f"{row.text!r} by {row.rater!r} is none of {', '.join(order)}"
                raise _error(RatingCode.NOT_IN_ORDER, sheet, row.line, cause, "correct it, or name it in --order")
        return {text: places[folded(text)] for text in texts}, tuple(order), False
    numbers = type(sheet.numbers([])).of(texts)
    coded: dict[str, float] = {}
    for text in dict.fromkeys(texts):
        try:
            coded[text] = numbers.parse(text)
        except ValueError:
            continue
    if len(coded) < len(set(texts)):
        words = [text for text in dict.fromkeys(texts) if text not in coded]
        if coded:  # a slip among numbers is no word
            row = next(row for row in rows if row.text == words[0])
            cause = f"{row.text!r} by {row.rater!r} is no number, and others are"
            raise _error(RatingCode.NOT_IN_ORDER, sheet, row.line, cause, "correct it, or leave the cell empty")
        names = sorted(set(texts))
        return {text: float(at) for at, text in enumerate(names)}, tuple(names), False
    if not all(np.isfinite(list(coded.values()))):
        row = next(row for row in rows if row.text in coded and not np.isfinite(coded[row.text]))
        raise _error(RatingCode.NOT_IN_ORDER, sheet, row.line, f"{row.text!r} is not finite", "give a finite number")
    names = sorted({f"{value:g}" for value in coded.values()}, key=float)
    return coded, tuple(names), True


def _table(
    what: str,
    rows: list[_Row],
    coded: dict[str, float],
    who: list[str],
    joined: dict[str, str],
    shape: tuple[tuple[str, ...], bool, bool],
) -> Ratings:
    items = list(dict.fromkeys(row.item for row in rows))
    raters = list(dict.fromkeys(who))
    at, by = {name: n for n, name in enumerate(items)}, {name: n for n, name in enumerate(raters)}
    values = np.full((len(items), len(raters)), np.nan)
    for row, name in zip(rows, who, strict=True):
        values[at[row.item], by[name]] = coded.get(row.text, np.nan)
    clusters = tuple(joined.get(name, "") or name for name in items)
    return Ratings(what, tuple(items), tuple(raters), values, *shape, clusters)


def _findings(path: Path, tables: list[Ratings], texts: list[str], metric: bool) -> list[Finding]:
    found = []
    for own in tables:
        if own.missing:
            cause = f"{own.missing} of {own.values.size} ratings are missing; {own.complete} of {len(own.items)} items "
            cause += "have all of them"
            fix = (
                "kappa uses the items that both have rated, ICC those that all have, alpha those that two or more have"
            )
            found.append(Finding(RatingCode.MISSING, f"{path}: {own.what}", cause, fix, Severity.NOTE))
    if not metric:
        cause = f"ratings are words ({texts[0]!r}, ...): no ICC, and no alpha of differences"
        fix = "give numbers where their differences mean something"
        found.append(Finding(RatingCode.NO_NUMBERS, str(path), cause, fix, Severity.NOTE))
    return found


def _error(code: RatingCode, sheet: Sheet, line: int, cause: str, fix: str) -> UsageError:
    return UsageError(Finding(code, f"{sheet.where}: row {line}", cause, fix))
