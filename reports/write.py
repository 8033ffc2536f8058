"""Write a report folder: the formats asked for, the data behind every table and figure, and the manifest."""

from __future__ import annotations

import gc
import gzip
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.console import seldom_collected
from medpodium.findings import Finding, UsageError
from medpodium.reports.codes import ReportCode
from medpodium.reports.formats.pool import FigurePool
from medpodium.reports.request import Request

if TYPE_CHECKING:  # what takes a second to import is imported while other processes get ready to draw
    import pandas as pd

    from medpodium.reports.inputs import Inputs
    from medpodium.reports.model.document import Document
    from medpodium.reports.model.gallery import Gallery, Sources
    from medpodium.reports.model.interactive.viewer import Viewed
    from medpodium.reports.model.results import Results, TaskResults

_ENDINGS = {"html": "svg", "pdf": "svg", "latex": "pdf", "markdown": "svg", "docx": "png"}

_SMALL = 10_000
"""Bytes of a small score table."""


@dataclass(frozen=True)
class Written:
    """What was written: every file relative to the report folder, the main ones to show, and findings."""

    files: tuple[str, ...]
    shown: tuple[Path, ...]
    findings: tuple[Finding, ...]


def write_report(request: Request, out: Path) -> Written:
    """Make the report and write it to ``out``.

    Returns
    -------
    Written

    Examples
    --------
    >>> import medpodium
    >>> request = medpodium.ReportRequest("mine.yaml", Path("scores.csv"), formats=["markdown"], bootstrap=100)
    >>> written = medpodium.write_report(request, Path("report"))
    >>> Path("report/report.md").read_text(encoding="utf-8").splitlines()[0]
    '# Mine'
    """
    endings = sorted({_ENDINGS[name] for name in request.formats})
    with _seldom_collected(), FigurePool(endings, _workers(request)) as pool:
        return _write(request, out, pool)


def _workers(request: Request) -> int | None:
    """Return how many processes draw: of a small table, all is drawn before another one were ready."""
    path = request.scores
    if request.workers is None and path is not None and path.is_file() and path.stat().st_size < _SMALL:
        return 1
    return request.workers


@contextmanager
def _seldom_collected() -> Iterator[None]:
    """As :func:`medpodium.console.seldom_collected`, and what is frozen within the block is free after it."""
    frozen = gc.get_freeze_count()
    try:
        with seldom_collected():
            yield
    finally:
        if not frozen:
            gc.unfreeze()


def _write(request: Request, out: Path, pool: FigurePool) -> Written:
    from medpodium.reports import inputs as asked
    from medpodium.reports import teams
    from medpodium.reports.manifest import package_version, write_manifest
    from medpodium.reports.model import gather, sections
    from medpodium.reports.model.document import figures_of
    from medpodium.reports.signing import clear, sign
    from medpodium.scoring import definitions

    if not gc.get_freeze_count():
        gc.freeze()  # what has been imported by now stays, and need not be looked at again and again
    early: dict[str, sections.Early] = {}
    every = request.figures == "all"

    def ranked(task: TaskResults) -> None:
        early[task.name] = sections.early_sections(task, every)
        pool.begin(figures_of(list(early[task.name].sections.values())))

    inputs = asked.read_inputs(request)
    definitions.check(inputs.challenge, inputs.scores, inputs.known, accept=request.accept_other_rules)
    results = gather.gather(
        inputs.challenge,
        inputs.scores,
        bootstrap=request.bootstrap,
        seed=request.seed,
        recipe=request.recipe,
        anonymous=request.anonymous,
        resources=inputs.resources,
        curves=inputs.curves,
        observations=inputs.observations,
        cluster=request.cluster,
        stratify=request.stratify,
        stored=request.evidence,
        ranked=ranked,
    )
    galleries, findings = _galleries(request, inputs, results)
    described, odd = teams.known(inputs.teams, results.submissions, anonymous=request.anonymous)
    volumes, unread = _volumes(request, inputs, results)
    findings += (*odd, *unread)
    document = sections.assemble(
        results,
        request.title,
        galleries,
        every=every,
        described=described,
        volumes=volumes,
        ready=pool.begin,
        early=early,
    )
    if inputs.unfinished:
        first = _first(inputs.unfinished, anonymous=request.anonymous)
        document = replace(document, subtitle=f"{first} {document.subtitle}")
    out.mkdir(parents=True, exist_ok=True)
    files, data = write_data(document, results, out)
    document = pool.finish(document)
    if described:
        (out / teams.TOLD).write_text(teams.to_json(described), encoding="utf-8", newline="\n")
        files.append(teams.TOLD)
    document = replace(document, csv=data)
    for name in request.formats:
        files += _latex(document, out, request.latex_class) if name == "latex" else _WRITERS[name](document, out)
    settings = {
        "formats": list(request.formats), "title": request.title, "anonymous": request.anonymous,
        "bootstrap": request.bootstrap, "seed": request.seed, "recipe": request.recipe, "figures": request.figures,
        "cluster": request.cluster, "stratify": request.stratify, "show_images": request.show_images,
        "view_case": list(request.view_case),
        "latex_class": request.latex_class,
        "command": request.command(),
    }  # fmt: skip
    write_manifest(out, results.challenge, files, settings=settings, inputs=inputs.provenance)
    clear(out)
    signed = (sign(out / "manifest.json", request.sign).name,) if request.sign is not None else ()
    shown = [
        out / name
        for name in (*files, "manifest.json", *signed)
        if "/" not in name and name not in ("definition.json", teams.TOLD)
    ]
    shown += [out / "latex" / "main.tex"] if "latex" in request.formats else []
    if request.site is not None:
        from medpodium.reports.formats.site import write_site

        viewed = _viewed(request, inputs, results)
        pages = write_site(results, galleries, request.site, package_version(), request.title, viewed.cases)
        shown.append(pages[0])
        findings += tuple(viewed.findings)
    return Written((*files, "manifest.json", *signed), tuple(shown), (*inputs.unfinished, *results.findings, *findings))


def _first(unfinished: Sequence[Finding], *, anonymous: bool) -> str:
    """Return what a reader has to know before anything else; without a team's name where none may be told."""
    from medpodium.challenges.campaign.folder import CampaignCode

    out = [one for one in unfinished if one.code is CampaignCode.EXCLUDED]
    if not anonymous:
        return " ".join(f"{one.cause[:1].upper()}{one.cause[1:].rstrip('.')}." for one in unfinished)
    words = ["Not complete: runs are pending, or scores are older than what they were made of."]
    counted = (
        f"{len(out)} submission{'s' * (len(out) > 1)} withdrew or {'were' if len(out) > 1 else 'was'} disqualified."
    )
    return " ".join([*(words if len(out) < len(unfinished) else []), *([counted] if out else [])])


def _galleries(request: Request, inputs: Inputs, results: Results) -> tuple[dict[str, Gallery], tuple[Finding, ...]]:
    """Draw the pictures, only when the organizer allows hidden test images to be shown."""
    from medpodium.reports.model.gallery import make_gallery
    from medpodium.reports.model.illustrate.same_case import side_by_side

    made: dict[str, Gallery] = {}
    findings: list[Finding] = []
    for task, sources in _sources(inputs, results) if request.show_images else ():
        made[task.name] = make_gallery(task, sources)
        same, odd = side_by_side(task, sources)
        made[task.name].same = tuple(same)
        findings += [*made[task.name].findings, *odd]
    return made, tuple(findings)


def _volumes(request: Request, inputs: Inputs, results: Results) -> tuple[dict[str, pd.DataFrame], list[Finding]]:
    """Measure the references, where scores are to be drawn against sizes.

    Raises
    ------
    UsageError
        If there are no references.
    """
    from medpodium.reports.model.gallery import Sources
    from medpodium.reports.model.illustrate.sizes import measured

    if not request.sizes:
        return {}, []
    if inputs.references is None:
        raise UsageError(
            Finding(ReportCode.FILE_MISSING, "--sizes", "no references to measure", "give --references DIR, too")
        )
    found: dict[str, pd.DataFrame] = {}
    findings: list[Finding] = []
    for task in results.tasks:
        found[task.name], odd = measured(task, Sources(inputs.references, {}))
        findings += odd
    return found, findings


def _sources(inputs: Inputs, results: Results) -> Iterator[tuple[TaskResults, Sources]]:
    """Yield the tasks whose references and predictions are at hand, and where they are."""
    from medpodium.reports.model.gallery import Sources

    for task in results.tasks if inputs.references is not None else ():
        given = inputs.predictions.get(task.name, {})
        folders = {results.names.get(name, name): folder for name, folder in given.items()}
        if folders and inputs.references is not None:
            yield task, Sources(inputs.references, folders, inputs.images)


def _viewed(request: Request, inputs: Inputs, results: Results) -> Viewed:
    """Read the cases that the organizer opens, and no others.

    Raises
    ------
    UsageError
        If one of them is no case, or there is nothing to look at.
    """
    from medpodium.reports.model.interactive.viewer import Viewed, ViewerCode, view_cases

    known = {case for task in results.tasks for case in task.cases}
    unknown = [case for case in request.view_case if case not in known]
    if unknown:
        fix = "write it as the score table does"
        raise UsageError(Finding(ViewerCode.UNKNOWN, "--view-case", f"{unknown[0]!r} was not scored", fix))
    made = Viewed()
    for task, sources in _sources(inputs, results) if request.view_case else ():
        own = view_cases(task, sources, request.view_case, images=request.show_images)
        made.cases += own.cases
        made.findings += own.findings
    if request.view_case and not made.cases:
        fix = "give --references DIR and --predictions TEAM=DIR of a segmentation task"
        raise UsageError(Finding(ViewerCode.NOTHING, "--view-case", "no masks at hand", fix), *made.findings)
    return made


def write_data(document: Document, results: Results, out: Path) -> tuple[list[str], dict[str, bytes]]:
    """Write the definition, the scores, and the table behind every table and figure; return files and such tables."""
    from medpodium.reports.formats.spreadsheet import to_csv

    folder = out / "data"
    folder.mkdir(exist_ok=True)
    written = ["definition.json", "data/scores.csv.gz"]
    text = json.dumps(results.challenge.declared.model_dump(mode="json", by_alias=True), indent=1, ensure_ascii=False)
    (out / "definition.json").write_text(text + "\n", encoding="utf-8", newline="\n")
    (folder / "scores.csv.gz").write_bytes(gzip.compress(to_csv(results.scores), 6, mtime=0))
    items = [(table.id, table.frame()) for table in document.tables()]
    items += [(figure.id, figure.data) for figure in document.figures()]
    data = {name: to_csv(frame) for name, frame in items}
    for name, content in data.items():
        (folder / f"{name}.csv").write_bytes(content)
        written.append(f"data/{name}.csv")
    return written, data


def _html(document: Document, out: Path) -> list[str]:
    from medpodium.reports.formats.html import to_html
    from medpodium.reports.manifest import package_version

    (out / "index.html").write_text(to_html(document, package_version()), encoding="utf-8", newline="\n")
    return ["index.html"]


def _pdf(document: Document, out: Path) -> list[str]:
    from medpodium.reports.formats.pdf import to_pdf
    from medpodium.reports.manifest import package_version

    return _halves(document, out, "pdf", lambda half: to_pdf(half, package_version()))


def _halves(document: Document, out: Path, ending: str, make: Callable[[Document], bytes]) -> list[str]:
    """Write main part and supplement as files of their own."""
    names = []
    for name, half in zip(("report", "supplement"), document.halves(), strict=True):
        if half is not None:
            names.append(f"{name}.{ending}")
            (out / names[-1]).write_bytes(make(half))
    return names


def _latex(document: Document, out: Path, paper: str) -> list[str]:
    from medpodium.reports.formats.latex.project import write_latex

    return write_latex(document, out, paper)


def _markdown(document: Document, out: Path) -> list[str]:
    from medpodium.reports.formats.markdown import write_markdown

    return write_markdown(document, out)


def _docx(document: Document, out: Path) -> list[str]:
    from medpodium.reports.formats.word import to_docx

    return _halves(document, out, "docx", to_docx)


_WRITERS = {"html": _html, "pdf": _pdf, "markdown": _markdown, "docx": _docx}
