"""Scores against the size of structures, from the volumes of the references."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medpodium.findings import Finding, MedpodiumError
from medpodium.reports.figures import across
from medpodium.reports.model.document import Figure, Plot, Section
from medpodium.reports.model.gallery import Reader, Sources, softer
from medpodium.reports.model.illustrate.same_case import first_panel
from medpodium.reports.model.results import TaskResults, slug
from medpodium.reports.model.wording.grammar import count
from medpodium.scoring.kinds.segmentation.tasks import tasks_of

_CLASSES, _EACH = 5, 4
"""Classes of size at most, and cases that each holds at least: single volumes of hidden references are not told."""


def measured(task: TaskResults, sources: Sources) -> tuple[pd.DataFrame, list[Finding]]:
    """Return ``case, structure, ml`` of the references, structures that are empty or have no spacing left out."""
    panel = first_panel(task) if task.name in tasks_of(task.challenge) else None
    if panel is None:
        return pd.DataFrame(columns=["case", "structure", "ml"]), []
    reader, rows, findings = Reader(task, sources), [], []
    names = [one.structure for one in task.panels if one.metric == panel.metric and one.structure]
    for case in task.cases:
        try:
            rows += [(case, name, reader.millilitres(name, case)) for name in names]
        except MedpodiumError as error:
            findings += [softer(finding) for finding in error.findings]
    found = pd.DataFrame(rows, columns=["case", "structure", "ml"])
    return found[found["ml"] > 0].reset_index(drop=True), findings


def by_size(task: TaskResults, volumes: pd.DataFrame) -> pd.DataFrame:
    """Return the means of every submission in classes of size of equally many cases.

    Parameters
    ----------
    volumes : pandas.DataFrame
        ``case, structure, ml``.

    Returns
    -------
    pandas.DataFrame
        ``structure`` (printed), ``ml`` (geometric mean of the class, two digits), ``cases``, ``submission``, ``mean``.
    """
    first = first_panel(task)
    rows = []
    for panel in [one for one in task.panels if first is not None and one.metric == first.metric and one.structure]:
        size = volumes[volumes["structure"] == panel.structure].set_index("case")["ml"]
        values = task.matrix(panel)
        size = size.reindex(values.index).dropna().sort_values(kind="stable")
        classes = min(_CLASSES, len(size) // _EACH)
        if classes < 2:
            continue
        for part in np.array_split(size.index.to_numpy(), classes):
            middle = float(np.exp(np.log(size[part]).mean()))
            told = float(f"{middle:.2g}")
            means = values.loc[part].mean()
            rows += [(task.structure_title(panel.structure), told, len(part), name, means[name]) for name in task.order]
    return pd.DataFrame(rows, columns=["structure", "ml", "cases", "submission", "mean"])


def size_section(task: TaskResults, volumes: pd.DataFrame) -> Section:
    """Return the figure of scores against size; empty where too few cases have a volume."""
    table = by_size(task, volumes) if len(volumes) else pd.DataFrame()
    first = first_panel(task)
    if table.empty or first is None:
        return Section(f"size-{slug(task.name)}", "Scores against size")
    name = task.metric_name(first.metric)
    ends = (
        table.groupby(["structure", "ml"], sort=False)["mean"]
        .mean()
        .groupby(level=0, sort=False)
        .agg(["first", "last"])
    )
    most = str((ends["last"] - ends["first"]).abs().idxmax())
    small, large = ends.loc[most, ["first", "last"]]
    low, high = table["cases"].min(), table["cases"].max()
    figure = Figure(
        f"size-{slug(task.name)}-{slug(first.metric)}",
        f"{name} against the size of the {task.words.structure} in the reference",
        f"Cases in classes of size ({low}{f' to {high}' if high > low else ''} each): mean over the cases of a class, "
        "penalties as declared, at the geometric mean of their volumes. "
        f"Single volumes are not told.{across.some_named(len(task.order))}",
        f"{name} of {count(len(task.order), 'submission')} against size: most different in {most}, on average "
        f"{small:.3f} where it is smallest and {large:.3f} where it is largest.",
        Plot(across.against_size, {"means": table, "order": task.order, "look": task.look, "axis": first.axis}),
        table,
    )
    return Section(f"size-{slug(task.name)}", "Scores against size", (figure,))
