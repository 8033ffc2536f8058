"""The main table: rank, how sure it is, and for every ranked metric mean, interval and place."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.challenges.schema.steps import Select
from medpodium.reports.model import scores
from medpodium.reports.model.document import Cell, Column, Table, digits_for
from medpodium.reports.model.results import TaskResults, slug
from medpodium.reports.model.tables import guarantee, published_words, ranked_value, shown_steps, value_words
from medpodium.scoring.published import RECIPE_RANK

MOST = 8
"""Metrics side by side; more of them are in the tables of scores only."""


def leaderboard(task: TaskResults) -> Table:
    """Return rank, rank set and letters, the ranked value, and every ranked metric with interval and place."""
    board = task.leaderboard
    official = RECIPE_RANK in board
    columns = [Column("Published rank" if official else "Rank", "integer"), Column("Submission", "team")]
    series: list[list[Cell]] = [_plain(board["rank"]), [str(name) for name in board["submission"]]]
    if official:
        note = "rank by the recipe of the challenge file, applied to the published values"
        columns.append(Column("Rank by recipe", "integer", note=note))
        series.append(_plain(board[RECIPE_RANK]))
    if "set_low" in board:
        holds = guarantee(board)
        title = "Rank confidence set" if holds else "Rank set (no guarantee)"
        note = (
            f"ranks the data cannot rule out ({holds}, all submissions at once)"
            if holds
            else "ranks that the resamples leave open; nothing guarantees such sets for this recipe"
        )
        columns.append(Column(title, "interval", 1, note=note))
        series.append(list(zip(board["set_low"].astype(float), board["set_high"].astype(float), strict=True)))
    if "letters" in board and board["letters"].nunique() > 1:
        columns.append(Column("Letters", note="submissions that share a letter cannot be told apart"))
        series.append([str(own) for own in board["letters"]])
    metrics, values = _metrics(task)
    value = board["value"].astype(float).to_numpy()
    steps = shown_steps(task, board)
    if steps and not any(np.allclose([cell[0] for cell in own], value, equal_nan=True) for own in values):
        column, cells = ranked_value(task, board, steps[0])
        columns.append(column)
        series.append(cells)
    columns += metrics
    series += [list(own) for own in values]
    if "n_cases" in board and board["n_cases"].nunique() > 1:
        columns.append(Column("Cases", "integer", note="cases in which a score of the submission counts"))
        series.append(_plain(board["n_cases"]))
    places = "In round brackets: place by that metric alone." if metrics else ""
    return Table(
        f"leaderboard-{slug(task.name)}",
        f"Leaderboard: {task.title}",
        tuple(columns),
        tuple(zip(*series, strict=True)),
        data=board.drop(columns="task"),
        caption=" ".join(filter(None, [published_words(task, official), value_words(board), places])),
        role="leaderboard",
        extent=float(len(board)),
    )


def _metrics(task: TaskResults) -> tuple[list[Column], list[list[tuple[float, float, float, float]]]]:
    """Return a column for every ranked metric: mean over cases (or value of the whole set), interval and place."""
    columns: list[Column] = []
    series: list[list[tuple[float, float, float, float]]] = []
    chosen = [step.keep["metric"] for step in task.settled.steps if isinstance(step, Select) and "metric" in step.keep]
    for panel in task.overall:
        spec = task.metric(panel.metric)
        if not spec.ranked or any(panel.metric not in own for own in chosen):
            continue
        rows = scores.intervals(task, panel.metric, panel.structure).assign(mean=task.means(panel))
        note = f"mean over cases with its 95 % interval; {spec.better} is better"
        columns.append(Column(spec.with_unit(panel.title), "estimate", digits_for(rows["mean"]), spec.better, note))
        series.append(_placed(rows, spec.better))
    whole = None if task.overall and task.cases else scores.pooled(task)
    for at, column in enumerate(whole.columns[1:] if whole is not None else (), 1):
        cells = [row[at] for row in whole.rows] if whole is not None else []
        rows = pd.DataFrame([cell if isinstance(cell, tuple) else (np.nan,) * 3 for cell in cells], index=task.order)
        rows.columns = pd.Index(scores.INTERVAL)
        columns.append(column)
        series.append(_placed(rows, column.better or "higher"))
    return (columns, series) if len(columns) <= MOST else ([], [])


def _placed(rows: pd.DataFrame, better: str) -> list[tuple[float, float, float, float]]:
    """Return number, ends of the interval and place of every submission."""
    place = rows["mean"].round(12).rank(method="min", ascending=better == "lower")
    told = np.column_stack([rows[scores.INTERVAL].to_numpy(float), place.to_numpy(float)])
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in told]


def _plain(values: pd.Series) -> list[Cell]:
    return [float(value) for value in values]
