"""Numbers, nouns and lists as they stand in sentences; every text of a report says them through these functions."""

from __future__ import annotations

from collections.abc import Sequence

from medpodium.reports.model.document import number


def listed(items: Sequence[str], most: int | None = None) -> str:
    """Join items as in a sentence: ``a``, ``a and b``, ``a, b and c``; a long list ends with how many more."""
    if most is not None and len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most} more"
    return " and ".join(filter(None, [", ".join(items[:-1]), *items[-1:]]))


def count(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun in the right form."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


_SPELT = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spelt(number: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun as prose has it: in words below ten."""
    told = count(number, one, many)
    return f"{_SPELT[number]}{told[1:]}" if 0 <= number < len(_SPELT) else told


def agree(number: int, one: str, many: str) -> str:
    """Return the form of a verb that goes with a number of subjects: ``is`` or ``are``."""
    return one if number == 1 else many


def amount(value: float, unit: str = "") -> str:
    """Return a number with its unit as people write it: ``29,491,200 MB s``, never in exponent form below 1e15."""
    if float(value).is_integer() and abs(value) < 1e15:
        shown = f"{value:,.0f}"
    else:
        shown = number(value, None) if abs(value) >= 1 else f"{value:.6g}"
    return f"{shown} {unit}" if unit else shown


def percent(share: float) -> str:
    """Return a share in per cent; "0 %" and "100 %" are said only when exact."""
    shown = f"{100 * share:.0f} %"
    if shown == "0 %" and share > 0:
        return "under 1 %"
    return "over 99 %" if shown == "100 %" and share < 1 else shown
