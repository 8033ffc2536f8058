"""What a page lets its reader explore: every score with its interval, whole and by group, and what it is made of.

A page that can be explored computes no number by rules of its own. Everything it prints of a submission is printed
here, from the scores as they count and from the evidence; scores of single cases are given so that they can be drawn,
listed and subtracted.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.schema.kinds import KINDS
from medpodium.reports.figures.layout import labels
from medpodium.reports.figures.palette import look
from medpodium.reports.model import scores
from medpodium.reports.model.document import Column, digits_for
from medpodium.reports.model.results import Panel, Results, TaskResults, slug

MOST = 500_000
"""Scores of single cases that a page carries: about 2 MB. Means over structures come first, then the structures."""

Json: TypeAlias = "str | int | float | bool | Sequence[Json] | dict[str, Json] | None"


@dataclass(frozen=True)
class Explored:
    """What is explored of the results of a challenge.

    Parameters
    ----------
    results : Results
        Of all its tasks.
    """

    results: Results

    @cached_property
    def text(self) -> str:
        """Everything as JSON; empty where no score stands on cases."""
        colours, left, tasks = look(self.results.submissions).colours, MOST, []
        for task in self.results.tasks:
            told = _Task(task, left)
            left -= told.used
            if told.panels:
                tasks.append(told.content())
        if not tasks:
            return ""
        names = self.results.submissions
        teams: list[Json] = [
            {"name": name, "label": short, "colour": colours[name]}
            for name, short in zip(names, labels(names), strict=True)
        ]
        return json.dumps({"teams": teams, "tasks": tasks}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


_TOLD = ["n", "mean", "mean_low", "mean_high", "sd", "median"]


class _Task:
    """One task: its panels, whole and by group, and as many scores of single cases as fit."""

    def __init__(self, task: TaskResults, room: int) -> None:
        self.task = task
        more = [panel for panel in task.panels if panel not in task.overall]
        self.panels = [panel for panel in (*task.overall, *more) if len(task.block(panel).cases)]
        self.used = 0
        self.single: set[str] = set()
        if not KINDS[task.task.kind].told:
            return
        for panel in self.panels:
            size = task.block(panel).values.size
            if self.used + size <= room:
                self.used += size
                self.single.add(panel.id)

    @cached_property
    def groups(self) -> list[str]:
        return self.task.groups

    def content(self) -> dict[str, Json]:
        task = self.task
        ranks = task.ranks.reindex(task.order)
        return {
            "name": task.name, "id": slug(task.name), "title": task.title, "order": list(task.order),
            "ranks": ["" if rank != rank else f"{rank:g}" for rank in ranks.to_list()],
            "words": {"case": task.words.case, "cases": task.words.cases, "structure": task.words.structure},
            "cases": list(task.cases) if self.single else [],
            "groups": [self._group(name) for name in self.groups],
            "panels": [self._panel(panel) for panel in self.panels],
        }  # fmt: skip

    def _group(self, name: str) -> dict[str, Json]:
        levels = self.task.levels(name)
        of = self.task.case_groups[name].astype(str).reindex(self.task.cases).fillna("")
        place = {level: at for at, level in enumerate(levels)}
        where: list[Json] = [place.get(level, -1) for level in of] if self.single else []
        return {"title": self.task.group_title(name), "levels": list(levels), "of": where}

    def _panel(self, panel: Panel) -> dict[str, Json]:
        task = self.task
        whole = task.summary(panel)
        rows = scores.intervals(task, panel.metric, panel.structure)
        rows = rows.assign(n=whole["n"], mean=whole["mean"], sd=whole["sd"], median=whole["median"])
        digits = digits_for(rows[["mean", "median"]].to_numpy(float).ravel())
        subsets: dict[str, Json] = {"": _rows(rows[_TOLD].to_numpy(float), digits)}
        for at, group in enumerate(self.groups):
            for place, numbers in enumerate(self._levels(panel, group)):
                subsets[f"{at}:{place}"] = _rows(numbers, digits)
        shown = task.structure_title(panel.structure) if panel in task.panels and panel.structure else ""
        found: dict[str, Json] = {
            "id": panel.id, "title": panel.title, "metric": task.metric_name(panel.metric), "structure": shown,
            "axis": panel.axis, "better": panel.better, "digits": digits, "subsets": subsets,
            "pairs": self._pairs(panel, digits),
        }  # fmt: skip
        if panel.id in self.single:
            found |= self._single(panel, digits)
        return found

    def _levels(self, panel: Panel, group: str) -> Iterator[npt.NDArray[np.float64]]:
        """Yield the numbers of every level of a group: with intervals of a metric, without them of one structure."""
        task, levels = self.task, self.task.levels(group)
        if panel in task.overall:
            cells = scores.group_cells(task, group, panel.metric)
            at = pd.Index(task.order).get_indexer(pd.Index(cells["submission"]))
            names = cells["level"].to_numpy(dtype=object)
            numbers = cells[["cases", "mean", "lower", "upper", "sd", "median"]].to_numpy(float)
            for level in levels:
                told = np.full((len(task.order), len(_TOLD)), np.nan)
                told[at[names == level]] = numbers[names == level]
                yield told
            return
        block = task.block(panel)
        known = self.level_of[group]
        of = np.array([known.get(case, "") for case in block.cases], dtype=object)
        for level in levels:
            inside = block.of_cases(of == level)
            sd, median = _spread(inside.values)
            none = np.full(len(sd), np.nan)
            told = np.column_stack([inside.counts(), inside.means(), none, none, sd, median])
            yield told[self.column]

    @cached_property
    def level_of(self) -> dict[str, dict[str, str]]:
        """Level of every case, by group."""
        told = self.task.case_groups[self.groups].fillna("").astype(str)
        return {group: dict(zip(told.index, told[group], strict=True)) for group in self.groups}

    @cached_property
    def column(self) -> list[int]:
        """Column of every submission in the scores as they count, best submission first."""
        place = {name: at for at, name in enumerate(self.task.settled.submissions)}
        return [place[name] for name in self.task.order]

    def _pairs(self, panel: Panel, digits: int) -> list[Json]:
        """Return ``submission, versus, shown difference, pairs`` of every pair that the evidence tells."""
        rows = self.task.table("score_differences", panel)
        if rows.empty:
            return []
        column = Column("", "estimate", digits)
        place = {name: at for at, name in enumerate(self.task.order)}
        told = rows[["submission", "versus", "difference", "low", "high", "n_pairs"]].itertuples(index=False, name=None)
        return [
            [place[one], place[two], column.show((float(mid), float(low), float(high))), int(pairs)]
            for one, two, mid, low, high, pairs in told
            if one in place and two in place and mid == mid
        ]

    def _single(self, panel: Panel, digits: int) -> dict[str, Json]:
        """Return the scores of single cases, submissions x cases, and which are penalties or stand-ins."""
        block = self.task.block(panel)
        values = block.values[:, self.column].T
        fined = np.zeros(values.shape, dtype=bool)
        for mask in (block.supplied, block.penalised):
            fined |= False if mask is None else mask[:, self.column].T
        return {
            "cases": [self.place[case] for case in block.cases],
            "values": [_numbers(own, digits + 3) for own in values],
            "fined": [np.flatnonzero(own).tolist() for own in fined & ~np.isnan(values)],
        }

    @cached_property
    def place(self) -> dict[str, int]:
        """Position of every case."""
        return {case: at for at, case in enumerate(self.task.cases)}


def _spread(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return SD (with n - 1) and median over the cases, shape (n_cases, n_submissions); NaN where too few count."""
    known = (~np.isnan(values)).sum(axis=0)
    if not len(values):
        return np.full(known.shape, np.nan), np.full(known.shape, np.nan)
    columns, last = np.arange(values.shape[1]), np.maximum(known - 1, 0)
    ordered = np.sort(values, axis=0)  # NaN last
    middle = (ordered[last // 2, columns] + ordered[(last + 1) // 2, columns]) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.nansum(values, axis=0) / known
        return np.sqrt(np.nansum((values - mean) ** 2, axis=0) / np.where(known > 1, known - 1, np.nan)), middle


def _numbers(values: npt.NDArray[np.float64], decimals: int) -> list[Json]:
    """Return numbers rounded beyond what is printed of them; None where there is none."""
    return [value if np.isfinite(value) else None for value in np.round(values, decimals).tolist()]


def _rows(told: npt.NDArray[np.float64], digits: int) -> list[Json]:
    """Return ``cases, mean, low, high, shown mean, shown SD, shown median`` per submission, best first."""
    estimate, number = Column("", "estimate", digits), Column("", "number", digits)
    found: list[Json] = []
    for n, mean, low, high, sd, median in told.tolist():
        ends: list[Json] = [value if np.isfinite(value) else None for value in (mean, low, high)]
        cases = 0 if np.isnan(n) else int(n)
        found.append([cases, *ends, estimate.show((mean, low, high)), number.show(sd), number.show(median)])
    return found


_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?")


def altered_text(told: str, again: str) -> str:
    """Return :func:`altered` of two such texts; what is no JSON is altered."""
    try:
        return altered(json.loads(told or "null"), json.loads(again or "null"))
    except ValueError:
        return "explored: cannot be read"


def altered(told: Json, again: Json, where: str = "explored") -> str:
    """Return where what a page explores is not what its scores give, in a few words; empty where it is.

    Another machine may round the last digit the other way; nothing else may differ.
    """
    if isinstance(told, dict) and isinstance(again, dict) and told.keys() == again.keys():
        return next(filter(None, (altered(told[key], again[key], f"{where}: {key}") for key in told)), "")
    if isinstance(told, list) and isinstance(again, list) and len(told) == len(again):
        pairs = enumerate(zip(told, again, strict=True), 1)
        return next(filter(None, (altered(one, two, f"{where} {at}") for at, (one, two) in pairs)), "")
    if isinstance(told, float) and isinstance(again, float):
        return "" if math.isclose(told, again, rel_tol=1e-9, abs_tol=1e-9) else f"{where}: {told!r}, but {again!r}"
    if isinstance(told, str) and isinstance(again, str) and _NUMBER.sub("", told) == _NUMBER.sub("", again):
        shown = zip(_NUMBER.findall(told), _NUMBER.findall(again), strict=True)
        if all(one == two or ("." in one and _last_digit(one, two)) for one, two in shown):
            return ""
    return "" if told == again else f"{where}: {told!r}, but {again!r}"


def _last_digit(one: str, two: str) -> bool:
    digits = len(one.partition(".")[2])
    return abs(float(one.replace(",", "")) - float(two.replace(",", ""))) < 1.01 * 10.0**-digits
