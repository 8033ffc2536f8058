"""What measuring two masks gives: numbers with a status, that print well and go on as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING

from medpodium.challenges.schema.base import nearest
from medpodium.challenges.schema.metrics.structure import StructureMetric
from medpodium.findings import Finding, MedpodiumError, Severity
from medpodium.scoring import table

if TYPE_CHECKING:
    import pandas as pd

_MARKS = {table.PENALISED: "*", table.EMPTY_REFERENCE: "†", table.SKIPPED: "", table.OK: ""}
_NOTES = {
    table.PENALISED: "* the prediction holds none of it: the worst value, for a distance the image's diagonal",
    table.EMPTY_REFERENCE: "† only the prediction holds it: the worst value, for a distance the image's diagonal",
    table.SKIPPED: "– neither mask holds it",
}
_FAILED = "! the prediction cannot be used: the worst value"


@dataclass(frozen=True)
class Value:
    """One number.

    Parameters
    ----------
    structure, metric : str
        What was measured.
    value : float
        NaN where there is none.
    status : str
        ``ok``, or why the number is not a computed one (``docs/metrics.md``).
    """

    structure: str
    metric: str
    value: float
    status: str


@dataclass(frozen=True, eq=False)
class Measured:
    """What one prediction is worth beside one reference.

    ``measured["liver", "dice"]`` is a number, ``measured["liver"]`` the numbers of a structure by metric.

    Parameters
    ----------
    values : tuple of Value
        Every metric of every structure.
    metrics : mapping of str to StructureMetric
        What was measured, with all parameters: models of a challenge file.
    shape_zyx, spacing_zyx : tuple
        The reference's grid, spacing in mm.
    planar : bool
        Whether it was measured in the plane.
    findings : tuple of Finding
        What was odd, and why a prediction could not be used.
    """

    values: tuple[Value, ...]
    metrics: Mapping[str, StructureMetric]
    shape_zyx: tuple[int, ...]
    spacing_zyx: tuple[float, ...]
    planar: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def structures(self) -> tuple[str, ...]:
        """Names of the structures."""
        return tuple(dict.fromkeys(one.structure for one in self.values))

    def __getitem__(self, key: str | tuple[str, str]) -> float | dict[str, float]:
        """Return the numbers of a structure, or one of them.

        Raises
        ------
        KeyError
            If there is no such structure or metric.
        """
        if isinstance(key, tuple):
            structure, metric = key
            own = self._of(structure)
            if metric not in own:
                raise KeyError(f"no metric {metric!r}{nearest(metric, own)}; measured: {', '.join(own)}")
            return own[metric]
        return self._of(key)

    def _of(self, structure: str) -> dict[str, float]:
        own = {one.metric: one.value for one in self.values if one.structure == structure}
        if not own:
            known = self.structures
            raise KeyError(f"no structure {structure!r}{nearest(structure, known)}; measured: {', '.join(known)}")
        return own

    def mean(self, metric: str) -> float:
        """Return the mean of a metric over the structures that have a number; NaN where none has."""
        if metric not in self.metrics:
            raise KeyError(f"no metric {metric!r}; measured: {', '.join(self.metrics)}")
        return mean_of([one.value for one in self.values if one.metric == metric])

    def dict(self) -> dict[str, dict[str, float]]:
        """Return the numbers by structure and metric."""
        return {structure: self._of(structure) for structure in self.structures}

    def frame(self) -> pd.DataFrame:
        """Return a table with the columns structure, metric, value, unit and status, a row per number."""
        import pandas as pd

        rows = [
            (one.structure, one.metric, one.value, self.metrics[one.metric].unit_name, one.status)
            for one in self.values
        ]
        return pd.DataFrame(rows, columns=["structure", "metric", "value", "unit", "status"])

    def __str__(self) -> str:
        heading, rows = self._cells()
        return "\n".join([*aligned(heading, rows), *self.notes()])

    def __repr__(self) -> str:
        return f"<Measured: {len(self.structures)} structures, {', '.join(self.metrics)}>\n{self}"

    def _repr_html_(self) -> str:
        return html_table(*self._cells(), self.notes())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        cells = {(one.structure, one.metric): shown(one.value) + _mark(one.status) for one in self.values}
        rows = [[name, *(cells.get((name, metric), "") for metric in self.metrics)] for name in self.structures]
        if len(rows) > 1:
            rows.append(["mean", *(shown(self.mean(metric)) for metric in self.metrics)])
        return headings(self.metrics, "structure"), rows

    def notes(self) -> list[str]:
        """Return the lines below the table: what marks mean, the definitions in force, the grid and what is odd."""
        return [
            *told(one.status for one in self.values),
            *definitions(self.metrics),
            self._grid(),
            *(
                f"{one.severity}: {one.where}: {one.cause}"
                for one in self.findings
                if one.severity is not Severity.NOTE
            ),
        ]

    def _grid(self) -> str:
        start = 1 if self.planar else 0
        axes = "(y, x)" if self.planar else "(z, y, x)"
        shape = ", ".join(map(str, self.shape_zyx[start:]))
        spacing = ", ".join(f"{one:g}" for one in self.spacing_zyx[start:])
        return f"shape {axes} = ({shape}), spacing ({spacing}) mm"


@dataclass(frozen=True, eq=False)
class Measurements(Mapping[str, Measured]):
    """What many predictions are worth, by the name of their pair, in the order given.

    Parameters
    ----------
    results : mapping of str to Measured
        Every pair whose reference could be used. A prediction that could not be used has the worst values, and its
        findings say why.
    failed : mapping of str to MedpodiumError
        Pairs whose reference, or whose request, could not be used.
    """

    results: Mapping[str, Measured]
    failed: Mapping[str, MedpodiumError]

    def __getitem__(self, name: str) -> Measured:
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    @property
    def metrics(self) -> Mapping[str, StructureMetric]:
        """What was measured."""
        return next(iter(self.results.values())).metrics if self.results else {}

    def frame(self) -> pd.DataFrame:
        """Return a table with the columns case, structure, metric, value, unit and status, a row per number."""
        import pandas as pd

        columns = ["case", "structure", "metric", "value", "unit", "status"]
        frames = [one.frame().assign(case=name) for name, one in self.results.items()]
        return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)

    def dict(self) -> dict[str, dict[str, dict[str, float]]]:
        """Return the numbers by case, structure and metric."""
        return {name: one.dict() for name, one in self.results.items()}

    def __str__(self) -> str:
        return "\n".join([*aligned(*self._cells()), *self._notes()])

    def __repr__(self) -> str:
        lost = f", {len(self.failed)} without a result" if self.failed else ""
        unusable = len({name for name, _ in self._unusable()})
        worst = f", {unusable} with the worst values" if unusable else ""
        return f"<Measurements: {len(self.results)} cases{worst}{lost}>\n{self}"

    def _repr_html_(self) -> str:
        return html_table(*self._cells(), self._notes())

    def _cells(self) -> tuple[list[str], list[list[str]]]:
        """Return the mean of every structure over the cases."""
        every = [(one.structure, one.metric, one.value) for own in self.results.values() for one in own.values]
        rows = []
        for name in dict.fromkeys(structure for structure, _, _ in every):
            values = {
                metric: [value for structure, own, value in every if (structure, own) == (name, metric)]
                for metric in self.metrics
            }
            counted = max(sum(not math.isnan(value) for value in own) for own in values.values())
            rows.append([name, str(counted), *(shown(mean_of(own)) for own in values.values())])
        return [*headings(self.metrics, "mean over cases")[:1], "n", *headings(self.metrics, "")[1:]], rows

    def _notes(self) -> list[str]:
        statuses = [one.status for own in self.results.values() for one in own.values]
        lost = [(name, one.cause) for name, error in self.failed.items() for one in error.findings[:1]]
        errors = (f"error: {name}: {cause}" for name, cause in (*self._unusable(), *lost))
        return [*told(statuses), *definitions(self.metrics), *errors]

    def _unusable(self) -> list[tuple[str, str]]:
        """Return the predictions that count the worst values, each with why."""
        return [
            (name, one.cause)
            for name, own in self.results.items()
            for one in own.findings
            if one.severity is Severity.ERROR
        ]


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of the numbers that are none of them NaN; NaN where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def headings(metrics: Mapping[str, StructureMetric], first: str) -> list[str]:
    """Return the heading of a table: metrics with their units."""
    return [first, *(spec.with_unit(name) for name, spec in metrics.items())]


def definitions(metrics: Mapping[str, StructureMetric]) -> list[str]:
    """Return a line that says which definitions are in force; none where no metric has a parameter."""
    said = [f"{name}: {', '.join(spec.own_parameters())}" for name, spec in metrics.items() if spec.own_parameters()]
    return ["; ".join(said)] if said else []


def told(statuses: Iterator[str] | Sequence[str]) -> list[str]:
    """Return what the marks of some statuses mean."""
    seen = set(statuses)
    failed = any(one.startswith(table.FAILED_PREFIX) for one in seen)
    return [note for status, note in _NOTES.items() if status in seen] + ([_FAILED] if failed else [])


def _mark(status: str) -> str:
    return "!" if status.startswith(table.FAILED_PREFIX) else _MARKS.get(status, "")


def shown(value: float) -> str:
    """Return a number with four decimals, a dash for none."""
    if math.isnan(value):
        return "–"
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.4f}"


def aligned(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table: names to the left, numbers to the right."""
    widths = [max(len(row[at]) for row in (heading, *rows)) for at in range(len(heading))]
    lines = []
    for row in (heading, *rows):
        name, *numbers = row
        cells = [name.ljust(widths[0]), *(text.rjust(width) for text, width in zip(numbers, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return lines


def html_table(heading: Sequence[str], rows: Sequence[Sequence[str]], notes: Sequence[str]) -> str:
    """Return a table as HTML, for notebooks; names of strangers are escaped."""
    head = "".join(f"<th>{escape(text)}</th>" for text in heading)
    body = "".join("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in row) + "</tr>" for row in rows)
    below = "<br>".join(escape(note) for note in notes)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><small>{below}</small>"
