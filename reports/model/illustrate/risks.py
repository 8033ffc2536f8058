"""What risks show beside what happened, and what other extraction rules would have read."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from medpodium.reports.figures import survival
from medpodium.reports.model.document import Block, Cell, Column, Figure, Plot, Table
from medpodium.reports.model.results import TaskResults, slug
from medpodium.reports.model.wording.grammar import count


def risk_figures(task: TaskResults, title: str, groups: pd.DataFrame, areas: pd.DataFrame) -> Iterator[Block]:
    """Yield Kaplan-Meier curves by predicted risk, and the AUC over time.

    Parameters
    ----------
    title : str
        What the risks are called, with the unit of the times.
    groups, areas : pandas.DataFrame
        Their rows of the evidence tables ``risk_groups`` and ``time_auc``.
    """
    words, unit = task.words, title.partition(" in ")[2]
    axis = f"time ({unit})" if unit else "time"
    if not groups.empty:
        named = groups["submission"].nunique()
        more, found = "", ""
        if named > survival.SHOWN:
            more = f" The first {survival.SHOWN} of {named} {words.teams}; the data hold all."
        last = groups[groups["time"] == groups["time"].max()].pivot(index="submission", columns="group", values="free")
        if {"low", "high"} <= set(last.columns) and len(gap := (last["low"] - last["high"]).dropna()):
            found = f"At the end {gap.idxmax()} separates the thirds most, by {100 * gap.max():.0f} percentage points."
        yield Figure(
            f"risk-groups-{slug(task.name)}",
            "Free of the event, by predicted risk",
            f"Kaplan-Meier curves of the thirds of each {words.team}'s risks, with 95 % intervals (Greenwood). "
            f"{words.cases.capitalize()} without a {words.answer} are in none.{more}",
            f"Kaplan-Meier curves of {count(named, words.team, words.teams)}. {found}",
            Plot(survival.risk_groups, {"curves": groups, "order": task.order, "axis": axis}),
            groups,
        )
    if not areas.empty:
        mean = areas.groupby("submission")["auc"].mean()
        bands = " Bands: 95 % bootstrap intervals." if areas["low"].notna().any() else ""
        yield Figure(
            f"time-auc-{slug(task.name)}",
            "AUC over time",
            f"Cumulative/dynamic area under the ROC curve: who had the event by then against who is free of it longer, "
            f"weighed for censoring. Dotted: chance.{bands}",
            f"AUC over time of {count(len(mean), words.team, words.teams)}; the highest on average is {mean.idxmax()} "
            f"({mean.max():.3f}).",
            Plot(survival.areas, {"areas": areas, "order": task.order, "look": task.look, "axis": axis}),
            areas,
        )


def rules_table(task: TaskResults, rows: pd.DataFrame) -> Iterator[Block]:
    """Yield what every extraction rule makes of the replies, beside the one that is scored by.

    Parameters
    ----------
    rows : pandas.DataFrame
        Rows of the evidence table ``extraction``.
    """
    if rows.empty:
        return
    words = task.words
    names = list(dict.fromkeys(rows["rule"]))
    columns = [Column(words.team.capitalize(), "team")]
    for rule in names:
        columns += [Column(f"{rule}: right", "percent", 1), Column(f"{rule}: no answer", "percent", 1)]
    told: list[tuple[Cell, ...]] = []
    for team in [name for name in task.order if name in set(rows["submission"])]:
        own = rows[rows["submission"] == team].set_index("rule").reindex(names)
        cells: list[Cell] = [team]
        for right, found in own[["right", "found"]].to_numpy(float).tolist():
            cells += [right, 1.0 - found]
        told.append(tuple(cells))
    wide = rows.pivot(index="submission", columns="rule", values="right")
    notes = []
    for rule in names[1:]:
        change = wide[rule] - wide[names[0]]
        worst = str(change.abs().idxmax())
        places = wide.rank(ascending=False, method="min")
        moved = int((places[rule] != places[names[0]]).sum())
        notes.append(
            f"By {rule} the accuracy of {worst} changes most, by {100 * change[worst]:+.1f} percentage points, and "
            f"{count(moved, words.team, words.teams)} {'has' if moved == 1 else 'have'} another place"
        )
    yield Table(
        f"extraction-{slug(task.name)}",
        "What other extraction rules would have read",
        tuple(columns),
        tuple(told),
        f"Shares of all replies; scored by {names[0]}, the first pair of columns. {'. '.join(notes)}.",
        rows,
    )
