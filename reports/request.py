"""What a report is asked to be: as typed on the command line, and checked."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medpodium.findings import Finding, UsageError
from medpodium.reports.codes import ReportCode
from medpodium.reports.formats.names import FORMATS


@dataclass(frozen=True, kw_only=True)
class _Options:
    """What may be said of a report beside its sources; every field is an option of ``medpodium report``."""

    title: str | None = None
    anonymous: bool = False
    bootstrap: int = 1000
    seed: int = 0
    recipe: str | None = None
    cluster: str | None = None
    stratify: str | None = None
    figures: str = "main"
    site: Path | None = None
    images: Path | None = None
    references: Path | None = None
    show_images: bool = False
    view_case: tuple[str, ...] = ()
    workers: int | None = None
    accept_other_rules: bool = False
    with_pending: bool = False
    latex_class: str = "article"
    sign: Path | None = None
    teams: Path | None = None
    sizes: bool = False
    evidence: Path | None = None


@dataclass(frozen=True)
class Asked(_Options):
    """The parameters of ``medpodium report`` as they were typed."""

    source: str
    scores: Path | None = None
    formats: str = "html"
    predictions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Request(_Options):
    """What a report is made of; the options of ``medpodium report`` are keywords.

    Parameters
    ----------
    source : str
        Challenge reference or campaign folder.
    scores : Path, optional
        Score table; the campaign's own when left out.
    formats : sequence of str
        Any of html, pdf, latex, markdown, docx.
    predictions : mapping of str to Path
        Folder of predictions of each team, for the gallery.

    Examples
    --------
    >>> import medpodium
    >>> medpodium.ReportRequest("feta/2022", Path("scores.csv"), formats=["html", "pdf"]).seed
    0
    """

    source: str
    scores: Path | None
    formats: Sequence[str] = ("html",)
    predictions: Mapping[str, Path] = field(default_factory=dict)

    @classmethod
    def of(cls, asked: Asked) -> Request:
        """Check what was asked for on the command line and return the request.

        Raises
        ------
        UsageError
            If a format is unknown or a prediction folder is not given as ``TEAM=DIR``.
        """
        wanted = [part.strip().lower() for part in asked.formats.split(",") if part.strip()]
        wanted = list(FORMATS) if wanted == ["all"] else wanted
        unknown = [name for name in wanted if name not in FORMATS]
        if unknown or not wanted:
            cause = f"unknown format {unknown[0]!r}" if unknown else "no format given"
            raise UsageError(
                Finding(ReportCode.UNKNOWN_FORMAT, "--formats", cause, f"choose from {', '.join(FORMATS)}")
            )
        folders = {}
        for item in asked.predictions:
            team, equals, folder = item.partition("=")
            if not equals or not team:
                raise UsageError(Finding(ReportCode.FILE_MISSING, "--predictions", repr(item), "write TEAM=DIR"))
            folders[team] = Path(folder)
        if asked.view_case and asked.site is None:
            fix = "add --site DIR: the case viewer is a page of the site"
            raise UsageError(Finding(ReportCode.FILE_MISSING, "--view-case", "no site is written", fix))
        checked = {"formats": tuple(dict.fromkeys(wanted)), "predictions": folders}
        return cls(**{**vars(asked), **checked})

    def _texts(self) -> list[tuple[str, str | None]]:
        groups = [("--cluster", self.cluster), ("--stratify", self.stratify)]
        return [("--recipe", self.recipe), *groups, ("--title", self.title)]

    def command(self) -> str:
        """Return the command that writes these numbers again; files by name, as paths differ between machines."""
        source = Path(self.source).name if Path(self.source).exists() else self.source
        words = ["medpodium", "report", source, *([self.scores.name] if self.scores is not None else [])]
        words += ["--formats", ",".join(self.formats), "--bootstrap", str(self.bootstrap), "--seed", str(self.seed)]
        words += ["--figures", self.figures]
        for option, value in self._texts():
            words += [option, value] if value is not None else []
        words += ["--latex-class", self.latex_class] if self.latex_class != "article" else []
        words += ["--anonymous"] if self.anonymous else []
        words += ["--show-images"] if self.show_images else []
        words += [word for case in self.view_case for word in ("--view-case", case)]
        words += ["--sizes"] if self.sizes else []
        words += ["--teams", self.teams.name] if self.teams is not None else []
        words += ["--accept-other-rules"] if self.accept_other_rules else []
        return shlex.join([*words, "--out", "report"])
