"""Tables of scores: every mean, median and pooled value with its interval and what it stands on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import pandas as pd

from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.reports.model.document import Cell, Column, Table, digits_for
from medpodium.reports.model.results import Panel, TaskResults, slug
from medpodium.reports.model.tables import as_written
from medpodium.reports.model.wording.grammar import listed
from medpodium.scoring.evidence.intervals.means import SKEWED_FEW, bounds_of
from medpodium.scoring.evidence.intervals.pooled import set_name
from medpodium.scoring.evidence.intervals.scores import MACRO, Asked, level_rows
from medpodium.scoring.ranking.axes import OK
from medpodium.scoring.ranking.pools import Cell as PooledCell

INTERVAL = ["mean", "mean_low", "mean_high"]
_HOW = {
    "percentile": "bootstrap percentiles, widened for few cases",
    "bca": "bias-corrected and accelerated bootstrap where scores are skewed",
    "student": "Student's t",
    "wilson": "Wilson's for shares",
    "delong": "DeLong's for areas under the ROC curve, on the logit scale",
}


def intervals(task: TaskResults, metric: str, structure: str) -> pd.DataFrame:
    """Return the rows of the evidence table ``score_intervals`` about one score, by submission, best first.

    Numbers are blank where the evidence does not have them.
    """
    rows = task.table("score_intervals")
    names = [*INTERVAL, "n", "n_units", "sd", "median", "median_low", "median_high", "q25", "q75", "method", "note"]
    if rows.empty:
        return pd.DataFrame(index=task.order, columns=names, dtype=float)
    own = task.rows_about("score_intervals", metric, structure)
    return own.set_index("submission").reindex(index=task.order, columns=names)


def estimates(rows: pd.DataFrame, name: str = "mean") -> list[Cell]:
    """Return a number and the ends of its interval per row."""
    return [(float(a), float(b), float(c)) for a, b, c in rows[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)]


def interval_words(rows: pd.DataFrame, shown: str = "95 % intervals in brackets") -> str:
    """Return how the intervals of some rows were made, and why some numbers have none."""
    told = rows[rows["mean"].notna()]
    methods = [str(name) for name in told["method"].dropna().unique() if name]
    said = []
    if methods:
        said.append(f"{shown} ({'; '.join(_HOW[name] for name in _HOW if name in methods)}).")
    bare = told[told["mean_low"].isna()]
    for note, number in bare["note"].fillna("").replace("", "not computed").value_counts(sort=False).items():
        said.append(f"{'No' if number == len(told) else f'{number} without'} interval: {note}.")
    few = int((told["note"] == SKEWED_FEW).sum())
    if few:
        said.append(f"{few} of {len(told)} are of skewed scores of few cases: those hold the true mean less often.")
    return " ".join(said)


def boldened(spec: MetricSpec) -> Literal["higher", "lower"] | None:
    """Return which end of a column is printed bold; none where values lie on both sides of the best one."""
    return None if spec.info.signed else spec.better


def better_words(spec: MetricSpec) -> str:
    """Return which values of a metric are better, with the verb: ``lower is``."""
    return "nearer to zero is" if spec.info.signed else f"{spec.better} is"


def spread_table(task: TaskResults, panel: Panel, name: str, title: str) -> Table:
    """Return mean, SD, median and quartiles of one score per submission, on how many cases."""
    spec = task.metric(panel.metric)
    rows = intervals(task, panel.metric, panel.structure)
    told = task.summary(panel)
    digits = digits_for(told[["mean", "median"]].to_numpy(float).ravel())
    rows = rows.assign(mean=told["mean"], median=told["median"], n=told["n"])
    columns = (
        Column("Submission", "team"),
        Column("Mean", "estimate", digits, boldened(spec), "mean over cases with its 95 % interval"),
        Column("Cases", "integer"),
        Column("SD", "number", digits),
        Column("Median", "estimate", digits, note="median over cases with its 95 % interval"),
        Column("Quartiles", "interval", digits, note="25 % and 75 % of the cases lie below"),
    )
    series: list[Sequence[Cell]] = [
        list(task.order),
        estimates(rows),
        [int(number) for number in told["n"]],
        [float(value) for value in told["sd"]],
        estimates(rows, "median"),
        list(zip(told["q25"].astype(float), told["q75"].astype(float), strict=True)),
    ]
    data = rows.drop(columns=["n"]).assign(cases=told["n"], sd=told["sd"], q25=told["q25"], q75=told["q75"])
    data = data.rename_axis("submission").reset_index()
    data.insert(0, "metric", panel.metric)
    data.insert(0, "structure", panel.structure)
    arrow = f"{better_words(spec)} better"
    caption = f"Over cases; {arrow}; the best of a column is bold. {interval_words(rows)}".strip()
    return Table(name, title, columns, tuple(zip(*series, strict=True)), caption, data)


def per_metric(task: TaskResults, metric: str) -> list[Table]:
    """Return the tables of one metric: mean, spread and median, and the mean of every structure."""
    panels = [panel for panel in task.panels if panel.metric == metric]
    if not panels:
        return []
    spec = task.metric(metric)
    unit = f" in {spec.unit_name}" if spec.unit_name else ""
    what = task.words.structure if panels[0].structure else task.words.case
    key = f"{slug(task.name)}-{slug(metric)}"
    title = f"{task.metric_name(metric)}{unit} per {what}"
    if len(panels) == 1:
        return [spread_table(task, panels[0], f"scores-{key}", title)]
    overall = next(panel for panel in task.overall if panel.metric == metric)
    whole = f"{task.metric_name(metric)}{unit}, mean over the {task.words.structures} of a {task.words.case}"
    return [spread_table(task, overall, f"summary-{key}", whole), _per_structure(task, metric, panels, title)]


def _per_structure(task: TaskResults, metric: str, panels: list[Panel], title: str) -> Table:
    spec = task.metric(metric)
    parts = []
    for panel in panels:
        rows, told = intervals(task, metric, panel.structure), task.summary(panel)
        own = {"structure": panel.structure, "metric": metric, "submission": told.index, "cases": told["n"].to_numpy()}
        numbers = {name: told[name].to_numpy() for name in ("mean", "sd", "median", "q25", "q75")}
        ends = rows[["mean_low", "mean_high", "median_low", "median_high", "method", "note"]].reset_index(drop=True)
        parts.append(pd.concat([pd.DataFrame({**own, **numbers}), ends], axis=1))
    long = pd.concat(parts, ignore_index=True)
    wide = np.array([part["mean"].to_numpy(float) for part in parts]).T
    digits = digits_for(wide.ravel())
    macro = intervals(task, metric, MACRO)
    whole = np.where(np.isfinite(wide).all(axis=1), wide.mean(axis=1), math.nan)
    columns = [
        Column("Submission", "team"),
        Column(f"Mean of the {task.words.structures}' means", "estimate", digits, boldened(spec), "of their means"),
    ]
    series: list[Sequence[Cell]] = [list(task.order), estimates(macro.assign(mean=whole))]
    for panel, part in zip(panels, parts, strict=True):
        head = task.structure_title(panel.structure) if panel.structure else task.metric_name(metric)
        note = f"mean over up to {part['cases'].max()} cases"
        columns.append(Column(head, "estimate", digits, boldened(spec), note))
        series.append(estimates(part))
    if bool((long.groupby("structure")["cases"].nunique() > 1).any()):
        # one number per column holds only where all submissions stand on the same cases
        sizes = long.groupby("submission")["cases"].agg(["min", "max"]).reindex(task.order).astype(float)
        columns.append(Column("Cases", "interval", 0, note="cases that count for the submission, fewest to most"))
        series.append(list(zip(sizes["min"], sizes["max"], strict=True)))
    arrow = f"{better_words(spec)} better"
    caption = f"Mean over cases; {arrow}; the best of each column is bold. {interval_words(long)}".strip()
    name = f"scores-{slug(task.name)}-{slug(metric)}"
    return Table(name, title, tuple(columns), tuple(zip(*series, strict=True)), caption, long)


def pooled(task: TaskResults) -> Table | None:
    """Return values of whole test sets (AUC over pooled cases, imported leaderboards) per metric and group level."""
    array, there = task.settled.array, task.settled.arranged.codes >= 0
    whole = [at for at, is_whole in enumerate(array.pooled) if is_whole]
    keys = [levels for _, levels in array.groups.items() if len({levels[at] for at in whole}) > 1]
    columns = [Column("Submission", "team")]
    series: list[Sequence[Cell]] = [list(task.order)]
    told = []
    for metric, spec in task.task.metrics.items():
        for structure in [name for name in task.structures_of(metric) if name in array.labels["structure"]]:
            k, m = array.labels["structure"].index(structure), array.labels["metric"].index(metric)
            for at in whole:
                if not there[:, at, k, m].any():
                    continue
                values = task.by_submission(np.where(array.state == OK, array.values, np.nan)[:, at, k, m])
                where = ", ".join(filter(None, [task.structure_title(structure), *(levels[at] for levels in keys)]))
                head = spec.with_unit(f"{task.metric_name(metric)}{f', {where}' if where else ''}")
                rows = intervals(task, metric, set_name(PooledCell("", array.cases[at], structure, metric)))
                rows = rows.assign(mean=values.astype(float))
                told.append(rows)
                digits = as_written(values) if task.sources else digits_for(values)
                columns.append(Column(head, "estimate", digits, boldened(spec)))
                series.append(estimates(rows))
    if len(columns) == 1:
        return None
    how = interval_words(pd.concat(told))
    said = f"Values as published in {listed(task.sources)}. " if task.sources else ""
    return Table(
        f"pooled-{slug(task.name)}",
        "Values of whole test sets",
        tuple(columns),
        tuple(zip(*series, strict=True)),
        f"{said}One value per submission and set of cases; the best of each column is bold. {how}".strip(),
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
    size = cells.groupby("level")["cases"].max()
    digits = digits_for(cells["mean"])
    columns = [Column("Submission", "team")]
    columns += [
        Column(f"{level} ({size[level]})", "estimate", digits, boldened(spec), f"{size[level]} cases")
        for level in levels
    ]
    series: list[Sequence[Cell]] = [list(task.order)]
    for level in levels:
        own = cells[cells["level"] == level].set_index("submission").reindex(task.order)
        series.append([tuple(row) for row in own[["mean", "lower", "upper"]].to_numpy(float).tolist()])
    several = task.scores.loc[task.scores["metric"] == metric, "structure"].nunique() > 1
    how = "Mean over cases of the mean over structures" if several else "Mean over cases"
    words = interval_words(cells.rename(columns={"lower": "mean_low", "upper": "mean_high"}))
    return Table(
        f"group-{slug(task.name)}-{slug(group)}-{slug(metric)}",
        f"{task.metric_name(metric)} by {task.group_title(group)}",
        tuple(columns),
        tuple(zip(*series, strict=True)),
        f"{how}; number of cases in brackets after the name. {words}".strip(),
        cells,
    )


GROUPED = ["level", "submission", "cases", "mean", "lower", "upper", "sd", "median", "q25", "q75", "method", "note"]
SMALL = "group too small"


def group_cells(task: TaskResults, group: str, metric: str) -> pd.DataFrame:
    """Return mean, interval, spread and number of cases per submission and level of a group.

    Returns
    -------
    pandas.DataFrame
        :data:`GROUPED`; ``lower`` and ``upper`` are the ends of the mean's interval, NaN in a level that is too small
        to conclude from.
    """
    if (group, metric) not in task.kept:
        task.kept[group, metric] = _group_cells(task, group, metric)
    return task.kept[group, metric]


def _group_cells(task: TaskResults, group: str, metric: str) -> pd.DataFrame:
    panel = next((one for one in task.overall if one.metric == metric), None)
    if panel is None:
        return pd.DataFrame(columns=GROUPED)
    block = task.block(panel)
    bounds = bounds_of(task.settled.bounds.get(metric), block.values)
    names = np.asarray(task.settled.submissions, dtype=object)
    level = task.case_groups[group].reindex(block.cases).fillna("").astype(str)
    cells = level_rows(block, names, list(level), Asked(task.units, 0, task.drawn.seed, group), bounds)
    if cells.empty:
        return pd.DataFrame(columns=GROUPED)
    cells = cells[cells["submission"].isin(task.order)]
    cells = cells.rename(columns={"n": "cases", "mean_low": "lower", "mean_high": "upper"})
    cells = cells[cells["cases"] > 0]
    small = cells["cases"] < task.smallest_group(group)
    cells.loc[small, ["lower", "upper"]] = np.nan
    cells.loc[small, "method"], cells.loc[small, "note"] = "", SMALL
    place = {name: at for at, name in enumerate(task.order)}
    rank = {level: at for at, level in enumerate(task.levels(group))}
    key: Callable[[pd.Series], pd.Series] = lambda part: part.map(  # noqa: E731
        rank if part.name == "level" else place
    ).fillna(len(rank))
    return cells[GROUPED].sort_values(["level", "submission"], key=key, kind="stable", ignore_index=True)
