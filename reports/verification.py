"""Recompute a report's numbers from its scores and say what differs."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.sources import source_hash
from medpodium.findings import Finding, Severity, UsageError
from medpodium.reports import manifest, signing, teams
from medpodium.reports.codes import ReportCode
from medpodium.reports.formats import markdown, reread, reread_print
from medpodium.reports.formats.spreadsheet import raw_text, to_csv
from medpodium.reports.model import gather, sections
from medpodium.reports.model.document import Document
from medpodium.scoring.evidence.units import NONE
from medpodium.scoring.observations import observations_path, read_observations
from medpodium.scoring.table import normalise, read_scores

TOLERANCE = 1e-9
"""Largest relative difference of two numbers that count as equal: libraries may round the last digits differently."""
_PER_FILE = 3
_PER_PAGE = 12
MEASURED = ("memory-", "size-")
"""Data files that hold measurements, not numbers computed from the scores."""


@dataclass(frozen=True)
class Outcome:
    """What a verification found."""

    findings: tuple[Finding, ...]
    counts: dict[str, int]

    @property
    def sentence(self) -> str:
        """The outcome in one line."""
        pages = self.counts.get("pages", 0)
        read = f" and {pages} {'page' if pages == 1 else 'pages'}" if pages else ""
        checked = f"{self.counts['numbers']:,} numbers in {self.counts['tables']} tables{read}"
        if not self.findings:
            return f"verified: {self.counts['files']} files unchanged, {checked} recomputed and equal"
        return f"{len(self.findings)} findings; {checked} recomputed"


def verify(folder: Path, scores: Path | None = None, signer: Path | None = None) -> Outcome:
    """Check a report's files against its manifest and recompute its numbers.

    Parameters
    ----------
    folder : Path
        A folder written by ``medpodium report``.
    scores : Path, optional
        Recompute from this table instead of the one in the folder.
    signer : Path, optional
        Public key that has to have signed the manifest.

    Raises
    ------
    UsageError
        If the folder is no report.

    Notes
    -----
    Numbers of pooled metrics can only be recomputed where their observations lie beside ``scores``.
    """
    about = _manifest(folder)
    findings = [] if signer is None else signing.check(folder / manifest.NAME, signer)
    findings += _changed(folder, about["files"])
    challenge = _definition(folder)
    if challenge.digest != about["challenge"]["definition_sha256"]:
        findings.append(_differs("definition.json", "its digest is not the manifest's", "write the report again"))
    settings = about["settings"]
    observed, lacking = _observed(about, scores)
    if lacking is not None:
        return Outcome((*findings, lacking), {"files": len(about["files"]), "tables": 0, "numbers": 0})
    table = read_scores(scores) if scores is not None else read_packed(folder / "data" / "scores.csv.gz")
    results = gather.gather(
        challenge,
        table,
        bootstrap=int(settings["bootstrap"]),
        seed=int(settings["seed"]),
        recipe=settings["recipe"],
        anonymous=bool(settings["anonymous"]) and scores is not None,
        observations=observed,
        cluster=settings.get("cluster", NONE),  # versions that do not say it took every case as independent
        stratify=settings.get("stratify"),
    )
    described = _teams(folder / teams.TOLD) if teams.TOLD in about["files"] else {}
    document = sections.assemble(results, every=settings.get("figures") == "all", described=described)
    fresh = {item.id: item.frame() for item in document.tables()} | {item.id: item.data for item in document.figures()}
    counts = {"files": len(about["files"]), "tables": 0, "numbers": 0}
    for name in sorted(about["files"]):
        if not name.startswith("data/") or not name.endswith(".csv") or not (folder / name).is_file():
            continue
        key = name.removeprefix("data/").removesuffix(".csv")
        if key.startswith(MEASURED):
            continue
        if key not in fresh:
            findings.append(_differs(name, "the scores give no such table", "write the report again from these scores"))
            continue
        told, again = _read(io.BytesIO((folder / name).read_bytes())), _read(io.BytesIO(to_csv(fresh[key])))
        counts["tables"] += 1
        counts["numbers"] += int(told.size)
        findings += _compare(name, told, again)
    same_words = about.get("made_with", {}).get("sources_sha256") == source_hash()
    findings += _pages(folder, document, counts, sentences=same_words)
    return Outcome(tuple(findings), counts)


def _pages(folder: Path, document: Document, counts: dict[str, int], *, sentences: bool) -> Iterator[Finding]:
    """Yield where the pages print something else than the scores give, whatever the manifest says of their hashes."""
    for name, found in _read_pages(folder, document, sentences=sentences):
        counts["pages"] = counts.get("pages", 0) + 1
        for one in found[:_PER_PAGE]:
            yield _differs(f"{name}: {one.table}", one.cause, "write the report again from these scores")
        if len(found) > _PER_PAGE:
            yield _differs(name, f"{len(found) - _PER_PAGE} more differences", "write the report again")


def _read_pages(folder: Path, document: Document, *, sentences: bool) -> Iterator[tuple[str, list[reread.Difference]]]:
    """Yield every page of a report and what it prints otherwise than a document."""
    texts = {"index.html": reread.html_differences, "report.md": reread.markdown_differences}
    for name, read in texts.items():
        if (path := folder / name).is_file():
            page = path.read_text(encoding="utf-8", errors="replace")
            yield name, list(read(page, document, sentences=sentences))
    if (path := folder / markdown.README).is_file():
        page = path.read_text(encoding="utf-8", errors="replace")
        yield path.name, list(reread.markdown_differences(page, markdown.summary(document), sentences=sentences))
    if (folder / "latex").is_dir():
        yield "latex", list(reread_print.latex_differences(folder / "latex", document, sentences=sentences))
    for half, stem in zip(document.halves(), ("report", "supplement"), strict=True):
        for ending, look in (("docx", reread_print.word_differences), ("pdf", reread_print.pdf_differences)):
            path = folder / f"{stem}.{ending}"
            if half is not None and path.is_file():
                yield path.name, list(look(path.read_bytes(), half, sentences=sentences))


def _observed(about: dict[str, Any], scores: Path | None) -> tuple[pd.DataFrame | None, Finding | None]:
    """Return the observations the report was made with, or a finding where they are not at hand.

    A report names them but never carries them: they hold the hidden truth of every case.
    """
    named = about.get("inputs", {}).get("observations")
    if named is None:
        return None, None
    path = None if scores is None else observations_path(scores)
    if path is None or not path.is_file():
        cause = "the resampled numbers rest on observations of the cases; no report carries them, they hold the truth"
        fix = f"give --scores with the table that has {named['name']} beside it"
        return None, Finding(ReportCode.FILE_MISSING, str(named["name"]), cause, fix)
    if manifest.sha256(path.read_bytes()) != named["sha256"]:
        cause = "not the observations the report was made with"
        return None, Finding(ReportCode.FILE_CHANGED, path.name, cause, "write the report again")
    return read_observations(path), None


def read_packed(path: Path) -> pd.DataFrame:
    """Read the compressed score table of a report folder.

    Raises
    ------
    UsageError
        If it is missing or unreadable.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as stream:
            table = pd.read_csv(stream, dtype=str, keep_default_na=False)
    except (OSError, EOFError, ValueError) as error:
        fix = "restore the file or give --scores"
        raise UsageError(Finding(ReportCode.FILE_MISSING, str(path), str(error).split("\n")[0], fix)) from None
    for name in table.columns:
        if name != "value":
            table[name] = [raw_text(text) for text in table[name]]
    return normalise(table.rename(columns=raw_text), path.name)


def _manifest(folder: Path) -> dict[str, Any]:
    path = folder / manifest.NAME
    try:
        about: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        _ = about["files"], about["settings"]["seed"], about["challenge"]["definition_sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = f"{type(error).__name__}: {error}".split("\n")[0]
        fix = "give the folder that 'medpodium report --out' wrote"
        raise UsageError(Finding(ReportCode.NO_MANIFEST, str(path), cause, fix)) from None
    return about


def _definition(folder: Path) -> Challenge:
    path = folder / "definition.json"
    try:
        return Challenge.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        cause = str(error).split("\n")[0]
        raise UsageError(Finding(ReportCode.FILE_MISSING, str(path), cause, "restore the file")) from None


def _teams(path: Path) -> dict[str, teams.Team]:
    try:
        return teams.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, AttributeError) as error:
        cause = str(error).split("\n")[0]
        raise UsageError(Finding(ReportCode.FILE_MISSING, str(path), cause, "restore the file")) from None


def _changed(folder: Path, files: dict[str, str]) -> Iterator[Finding]:
    root = folder.resolve()
    for name, digest in sorted(files.items()):
        path = folder / name
        if not path.resolve().is_relative_to(root) or not path.is_file():
            yield Finding(
                ReportCode.FILE_MISSING, name, "the manifest lists it, the folder lacks it", "restore the file"
            )
        elif manifest.sha256(path.read_bytes()) != digest:
            yield Finding(
                ReportCode.FILE_CHANGED, name, "changed since the report was written", "write the report again"
            )


def _differs(where: str, cause: str, fix: str) -> Finding:
    return Finding(ReportCode.NUMBER_DIFFERS, where, cause, fix, Severity.ERROR)


def _read(stream: io.BytesIO) -> pd.DataFrame:
    return pd.read_csv(stream, dtype=str, keep_default_na=False)


def _compare(name: str, told: pd.DataFrame, again: pd.DataFrame) -> list[Finding]:
    if list(told.columns) != list(again.columns) or len(told) != len(again):
        cause = f"{len(told)} rows and {told.shape[1]} columns; the scores give {len(again)} and {again.shape[1]}"
        return [_differs(name, cause, "write the report again from these scores")]
    left, right = told.to_numpy(), again.to_numpy()
    unequal = [(row, column) for row, column in zip(*(left != right).nonzero(), strict=True)]
    wrong = [spot for spot in unequal if not _close(left[spot], right[spot])]
    found = []
    for row, column in wrong[:_PER_FILE]:
        label = ", ".join(left[row][: min(2, left.shape[1])])
        values = f"{left[row, column]!r}, the scores give {right[row, column]!r}"
        cause = f"row {row + 1} ({label}), {told.columns[column]}: {values}"
        found.append(_differs(name, cause, "write the report again from these scores"))
    if len(wrong) > _PER_FILE:
        found.append(_differs(name, f"{len(wrong) - _PER_FILE} more cells differ", "write the report again"))
    return found


def _close(one: str, other: str) -> bool:
    try:
        return math.isclose(float(one), float(other), rel_tol=TOLERANCE, abs_tol=1e-12)
    except ValueError:
        return False
