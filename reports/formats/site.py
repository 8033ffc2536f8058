"""A static leaderboard site: the ranking with links, and a page per submission with its scores and gallery."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pandas as pd

from medpodium.challenges.schema.kinds import KINDS
from medpodium.reports.formats.html import to_html
from medpodium.reports.model import gallery, scores, sections, tables
from medpodium.reports.model.document import Block, Column, Document, Paragraph, Pictures, Section, Table
from medpodium.reports.model.gallery import PREDICTION_COLOUR, REFERENCE_COLOUR, Gallery
from medpodium.reports.model.interactive.viewer import ViewedCase
from medpodium.reports.model.results import Results, TaskResults, slug
from medpodium.reports.model.wording.grammar import count, listed
from medpodium.reports.model.wording.published import has_ranks
from medpodium.reports.model.wording.spoken import voice
from medpodium.scoring.published import submissions

PAGE = "viewer.html"
"""The case viewer. A browser lets no page that was opened as a file fetch other files, but it loads scripts: so a case
is a script that says nothing but its data, and the page's policy lets no script run that does not lie beside it."""


def write_site(
    results: Results,
    galleries: dict[str, Gallery],
    out: Path,
    version: str,
    title: str | None,
    viewed: Sequence[ViewedCase] = (),
) -> list[Path]:
    """Write ``index.html``, one page per submission, and the case viewer where there are cases to view.

    Parameters
    ----------
    galleries : dict of str to Gallery
        Pictures by task.
    viewed : sequence of ViewedCase
        Cases that the organizer opens.

    Returns
    -------
    list of Path
        The pages.
    """
    out.mkdir(parents=True, exist_ok=True)
    names = results.submissions
    pages = {name: f"team-{at:03d}.html" for at, name in enumerate(names, 1)}
    index = sections.leaderboards(results, title)
    written = [out / "index.html"]
    viewer = PAGE if viewed else ""
    written[0].write_text(to_html(index, version, pages, viewer=viewer), encoding="utf-8", newline="\n")
    for name, page in pages.items():
        document = team_page(results, galleries, name)
        path = out / page
        page_text = to_html(document, version, home="index.html", viewer=viewer)
        path.write_text(page_text, encoding="utf-8", newline="\n")
        written.append(path)
    if viewed:
        written.append(write_viewer(viewed, names, out, version, title or results.challenge.title))
    return written


def team_page(results: Results, galleries: dict[str, Gallery], name: str) -> Document:
    """Return the page of one submission: its ranks, scores per structure, statuses, worst cases and pictures."""
    parts = []
    facts = []
    for task in results.tasks:
        if name not in task.order:
            continue
        row = task.leaderboard.set_index("submission").loc[name]
        official = ", as published" if has_ranks(task) else ""
        facts.append((task.title, f"rank {row['rank']:g} of {len(task.order)}{official}"))
        own = name in submissions(task.scores)
        said = [Paragraph(f"Values as published in {listed(task.sources)}; nothing was scored here.")] if own else []
        blocks: list[Block] = [*said, *_scores(task, name), *_whole(task, name), *_statuses(task, name)]
        worst = _worst(task, name) if KINDS[task.task.kind].told else None
        if worst is not None:
            blocks.append(worst)
        pictures = galleries.get(task.name, Gallery()).pictures.get(name)
        if pictures:
            blocks.append(Pictures(f"pictures-{slug(task.name)}", "Best, median and worst cases", tuple(pictures)))
        parts.append(voice(task).section(Section(f"task-{slug(task.name)}", task.title, tuple(blocks))))
    parts.append(Section("findings", "Findings", tuple(_findings(results, name))))
    subtitle = f"{results.challenge.title}, edition {results.challenge.edition}"
    return Document(name, subtitle, tuple(facts), tuple(parts), colours=sections.colours(results))


def _scores(task: TaskResults, name: str) -> list[Table]:
    rows, told = [], []
    for panel in [*task.overall, *(panel for panel in task.panels if panel not in task.overall)]:
        numbers = task.summary(panel)
        place = numbers["mean"].rank(method="min", ascending=panel.better == "lower")[name]
        mine: Any = numbers.loc[name]
        ends = scores.intervals(task, panel.metric, panel.structure).loc[[name]].assign(mean=float(mine["mean"]))
        told.append(ends)
        quartiles = (float(mine["q25"]), float(mine["q75"]))
        values = (scores.estimates(ends)[0], float(mine["sd"]), float(mine["median"]), quartiles, float(place))
        rows.append((panel.title, int(mine["n"]), *values))
    if not rows:
        return []
    columns = (
        Column("Score"), Column("Cases", "integer"), Column("Mean", "estimate", None), Column("SD", "number", None),
        Column("Median", "number", None), Column("Quartiles", "interval"), Column("Place by mean", "integer"),
    )  # fmt: skip
    how = f" {scores.interval_words(pd.concat(told))}"
    caption = f"Over cases; place among all submissions.{how}"
    return [Table(f"scores-{slug(task.name)}", "Scores", columns, tuple(rows), caption)]


def _whole(task: TaskResults, name: str) -> list[Table]:
    """Return the values of whole sets of cases as a table; nothing where there are none."""
    table = scores.pooled(task)
    if table is None:
        return []
    (mine,) = [row for row in table.rows if row[0] == name]
    rows = tuple((column.title, value) for column, value in zip(table.columns[1:], mine[1:], strict=True))
    columns = (Column("Score"), Column("Value", "estimate", None))
    return [Table(f"whole-{slug(task.name)}", table.title, columns, rows, "One value per set of cases.")]


def _statuses(task: TaskResults, name: str) -> list[Block]:
    counts: Any = task.statuses.loc[name]
    other = counts.drop(labels=[label for label in ("ok",) if label in counts.index])
    if not other.sum():
        return [Paragraph(f"All {count(int(counts.sum()), 'score')} have a value.")]
    said = [f"{int(number):,} {tables.status_title(str(status))}" for status, number in other.items() if number]
    return [Paragraph(f"Of {count(int(counts.sum()), 'score')}, without a computed value: {listed(said)}.", "note")]


def _worst(task: TaskResults, name: str) -> Table | None:
    worst = gallery.worst_cases(task, name)
    if worst.empty:
        return None
    columns = (Column("Metric"), Column("Case"), Column("Value", "number", None))
    return Table(f"worst-{slug(task.name)}", "Worst cases", columns, tuple(worst.itertuples(index=False, name=None)))


def _findings(results: Results, name: str) -> list[Block]:
    mine = [item for item in results.findings if name in item.where.split(": ") or item.where.startswith(f"{name}/")]
    runs = results.resources
    rows = [(str(item.severity), str(item.code), item.where, item.cause, item.fix) for item in mine]
    if runs is not None:
        failed = runs[(runs["submission"] == name) & runs["status"].astype(str).str.startswith("failed")]
        for run in failed.itertuples():
            rows.append(("error", str(run.code), f"case {run.case}", str(run.cause), str(run.fix)))
    if not rows:
        return [Paragraph("Nothing was found to be wrong with this submission.")]
    columns = tuple(map(Column, ("Severity", "Code", "Where", "Cause", "Fix")))
    return [Table("own-findings", "What was found", columns, tuple(rows))]


def write_viewer(cases: Sequence[ViewedCase], teams: Sequence[str], out: Path, version: str, title: str) -> Path:
    """Write ``viewer.html`` and the folder ``viewer`` beside it.

    Parameters
    ----------
    teams : sequence of str
        Submissions in the order in which they are offered.

    Returns
    -------
    Path
        The page.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    own = files("medpodium.reports")
    folder = out / "viewer"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("niivue.umd.js", "niivue.LICENSE"):
        (folder / name).write_bytes(own.joinpath("vendor", name).read_bytes())
    (folder / "viewer.js").write_bytes(own.joinpath("templates", "viewer.js").read_bytes())
    several = len({case.task for case in cases}) > 1
    shown = []
    for at, case in enumerate(cases, 1):
        file = f"case-{at:03d}"
        parts = {name: f"{file}-{teams.index(name) + 1:03d}" for name in case.predictions}
        for name, part in parts.items():
            _script(folder, part, case.predictions[name])
        _script(
            folder,
            file,
            {
                "case": f"{case.case}, {case.task}" if several else case.case, "task": case.task, "image": case.image,
                "reference": case.reference, "predictions": parts, "structures": len(case.structures),
                "middle": [0.5, 0.5, 0.5],
            },
        )  # fmt: skip
        text = f"{case.case}, {case.task}" if several else case.case
        shown.append({"file": file, "title": text, "image": bool(case.image)})
    known = {name for case in cases for name in case.predictions}
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    page = environment.from_string(own.joinpath("templates", "viewer.html").read_text(encoding="utf-8")).render(
        version=version,
        title=title,
        css=Markup(own.joinpath("templates", "report.css").read_text(encoding="utf-8")),  # noqa: S704 - its own file
        cases=shown,
        teams=[name for name in teams if name in known],
        colours=(REFERENCE_COLOUR, PREDICTION_COLOUR),
    )
    path = out / PAGE
    path.write_text(page, encoding="utf-8", newline="\n")
    return path


def _script(folder: Path, name: str, content: Any) -> None:
    text = json.dumps(content, ensure_ascii=True)
    (folder / f"{name}.js").write_text(f'window.medpodium.cases["{name}"] = {text};\n', encoding="utf-8", newline="\n")
