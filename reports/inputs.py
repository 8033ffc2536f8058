"""Read what a report is made of: the challenge and its scores, or what a campaign folder holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, UsageError
from medpodium.reports import teams
from medpodium.reports.codes import ReportCode
from medpodium.reports.manifest import sha256
from medpodium.reports.request import Request
from medpodium.reports.teams import Team
from medpodium.scoring import definitions
from medpodium.scoring.observations import observations_path

if TYPE_CHECKING:
    from medpodium.challenges.campaign.folder import Campaign


@dataclass(frozen=True)
class Inputs:
    """What a request points to, read."""

    challenge: Challenge
    scores: pd.DataFrame
    known: definitions.Known
    provenance: Mapping[str, Any]
    observations: pd.DataFrame | None = None
    resources: pd.DataFrame | None = None
    curves: pd.DataFrame | None = None
    references: Path | None = None
    predictions: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    images: Path | None = None
    unfinished: tuple[Finding, ...] = ()
    teams: Mapping[str, Team] = field(default_factory=dict)


def read_inputs(request: Request) -> Inputs:
    """Read the challenge and the scores a request names; a campaign brings its own.

    Raises
    ------
    UsageError
        If either is missing or unreadable.
    """
    from medpodium.challenges.campaign import folder as campaign
    from medpodium.challenges.campaign.standing import standing
    from medpodium.scoring.observations import read_beside
    from medpodium.scoring.table import read_scores

    folder = Path(request.source)
    if campaign.is_campaign(folder):
        with campaign.opened(folder) as opened:
            path = request.scores or opened.scores_path
            _must_exist(path, "score it first: medpodium score CAMPAIGN")
            tasks = list(opened.challenge.ranking)
            known = standing(opened)
            scores, beside = read_scores(path), read_beside(path)
            scores = known.counting(scores, pending=request.with_pending)
            beside = known.counting(beside, pending=request.with_pending) if beside is not None else None
            return Inputs(
                opened.challenge,
                scores,
                definitions.read_beside(path),
                _provenance(path, request, {one.team: one.digest for one in opened.submissions()}),
                beside,
                opened.resources(),
                read_curves(opened),
                request.references or opened.references_dir,
                {task: request.predictions or opened.predictions_dirs(task) for task in tasks},
                request.images or opened.cases_dir,
                tuple(known.findings(folder.name, ranked=request.with_pending)),
                _described(request.teams or folder / teams.NAME, needed=request.teams is not None),
            )
    challenge = registry.load(request.source)
    if request.scores is None:
        fix = "give the score table after the challenge: medpodium report CHALLENGE scores.csv --out DIR"
        raise UsageError(Finding(ReportCode.FILE_MISSING, request.source, "no score table given", fix))
    _must_exist(request.scores, "check the path of the score table")
    return Inputs(
        challenge,
        read_scores(request.scores),
        definitions.read_beside(request.scores),
        _provenance(request.scores, request, {}),
        read_beside(request.scores),
        references=request.references,
        predictions=dict.fromkeys(challenge.ranking, request.predictions),
        images=request.images,
        teams={} if request.teams is None else teams.read_teams(request.teams),
    )


def _described(path: Path, *, needed: bool) -> dict[str, Team]:
    """Return what a campaign's organizer wrote of the teams; a campaign need not have it."""
    return teams.read_teams(path) if needed or path.is_file() else {}


def _provenance(path: Path, request: Request, digests: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {"scores": {"name": path.name, "sha256": sha256(path.read_bytes())}}
    beside = observations_path(path)
    if beside.is_file():
        # named, never copied: it holds the hidden truth
        found["observations"] = {"name": beside.name, "sha256": sha256(beside.read_bytes())}
    if digests and not request.anonymous:
        found["submissions"] = dict(sorted(digests.items()))
    elif digests:
        found["submissions"] = sorted(digests.values())
    return found


def read_curves(campaign: Campaign) -> pd.DataFrame | None:
    """Return memory over time of every run: ``submission, case, seconds, megabytes, what``.

    Graphics memory where it was measured, host memory otherwise; ``None`` without any curve.
    """
    parts = []
    for submission in campaign.submissions():
        for path in sorted(campaign.runs_dir(submission).rglob("curve.parquet")):
            curve = pd.read_parquet(path)
            gpu = "gpu_memory" in curve and curve["gpu_memory"].notna().any()
            memory = curve["gpu_memory" if gpu else "memory"] / 1e6
            parts.append(
                pd.DataFrame(
                    {
                        "submission": submission.team,
                        "case": path.parent.name,
                        "seconds": curve["time"],
                        "megabytes": memory,
                        "what": "GPU memory" if gpu else "Host memory",
                    }
                )
            )
    if not parts:
        return None
    curves = pd.concat(parts, ignore_index=True).dropna(subset=["megabytes"])
    # One kind of memory per figure: graphics memory when any run used it.
    kind = "GPU memory" if (curves["what"] == "GPU memory").any() else "Host memory"
    return curves[curves["what"] == kind]


def _must_exist(path: Path, fix: str) -> None:
    if not path.is_file():
        raise UsageError(Finding(ReportCode.FILE_MISSING, str(path), "no such file", fix))
