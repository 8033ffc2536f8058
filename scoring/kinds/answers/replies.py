"""What a team replied: its table, sorted by question, order of the options (or criterion) and trial."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from medpodium.challenges.rows import Numbers, Sheet
from medpodium.challenges.schema.answers import AnswersTask
from medpodium.findings import Code, Finding, Severity
from medpodium.scoring.kinds.answers.marks import Mark
from medpodium.scoring.kinds.records import given_records
from medpodium.scoring.kinds.tables import case_twice, compare_cases


class ReplyCode(Code):
    """What can be wrong with a table of replies."""

    ORDER_UNKNOWN = "answers-order-unknown"
    CRITERION_UNKNOWN = "answers-criterion-unknown"
    CONFIDENCE = "answers-confidence-unusable"
    TRIALS = "answers-trials"
    PARTS = "answers-parts-missing"
    NOT_EXTRACTED = "answers-not-extracted"
    DRAWN = "answers-drawn-at-random"
    PLACE = "answers-prefer-a-place"
    OTHER_QUESTION = "answers-question-differs"
    KEY_INSIDE = "answers-hold-the-key"
    JUDGES = "answers-several-judges"


class Reply(NamedTuple):
    """One reply: its text, its confidence (NaN for none), and who judged by which prompt, if that is what it is."""

    text: str
    confidence: float
    judge: str = ""


@dataclass(frozen=True)
class Replies:
    """What a submission replied to one question.

    Parameters
    ----------
    pieces : mapping of str to tuple of Reply
        Trials in their order, by order of the options (or criterion); ``""`` where there is one piece.
    marks : dict
        What the scorer made of it: the same reply is looked at once.
    """

    pieces: Mapping[str, tuple[Reply, ...]]
    marks: dict[str, Mark | None] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True)
class Given:
    """A team's table besides its replies.

    Parameters
    ----------
    where : str
        Name of the table.
    sheet : Sheet, optional
        The table as it is.
    judges : tuple of str
        Who judged, and by which prompt, where the table says so.
    """

    where: str
    sheet: Sheet | None = None
    judges: tuple[str, ...] = ()


def read_replies(
    place: Path, task: AnswersTask, cases: Sequence[str], findings: list[Finding]
) -> tuple[dict[str, Replies], Given]:
    """Read a team's table.

    A question whose reply to the same order and trial occurs twice, in two ways, has none. Rows that name an unknown
    order or criterion are not read.

    Raises
    ------
    UsageError
        If the table cannot be read or a column is missing.
    """
    names = task.columns
    path, sheet = given_records(place, task.files.prediction, names.item, cases, findings)
    if task.form == "rubric":
        rows = _judged_rows(sheet, task, path, findings)
    else:
        rows = _reply_rows(sheet, task, path, findings)
    found: dict[str, dict[str, dict[str, Reply]]] = {}
    clash: set[str] = set()
    named = set(rows.names)
    for name, piece, trial, reply in rows.cells:
        own = found.setdefault(name, {}).setdefault(piece, {})
        if trial in own and not _same(own[trial], reply):
            clash.add(name)
        own.setdefault(trial, reply)
    findings += [case_twice(path, name) for name in sorted(clash)]
    replies = {
        name: Replies({piece: _in_order(trials) for piece, trials in own.items()})
        for name, own in found.items()
        if name not in clash
    }
    compare_cases(path.name, replies, named, cases, findings)
    _tell_parts(path.name, task, replies, cases, findings)
    judges = tuple(sorted({" ".join(filter(None, pair)) for pair in _pairs(sheet, names.judge, names.prompt)} - {""}))
    if task.form == "rubric" and len(judges) > 1:
        cause = f"{len(judges)} judges or prompts in one table (first {judges[0]!r}, {judges[1]!r})"
        fix = "nothing to do if that is meant; scores of different judges are not on one scale"
        findings.append(Finding(ReplyCode.JUDGES, path.name, cause, fix, Severity.WARNING))
    wanted = set(cases)
    return {name: own for name, own in replies.items() if name in wanted}, Given(path.name, sheet, judges)


class _Rows(NamedTuple):
    names: list[str]
    cells: list[tuple[str, str, str, Reply]]


def _reply_rows(sheet: Sheet, task: AnswersTask, path: Path, findings: list[Finding]) -> _Rows:
    names = task.columns
    item, prediction = sheet.need(names.item, names.prediction)
    sheet.refuse_control_characters([item])
    trials, orders = _cells(sheet, names.trial), _cells(sheet, names.order)
    confidences = _confidences(sheet, task, path, findings) if task.confidence == "given" else None
    first = task.pieces[0]
    unknown: dict[str, int] = {}
    cells = []
    items, texts = sheet.column(item), sheet.column(prediction)
    for at, name in enumerate(items):
        order = (orders[at] if orders else "") or first
        if order not in task.orders and order != first:
            unknown[order] = unknown.get(order, 0) + 1
            continue
        reply = Reply(texts[at], confidences[at] if confidences else math.nan)
        cells.append((name, order, trials[at] if trials else "", reply))
    if unknown:
        cause = f"{sum(unknown.values())} rows name an unknown order (first {next(iter(unknown))!r})"
        fix = f"use {', '.join(task.orders) or 'none: the task declares no orders'}; these rows are not read"
        findings.append(Finding(ReplyCode.ORDER_UNKNOWN, path.name, cause, fix))
    return _Rows(items, cells)


def _judged_rows(sheet: Sheet, task: AnswersTask, path: Path, findings: list[Finding]) -> _Rows:
    """Read a judge's scores: a row per criterion, or a column per criterion."""
    names = task.columns
    trials = _cells(sheet, names.trial)
    named = [" ".join(filter(None, pair)) for pair in _pairs(sheet, names.judge, names.prompt)]
    criterion = sheet.find(names.criterion)
    if criterion is None:
        item, *columns = sheet.need(names.item, *task.criteria)
        items = sheet.column(item)
        sides = [(name, sheet.column(column)) for name, column in zip(task.criteria, columns, strict=True)]
        cells = [
            (name, piece, trials[at] if trials else "", Reply(column[at], math.nan, named[at]))
            for at, name in enumerate(items)
            for piece, column in sides
        ]
        sheet.refuse_control_characters([item])
        return _Rows(items, cells)
    item, score = sheet.need(names.item, names.score)
    sheet.refuse_control_characters([item])
    items, kinds, scores = sheet.column(item), sheet.column(criterion), sheet.column(score)
    unknown = sorted(set(kinds) - set(task.criteria))
    if unknown:
        cause = f"rows of unknown criteria (first {unknown[0]!r})"
        fix = f"use {', '.join(task.criteria)}; these rows are not read"
        findings.append(Finding(ReplyCode.CRITERION_UNKNOWN, path.name, cause, fix))
    cells = [
        (name, kinds[at], trials[at] if trials else "", Reply(scores[at], math.nan, named[at]))
        for at, name in enumerate(items)
        if kinds[at] in task.criteria
    ]
    return _Rows(items, cells)


def _cells(sheet: Sheet, name: str) -> list[str] | None:
    column = sheet.find(name)
    return None if column is None else sheet.column(column)


def _pairs(sheet: Sheet, *names: str) -> list[tuple[str, ...]]:
    """Return the cells of some columns, row by row; blank where the table lacks the column."""
    columns = [_cells(sheet, name) or [""] * len(sheet.cells) for name in names]
    return list(zip(*columns, strict=True))


def _confidences(sheet: Sheet, task: AnswersTask, path: Path, findings: list[Finding]) -> list[float]:
    (column,) = sheet.need(task.columns.confidence)
    numbers = sheet.numbers([column])
    found, bad = [], []
    for text, line in zip(sheet.column(column), sheet.lines, strict=True):
        try:
            value = numbers.parse(text)
        except ValueError:
            value = math.inf
        if not math.isnan(value) and not 0.0 <= value <= 1.0:
            bad.append((line, text))
            value = math.nan
        found.append(value)
    if bad:
        cause = f"{len(bad)} values are no confidence from 0 to 1 (first row {bad[0][0]}: {bad[0][1]!r})"
        fix = "give numbers from 0 to 1; a reply without one counts as if it were certain"
        findings.append(Finding(ReplyCode.CONFIDENCE, path.name, cause, fix))
    return found


def _same(one: Reply, other: Reply) -> bool:
    sure = one.confidence == other.confidence or (math.isnan(one.confidence) and math.isnan(other.confidence))
    return one.text == other.text and sure


def _in_order(trials: Mapping[str, Reply]) -> tuple[Reply, ...]:
    """Return the trials by their names: numbers by size, before other names."""

    def rank(name: str) -> tuple[bool, float, str]:
        return (False, float(name), "") if name.isascii() and name.isdigit() else (True, 0.0, name)

    return tuple(trials[name] for name in sorted(trials, key=rank))


def _tell_parts(
    where: str, task: AnswersTask, replies: Mapping[str, Replies], cases: Sequence[str], findings: list[Finding]
) -> None:
    """Report questions that lack an order, a criterion or a trial, or have more trials than there are."""
    known = [(case, replies[case]) for case in cases if case in replies]
    lacks = [(case, piece) for case, own in known for piece in task.pieces if piece not in own.pieces]
    if lacks:
        what = "criterion" if task.form == "rubric" else "order"
        cause = f"{len(lacks)} times a question lacks a {what} (first {lacks[0][0]}: {lacks[0][1]})"
        fix = "answer every part of every question; what lacks counts as declared for missing predictions"
        findings.append(Finding(ReplyCode.PARTS, where, cause, fix))
    if task.form == "rubric":
        return
    odd = [(case, len(trials)) for case, own in known for trials in own.pieces.values() if len(trials) != task.trials]
    if odd:
        cause = f"{len(odd)} times a question has not {task.trials} trials (first {odd[0][0]}: {odd[0][1]})"
        fix = f"give {task.trials} trials; those that lack are wrong, those above are not read"
        findings.append(Finding(ReplyCode.TRIALS, where, cause, fix))


def parse_score(text: str, low: float, high: float) -> float:
    """Return a judge's score, NaN where the cell holds none within its bounds."""
    try:
        value = Numbers().parse(text)
    except ValueError:
        return math.nan
    return value if low <= value <= high else math.nan
