"""Whether references and collected predictions are still what was hashed, and how a reference is corrected."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from medpodium.challenges.campaign import manifests, work
from medpodium.challenges.campaign.cases import CaseCode, CaseFile, Manifest, references_of, sha256_of
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.naming.names import is_hidden
from medpodium.findings import Finding, InfrastructureError

_MOST = 20


def verify(
    campaign: Campaign, submissions: Iterable[Submission], patterns: Iterable[str], *, references: bool = True
) -> None:
    """Make sure that everything a score is made of is what was hashed when it came.

    Parameters
    ----------
    campaign : Campaign
        Its references are read again.
    submissions : iterable of Submission
        Whose collected predictions are read again.
    patterns : iterable of str
        Patterns of the reference files.
    references : bool
        Whether the references are looked at, too.

    Raises
    ------
    InfrastructureError
        Naming every file that was changed, removed or put there by somebody else.
    """
    found = _references(campaign.manifest, patterns) if references else []
    for submission in submissions:
        found += _predictions(campaign, submission)
    if found:
        more = [replace(found[0], where="...", cause=f"and {len(found) - _MOST} more")] if len(found) > _MOST else []
        raise InfrastructureError(*found[:_MOST], *more)


def _references(manifest: Manifest, patterns: Iterable[str]) -> list[Finding]:
    if not manifest.references_dir:
        return []
    folder = Path(manifest.references_dir)
    fix = "restore it, or record the correction: medpodium campaign update-references CAMPAIGN --reason ..."
    known = {case.id: case.references for case in manifest.cases} | {"all cases": manifest.references}
    found = []
    for name, files in known.items():
        for file in files:
            cause = _difference(folder / file.path, file.sha256)
            if cause:
                found.append(Finding(CaseCode.REFERENCE_CHANGED, f"{name}: {folder / file.path}", cause, fix))
    if not folder.is_dir():
        return found
    for name, paths in references_of(folder, patterns, known).items():
        for path in sorted(set(paths) - {file.path for file in known.get(name, ())}):
            if name in known:
                cause = "was not there when the campaign was made"
                found.append(Finding(CaseCode.REFERENCE_CHANGED, f"{name}: {folder / path}", cause, fix))
    return found


def _difference(path: Path, sha256: str) -> str:
    try:
        return "" if sha256_of(path)[0] == sha256 else "is not what it was when it was hashed"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _predictions(campaign: Campaign, submission: Submission) -> list[Finding]:
    folder = campaign.predictions_dir(submission)
    fix = "restore it, or have it made again: medpodium run CAMPAIGN --team TEAM --retry"
    known, found = set(), []
    for rows in work.state(campaign, submission).files.values():
        for path, sha256 in rows:
            known.add(path)
            cause = _difference(folder / path, sha256)
            if cause:
                found.append(Finding(CaseCode.PREDICTION_CHANGED, f"{submission.team}: {folder / path}", cause, fix))
    others = campaign.ledger.noted_files(submission.id)  # what a run that is going on has just put there
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = (Path(root) / name).relative_to(folder).as_posix()
            if path not in known and path not in others and not is_hidden(path):
                cause = "was not collected from a run"
                place = f"{submission.team}: {folder / path}"
                found.append(Finding(CaseCode.PREDICTION_CHANGED, place, cause, "remove it"))
    return found


def update(campaign: Campaign, references_dir: Path, patterns: Iterable[str]) -> tuple[Manifest, list[str]]:
    """Return the manifest with the references as they are now, and the cases whose references differ."""
    manifest = campaign.manifest
    names = [case.id for case in manifest.cases]
    now = references_of(references_dir, patterns, names)

    def take(paths: Iterable[str]) -> tuple[CaseFile, ...]:
        return tuple(CaseFile(path, *sha256_of(references_dir / path)) for path in paths)

    cases = tuple(replace(case, references=take(now.get(case.id, []))) for case in manifest.cases)
    fresh = Manifest(manifest.cases_dir, str(references_dir.resolve()), cases, take(now.get("", [])))
    old, new = manifest.reference_hashes(), fresh.reference_hashes()
    return fresh, [name for name in names if old[name] != new[name]]


def keep(campaign: Campaign, manifest: Manifest, changed: list[str], reason: str) -> None:
    """Put a new manifest in the place of the old one, and note what changed and why."""
    old = {case.id: [file.sha256 for file in case.references] for case in campaign.manifest.cases}
    new = {case.id: [file.sha256 for file in case.references] for case in manifest.cases}
    detail = {name: {"before": old[name], "after": new[name]} for name in changed}
    manifests.change(campaign, manifest, "update-references", ", ".join(changed), reason=reason, cases=detail)
