"""What a report tells: the scores of one challenge, arranged per task, with their ranking and evidence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.task import Words
from medpodium.findings import Finding
from medpodium.reports.figures.palette import Look, look
from medpodium.scoring import published, table
from medpodium.scoring.evidence.units import Units, units_of
from medpodium.scoring.ranking.blocks import MEAN, Block
from medpodium.scoring.ranking.settled import Settled, settle_task

CASE_MEAN = MEAN
"""Structure that stands for the mean over the structures of a case, as in the evidence tables."""
ABSENT = "absent from the table"
"""Stands beside the statuses of scores: there is no row."""


@dataclass(frozen=True)
class Panel:
    """One (structure, metric) pair of a task: the unit of every raw-data figure."""

    structure: str
    metric: str
    title: str
    axis: str
    better: str
    bounds: tuple[float, float] | None

    @property
    def id(self) -> str:
        """Name for files and anchors."""
        return slug(f"{self.structure}-{self.metric}" if self.structure else self.metric)


def natural_order(text: str) -> tuple[object, ...]:
    """Return a key that sorts numbers inside names by their value."""
    return tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part)


def slug(text: str) -> str:
    """Return lower-case letters, digits and dashes; anything else becomes a dash."""
    kept = "".join(char if char.isascii() and char.isalnum() else "-" for char in text.lower())
    return "-".join(filter(None, kept.split("-"))) or "x"


@dataclass(frozen=True)
class Drawn:
    """How a task's evidence was made: resamples of the bootstrap (0: none), seed, significance level of the tests."""

    resamples: int = 0
    seed: int = 0
    alpha: float = 0.05


@dataclass(frozen=True)
class TaskResults:
    """Everything about one task.

    Parameters
    ----------
    name : str
        Task in the challenge file.
    scores : pandas.DataFrame
        The task's rows of the score table.
    leaderboard : pandas.DataFrame
        ``rank, submission`` and one column per reduction step, best first.
    evidence : mapping of str to pandas.DataFrame
        Evidence tables of this task by name (:mod:`medpodium.scoring.evidence.tables.collect`).
    recipe : str
        Name of the recipe the leaderboard was made with.
    drawn : Drawn
        How the evidence was made.
    given : Settled, optional
        The scores as they count, where the ranking has made them already.
    arranged : Units, optional
        The independent units, where the evidence has made them already; else every case is one.
    kept : dict
        Numbers by group and metric that several tables and figures tell, computed once.
    """

    name: str
    challenge: Challenge
    scores: pd.DataFrame
    leaderboard: pd.DataFrame
    recipe: str
    evidence: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    drawn: Drawn = Drawn()
    given: Settled | None = None
    arranged: Units | None = None
    kept: dict[tuple[str, str], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)

    @cached_property
    def units(self) -> Units:
        """The independent units of the cases."""
        return self.arranged or units_of(self.settled.array)

    @cached_property
    def sources(self) -> list[str]:
        """Where values of the task were published, if they were not scored here."""
        return published.sources(self.scores)

    @cached_property
    def wholly_published(self) -> bool:
        """Whether no value of the task was scored here."""
        return published.wholly(self.scores)

    @cached_property
    def settled(self) -> Settled:
        """The scores as they count: every number of a submission is read here."""
        if self.given is not None:
            return self.given
        return settle_task(self.scores, self.challenge, self.name, self.recipe)

    @property
    def task(self) -> Any:
        """The task's definition."""
        return self.challenge.tasks[self.name]

    @property
    def words(self) -> Words:
        """How cases and structures are called in a task of this kind."""
        return KINDS[self.task.kind].words

    @property
    def title(self) -> str:
        """Name as printed."""
        return str(self.task.title or self.name)

    @cached_property
    def order(self) -> list[str]:
        """Submissions, best first; equal ranks in alphabetical order."""
        return [str(name) for name in self.leaderboard["submission"]]

    @property
    def ranks(self) -> pd.Series:
        """Rank by submission."""
        return self.leaderboard.set_index("submission")["rank"]

    @cached_property
    def look(self) -> Look:
        """Colours of the submissions."""
        return look(self.order)

    @cached_property
    def groups(self) -> list[str]:
        """Group columns whose levels are worth comparing: at least two, with two cases or more on average.

        Values of whole test sets have no cases; there, two levels are enough.
        """
        return [name for name, levels in self._levels.items() if levels > 1 and not self._too_fine(levels)]

    @cached_property
    def fine_groups(self) -> dict[str, int]:
        """Number of levels of each group column that nearly tells the cases apart, such as an identifier."""
        return {name: levels for name, levels in self._levels.items() if levels > 1 and self._too_fine(levels)}

    @cached_property
    def _levels(self) -> dict[str, int]:
        return {name: len(levels) for name, levels in self._occurring.items()}

    def _too_fine(self, levels: int) -> bool:
        return bool(self.cases) and 2 * levels > len(self.cases)

    def levels(self, group: str) -> list[str]:
        """Return the levels of a group that occur, as the challenge lists them, others after these by name."""
        declared = self.challenge.groups.get(group)
        listed = list(declared.levels or ()) if declared is not None else []
        found = self._occurring[group]
        return [level for level in listed if level in found] + sorted(found - set(listed), key=natural_order)

    @cached_property
    def _occurring(self) -> dict[str, set[str]]:
        return {
            group: {str(level) for level in self.scores[group].unique() if level != ""}
            for group in table.group_columns(self.scores)
        }

    def group_title(self, group: str) -> str:
        """Return a group column's printed name."""
        declared = self.challenge.groups.get(group)
        return str((declared.title if declared is not None else None) or group).replace("_", " ")

    def smallest_group(self, group: str) -> int:
        """Return the number of cases below which a level is too small to conclude from, at least two."""
        declared = self.challenge.groups.get(group)
        return max(2, declared.minimum_size if declared is not None else 1)

    @cached_property
    def case_groups(self) -> pd.DataFrame:
        """Group columns by case."""
        rows = self.scores[self.scores["case"] != ""].drop_duplicates("case")
        return rows.set_index("case")[table.group_columns(self.scores)]

    @cached_property
    def statuses(self) -> pd.DataFrame:
        """Number of scores by submission (leaderboard order) and status, ``ok`` first.

        A score that others have and a submission has no row of counts as :data:`ABSENT`.
        """
        counts = self.settled.statuses.reindex(self.order, fill_value=0)
        counts = counts.loc[:, (counts > 0).any()]
        absent = self.settled.arranged.absent.sum(axis=(1, 2, 3))
        if absent.any():
            counts[ABSENT] = pd.Series(absent, index=list(self.settled.submissions)).reindex(self.order, fill_value=0)
        first = [name for name in table.STATUSES if name in counts.columns]
        return counts[first + sorted(name for name in counts.columns if name not in first)]

    @cached_property
    def cases(self) -> list[str]:
        """Cases of the task."""
        return sorted(case for case in self.scores["case"].unique() if case)

    def metric(self, name: str) -> MetricSpec:
        """Return a metric's definition."""
        spec: MetricSpec = self.task.metrics[name]
        return spec

    def metric_name(self, name: str) -> str:
        """Return a metric's printed name; metrics of one name are told apart by their keys."""
        return str(self.task.metric_name(name))

    @cached_property
    def panels(self) -> list[Panel]:
        """Every (structure, metric) with at least one value per case, in the order of the challenge file."""
        present = self.settled.by_name
        return [
            self._panel(structure, name)
            for name in self.task.metrics
            for structure in self.structures_of(name)
            if (name, structure) in present
        ]

    @cached_property
    def pooled(self) -> list[Panel]:
        """Every (structure, metric) that has values per set of cases only."""
        rows = self.scores[self.scores["case"] == ""]
        present = [tuple(pair) for pair in rows[["structure", "metric"]].drop_duplicates().to_numpy()]
        known = {(panel.structure, panel.metric) for panel in self.panels}
        return [self._panel(*pair) for pair in present if pair not in known and pair[1] in self.task.metrics]

    def structures_of(self, metric: str) -> list[str]:
        """Return the structures a metric has rows of, those of the challenge file first."""
        declared = list(self.task.structure_titles)
        found = list(self.scores.loc[self.scores["metric"] == metric, "structure"].unique())
        return [name for name in declared if name in found] + [name for name in found if name not in declared]

    def structure_title(self, name: str) -> str:
        """Return a structure's printed name."""
        return str(self.task.structure_titles.get(name, name))

    def _panel(self, structure: str, name: str) -> Panel:
        spec = self.metric(name)
        metric = self.metric_name(name)
        axis = spec.with_unit(metric)
        shown = self.structure_title(structure)
        title = metric if shown.lower() in metric.lower() else f"{shown}, {metric}"
        ends = [end for end in (spec.info.best, spec.info.worst) if end is not None]
        bounds = (min(ends), max(ends)) if len(ends) == 2 else None
        return Panel(structure, name, title, axis, spec.better, bounds)

    def block(self, panel: Panel) -> Block:
        """Return the scores of a panel as they count, cases that nobody has a score for left out."""
        return self._blocks[panel.metric, panel.structure]

    @cached_property
    def _blocks(self) -> dict[tuple[str, str], Block]:
        return {key: block.without_empty() for key, block in self.settled.by_name.items()}

    def matrix(self, panel: Panel) -> pd.DataFrame:
        """Return the values of a panel as cases x submissions, best submission first; NaN where none counts."""
        return self.settled.frame(self.block(panel)).reindex(columns=self.order)

    def by_submission(self, values: npt.ArrayLike) -> pd.Series:
        """Return one value per submission of the settled scores as a series, best submission first."""
        return pd.Series(np.asarray(values), index=list(self.settled.submissions)).reindex(self.order)

    def means(self, panel: Panel) -> pd.Series:
        """Return the mean over cases by submission; NaN where an owed score has no number."""
        return self.by_submission(self.block(panel).means())

    def summary(self, panel: Panel) -> pd.DataFrame:
        """Return ``n, mean, sd, median, q25, q75`` over the cases that count, by submission."""
        return self.block(panel).summary.set_axis(list(self.settled.submissions)).reindex(self.order)

    def predicted(self, panel: Panel) -> pd.DataFrame:
        """Return which values of :meth:`matrix` were computed from a prediction."""
        block = self.block(panel)
        there = ~np.isnan(block.values)
        if block.supplied is not None:
            there &= ~block.supplied
        index = pd.Index(block.cases, name="case")
        return pd.DataFrame(there, index=index, columns=list(self.settled.submissions)).reindex(columns=self.order)

    def measured(self, panel: Panel) -> pd.DataFrame:
        """Return which values of :meth:`matrix` measure a prediction: no stand-in, and no penalty in them."""
        block, found = self.block(panel), self.predicted(panel)
        if block.penalised is None:
            return found
        fined = pd.DataFrame(block.penalised, index=found.index, columns=list(self.settled.submissions))
        return found & ~fined.reindex(columns=self.order)

    @cached_property
    def overall(self) -> list[Panel]:
        """One panel per metric: its only structure, or the mean over the structures of a case."""
        found = []
        for name in dict.fromkeys(panel.metric for panel in self.panels):
            mine = [panel for panel in self.panels if panel.metric == name]
            if len(mine) == 1:
                found += mine
            else:
                title = f"{self.metric_name(name)}, mean over {self.words.structures}"
                found.append(replace(mine[0], structure=CASE_MEAN, title=title))
        return found

    def table(self, name: str, panel: Panel | None = None) -> pd.DataFrame:
        """Return an evidence table of this task, or of one panel of it; empty when there is none."""
        found = self.evidence.get(name, pd.DataFrame())
        if panel is None or found.empty:
            return found
        return self.rows_about(name, panel.metric, panel.structure)

    def rows_about(self, name: str, metric: str, structure: str) -> pd.DataFrame:
        """Return the rows of an evidence table about one score; the table has to have some."""
        found = self.evidence[name]
        if name not in self._rows_of:
            self._rows_of[name] = found.groupby(["metric", "structure"], sort=False).indices
        own: pd.DataFrame = found.iloc[self._rows_of[name].get((metric, structure), np.empty(0, dtype=np.intp))]
        return own

    @cached_property
    def _rows_of(self) -> dict[str, Any]:
        return {}

    def places(self, panel: Panel, ties: str = "min") -> pd.DataFrame:
        """Return the place of each submission within each case, cases x submissions.

        A submission is placed last where its missing score counts as such, and nowhere (NaN) where the recipe leaves
        it out of the case.

        Parameters
        ----------
        ties : {"min", "random"}
            ``random`` breaks ties with a fixed seed, for plots that need one submission per place.
        """
        block = self.block(panel)
        index = pd.Index(block.cases, name="case")
        places = pd.DataFrame(block.ranks(), index=index, columns=list(self.settled.submissions))
        places = places.reindex(columns=self.order)
        return case_places(places, "lower", ties).where(places.notna()) if ties == "random" else places


def case_places(values: pd.DataFrame, better: str, ties: str = "min") -> pd.DataFrame:
    """Rank the submissions (columns) within each case (row); one without a value comes after the last."""
    if ties == "random":
        shuffled = np.random.default_rng(38).permutation(values.shape[1])
        ranks = values.iloc[:, shuffled].rank(axis=1, method="first", ascending=better == "lower", na_option="bottom")
        return ranks[values.columns]
    ranks = values.rank(axis=1, method="min", ascending=better == "lower", na_option="keep")
    after = ranks.max(axis=1).fillna(0) + 1
    filled: pd.DataFrame = ranks.apply(lambda column: column.fillna(after))
    return filled


@dataclass(frozen=True)
class Results:
    """Everything a report is made from.

    Parameters
    ----------
    challenge : Challenge
        The rules.
    tasks : sequence of TaskResults
        One per ranked task, in file order.
    scores : pandas.DataFrame
        The whole score table.
    bootstrap, seed : int
        Resamples and seed of every resampling.
    findings : sequence of Finding
        What was odd about the scores.
    resources, curves : pandas.DataFrame, optional
        Resource table of a campaign, and memory over time of its runs.
    consensus : pandas.DataFrame
        Consensus over tasks (evidence table ``consensus``).
    evidence : mapping of str to pandas.DataFrame
        Every evidence table, all tasks together.
    names : mapping of str to str
        Printed name by real name of a submission; empty unless anonymous. Never written anywhere.
    """

    challenge: Challenge
    tasks: Sequence[TaskResults]
    scores: pd.DataFrame
    bootstrap: int
    seed: int
    findings: Sequence[Finding] = ()
    resources: pd.DataFrame | None = None
    anonymous: bool = False
    consensus: pd.DataFrame = field(default_factory=pd.DataFrame)
    curves: pd.DataFrame | None = None
    evidence: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def submissions(self) -> list[str]:
        """Every submission, in the order of the first task's leaderboard."""
        return list(dict.fromkeys(name for task in self.tasks for name in task.order))
