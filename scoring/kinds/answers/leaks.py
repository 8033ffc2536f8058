"""Ways to read the key without knowing the answers: a public table, the order of options, a question asked twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from medpodium.challenges.naming.names import folded
from medpodium.challenges.rows import Sheet
from medpodium.challenges.schema.answers import AnswersTask
from medpodium.findings import Code, Finding, MedpodiumError, Severity
from medpodium.scoring.kinds.answers.key import Item, Key
from medpodium.scoring.kinds.answers.replies import Given, ReplyCode
from medpodium.scoring.kinds.answers.texts import normalised, words
from medpodium.scoring.kinds.records import read_records

ALPHA = 1e-6
"""A dependence of the key on order or length is told when it is less likely than this by chance."""
EXCESS = 0.1
"""... and when somebody who knows nothing else gains at least this much accuracy by it."""
ALIKE = 0.9
"""Questions are nearly the same when they share this part of their sequences of three words (Jaccard)."""
_FEWEST = 20
_AROUND = " \t()[]{}\"'."
_SAME = 0.95


class LeakCode(Code):
    """Leak paths of questions and answers."""

    ANSWER_PUBLIC = "leak-answer-in-public-table"
    OPTION_ORDER = "leak-option-order"
    OPTION_LENGTH = "leak-option-length"
    NEAR_DUPLICATES = "leak-questions-nearly-the-same"


def key_leaks(task: AnswersTask, key: Key) -> list[Finding]:
    """Look for every leak path that the key itself, and the public table beside it, shows."""
    found = list(_public(task, key))
    if task.form == "choice":
        found += _positions(key.items, key.path.name)
        found += _lengths(key.items, key.path.name)
    found += _near_duplicates(key)
    return found


def _public(task: AnswersTask, key: Key) -> Iterable[Finding]:
    """Report columns of the public table that hold the answers, whatever they are called."""
    place = None if task.files.public is None else key.path.parent / task.files.public
    if place is None or not place.is_file():
        return
    try:
        sheet = read_records(place, [])
    except MedpodiumError as error:
        yield from error.findings
        return
    for column, number, shared in _telling(sheet, task.columns.item, key.items, set(task.options)):
        cause = f"column {column!r} holds the key's answer of {number} of {shared} questions"
        fix = "remove the column before anybody gets the table; if somebody has it, the questions are spent"
        yield Finding(LeakCode.ANSWER_PUBLIC, f"{place.name}: {column}", cause, fix)


def _telling(
    sheet: Sheet, item_column: str, items: Mapping[str, Item], options: set[str]
) -> Iterable[tuple[str, int, int]]:
    """Yield (column, questions whose answer it holds, questions) for every column that holds nearly all answers."""
    name = sheet.find(item_column)
    if name is None:
        return
    asked = [items.get(item) for item in sheet.column(name)]
    known = [(at, item) for at, item in enumerate(asked) if item is not None and item.right]
    if not known:
        return
    may_miss = (1 - _SAME) * len(known)
    for column in sheet.columns:
        if column == name or column in options or not column:
            continue
        cells = sheet.column(column)
        missed = 0
        for at, item in known:
            missed += not _tells(cells[at], item)
            if missed > may_miss:  # nearly every column is none, and that shows in its first rows
                break
        else:
            if len({cells[at] for at, _ in known}) > 1 or len(known) == 1:
                yield column, len(known) - missed, len(known)


def _tells(cell: str, item: Item) -> bool:
    """Return whether a cell says what is right: a letter, an option's text, or its number from 0 or from 1."""
    said = folded(cell.strip(_AROUND))
    if not said:
        return False
    texts = dict(item.options)
    right = [item.truth, *item.right, *([texts[item.truth]] if item.truth in texts else [])]
    if said in {folded(own.strip(_AROUND)) for own in right}:
        return True
    at = list(texts).index(item.truth) if item.truth in texts else -2
    return said in (str(at), str(at + 1))


def table_leaks(task: AnswersTask, items: Mapping[str, Item], given: Given) -> list[Finding]:
    """Report a team's table that holds the key, and questions or options that are others than the key's."""
    sheet = given.sheet
    if sheet is None or task.form == "rubric":
        return []
    found = []
    prediction = sheet.find(task.columns.prediction)
    for column, number, shared in _telling(sheet, task.columns.item, items, set(task.options)):
        if column != prediction and shared >= _FEWEST:
            cause = f"column {column!r} holds the key's answer of {number} of {shared} questions: the key is known"
            fix = "ask where it comes from; scores of a team that has the key say nothing"
            found.append(Finding(ReplyCode.KEY_INSIDE, f"{given.where}: {column}", cause, fix, Severity.WARNING))
    return found + list(_other_questions(task, items, sheet, given.where))


def _other_questions(task: AnswersTask, items: Mapping[str, Item], sheet: Sheet, where: str) -> Iterable[Finding]:
    """Report rows whose question or options, where the table repeats them, are not those of the key.

    Rows that were counted anew, or put in another order, have the name of another question.
    """
    name, question = sheet.find(task.columns.item), sheet.find(task.columns.question)
    letters = [(letter, sheet.find(letter)) for letter in task.options]
    moved, reordered = [], []
    for row in sheet.rows if name is not None else ():
        item = items.get(row[name]) if name is not None else None
        if item is None:
            continue
        if question and item.question and row[question] and normalised(row[question]) != normalised(item.question):
            moved.append(row[name])  # type: ignore[index]
            continue
        texts = {letter: row[column] for letter, column in letters if column and row[column]}
        own = dict(item.options)
        if texts and all(own.values()) and not task.orders and texts != own:
            reordered.append(row[name])  # type: ignore[index]
    for names, what in ((moved, "another question"), (reordered, "other options, or in another order,")):
        if names:
            cause = f"{len(names)} rows show {what} than the key under their name (first {names[0]})"
            fix = "give every reply the name of its question in the key; replies are compared with what the key says"
            yield Finding(ReplyCode.OTHER_QUESTION, where, cause, fix)


def _positions(items: Mapping[str, Item], where: str) -> Iterable[Finding]:
    """Report a key whose right options are not spread evenly over their places."""
    numbers = [(list(dict(item.options)).index(item.truth), len(item.options)) for item in items.values()]
    yield from _uneven(numbers, LeakCode.OPTION_ORDER, where, "the option in place {} is right", "shuffle the options")


def _lengths(items: Mapping[str, Item], where: str) -> Iterable[Finding]:
    """Report a key whose right options are longer or shorter than the others."""
    numbers = []
    for item in items.values():
        lengths = [len(text) for _, text in item.options]
        own = lengths[[letter for letter, _ in item.options].index(item.truth)]
        if len(set(lengths)) == len(lengths):
            numbers.append((sorted(lengths, reverse=True).index(own), len(lengths)))
    what = "the option in place {} from the longest is right"
    yield from _uneven(numbers, LeakCode.OPTION_LENGTH, where, what, "write options of one length")


def _uneven(numbers: Sequence[tuple[int, int]], code: LeakCode, where: str, what: str, fix: str) -> Iterable[Finding]:
    """Compare how often each place is right with chance (chi-square), and what always choosing one would gain."""
    from scipy import stats

    if len(numbers) < _FEWEST:
        return
    most = max(size for _, size in numbers)
    observed = np.bincount([at for at, _ in numbers], minlength=most).astype(float)
    expected = np.zeros(most)
    for _, size in numbers:
        expected[:size] += 1.0 / size
    statistic = float(((observed - expected) ** 2 / expected).sum())
    p = float(stats.chi2.sf(statistic, most - 1)) if most > 1 else 1.0
    gain = (observed - expected) / len(numbers)
    best = int(gain.argmax())
    if p < ALPHA and gain[best] >= EXCESS:
        told = what.format(best + 1)
        cause = (
            f"{told} in {observed[best]:.0f} of {len(numbers)} questions, by chance it would be in {expected[best]:.0f}"
        )
        yield Finding(code, where, cause, f"{fix}; a model that knows nothing gains by it", Severity.WARNING)


def _near_duplicates(key: Key) -> Iterable[Finding]:
    """Report questions that are nearly the same as another one.

    Two questions with the same words about different images are two questions: what is compared is everything that the
    key says of a question but its name and its answer, images and their names included.
    """
    pairs = near_duplicates(_told(key))
    if not pairs:
        return
    apart = [(one, other) for one, other in pairs if not _same_answer(key.items[one], key.items[other])]
    one, other = (apart or pairs)[0]
    cause = f"{len(pairs)} pairs of questions are nearly the same (first {one} and {other})"
    cause += f", and {len(apart)} of them have different answers" if apart else ""
    fix = "keep one of each, or make them one cluster; whoever knows one knows the other"
    yield Finding(LeakCode.NEAR_DUPLICATES, key.path.name, cause, fix, Severity.WARNING)


def _told(key: Key) -> dict[str, str]:
    """Return what a question says, per question: its text, options and whatever tells its image."""
    sheet = key.sheet
    columns = {name.lower(): name for name in sheet.named}
    images = [name for lower, name in columns.items() if "image" in lower or "path" in lower]
    text = columns.get("question")
    if text is None:
        return {}
    rows = dict(zip(key.items, sheet.rows, strict=False))
    return {
        name: " ".join(
            [rows[name][text], *sorted(own for _, own in item.options), *(rows[name][col] for col in images)]
        )
        for name, item in key.items.items()
    }


def _same_answer(one: Item, other: Item) -> bool:
    return dict(one.options).get(one.truth, one.truth) == dict(other.options).get(other.truth, other.truth)


def near_duplicates(texts: Mapping[str, str], alike: float = ALIKE) -> list[tuple[str, str]]:
    """Return pairs of texts that share at least this part of their sequences of three words, in their order.

    Candidates come from min-hashing (Broder 1997): 24 hashes in bands of four find a pair with a Jaccard index of .9
    with a probability above 99.7 %. Every candidate is then compared word for word, so no pair is made up.
    """
    names = list(texts)
    shingles = [_shingles(words(texts[name])) for name in names]
    kept = [at for at, own in enumerate(shingles) if own]
    rng = np.random.default_rng(20240229)
    a, b = (rng.integers(1, 2**31 - 1, 24, dtype=np.uint64) for _ in range(2))
    bands: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for at in kept:
        signature = _signature(shingles[at], a, b)
        for band in range(6):
            bands[band, signature[4 * band : 4 * band + 4].tobytes()].append(at)
    found: set[tuple[int, int]] = set()
    for members in bands.values():
        # of many equal ones, each is compared with the first: pairs grow with the square
        pairs = combinations(members, 2) if len(members) <= 30 else ((members[0], other) for other in members[1:])
        for one, other in pairs:
            if (one, other) not in found:
                union = len(shingles[one] | shingles[other])
                if len(shingles[one] & shingles[other]) >= alike * union:
                    found.add((one, other))
    return [(names[one], names[other]) for one, other in sorted(found)]


def _shingles(own: Sequence[str]) -> frozenset[int]:
    """Return the sequences of three words as numbers, the same in every run."""
    import zlib

    if not own:
        return frozenset()
    parts = [own[at : at + 3] for at in range(max(1, len(own) - 2))]
    return frozenset(zlib.crc32("\x1f".join(part).encode()) for part in parts)


def _signature(own: frozenset[int], a: npt.NDArray[np.uint64], b: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    values = np.fromiter(own, dtype=np.uint64, count=len(own))
    return np.asarray(((values[:, None] * a + b) % np.uint64(2**31 - 1)).min(axis=0), dtype=np.uint64)
