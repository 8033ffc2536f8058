"""What the observations of a task show: confusions, calibration, curves, places of options, hard cases, agreement."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from medpodium.reports.figures import curves, observed
from medpodium.reports.model import scores
from medpodium.reports.model.document import Block, Cell, Column, Figure, Plot, Section, Table
from medpodium.reports.model.illustrate.pairs import pair_figures
from medpodium.reports.model.illustrate.risks import risk_figures, rules_table
from medpodium.reports.model.results import TaskResults, slug
from medpodium.reports.model.tables import few_values
from medpodium.reports.model.wording.grammar import count, percent
from medpodium.scoring.evidence.observed.choices import NO_ANSWER
from medpodium.scoring.evidence.units import plural

MOST_CLASSES = 12
"""A confusion matrix of more classes is in the evidence only: nobody can read it."""


def observed_section(task: TaskResults, prefix: str = "") -> Section:
    """Return everything that the observations of a task show beyond scores."""
    blocks: list[Block] = [*_means(task)]
    judged: list[tuple[str, str]] = []
    for view in task.table("views").itertuples():
        part, title = str(view.part), str(view.title)
        if view.view == "choices":
            blocks += [*_confusion(task, part, title), *_hardest(task, part), *_agreement(task, part)]
        elif view.view == "places":
            blocks += _places(task, part)
        elif view.view == "certainty":
            blocks += [*_reliability(task, part, title), *_along(task, part)]
        elif view.view == "rounds":
            judged.append((part, title))
        elif view.view == "pairs":
            blocks += pair_figures(task, part, title, _own(task, "limits", part), _own(task, "scatter", part))
        elif view.view == "risks":
            blocks += risk_figures(task, title, _own(task, "risk_groups", part), _own(task, "time_auc", part))
        elif view.view == "rules":
            blocks += rules_table(task, _own(task, "extraction", part))
        elif view.view == "sides":
            blocks += _curves(task, part, title)
    blocks += _judges(task, judged)
    title = f"{prefix}{task.words.answers.capitalize()} in detail"
    return Section(f"observed-{slug(task.name)}", title, tuple(blocks))


def _own(task: TaskResults, name: str, part: str) -> pd.DataFrame:
    """Return the rows of one view of an evidence table, without what all of them share."""
    rows = task.table(name)
    if rows.empty:
        return rows
    return rows[rows["part"] == part].drop(columns=["task", "part"], errors="ignore").reset_index(drop=True)


def _first(task: TaskResults, names: set[str], most: int) -> str:
    """Return the words about submissions that a figure has no room for; nothing where it shows all."""
    number = len([name for name in task.order if name in names])
    return f" The first {most} of {number:,} {task.words.teams}; the data hold all." if number > most else ""


def _means(task: TaskResults) -> Iterator[Block]:
    """Yield a mean with its interval per submission, for scores that are right or wrong case by case."""
    for panel in task.overall:
        if not few_values(task, panel) or len(task.cases) < 2:
            continue
        rows = scores.intervals(task, panel.metric, panel.structure)
        told = rows[["mean", "mean_low", "mean_high"]].assign(mean=task.means(panel))
        values, real = task.matrix(panel), task.measured(panel)
        told["lacking"] = ((values.notna() & ~real).sum() / values.notna().sum()).reindex(told.index).fillna(0.0)
        top = float(told["mean"].max() if panel.better == "higher" else told["mean"].min())
        best = str(told["mean"].idxmax() if panel.better == "higher" else told["mean"].idxmin())
        words, name = task.words, task.metric_name(panel.metric)
        yield Figure(
            f"means-{slug(task.name)}-{panel.id}",
            f"{panel.title} with 95 % intervals",
            f"Mean over {count(len(values), words.case, words.cases)}; {words.teams} in the order of the ranking. "
            + (
                f"At the edge: share of the {words.cases} without a usable {words.answer}, which count as declared. "
                if (told["lacking"] > 0).any()
                else ""
            )
            + scores.interval_words(rows.assign(mean=told["mean"]), "Lines: 95 % intervals"),
            f"{name} of {count(len(told), words.team, words.teams)}: {best} has {top:.3f}; "
            f"they range from {told['mean'].min():.3f} to {told['mean'].max():.3f}.",
            Plot(
                observed.means,
                {"estimates": told, "order": task.order, "colours": task.look, "axis": f"{panel.axis}, mean"},
            ),
            told.rename_axis("submission").reset_index(),
        )


def _confusion(task: TaskResults, part: str, title: str) -> Iterator[Block]:
    rows = _own(task, "confusion", part)
    if rows.empty or rows["truth"].nunique() > MOST_CLASSES:
        return
    words = task.words
    off = rows[(rows["truth"] != rows["answer"]) & (rows["answer"] != NO_ANSWER)]
    pairs = off.groupby(["truth", "answer"], sort=False)["n"].sum()
    most: Any = pairs.idxmax() if len(pairs) and pairs.max() > 0 else None
    found = f"{most[0]} taken for {most[1]} {int(pairs.max()):,} times in all" if most is not None else "none"
    yield Figure(
        f"confusion-{slug(task.name)}-{slug(part)}",
        f"Confusion matrices, {title}",
        f"Number of {words.answers}; colour: share of the row. Rows: what is true; columns: what was answered"
        + (f" ({NO_ANSWER}: missing, failed or not understood)" if (rows["answer"] == NO_ANSWER).any() else "")
        + f".{_first(task, set(rows['submission']), observed.SHOWN)}",
        f"Confusion matrices of {count(rows['submission'].nunique(), words.team, words.teams)}; most frequent "
        f"confusion over all of them: {found}.",
        Plot(observed.confusions, {"counts": rows, "order": task.order}),
        rows,
    )


def _hardest(task: TaskResults, part: str) -> Iterator[Block]:
    rows = _own(task, "hardest", part)
    words = task.words
    if len(rows) < 2 or len(task.order) < 2:
        return
    nobody, everybody = int((rows["right"] == 0).sum()), int((rows["right"] == 1).sum())
    yield Figure(
        f"hardest-{slug(task.name)}-{slug(part)}",
        f"Hardest {words.cases}",
        f"Left: how many of {len(rows):,} {words.cases} which share of the {words.teams} gets right. Right: the "
        f"{min(len(rows), observed.HARD)} that the fewest get right, and what share gives the most frequent wrong "
        f"{words.answer}: where that is large, look at the {words.truth} first.",
        f"{count(nobody, words.case, words.cases)} of {len(rows):,} nobody gets right, {everybody:,} everybody does; "
        f"the hardest is {rows['case'].iloc[0]}.",
        Plot(
            observed.hardest,
            {"cases": rows, "whats": words.cases, "entrants": words.teams},
        ),
        rows,
    )


def _agreement(task: TaskResults, part: str) -> Iterator[Block]:
    rows = _own(task, "agreement", part)
    if len(rows) < 2 or rows["kappa"].isna().all():
        return
    words = task.words
    names = [name for name in task.order if name in set(rows["submission"]) | set(rows["versus"])]
    both = pd.concat([rows, rows.rename(columns={"submission": "versus", "versus": "submission"})])
    kappa = both.pivot(index="submission", columns="versus", values="kappa").reindex(index=names, columns=names)
    top: Any = rows.iloc[int(np.nanargmax(rows["kappa"].to_numpy(float)))]
    yield Figure(
        f"agreement-{slug(task.name)}-{slug(part)}",
        f"Agreement between {words.teams}",
        f"Cohen's kappa of the {words.answers} of every pair, on the {words.cases} that both answered. High agreement "
        "among wrong ones, which the data hold, hints at a common source.",
        f"Agreement between {count(len(names), words.team, words.teams)}: kappa from {rows['kappa'].min():.2f} to "
        f"{rows['kappa'].max():.2f}; most alike are {top['submission']} and {top['versus']}.",
        Plot(observed.agreement, {"kappa": kappa}),
        rows,
    )


def _places(task: TaskResults, part: str) -> Iterator[Block]:
    rows = _own(task, "places", part)
    rows = rows[rows["n"] > 0]
    if rows.empty:
        return
    words = task.words
    shares = rows.assign(difference=(rows["chosen"] - rows["keyed"]) / rows["n"])
    top: Any = shares.iloc[int(np.nanargmax(shares["difference"].to_numpy(float)))]
    name, size = str(top["submission"]), 100 * float(top["difference"])
    yield Figure(
        f"places-{slug(task.name)}-options",
        "Positional bias",
        f"How much more often (in percentage points) an option is chosen in each place than the right one stands "
        f"there; {words.cases} without {words.answer} do not count. Zero everywhere: no place is preferred.",
        f"Strongest preference: {name} chooses place {int(top['place'])} {size:.1f} percentage points more often than "
        "the right option stands there.",
        Plot(observed.places, {"shares": shares, "order": task.order, "what": words.case}),
        shares,
    )
    columns = [Column(words.team.capitalize(), "team"), Column(words.answers.capitalize(), "integer")]
    most = int(rows["place"].max())
    for place in range(1, most + 1):
        columns += [
            Column(f"Place {place}: chosen", "percent", 1),
            Column(f"Place {place}: right", "percent", 1, note="share of right options there"),
        ]
    columns.append(Column("Excess", "percent", 1, note="largest excess of wrong answers in one place over chance"))
    told: list[tuple[Cell, ...]] = []
    for team in [name for name in task.order if name in set(rows["submission"])]:
        own = rows[rows["submission"] == team].set_index("place").reindex(range(1, most + 1))
        number = float(own["n"].max())
        chosen, keyed = (own[column].to_numpy(float).tolist() for column in ("chosen", "keyed"))
        cells: list[float] = []
        for place in range(1, most + 1):
            cells += [chosen[place - 1] / number, keyed[place - 1] / number]
        excess = float((own["wrong"] - own["expected"]).max()) / max(1.0, float(own["wrong"].sum()))
        told.append((team, int(number), *cells, excess))
    yield Table(
        f"places-{slug(task.name)}-options-table",
        "Which place is chosen, and where the right option stands",
        tuple(columns),
        tuple(told),
        f"Shares of the {words.answers}. Excess: of the wrong {words.answers}, what share lies in the place that has "
        "most beyond an even split over the wrong options.",
        rows.reset_index(drop=True),
    )


def _judges(task: TaskResults, parts: list[tuple[str, str]]) -> Iterator[Block]:
    """Yield who judged what, what could not be read, and whether the rounds agree."""
    rows, titles, words = task.table("judges"), dict(parts), task.words
    if rows.empty or not parts:
        return
    place = {team: at for at, team in enumerate(task.order)}
    rows = rows.assign(
        at=rows["submission"].map(place), part_at=rows["part"].map({part: at for at, (part, _) in enumerate(parts)})
    )
    rows = rows.sort_values(["at", "part_at"], ignore_index=True).drop(columns=["at", "part_at"])
    columns = (
        Column(words.team.capitalize(), "team"),
        Column("Criterion"),
        Column("Judge", note="model, and digest of its prompt"),
        Column("Rounds", "number", 0),
        Column("No score", "number", 0, note="rounds from which no score could be read"),
        Column("Mean", "number", 3),
        Column("Alpha", "number", 3, note="Krippendorff's, for interval scores"),
        Column("Kappa", "number", 3, note="quadratic weights, mean over pairs of rounds"),
    )
    told: list[tuple[Cell, ...]] = []
    for row in rows.to_dict("records"):
        numbers: list[Cell] = [float(row[name]) for name in ("rounds", "unparsed", "mean", "alpha", "kappa")]
        judge = str(row["judge"]) or "not named"
        told.append((str(row["submission"]), titles[str(row["part"])], judge, *numbers))
    lost, number = int(rows["unparsed"].sum()), int(rows["rounds"].sum())
    yield Table(
        f"judges-{slug(task.name)}",
        "Who judged, and whether the rounds agree",
        columns,
        tuple(told),
        f"{lost:,} of {number:,} rounds hold no score; the metric says how they count. The rounds of a judge are taken "
        "as raters of the same documents: alpha and kappa are 1 where they always agree and 0 at chance.",
        rows.drop(columns="task", errors="ignore"),
    )


def _reliability(task: TaskResults, part: str, title: str) -> Iterator[Block]:
    rows = _own(task, "reliability", part)
    if rows.empty:
        return
    words = task.words
    positive = part.startswith("sure-")
    gap = (rows["confidence"] - rows["right"]).mul(rows["n"]).groupby(rows["submission"]).sum()
    gap = gap / rows.groupby("submission")["n"].sum()
    worst = str(gap.abs().idxmax())
    how = "overestimates" if gap[worst] > 0 else "underestimates"
    what = f"the share of positive {words.cases}" if positive else "its own accuracy"
    axes = ("probability", "share positive") if positive else ("confidence", "share right")
    name = f", {title}" if positive else ""
    yield Figure(
        f"reliability-{slug(task.name)}-{slug(part)}",
        f"Reliability diagram{name}",
        f"{axes[1].capitalize()} against mean {axes[0]} in ten bins of equal width, with Wilson's 95 % intervals; "
        f"bars: how many {words.answers} lie in each bin. Missing {words.answers} are in no bin. On the dotted line "
        f"{axes[0]} is right.{_first(task, set(rows['submission']), curves.SHOWN)}",
        f"Farthest from the line: {worst} {how} {what} by {100 * abs(gap[worst]):.1f} percentage points.",
        Plot(curves.reliability, {"bins": rows, "order": task.order, "look": task.look, "axes_names": axes}),
        rows,
    )


def _along(task: TaskResults, part: str) -> Iterator[Block]:
    """Yield accuracy and calibration shift along every group whose levels the challenge lists in an order."""
    rows = _own(task, "calibration_levels", part)
    if rows.empty:
        return
    words = task.words
    for group in dict.fromkeys(rows["group"]):
        declared = task.challenge.groups.get(group)
        if declared is None or not declared.levels:
            continue
        own = rows[rows["group"] == group].drop(columns="group").reset_index(drop=True)
        scale = [level for level in task.levels(group) if level in set(own["level"])]
        if len(scale) < 2:
            continue
        name = task.group_title(group)
        ends = own.groupby("level")[["right", "shift"]].mean()
        lost, moved = (float(ends.loc[scale[-1], key] - ends.loc[scale[0], key]) for key in ("right", "shift"))
        yield Figure(
            f"along-{slug(task.name)}-{slug(group)}",
            f"Accuracy and calibration by {name}",
            f"Left: accuracy; right: mean confidence minus accuracy (calibration shift; above zero: overconfident). "
            f"Lines: 95 % intervals ({plural(task.units.noun)} are the units). Missing {words.answers} count as "
            "declared.",
            f"From {scale[0]} to {scale[-1]} accuracy changes by {100 * lost:+.1f} percentage points on average over "
            f"the {words.teams}, and confidence minus accuracy by {100 * moved:+.1f}.",
            Plot(
                curves.along,
                {"levels": own, "scale": scale, "order": task.order, "look": task.look, "name": name},
            ),
            own,
        )


def _area(curve: pd.DataFrame) -> float:
    """Return the area under a curve of straight lines."""
    across, up = curve["x"].to_numpy(float), curve["y"].to_numpy(float)
    return float((np.diff(across) * (up[1:] + up[:-1]) / 2).sum())


def _curves(task: TaskResults, part: str, title: str) -> Iterator[Block]:
    rows = _own(task, "curves", part)
    if rows.empty:
        return
    words = task.words
    roc = rows[rows["curve"] == "roc"].drop(columns="curve")
    pr = rows[rows["curve"] == "pr"].drop(columns="curve")
    prevalence = float(pr.loc[pr["x"] == 1.0, "y"].min())
    area = {str(name): _area(own) for name, own in roc.groupby("submission")}
    best = max(area, key=lambda name: area[name])
    banded = len(area) <= curves.BANDS and rows["low"].notna().any()
    yield Figure(
        f"curves-{slug(task.name)}-{slug(part)}",
        f"ROC and precision-recall curves, {title}",
        f"Left: ROC; right: precision against recall; dotted: chance (share of positive {words.cases} "
        f"{percent(prevalence)})."
        + (f" Bands: 95 % of the resampled curves ({plural(task.units.noun)} resampled)." if banded else "")
        + (f" In colour: the first {curves.LINES} {words.teams}." if len(area) > curves.LINES else "")
        + f" Missing {words.answers} count as the metric declares.",
        f"Curves of {count(len(area), words.team, words.teams)}: the largest area under the ROC curve has {best} "
        f"({area[best]:.2f}), the smallest {min(area.values()):.2f}.",
        Plot(
            curves.both_curves,
            {"roc": roc, "pr": pr, "order": task.order, "look": task.look, "prevalence": prevalence},
        ),
        rows,
    )
