"""Write a report folder: the formats asked for, the data behind every table and figure, and the manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from medpodium.challenges import registry
from medpodium.challenges.definition import Challenge
from medpodium.challenges.findings import Finding, UsageError
from medpodium.reports.document import Document
from medpodium.reports.results import ReportCode, Results

_ENDINGS = {"html": "svg", "pdf": "svg", "latex": "pdf", "markdown": "svg", "docx": "png"}


@dataclass(frozen=True)
class Request:
    """What a report is made of, as asked for on the command line.

    Parameters
    ----------
    source : str
        Challenge reference or campaign folder.
    scores : Path, optional
        Score table; the campaign's own when left out.
    formats : sequence of str
        Any of html, pdf, latex, markdown, docx.
    """

    source: str
    scores: Path | None
    formats: Sequence[str]
    title: str | None = None
    anonymous: bool = False
    bootstrap: int = 1000
    seed: int = 0
    recipe: str | None = None
    site: Path | None = None
    images: Path | None = None
    references: Path | None = None
    predictions: Mapping[str, Path] = field(default_factory=dict)
    show_images: bool = False
    workers: int | None = None

    @classmethod
    def from_options(cls, source: str, scores: Path | None, formats: str, options: Mapping[str, Any]) -> Request:
        """Check command-line options and return the request.

        Raises
        ------
        UsageError
            If a format is unknown or a prediction folder is not given as ``TEAM=DIR``.
        """
        from medpodium.reports.commands import FORMATS

        wanted = [part.strip().lower() for part in formats.split(",") if part.strip()]
        wanted = list(FORMATS) if wanted == ["all"] else wanted
        unknown = [name for name in wanted if name not in FORMATS]
        if unknown or not wanted:
            cause = f"unknown format {unknown[0]!r}" if unknown else "no format given"
            raise UsageError(
                Finding(ReportCode.UNKNOWN_FORMAT, "--formats", cause, f"choose from {', '.join(FORMATS)}")
            )
        folders = {}
        for item in options.get("predictions") or ():
            team, equals, folder = str(item).partition("=")
            if not equals or not team:
                raise UsageError(Finding(ReportCode.FILE_MISSING, "--predictions", repr(item), "write TEAM=DIR"))
            folders[team] = Path(folder)
        rest = {key: value for key, value in options.items() if key != "predictions"}
        return cls(source, scores, tuple(dict.fromkeys(wanted)), predictions=folders, **rest)


@dataclass(frozen=True)
class Written:
    """What was written: every file relative to the report folder, the main ones to show, and findings."""

    files: tuple[str, ...]
    shown: tuple[Path, ...]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Inputs:
    """What a request points to, read."""

    challenge: Challenge
    scores: pd.DataFrame
    resources: pd.DataFrame | None = None
    campaign: Path | None = None


def read_inputs(request: Request) -> Inputs:
    """Read the challenge and the scores a request names; a campaign brings its own.

    Raises
    ------
    UsageError
        If either is missing or unreadable.
    """
    from medpodium.challenges import campaign
    from medpodium.scoring.table import read_scores

    folder = Path(request.source)
    if campaign.is_campaign(folder):
        with campaign.opened(folder) as opened:
            path = request.scores or opened.scores_path
            _must_exist(path, "score it first: medpodium score CAMPAIGN")
            return Inputs(opened.challenge, read_scores(path), opened.resources(), folder)
    challenge = registry.load(request.source)
    if request.scores is None:
        fix = "give the score table after the challenge: medpodium report CHALLENGE scores.csv --out DIR"
        raise UsageError(Finding(ReportCode.FILE_MISSING, request.source, "no score table given", fix))
    _must_exist(request.scores, "check the path of the score table")
    return Inputs(challenge, read_scores(request.scores))


def _must_exist(path: Path, fix: str) -> None:
    if not path.is_file():
        raise UsageError(Finding(ReportCode.FILE_MISSING, str(path), "no such file", fix))


def write_report(request: Request, out: Path) -> Written:
    """Make the report and write it to ``out``.

    Returns
    -------
    Written
    """
    from medpodium.reports import gather, sections
    from medpodium.reports.draw import draw_all

    inputs = read_inputs(request)
    results = gather.gather(
        inputs.challenge,
        inputs.scores,
        bootstrap=request.bootstrap,
        seed=request.seed,
        recipe=request.recipe,
        workers=request.workers or 1,
        anonymous=request.anonymous,
        resources=inputs.resources,
        campaign=inputs.campaign,
    )
    document = sections.assemble(results, request.title)
    endings = sorted({_ENDINGS[name] for name in request.formats})
    document = draw_all(document, endings, request.workers)
    out.mkdir(parents=True, exist_ok=True)
    files = write_data(document, results, out)
    for name in request.formats:
        files += _WRITERS[name](document, out)
    shown = tuple(out / name for name in files if "/" not in name)
    return Written(tuple(files), shown, results.findings)


def write_data(document: Document, results: Results, out: Path) -> list[str]:
    """Write the table behind every table and figure as CSV below ``data``."""
    from medpodium.reports.spreadsheet import to_csv

    folder = out / "data"
    folder.mkdir(exist_ok=True)
    written = []
    items = [(table.id, table.frame()) for table in document.tables()]
    items += [(figure.id, figure.data) for figure in document.figures()]
    for name, frame in items:
        (folder / f"{name}.csv").write_bytes(to_csv(frame))
        written.append(f"data/{name}.csv")
    del results
    return written


def _html(document: Document, out: Path) -> list[str]:
    from medpodium.reports.render import to_html

    (out / "index.html").write_text(to_html(document, version()), encoding="utf-8", newline="\n")
    return ["index.html"]


def version() -> str:
    """Return the installed version of the toolkit."""
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    try:
        return installed("medpodium")
    except PackageNotFoundError:
        return "unreleased"


def _pdf(document: Document, out: Path) -> list[str]:
    from medpodium.reports.pdf import to_pdf

    (out / "report.pdf").write_bytes(to_pdf(document, version()))
    return ["report.pdf"]


def _latex(document: Document, out: Path) -> list[str]:
    from medpodium.reports.latex import write_latex

    return write_latex(document, out)


def _markdown(document: Document, out: Path) -> list[str]:
    from medpodium.reports.markdown import write_markdown

    return write_markdown(document, out)


def _docx(document: Document, out: Path) -> list[str]:
    from medpodium.reports.word import to_docx

    (out / "report.docx").write_bytes(to_docx(document))
    return ["report.docx"]


_WRITERS = {"html": _html, "pdf": _pdf, "latex": _latex, "markdown": _markdown, "docx": _docx}
