"""Cases that join or leave a campaign that has begun; what was run and scored on the others stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from medpodium.challenges.campaign import manifests
from medpodium.challenges.campaign.cases import Case, CaseCode, CaseFile, Manifest
from medpodium.challenges.campaign.folder import Campaign, CampaignCode
from medpodium.findings import Finding, UsageError

_RESTORE = "restore it; a case that has to differ leaves (remove-cases) and joins under another name"


def container_of(campaign: Campaign) -> str:
    """Return the container protocol whose inputs the cases of a campaign were matched by."""
    known = {source for case in campaign.manifest.cases for source in case.inputs}
    for name, protocol in campaign.challenge.containers.items():
        sources = {file.source for _, file in protocol.input_files if not file.optional and "{case}" in file.source}
        if sources and sources <= known:
            return name
    return next(iter(campaign.challenge.containers))


def joined(campaign: Campaign, seen: Manifest) -> tuple[Manifest, list[str], list[Finding]]:
    """Return the manifest with the cases that are new, their names, and what has become of the old ones.

    Parameters
    ----------
    campaign : Campaign
        Its cases stay as they are, groups included.
    seen : Manifest
        Everything that lies in the folders now.

    Returns
    -------
    (manifest, names, findings)
        An old case that is gone or differs is an error: nobody's results may change unnoticed.
    """
    known = {case.id: case for case in campaign.manifest.cases}
    there = {case.id: case for case in seen.cases}
    left = removed(campaign)
    findings = []
    for name, case in known.items():
        findings += _differs(case, there.get(name))
    new = [name for name in there if name not in known and name not in left]
    cases = sorted([*known.values(), *(there[name] for name in new)], key=lambda case: case.id)
    return replace(seen, cases=tuple(cases)), new, findings


def _differs(old: Case, new: Case | None) -> list[Finding]:
    if new is None:
        return [Finding(CaseCode.CHANGED, old.id, "is no longer in the folder of the cases", _RESTORE)]
    found = [
        Finding(CaseCode.CHANGED, f"{old.id}: {file.path}", "content differs from the manifest", _RESTORE)
        for source, file in old.inputs.items()
        if source not in new.inputs or new.inputs[source].sha256 != file.sha256
    ]
    fix = "restore it, or record the correction first: medpodium campaign update-references CAMPAIGN --reason ..."
    if _contents(old.references) != _contents(new.references):
        found.append(Finding(CaseCode.REFERENCE_CHANGED, old.id, "its reference is not what it was", fix))
    return found


def _contents(files: Sequence[CaseFile]) -> list[tuple[str, str]]:
    return sorted((file.path, file.sha256) for file in files)


def removed(campaign: Campaign) -> set[str]:
    """Return the names of cases that left, and have not joined again."""
    found: set[str] = set()
    for event in campaign.ledger.events():
        if event["kind"] == "remove-cases":
            found |= set(event["detail"]["cases"])
        elif event["kind"] == "add-cases":
            found -= set(event["detail"]["cases"])
    return found


def add(campaign: Campaign, manifest: Manifest, names: Sequence[str], reason: str) -> None:
    """Take cases in, and note why."""
    manifests.change(campaign, manifest, "add-cases", ", ".join(names), cases=list(names), reason=reason)


def remove(campaign: Campaign, names: Sequence[str], reason: str) -> None:
    """Take cases out for everybody, and note why; what was computed of them stays in the ledger.

    Raises
    ------
    UsageError
        If there is no such case, or none would be left.
    """
    known = campaign.case_names()
    for name in names:
        if name not in known:
            fix = f"there are {', '.join(known[:8])}{', ...' if len(known) > 8 else ''}"
            raise UsageError(Finding(CampaignCode.UNKNOWN_CASE, "--case", f"no case {name!r}", fix))
    rest = tuple(case for case in campaign.manifest.cases if case.id not in names)
    if not rest:
        problem = Finding(CampaignCode.UNKNOWN_CASE, "--case", "no case would be left", "make a new campaign instead")
        raise UsageError(problem)
    manifest = replace(campaign.manifest, cases=rest)
    manifests.change(campaign, manifest, "remove-cases", ", ".join(names), cases=list(names), reason=reason)
