"""Which figures of the raw data a task supports: dot-and-box, podium, heatmap, difficulty, failures."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.reports.figures import across, raw
from medpodium.reports.model.document import Block, Figure, Plot, Section
from medpodium.reports.model.results import CASE_MEAN, Panel, TaskResults, slug
from medpodium.reports.model.tables import few_values, status_title
from medpodium.reports.model.wording.grammar import count, listed
from medpodium.scoring.table import EMPTY_REFERENCE, OK


def raw_data(task: TaskResults, *, every: bool = True) -> Section:
    """Return the figures of the values per case: the mean over structures first, then each structure folded.

    Parameters
    ----------
    every : bool
        Draw the figures of each structure by itself too.
    """
    overall = [_panel_section(task, panel, folded=False) for panel in task.overall]
    rest = [panel for panel in task.panels if panel not in task.overall]
    single = [_panel_section(task, panel, folded=True) for panel in rest] if every else []
    return Section(f"raw-{slug(task.name)}", "Scores case by case", (), (*overall, *single))


def looks_at_evidence(task: TaskResults) -> bool:
    """Return whether the figures of the values per case depend on what the evidence tells, too."""
    return any(few_values(task, panel) for panel in (*task.overall, *task.panels))


def _panel_section(task: TaskResults, panel: Panel, *, folded: bool) -> Section:
    values = task.matrix(panel)
    key = f"{slug(task.name)}-{panel.id}"
    if few_values(task, panel):  # right or wrong: the mean says all of it
        known = len(task.order) > 1 and len(values) > 1 and task.table("hardest").empty
        blocks: list[Block] = [_difficulty(task, panel, values, key)] if known and not folded else []
        return Section(f"panel-{key}", panel.title, tuple(blocks), folded=folded)
    blocks = [_dot_box(task, panel, values, key)]
    if len(task.order) > 1 and len(values) > 1:
        places = task.places(panel)
        blocks += [_podium(task, panel, values, key), _heatmap(task, panel, places, key)]
        if panel.structure == CASE_MEAN or not folded:
            blocks += [_difficulty(task, panel, values, key), _profiles(task, panel, values, key)]
    return Section(f"panel-{key}", panel.title, tuple(blocks), folded=folded)


def _dot_box(task: TaskResults, panel: Panel, values: pd.DataFrame, key: str) -> Figure:
    many = "one dot per case" if len(values) > 1 else "one case"
    return Figure(
        f"dots-{key}",
        f"Dot-and-box plot, {panel.title}",
        f"Submissions in the order of the ranking, best on top; {many}, box from the first to the third quartile with "
        f"the median, whiskers to the last value within 1.5 box lengths, diamond at the mean. "
        f"{panel.better.capitalize()} values are better; {count(len(values), 'case')}."
        f"{_penalties(task, panel, values)}",
        f"Distribution of {panel.title} over {count(len(values), 'case')} for {count(len(task.order), 'submission')}, "
        "in ranking order.",
        Plot(
            raw.dot_box,
            {
                "values": values,
                "measured": task.measured(panel),
                "order": task.order,
                "look": task.look,
                "axis": panel.axis,
                "bounds": panel.bounds,
                "better": panel.better,
            },
        ),
        values.reset_index(),
    )


def _penalties(task: TaskResults, panel: Panel, values: pd.DataFrame) -> str:
    """Return the sentence about values that measure no prediction, if there are any."""
    number = int((values.notna() & ~task.measured(panel)).to_numpy().sum())
    if not number:
        return ""
    if number == 1:
        return (
            " The tick at the edge, counted on the right, is a penalty or stands in for a missing prediction: box and "
            "diamond hold it, the axis shows what was measured."
        )
    return (
        f" Ticks at the edge, counted on the right, are {number:,} penalties and stand-ins for missing predictions: "
        "boxes and diamonds hold them, the axis shows what was measured."
    )


def _podium(task: TaskResults, panel: Panel, values: pd.DataFrame, key: str) -> Figure:
    places = task.places(panel, "random")
    shown = min(len(task.order), raw.PODIUMS)
    some = f"the first {count(shown, 'submission')} of the ranking; " if shown < len(task.order) else ""
    return Figure(
        f"podium-{key}",
        f"Podium plot, {panel.title}",
        f"Above: each podium collects the cases in which a submission took that place, one column per submission "
        f"({some}ties broken at random with a fixed seed); thin lines join the results of one case. "
        "Below: share of cases "
        "in which each submission took each place.",
        f"Podium plot of {panel.title}: places within each case for {count(shown, 'submission')}.",
        Plot(
            raw.podium,
            {
                "ranks": places,
                "values": values,
                "order": task.order,
                "look": task.look,
                "axis": panel.axis,
                "ends": raw.reach(values, task.measured(panel), panel.bounds),
            },
        ),
        places.astype("Int64").reset_index(),
    )


def place_counts(places: pd.DataFrame, submissions: int) -> pd.DataFrame:
    """Return how often each submission (row) took each place (column 1, 2, ...) within a case."""
    highest = max(submissions, int(np.nanmax(places.to_numpy(float), initial=1)))
    taken = {name: places[name].dropna().astype(int) for name in places.columns}
    found = {name: np.bincount(own, minlength=highest + 1)[1:] for name, own in taken.items()}
    counts = pd.DataFrame.from_dict(found, orient="index", columns=range(1, highest + 1))
    return counts.loc[:, :highest]


def _heatmap(task: TaskResults, panel: Panel, places: pd.DataFrame, key: str) -> Figure:
    counts = place_counts(places, len(task.order))
    long = counts.rename_axis("submission").reset_index().melt("submission", var_name="place", value_name="cases")
    return Figure(
        f"places-{key}",
        f"Ranking heatmap, {panel.title}",
        "Number of cases in which each submission took each place; tied submissions share the lowest place."
        + _without_value(places),
        f"Table of colours: how often each of {count(len(task.order), 'submission')} took each place for "
        f"{panel.title}.",
        Plot(raw.ranking_heatmap, {"counts": counts, "order": task.order}),
        long[long["cases"] > 0].reset_index(drop=True),
    )


def _without_value(places: pd.DataFrame) -> str:
    """Return the sentence about submissions that take no place in some case, if there are any."""
    left_out = places.isna().sum()
    if not left_out.any():
        return ""
    told = [f"{name} ({number:,})" for name, number in left_out.items() if number]
    return f" Left out of cases that do not count for it: {listed(told, 4)}."


def _profiles(task: TaskResults, panel: Panel, values: pd.DataFrame, key: str) -> Figure:
    behind = across.distances(values, panel.better)
    best = (behind == 0).sum()
    top = str(best.idxmax())
    return Figure(
        f"profile-{key}",
        f"Performance profiles, {panel.title}",
        "Share of the cases that count for a submission in which it is behind the best of the case by at most what the "
        "axis says. The axis ends where 95 % of all values are within." + across.some_named(len(task.order)),
        f"Curves of {count(len(task.order), 'submission')}: most often best of a case is {top}, in "
        f"{int(best[top]):,} of {count(len(values), 'case')}.",
        Plot(
            across.profiles,
            {"values": values, "order": task.order, "look": task.look, "axis": panel.axis, "better": panel.better},
        ),
        behind.reset_index(),
    )


def _difficulty(task: TaskResults, panel: Panel, values: pd.DataFrame, key: str) -> Figure:
    filled = values.dropna(how="all")
    summary = pd.DataFrame(
        {
            "case": filled.index,
            "q25": filled.quantile(0.25, axis=1).to_numpy(),
            "median": filled.median(axis=1).to_numpy(),
            "q75": filled.quantile(0.75, axis=1).to_numpy(),
            "best": (filled.max(axis=1) if panel.better == "higher" else filled.min(axis=1)).to_numpy(),
        }
    )
    summary = summary.sort_values(["median", "case"], ascending=[panel.better == "higher", True], ignore_index=True)
    measured = values.where(task.measured(panel)).to_numpy(float)
    # a penalty of hours or of the image's size would leave nothing else to see
    shown = (float(np.nanmin(measured)), float(np.nanmax(measured))) if np.isfinite(measured).any() else None
    drawn = summary[["q25", "median", "q75"]].to_numpy(float)
    beyond = shown is not None and bool((drawn < shown[0]).any() or (drawn > shown[1]).any())
    return Figure(
        f"difficulty-{key}",
        f"Case difficulty, {panel.title}",
        "Each case's median, middle half and best value over all submissions; cases sorted from the hardest (worst "
        "median) to the easiest." + (" The axis shows what was measured, penalties lie beyond it." if beyond else ""),
        f"Curve of {panel.title} over {count(len(summary), 'case')} from hardest to easiest.",
        Plot(raw.case_difficulty, {"summary": summary, "axis": panel.axis, "shown": shown if beyond else None}),
        summary,
    )


def failures(task: TaskResults) -> Figure | None:
    """Return the panel of scores that are missing, failed, skipped or penalised, or ``None`` when there is none.

    A case without the structure is no failure of anybody: it is counted in the table only.
    """
    counts = task.statuses
    other = counts[[name for name in counts.columns if name not in (OK, EMPTY_REFERENCE)]]
    if not other.to_numpy().sum():
        return None
    shown = other.rename(columns={name: status_title(str(name)) for name in other.columns})
    return Figure(
        f"failures-{slug(task.name)}",
        f"Missing, failed, skipped and penalised scores, {task.title}",
        "Number of scores per submission that do not come from a computed value, by reason; scores whose reference is "
        "empty are in the table only.",
        f"Bars: number of missing, failed, skipped or penalised scores of {count(len(shown), 'submission')}.",
        Plot(raw.failures, {"counts": shown, "order": task.order}),
        shown.rename_axis("submission").reset_index(),
    )
