"""Tables of a report beside those of scores: the leaderboard, and how scores came about."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from medpodium.reports.model.document import Cell, Column, Table, digits_for
from medpodium.reports.model.results import Panel, TaskResults, slug
from medpodium.reports.model.wording.grammar import listed
from medpodium.reports.model.wording.steps import column_title, distinct
from medpodium.scoring import table as score_table
from medpodium.scoring.published import RECIPE_RANK

_INTERNAL = (
    "rank", "submission", "task", "recipe", "better", "letters", "rank_low", "rank_high", "set_low", "set_high",
    "guarantee", "first", "value_low", "value_high", "value_method", "value_note", "n_cases", "missing", "penalised",
    "skipped", RECIPE_RANK,
)  # fmt: skip
_STEP_COLUMNS = 4
"""A recipe step with more result columns than this is in the downloads only."""


def steps(task: TaskResults) -> Table:
    """Return how the ranking came about: the ranked value, resampled ranks, and one column per reduction step."""
    board = task.leaderboard
    columns = [Column("Rank", "integer"), Column("Submission", "team")]
    series: list[list[Cell]] = [_plain(board["rank"]), [str(name) for name in board["submission"]]]
    shown = shown_steps(task, board)
    for name in shown[:1]:
        column, cells = ranked_value(task, board, name)
        columns.append(column)
        series.append(cells)
    if "rank_low" in board:
        columns.append(Column("Bootstrap ranks", "interval", 1, note="middle 95 % of the resampled ranks"))
        series.append(list(zip(board["rank_low"].astype(float), board["rank_high"].astype(float), strict=True)))
    if "first" in board:
        columns.append(Column("First in", "percent", 0, note="share of resamples with rank 1"))
        series.append(_plain(board["first"]))
    for name in shown[1:]:
        columns.append(_step_column(task, board, name))
        series.append(_plain(board[name].astype(float)))
    return Table(
        f"steps-{slug(task.name)}",
        f"How the ranking of {task.title} came about",
        tuple(columns),
        tuple(zip(*series, strict=True)),
        "One column per step of the recipe, the last one first.",
        data=board.drop(columns="task"),
        extent=float(len(board)),
    )


def published_words(task: TaskResults, official: bool) -> str:
    """Return what of a leaderboard was published, and where."""
    if not task.sources:
        return ""
    return f"{'Ranks and values' if official else 'Values'} as published in {listed(task.sources)}."


def ranked_value(task: TaskResults, board: pd.DataFrame, name: str) -> tuple[Column, list[Cell]]:
    """Return the ranked value with its interval."""
    values = board[name].astype(float)
    ends = board.reindex(columns=["value_low", "value_high"]).astype(float).to_numpy().tolist()
    cells: list[Cell] = [(value, low, high) for value, (low, high) in zip(values, ends, strict=True)]
    note = "the ranked value with its 95 % interval" if "value_low" in board else ""
    return Column(column_title(task, name), "estimate", decimals(values), note=note), cells


def value_words(board: pd.DataFrame) -> str:
    """Return why ranked values have no interval, where some have none."""
    told = board[board["value"].notna()]
    bare = told[told.reindex(columns=["value_low"])["value_low"].isna()]
    if bare.empty or "value_note" not in board:
        return ""
    notes = [str(note) for note in bare["value_note"].dropna().unique() if note]
    many = "No" if len(bare) == len(told) else f"{len(bare)} values without"
    return f"{many} interval: {'; '.join(notes)}." if notes else ""


def guarantee(board: pd.DataFrame) -> str:
    """Return how often rank sets like those of a leaderboard hold (``95 %``); empty where nothing guarantees them."""
    said = set(board["guarantee"].dropna()) if "guarantee" in board else set()
    return str(said.pop()) if len(said) == 1 and "none" not in said else ""


def _step_column(task: TaskResults, board: pd.DataFrame, name: str) -> Column:
    return Column(column_title(task, name), "number", decimals(board[name].astype(float)))


def decimals(values: pd.Series) -> int:
    """Return the decimals of a column: none where all numbers are whole and some is above 1, as ranks and counts."""
    told = values[np.isfinite(values)]
    if len(told) and (told == told.round()).all() and (told > 1).any():
        return 0
    return digits_for(values)


def as_written(values: pd.Series) -> int:
    """Return the decimals that published numbers were written with, at most 4."""
    told = values[np.isfinite(values)]
    return next((digits for digits in range(4) if np.allclose(told, told.round(digits), rtol=0, atol=1e-9)), 4)


def shown_steps(task: TaskResults, board: pd.DataFrame) -> list[str]:
    """Return the columns to print: the ranked value and steps of a few columns; all are in the data."""
    steps = [
        str(name) for name in board.columns if name not in _INTERNAL and pd.api.types.is_numeric_dtype(board[name])
    ]
    heads = [name.partition(":")[0] for name in steps]
    same = {name for name in steps if name != "value" and board[name].equals(board.get("value", board[name]))}
    if "value" in steps and same:
        # The last step repeats the ranked value; its own name says more than "value".
        steps.remove("value")
        steps.remove(last := [name for name in steps if name in same][-1])
        steps.insert(0, last)
        same.discard(last)
    few = [name for name in steps if heads.count(name.partition(":")[0]) <= _STEP_COLUMNS and name not in same]
    titles = [column_title(task, name) for name in few]
    return [few[at] for at in distinct(titles, [tuple(board[name].fillna(-np.inf)) for name in few])]


def _plain(values: pd.Series) -> list[Cell]:
    return [float(value) for value in values]


def penalties(task: TaskResults) -> Table:
    """Return how many scores of each submission have which status."""
    counts = task.statuses
    columns = [Column("Submission", "team"), *(Column(status_title(name), "integer") for name in counts.columns)]
    rows: tuple[tuple[Any, ...], ...] = tuple((str(name), *map(int, counts.loc[name])) for name in counts.index)
    return Table(
        f"statuses-{slug(task.name)}",
        f"How the scores of {task.title} came about",
        tuple(columns),
        rows,
        caption="Number of scores by status; nothing is left out silently.",
    )


def status_title(status: str) -> str:
    """Return a status in words."""
    known = {
        score_table.OK: "computed",
        score_table.EMPTY_REFERENCE: "empty reference",
        score_table.MISSING: "missing prediction",
        score_table.PENALISED: "penalised",
        score_table.SKIPPED: "skipped",
        score_table.UNLABELLED: "not labelled in the reference",
    }
    if status.startswith(score_table.FAILED_PREFIX):
        return f"failed: {status.removeprefix(score_table.FAILED_PREFIX).replace('-', ' ')}"
    return known.get(status, status)


_FEW = 5
"""Distinct values of single cases up to which their spread is no news: right or wrong, or in some of few trials."""


def few_values(task: TaskResults, panel: Panel) -> bool:
    """Return whether scores of single cases say hardly more than right or wrong."""
    values = task.matrix(panel).to_numpy(float)
    known = values[np.isfinite(values)]
    return bool(known.size > _FEW) and len(np.unique(known)) <= _FEW and bool(((known >= 0) & (known <= 1)).all())
