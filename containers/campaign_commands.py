"""The verb ``campaign``: what organizers do to a campaign that has begun, recorded in its ledger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medpodium import console

_FOLDER = click.Path(path_type=Path)
_VERBS = {
    "update-references": (
        "containers.campaign_commands:update_references",
        "Record corrected references, and score again what depends on them.",
    ),
    "withdraw": ("containers.campaign_commands:withdraw", "Take a team out of a campaign, with the reason."),
}


@click.group(cls=console.LazyGroup, verbs=_VERBS)
def campaign(**_: Any) -> None:
    """Change a campaign that has begun; everything is recorded in its ledger."""


@click.command(
    "update-references",
    epilog="Example: medpodium campaign update-references campaign/ --reason 'case 7 had left and right swapped'",
)
@click.argument("campaign", type=_FOLDER)
@click.option("--references", type=_FOLDER, help="New folder of the references; the campaign's own when left out.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@console.json_option
@console.guarded
def update_references(campaign: Path, references: Path | None, reason: str, as_json: bool) -> None:
    """Take the references as they are now: check them, note what changed and why, score again what depends on it."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign import truth
    from medpodium.containers import athome
    from medpodium.containers.intake import integrity
    from medpodium.findings import has_errors
    from medpodium.scoring.campaign import rescore

    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        patterns = athome.reference_patterns(opened.challenge)
        place = references or Path(opened.manifest.references_dir)
        manifest, changed = truth.update(opened, place, patterns)
        findings = integrity.all_references(opened.challenge, manifest)
        table = None
        if not has_errors(findings):
            truth.keep(opened, manifest, changed, reason)
            table = rescore(opened, changed)
    if as_json:
        console.print_json({"changed": changed, "scores": table, "findings": findings})
    else:
        console.print_findings(findings)
        what = "nothing was recorded" if has_errors(findings) else f"{len(changed)} case(s) corrected"
        console.out.print(f"{what}{': ' + ', '.join(changed) if changed else ''}", markup=False)
        if table is not None:
            console.out.print(f"{table}: these cases are scored again, the others stand as they were", markup=False)
    console.finish(findings)


@click.command(epilog="Example: medpodium campaign withdraw campaign/ --team aurora --reason 'asked to leave'")
@click.argument("campaign", type=_FOLDER)
@click.option("--team", required=True, help="Name of the team.")
@click.option("--task", help="Only its submission to this task or container protocol.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@console.json_option
@console.guarded
def withdraw(campaign: Path, team: str, task: str | None, reason: str, as_json: bool) -> None:
    """Take a team out: its results stay in the ledger, and it is neither run, scored nor ranked any more."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign.folder import CampaignCode
    from medpodium.findings import Finding, UsageError

    with campaigns.opened(campaign) as opened:
        theirs = opened.submissions(task=task, team=team)
        if not theirs:
            there = ", ".join(sorted({one.team for one in opened.submissions()})) or "nobody"
            problem = Finding(CampaignCode.UNKNOWN_TEAM, "--team", f"no submission of {team!r}", f"there: {there}")
            raise UsageError(problem)
        for one in theirs:
            opened.ledger.withdraw(one.id, team, reason)
    if as_json:
        console.print_json({"team": team, "tasks": [one.task for one in theirs], "reason": reason})
    else:
        console.out.print(f"{team} is withdrawn ({reason}); score again to leave it out", markup=False)
