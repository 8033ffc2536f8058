"""Tables of a report, from task results to document tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from medpodium.reports.model.document import Cell, Column, Table, digits_for
from medpodium.reports.model.results import Panel, TaskResults, slug
from medpodium.scoring import table as score_table
from medpodium.scoring.ranking.axes import OK

_INTERNAL = (
    "rank", "submission", "task", "recipe", "better", "letters", "rank_low", "rank_high", "set_low", "set_high",
    "guarantee", "first", "n_cases", "missing", "penalised", "skipped",
)  # fmt: skip
_STEP_COLUMNS = 4
"""A recipe step with more result columns than this is in the downloads only."""


def leaderboard(task: TaskResults) -> Table:
    """Return the ranking with rank intervals, tied groups and one column per reduction step."""
    board = task.leaderboard
    columns = [Column("Rank", "integer"), Column("Submission", "team")]
    series: list[list[Cell]] = [_plain(board["rank"]), [str(name) for name in board["submission"]]]
    steps = _shown_steps(board)
    for name in steps[:1]:  # the ranked value stands beside the name, what it came from after the evidence
        columns.append(_step_column(board, name))
        series.append(_plain(board[name].astype(float)))
    holds = guarantee(board)
    for low, high, title, note in (
        (
            "set_low",
            "set_high",
            "Rank confidence set" if holds else "Rank set (no guarantee)",
            f"ranks the data cannot rule out ({holds}, all submissions at once)"
            if holds
            else "ranks that the resamples leave open; nothing guarantees such sets for this recipe",
        ),
        ("rank_low", "rank_high", "Bootstrap ranks", "middle 95 % of the resampled ranks"),
    ):
        if low in board:
            columns.append(Column(title, "interval", 1, note=note))
            series.append(list(zip(board[low].astype(float), board[high].astype(float), strict=True)))
    if "letters" in board and board["letters"].nunique() > 1:
        columns.append(Column("Letters", note="submissions that share a letter cannot be told apart"))
        series.append([str(own) for own in board["letters"]])
    if "first" in board:
        columns.append(Column("First in", "percent", 0, note="share of resamples with rank 1"))
        series.append(_plain(board["first"]))
    if "n_cases" in board and board["n_cases"].nunique() > 1:
        columns.append(Column("Cases", "integer", note="cases in which a score of the submission counts"))
        series.append(_plain(board["n_cases"]))
    for name in steps[1:]:
        columns.append(_step_column(board, name))
        series.append(_plain(board[name].astype(float)))
    return Table(
        f"leaderboard-{slug(task.name)}",
        f"Leaderboard: {task.title}",
        tuple(columns),
        tuple(zip(*series, strict=True)),
        data=board.drop(columns="task"),
        role="leaderboard",
        extent=float(len(board)),
    )


def guarantee(board: pd.DataFrame) -> str:
    """Return how often rank sets like those of a leaderboard hold (``95 %``); empty where nothing guarantees them."""
    said = set(board["guarantee"].dropna()) if "guarantee" in board else set()
    return str(said.pop()) if len(said) == 1 and "none" not in said else ""


def _step_column(board: pd.DataFrame, name: str) -> Column:
    return Column(step_title(name), "number", digits_for(board[name].astype(float)))


def _shown_steps(board: pd.DataFrame) -> list[str]:
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
    return [name for name in steps if heads.count(name.partition(":")[0]) <= _STEP_COLUMNS and name not in same]


def step_title(name: str) -> str:
    """Return a leaderboard column's head in words: ``mean_case:dice`` becomes ``dice, mean over case``."""
    step, _, labels = name.partition("#")[0].partition(":")
    verb, _, dims = step.partition("_")
    words = f"{verb} over {dims.replace('_', ', ')}" if dims else verb
    return f"{labels.replace(':', ', ').replace('_', ' ')}, {words}" if labels else words[0].upper() + words[1:]


def _plain(values: pd.Series) -> list[Cell]:
    return [float(value) for value in values]


def _summary(task: TaskResults, panel: Panel) -> pd.DataFrame:
    told = task.summary(panel).rename(columns={"n": "cases"})
    keys = {"structure": panel.structure, "metric": panel.metric, "submission": told.index}
    return pd.concat([pd.DataFrame(keys), told.reset_index(drop=True)], axis=1)


def per_structure(task: TaskResults, metric: str) -> Table | None:
    """Return the mean of one metric per submission and structure; the data hold SD, median and quartiles too."""
    panels = [panel for panel in task.panels if panel.metric == metric]
    if not panels:
        return None
    spec = task.metric(metric)
    long = pd.concat([_summary(task, panel) for panel in panels], ignore_index=True)
    wide = long.pivot(index="submission", columns="structure", values="mean").reindex(index=task.order)
    wide = wide[[panel.structure for panel in panels]]
    digits = digits_for(wide.to_numpy().ravel())
    counts = long.groupby("structure")["cases"].max()
    columns = [Column("Submission", "team")]
    if len(panels) > 1:
        columns.append(Column(f"Mean of {task.words.structures}", "number", digits, spec.better))
    for panel in panels:
        head = task.structure_title(panel.structure) if panel.structure else task.metric_name(metric)
        columns.append(Column(head, "number", digits, spec.better, f"mean over up to {counts[panel.structure]} cases"))
    sizes = long.groupby("submission")["cases"].agg(["min", "max"])
    uneven = bool((long.groupby("structure")["cases"].nunique() > 1).any())
    if uneven:  # one number per column holds only where all submissions stand on the same cases
        columns.append(Column("Cases", "interval", 0, note="cases that count for the submission, fewest to most"))
    rows: list[list[Any]] = []
    for name in task.order:
        numbers = wide.loc[name].to_numpy(float)
        whole = [float(numbers.mean()) if np.isfinite(numbers).all() else math.nan] if len(panels) > 1 else []
        ends = [tuple(sizes.loc[name, ["min", "max"]].astype(float))] if uneven else []
        rows.append([name, *whole, *numbers.tolist(), *ends])
    arrow = "higher is better" if spec.better == "higher" else "lower is better"
    unit = f" in {spec.unit_name}" if spec.unit_name else ""
    what = task.words.structure if panels[0].structure else task.words.case
    return Table(
        f"scores-{slug(task.name)}-{slug(metric)}",
        f"{task.metric_name(metric)}{unit} per {what}",
        tuple(columns),
        tuple(tuple(row) for row in rows),
        caption=f"Mean over cases; {arrow}; the best of each column is bold.",
        data=long,
    )


def pooled(task: TaskResults) -> Table | None:
    """Return values of whole test sets (AUC over pooled cases, imported leaderboards) per metric and group level."""
    array, there = task.settled.array, task.settled.arranged.codes >= 0
    whole = [at for at, is_whole in enumerate(array.pooled) if is_whole]
    keys = [levels for _, levels in array.groups.items() if len({levels[at] for at in whole}) > 1]
    columns = [Column("Submission", "team")]
    series: list[list[Cell]] = [list(task.order)]
    for metric, spec in task.task.metrics.items():
        for structure in [name for name in task.structures_of(metric) if name in array.labels["structure"]]:
            k, m = array.labels["structure"].index(structure), array.labels["metric"].index(metric)
            for at in whole:
                if not there[:, at, k, m].any():
                    continue
                values = task.by_submission(np.where(array.state == OK, array.values, np.nan)[:, at, k, m])
                where = ", ".join(filter(None, [task.structure_title(structure), *(levels[at] for levels in keys)]))
                head = spec.with_unit(f"{task.metric_name(metric)}{f', {where}' if where else ''}")
                columns.append(Column(head, "number", digits_for(values), spec.better))
                series.append([float(value) for value in values])
    if len(columns) == 1:
        return None
    return Table(
        f"pooled-{slug(task.name)}",
        "Values of whole test sets",
        tuple(columns),
        tuple(zip(*series, strict=True)),
        "One value per submission and set of cases; the best of each column is bold.",
    )


def per_group(task: TaskResults, group: str, metric: str) -> Table | None:
    """Return the mean of one metric per submission and level of a group (centre, domain, sex, ...).

    A case counts with the mean over its structures.
    """
    cells = group_cells(task, group, metric)
    if cells.empty:
        return None
    spec = task.metric(metric)
    levels = list(dict.fromkeys(cells["level"]))
    wide = cells.pivot(index="submission", columns="level", values="mean").reindex(index=task.order, columns=levels)
    size = cells.groupby("level")["cases"].max()
    digits = digits_for(wide.to_numpy().ravel())
    columns = [Column("Submission", "team")]
    columns += [
        Column(f"{level} ({size[level]})", "number", digits, spec.better, f"{size[level]} cases") for level in levels
    ]
    rows: tuple[tuple[Any, ...], ...] = tuple((name, *map(float, wide.loc[name])) for name in task.order)
    several = task.scores.loc[task.scores["metric"] == metric, "structure"].nunique() > 1
    how = "Mean over cases of the mean over structures" if several else "Mean over cases"
    return Table(
        f"group-{slug(task.name)}-{slug(group)}-{slug(metric)}",
        f"{task.metric_name(metric)} by {task.group_title(group)}",
        tuple(columns),
        rows,
        f"{how}; number of cases in brackets.",
        cells,
    )


def group_cells(task: TaskResults, group: str, metric: str) -> pd.DataFrame:
    """Return mean, standard error and number of cases per submission and level of a group.

    Returns
    -------
    pandas.DataFrame
        ``level, submission, cases, mean, lower, upper``; the ends are mean -/+ 1.96 standard errors over cases, NaN
        in a level that is too small to conclude from.
    """
    names = ["level", "submission", "cases", "mean", "lower", "upper"]
    panel = next((one for one in task.overall if one.metric == metric), None)
    if panel is None:
        return pd.DataFrame(columns=names)
    block = task.block(panel)
    level = task.case_groups[group].reindex(block.cases)
    parts = []
    for name in sorted(set(level.dropna()) - {""}):
        told = block.of_cases((level == name).to_numpy()).summary
        told = told.assign(level=name, submission=list(task.settled.submissions)).rename(columns={"n": "cases"})
        parts.append(told[told["submission"].isin(task.order)])
    if not parts:
        return pd.DataFrame(columns=names)
    cells = pd.concat(parts, ignore_index=True)
    cells = cells[cells["cases"] > 0]
    half = (1.96 * cells["sd"] / np.sqrt(cells["cases"])).where(cells["cases"] >= task.smallest_group(group))
    cells = cells.assign(lower=cells["mean"] - half, upper=cells["mean"] + half)[names]
    place = {name: at for at, name in enumerate(task.order)}
    rank = {level: at for at, level in enumerate(task.levels(group))}
    key: Callable[[pd.Series], pd.Series] = lambda part: part.map(  # noqa: E731
        rank if part.name == "level" else place
    ).fillna(len(rank))
    return cells.sort_values(["level", "submission"], key=key, kind="stable", ignore_index=True)


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
        return f"failed: {status.removeprefix(score_table.FAILED_PREFIX)}"
    return known.get(status, status)
