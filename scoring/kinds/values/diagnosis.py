"""What looks like a slip in a table of numbers: columns swapped, another unit, cases mixed up.

Each is told only where mending it makes the numbers fit far better than they do as they stand, so that a poor method is
not taken for a careless one. Nothing is mended: the team has to.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.values import ValuesTask
from medpodium.findings import Finding, Severity
from medpodium.scoring.kinds.values.reading import ValueCode

Floats = npt.NDArray[np.float64]
_FEWEST = 5
"""Cases that a slip has to show in."""
_BETTER = 0.25
"""A slip is told when mending it leaves no more than this part of the typical error."""
_FACTORS = {10.0: "mm instead of cm", 0.1: "cm instead of mm", 100.0: "percent instead of parts, or cm instead of m"}
_FACTORS |= {0.01: "parts instead of percent, or m instead of cm", 1000.0: "a thousandth as the unit"}
_FACTORS |= {0.001: "a unit a thousand times as large", 25.4: "mm instead of inches", 1 / 25.4: "inches instead of mm"}
_FACTORS |= {7.0: "days instead of weeks", 1 / 7.0: "weeks instead of days", 365.25: "days instead of years"}
_FACTORS |= {12.0: "months instead of years", 1 / 12.0: "years instead of months"}
_SHIFTS = (-2, -1, 1, 2)
"""Places by which the rows of a table may have moved against the cases."""


def diagnose(
    task: ValuesTask, truth: Mapping[str, Mapping[str, float]], given: Mapping[str, Mapping[str, float]], where: str
) -> list[Finding]:
    """Return what is missing, and what looks like a slip.

    Parameters
    ----------
    truth, given : mapping of str to (mapping of str to float)
        Numbers by case and quantity.
    where : str
        Name of the team's table.
    """
    names = list(task.measured)
    true = _array(truth, truth, names)
    said = _array(given, truth, names)
    found = _missing(task, true, said, list(truth), where)
    slips = _units(task, true, said, where)
    slips = slips or _swapped(task, true, said, where)
    return [*found, *(slips or _mixed_up(true, said, list(truth), where))]


def _array(values: Mapping[str, Mapping[str, float]], cases: Mapping[str, object], names: Sequence[str]) -> Floats:
    """Return numbers of shape (n_cases, n_quantities), NaN for none."""
    return np.array([[values.get(case, {}).get(name, np.nan) for name in names] for case in cases], dtype=np.float64)


def _missing(task: ValuesTask, true: Floats, said: Floats, cases: Sequence[str], where: str) -> list[Finding]:
    """Report numbers that a case with some of them lacks; cases without any are told by their names."""
    any_said = np.asarray(~np.isnan(said)).any(axis=1)
    lacks = ~np.isnan(true) & np.isnan(said) & any_said.reshape(-1, 1)
    if not lacks.any():
        return []
    case, quantity = np.argwhere(lacks)[0]
    cause = f"{int(lacks.sum())} numbers are missing (first {cases[case]}: {list(task.measured)[quantity]})"
    fix = "give every number of every case; until then it counts as declared for missing predictions"
    return [Finding(ValueCode.MISSING, where, cause, fix)]


def _typical(true: Floats, said: Floats) -> float:
    """Return the median absolute difference of what both have; infinite where too few have."""
    both = ~np.isnan(true) & ~np.isnan(said)
    return float(np.median(np.abs(true - said)[both])) if both.sum() >= _FEWEST else np.inf


def _units(task: ValuesTask, true: Floats, said: Floats, where: str) -> list[Finding]:
    """Report quantities whose numbers fit when they are divided by a factor between units."""
    wrong: dict[float, list[str]] = {}
    for at, name in enumerate(task.measured):
        before = _typical(true[:, at], said[:, at])
        after = {factor: _typical(true[:, at], said[:, at] / factor) for factor in _FACTORS}
        best = min(after, key=lambda factor: after[factor])
        size = float(np.median(np.abs(true[:, at])[~np.isnan(true[:, at])])) if np.isfinite(before) else 0.0
        # numbers around 0 fit any factor; a true factor leaves a small part of their size
        if np.isfinite(before) and after[best] <= _BETTER * before and after[best] <= _BETTER * size:
            wrong.setdefault(best, []).append(name)
    found = []
    for factor, names in wrong.items():
        unit = {task.measured[name].unit for name in names} - {""}
        what = f"{', '.join(names)}: " if names != [""] else ""
        shown = f"{factor:g}" if factor >= 1 else f"1/{1 / factor:g}"
        cause = f"{what}the numbers are {shown} times the references ({_FACTORS[factor]}?)"
        fix = f"give them in {', '.join(sorted(unit))}" if unit else "give them in the unit of the references"
        found.append(Finding(ValueCode.UNIT, where, cause, fix, Severity.WARNING))
    return found


def _swapped(task: ValuesTask, true: Floats, said: Floats, where: str) -> list[Finding]:
    """Report pairs of columns that fit when they are exchanged."""
    found = []
    names = list(task.measured)
    columns = task.value_columns
    for one, other in combinations(range(len(names)), 2):
        as_is = [_typical(true[:, at], said[:, at]) for at in (one, other)]
        moved = [_typical(true[:, at], said[:, source]) for at, source in ((one, other), (other, one))]
        if all(np.isfinite([*as_is, *moved])) and all(
            after <= _BETTER * before for after, before in zip(moved, as_is, strict=True)
        ):
            pair = f"{columns[names[one]]} and {columns[names[other]]}"
            cause = f"the columns {pair} fit the references of each other: they look swapped"
            fix = "exchange the two columns"
            found.append(Finding(ValueCode.SWAPPED, where, cause, fix, Severity.WARNING))
    return found


def _mixed_up(true: Floats, said: Floats, cases: Sequence[str], where: str) -> list[Finding]:
    """Report a table whose rows have moved against the cases, or two cases with the numbers of each other."""
    spread = np.array([_typical(column, np.full(len(column), np.nanmedian(column))) for column in true.T])
    usable = np.isfinite(spread) & (spread > 0)
    if not usable.any():
        return []
    true, said = true[:, usable] / spread[usable], said[:, usable] / spread[usable]
    before = _typical(true, said)
    for shift in _SHIFTS if len(cases) > 2 * _FEWEST else ():
        moved = said[shift:] if shift > 0 else said[:shift]
        if _typical(true[:-shift] if shift > 0 else true[-shift:], moved) <= _BETTER * before:
            cause = f"the numbers fit when they are moved by {abs(shift)} case(s): the rows look mixed up"
            fix = "match rows by the case's name, not by their place"
            return [Finding(ValueCode.CASES_MIXED, where, cause, fix, Severity.WARNING)]
    return _exchanged(true, said, before, cases, where)


def _exchanged(true: Floats, said: Floats, typical: float, cases: Sequence[str], where: str) -> list[Finding]:
    """Report pairs of cases far off each, that fit as well as any other when they are exchanged."""
    if not np.isfinite(typical):
        return []
    whole = ~np.isnan(true).any(axis=1) & ~np.isnan(said).any(axis=1)
    off = np.abs(true - said).max(axis=1)
    far = [int(at) for at in np.flatnonzero(whole) if off[at] > max(8 * typical, 1.0)]
    pairs = []
    for one, other in combinations(far[:50], 2):
        crossed = max(float(np.abs(said[one] - true[other]).max()), float(np.abs(said[other] - true[one]).max()))
        if crossed <= max(4 * typical, 1e-9) and crossed <= _BETTER * min(off[one], off[other]):
            pairs.append((cases[one], cases[other]))
    # one number fits another case's by chance; a pair is told where few are far off, and that fits
    if not pairs or len(far) > max(4, len(cases) // 5):
        return []
    cause = f"{len(pairs)} pair(s) of cases have the numbers of each other (first {pairs[0][0]} and {pairs[0][1]})"
    fix = "look whether these cases were mixed up"
    return [Finding(ValueCode.CASES_MIXED, where, cause, fix, Severity.WARNING)]
