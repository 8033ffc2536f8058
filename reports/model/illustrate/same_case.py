"""The same case of every submission side by side: one slice, one window, the contours of reference and prediction."""

from __future__ import annotations

import pandas as pd

from medpodium.findings import Finding, MedpodiumError
from medpodium.reports.model.document import Picture, Pictures
from medpodium.reports.model.gallery import Reader, Sources, draw_slice, softer
from medpodium.reports.model.results import Panel, TaskResults, slug
from medpodium.scoring.kinds.segmentation.tasks import tasks_of

SHOWN = 60
"""Submissions that are shown, the first ones of the ranking."""


def chosen_cases(task: TaskResults, panel: Panel) -> list[tuple[str, str]]:
    """Return (which, case): the median and the worst case by the median over submissions; ties go by the alphabet.

    Cases that anybody has no prediction of stand behind: side by side, all should have something to show.
    """
    values = task.matrix(panel).where(task.predicted(panel))
    whole = values.dropna()
    middle = (whole if len(whole) else values.dropna(how="all")).median(axis=1).sort_index()
    ordered = middle.sort_values(ascending=panel.better == "higher", kind="stable")
    if ordered.empty:
        return []
    picks = {str(ordered.index[0]): "worst", str(ordered.index[len(ordered) // 2]): "median"}
    return [(which, case) for case, which in reversed(picks.items())]


def first_panel(task: TaskResults) -> Panel | None:
    """Return the first metric of the first structure that is scored structure by structure."""
    return next(
        (one for one in task.panels if one.structure and task.metric(one.metric).info.scope == "structure"), None
    )


def side_by_side(task: TaskResults, sources: Sources) -> tuple[list[Pictures], list[Finding]]:
    """Draw the median and the worst case of the first structure for every submission, at the same slice.

    The slice is the one with the largest area of the reference.

    Returns
    -------
    list of Pictures, list of Finding
        A file that is missing or unreadable is a finding, never an error.
    """
    panel = first_panel(task) if task.name in tasks_of(task.challenge) else None
    if panel is None:
        return [], []
    reader, made, findings = Reader(task, sources), [], []
    values: pd.DataFrame = task.matrix(panel)
    names = [name for name in task.order if name in sources.predictions][:SHOWN]
    unit = task.metric(panel.metric).unit_name
    for which, case in chosen_cases(task, panel):
        pictures = []
        for name in names:
            try:
                seen = reader.seen(name, panel.structure, case)
            except MedpodiumError as error:
                findings += [softer(finding) for finding in error.findings]
                continue
            at = int(seen.reference.sum(axis=(1, 2)).argmax())
            one = slice(at, at + 1)
            image = None if seen.image is None else seen.image[one]
            window = reader.window
            png = draw_slice(image, seen.reference[one], seen.prediction[one], seen.spacing, window, seen.reference[at])
            value = float(values.loc[[case], name].to_numpy(float)[0])
            shown = "no value" if value != value else f"{value:.3f}{f' {unit}' if unit else ''}"
            alt = f"{name} in case {case}: {panel.title} {shown}; contours of reference and prediction on one slice."
            pictures.append(Picture(png, alt, f"{name}: {shown}"))
        if pictures:
            title = f"All on the {which} case ({case}), {panel.title}"
            made.append(Pictures(f"same-{slug(task.name)}-{which}", title, tuple(pictures)))
    return made, list(dict.fromkeys(findings))
