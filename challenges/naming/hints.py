"""Why names do not fit: one cause for all of them, where there is one.

Names that are asked for are compared with names that are there. If one rule (a suffix that all carry, stripped zeros,
other capitals) turns what is there into what is asked for, that rule is what the owner has to hear, once.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

from medpodium.challenges.naming.names import composed, folded, trimmed

_CHANNEL = re.compile(r"_\d{4}")
_SEPARATORS = "_-. /"
_MOST = 5000
"""With more names than this on either side only a sample is searched for a rule; all are then tried with it."""
_SAMPLE = 12


@dataclass(frozen=True)
class Hint:
    """One cause for many names.

    Parameters
    ----------
    why : str
        What the names that are there have in common, as a clause: ``carry the suffix '_0000'``.
    fix : str
        What to do.
    pairs : dict of str to str
        Name that was asked for to the name that is there.
    """

    why: str
    fix: str
    pairs: dict[str, str]

    def cause(self, asked: int, what: str = "cases") -> str:
        """Return the hint in a line, of ``asked`` names."""
        wanted, there = next(iter(self.pairs.items()))
        return f"{len(self.pairs)} of {asked} {what} {self.why}: {there!r} instead of {wanted!r}"


def explain(asked: Collection[str], there: Collection[str], endings: Sequence[str] = ()) -> Hint | None:
    """Return the rule that turns the names that are there into those that were asked for, if there is one.

    Parameters
    ----------
    asked : collection of str
        Names that were not found.
    there : collection of str
        Names that nobody asked for.
    endings : sequence of str
        Endings of file names, which are no part of the name (``.nii.gz``).
    """
    if not asked or not there:
        return None
    found = [rule for rule in (_affix(asked, there, endings), *_rewritten(asked, there, endings)) if rule is not None]
    return max(found, key=lambda hint: len(hint.pairs), default=None)


def split_ending(name: str, endings: Sequence[str]) -> tuple[str, str]:
    """Split a name into what comes before the longest of the endings it has, and that ending as written."""
    own = max((ending for ending in endings if name.lower().endswith(ending)), key=len, default="")
    return (name[: len(name) - len(own)], name[len(name) - len(own) :]) if own else (name, "")


def _plain_zeros(text: str) -> str:
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def _as_number(text: str) -> str:
    """Return what a spreadsheet makes of a name that looks like a number (``007``, ``1e5``, ``7.0``)."""
    bare = text.replace(",", ".")
    return repr(float(bare)) if re.fullmatch(r"\d+(\.\d*)?([eE][+-]?\d+)?", bare, re.ASCII) else text


def _joined(text: str) -> str:
    return re.sub(r"[\s._/-]+", "_", trimmed(text)).strip("_")


_REWRITINGS: tuple[tuple[Callable[[str], str], str, str], ...] = (
    (folded, "differ in upper and lower case", "rename them exactly as asked for"),
    (trimmed, "have blanks around the name", "remove the blanks"),
    (
        _plain_zeros,
        "lack their leading zeros",
        "restore them (a spreadsheet strips zeros: import the names as text)",
    ),
    (_as_number, "were rewritten as numbers", "keep the names as text (a spreadsheet rewrites them)"),
    (_joined, "have other separators", "rename them exactly as asked for"),
    (lambda text: text.rpartition("/")[2], "lie in other folders", "put them where they are asked for"),
    (
        lambda text: _plain_zeros(_joined(folded(text))),
        "differ in capitals, separators or zeros",
        "rename them exactly as asked for",
    ),
)


def _rewritten(asked: Collection[str], there: Collection[str], endings: Sequence[str]) -> list[Hint | None]:
    hints = [_by_ending(asked, there, endings)]
    for rewrite, why, fix in _REWRITINGS:
        hints.append(_same(asked, there, lambda name, own=rewrite: _rewrite(name, own, endings), why, fix))  # type: ignore[misc]
    return hints


def _rewrite(name: str, rewrite: Callable[[str], str], endings: Sequence[str]) -> str:
    stem, ending = split_ending(composed(name), endings)
    return rewrite(stem) + ending.lower()


def _by_ending(asked: Collection[str], there: Collection[str], endings: Sequence[str]) -> Hint | None:
    if not endings:
        return None
    hint = _same(asked, there, lambda name: split_ending(composed(name), endings)[0], "", "")
    if hint is None:
        return None
    wanted, other = next(iter(hint.pairs.items()))
    ending, instead = split_ending(other, endings)[1], split_ending(wanted, endings)[1]
    fix = f"save them in the format {instead!r}, do not just rename them"
    return Hint(f"end in {ending!r}, not {instead!r}", fix, hint.pairs)


def _same(asked: Collection[str], there: Collection[str], key: Callable[[str], str], why: str, fix: str) -> Hint | None:
    """Pair names that one rule makes equal; a name with several partners has none."""
    wanted, given = Counter(map(key, asked)), Counter(map(key, there))
    by_key = {key(name): name for name in there}
    pairs = {name: by_key[same] for name in asked if wanted[same := key(name)] == 1 and given.get(same) == 1 and same}
    return Hint(why, fix, pairs) if pairs else None


def _affix(asked: Collection[str], there: Collection[str], endings: Sequence[str]) -> Hint | None:
    """Find the prefix and suffix that most names carry, or lack."""
    wanted = {split_ending(composed(name), endings): name for name in asked}
    given = {split_ending(composed(name), endings): name for name in there}
    votes: Counter[tuple[bool, str, str]] = Counter()
    for stem, ending in list(wanted)[:_SAMPLE]:
        for other, other_ending in list(given)[:_MOST]:
            if other_ending != ending or other == stem:
                continue
            long, short, carried = (other, stem, True) if len(other) > len(stem) else (stem, other, False)
            if short and (at := long.find(short)) >= 0:
                votes[carried, long[:at], long[at + len(short) :]] += 1
    best: tuple[tuple[bool, str, str], dict[str, str]] | None = None
    for rule, _ in votes.most_common(20):
        carried, before, after = rule
        pairs = {}
        for (stem, ending), name in wanted.items():
            other = before + stem + after if carried else _without(stem, before, after)
            if (other, ending) in given:
                pairs[name] = given[other, ending]
        if _believable(rule, len(pairs), len(asked)) and (best is None or len(pairs) > len(best[1])):
            best = rule, pairs
    return None if best is None else _affix_hint(*best)


def _without(stem: str, before: str, after: str) -> str:
    inner = stem.removeprefix(before).removesuffix(after)
    return inner if before + inner + after == stem else ""


def _believable(rule: tuple[bool, str, str], pairs: int, asked: int) -> bool:
    """Return whether an affix is more than a coincidence of short names (case_1 in case_10)."""
    _, before, after = rule
    apart = (not before or before[-1] in _SEPARATORS) and (not after or after[0] in _SEPARATORS)
    return pairs > 0 and (apart or (pairs > 2 and pairs == asked))


def _affix_hint(rule: tuple[bool, str, str], pairs: Mapping[str, str]) -> Hint:
    carried, before, after = rule
    parts = [f"the prefix {before!r}"] if before else []
    parts += [f"the suffix {after!r}"] if after else []
    what = " and ".join(parts)
    wanted, there = next(iter(pairs.items()))
    if carried and _CHANNEL.fullmatch(after) and not before:
        fix = f"deliver the label maps, named like {wanted!r}"
        return Hint(f"carry the channel suffix {after!r}, which nnU-Net gives to images", fix, dict(pairs))
    if carried and before.endswith("/") and not after:
        return Hint(f"lie one level too deep, in {before!r}", f"give the folder {before!r} itself", dict(pairs))
    fix = f"rename them: {wanted!r}, not {there!r}"
    return Hint(f"{'carry' if carried else 'lack'} {what}", fix, dict(pairs))
