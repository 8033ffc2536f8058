"""The verb ``campaign``: what organizers do to a campaign that has begun, recorded in its ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console

if TYPE_CHECKING:
    from medpodium.findings import Finding

_FOLDER = click.Path(path_type=Path)
_HERE = "containers.campaign_commands"
_VERBS = {
    "withdraw": (f"{_HERE}:withdraw", "Take a team out that asks to leave, with the reason."),
    "disqualify": (f"{_HERE}:disqualify", "Take a team out that broke the rules, with the reason."),
    "reinstate": (f"{_HERE}:reinstate", "Take a team in again, with the results it had."),
    "rerun": (f"{_HERE}:rerun", "Take failures back, so that the next 'run' makes them again."),
    "add-cases": (f"{_HERE}:add_cases", "Take new cases in; only they are run and scored."),
    "remove-cases": (f"{_HERE}:remove_cases", "Take cases out for everybody."),
    "update-references": (
        f"{_HERE}:update_references",
        "Record corrected references, and score again what depends on them.",
    ),
    "move": ("containers.archive_commands:move", "Move a campaign, or say where its data are now."),
    "archive": ("containers.archive_commands:archive", "Put a campaign into one file, with hashes."),
    "restore": ("containers.archive_commands:restore", "Unpack and verify an archived campaign."),
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
    from medpodium.scoring.rescoring import score_campaign

    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        patterns = athome.reference_patterns(opened.challenge)
        place = references or Path(opened.manifest.references_dir)
        manifest, changed = truth.update(opened, place, patterns)
        findings = integrity.all_references(opened.challenge, manifest)
        if not has_errors(findings):
            truth.keep(opened, manifest, changed, reason)
        scored = opened.scores_path if opened.scores_path.is_file() and changed else None
    done = score_campaign(campaign) if scored is not None and not has_errors(findings) else None
    if as_json:
        table, again = (done.out, done.again) if done else (None, 0)
        console.print_json({"changed": changed, "scores": table, "again": again, "findings": findings})
    else:
        console.print_findings(findings)
        what = "nothing was recorded" if has_errors(findings) else f"{len(changed)} case(s) corrected"
        console.out.print(f"{what}{': ' + ', '.join(changed) if changed else ''}", markup=False)
        if done is not None:
            words = f"{done.out}: {done.again} results (a team on a case) scored again, {done.kept} stand as they were"
            console.out.print(words, markup=False)
    console.finish(findings)


@dataclass(frozen=True)
class NewCases:
    """What ``add-cases`` looks at.

    Parameters
    ----------
    cases, references : Path, optional
        Folders that hold the old cases and the new ones; the campaign's own when left out.
    groups : Path, optional
        Table of groups of the new cases.
    training : Path, optional
        Folder of the training set, to look for leaks.
    reason : str
        Why.
    """

    cases: Path | None
    references: Path | None
    groups: Path | None
    training: Path | None
    reason: str


@click.command(
    "add-cases", epilog="Example: medpodium campaign add-cases campaign/ --groups cases.csv --reason 'second centre'"
)
@click.argument("campaign", type=_FOLDER)
@click.option("--cases", type=_FOLDER, help="Folder of old and new cases; the campaign's own when left out.")
@click.option("--references", type=_FOLDER, help="Folder of old and new references; the campaign's own when left out.")
@click.option("--groups", type=_FOLDER, help="CSV or TSV of the new cases: case, and one column per group.")
@click.option("--training", type=_FOLDER, help="Folder of the training set, to look for leaks.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@console.json_option
@console.guarded
@console.gathered(NewCases, "new")
def add_cases(campaign: Path, new: NewCases, as_json: bool) -> None:
    """Take in the cases that lie in the folders now and did not before; results on the others stand.

    The new files are put beside the old ones. A container that is run on the whole set at once is run again.
    """
    from medpodium.challenges.campaign import cases as case_files
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign import growth
    from medpodium.containers import athome
    from medpodium.containers.intake import integrity
    from medpodium.findings import has_errors

    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        container = growth.container_of(opened)
        own = opened.references_dir
        seen, findings = case_files.build(
            opened.challenge.containers[container],
            new.cases or opened.cases_dir,
            new.references or own,
            athome.reference_patterns(opened.challenge),
            case_files.read_groups(new.groups) if new.groups else None,
            athome.reference_patterns(opened.challenge, container),
        )
        manifest, names, changed = growth.joined(opened, seen)
        known = set(opened.case_names())
        # groups are given for the new cases; what left stays out
        findings = [one for one in findings if one.where in names or one.where not in known | growth.removed(opened)]
        findings += changed
        if not has_errors(findings):
            findings += integrity.check(opened.challenge, container, manifest, new.training)
        taken = bool(names) and not has_errors(findings)
        if taken:
            growth.add(opened, manifest, names, new.reason)
        pending = sum(len(opened.pending(one)) for one in opened.submissions())
    _tell_cases(names, taken, pending, findings, "joined", as_json)


@click.command(
    "remove-cases", epilog="Example: medpodium campaign remove-cases campaign/ --case case_07 --reason 'wrong patient'"
)
@click.argument("campaign", type=_FOLDER)
@click.option("--case", "cases", multiple=True, required=True, help="Name of a case; repeat for several.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@console.json_option
@console.guarded
def remove_cases(campaign: Path, cases: tuple[str, ...], reason: str, as_json: bool) -> None:
    """Take cases out, for everybody: they are neither run, scored nor ranked any more. Their results are kept."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign import growth

    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        growth.remove(opened, cases, reason)
        pending = sum(len(opened.pending(one)) for one in opened.submissions())
    _tell_cases(cases, True, pending, [], "left", as_json)


def _tell_cases(
    names: Sequence[str], taken: bool, pending: int, findings: list[Finding], what: str, as_json: bool
) -> None:
    if as_json:
        console.print_json({"cases": list(names) if taken else [], "pending": pending, "findings": findings})
    else:
        console.print_findings(findings)
        counted = f"{len(names)} case(s) {what}: {', '.join(names)}" if taken else "nothing was changed"
        console.out.print(f"{counted}; {pending} runs pending", markup=False)
    console.finish(findings)


def _team_options(function: Any) -> Any:
    """Add what the verbs about a team have in common."""
    for option in (
        console.guarded,
        console.json_option,
        click.option("--reason", required=True, help="Why; it is kept in the ledger, and printed in reports."),
        click.option("--task", help="Only of this task or container protocol."),
        click.option("--team", required=True, help="Name of the team."),
        click.argument("campaign", type=_FOLDER),
    ):
        function = option(function)
    return function


@click.command(epilog="Example: medpodium campaign withdraw campaign/ --team aurora --reason 'asked to leave'")
@_team_options
def withdraw(campaign: Path, team: str, task: str | None, reason: str, as_json: bool) -> None:
    """Take a team out: its results stay in the ledger, and it is neither run, scored nor ranked any more.

    It may submit again.
    """
    _exclude(campaign, team, task, "withdrawn", reason, as_json)


@click.command(epilog="Example: medpodium campaign disqualify campaign/ --team aurora --reason 'trained on test data'")
@_team_options
def disqualify(campaign: Path, team: str, task: str | None, reason: str, as_json: bool) -> None:
    """Take a team out that broke the rules: as withdraw, and nothing it submits is taken before it is reinstated."""
    _exclude(campaign, team, task, "disqualified", reason, as_json)


def _exclude(campaign: Path, team: str, task: str | None, kind: str, reason: str, as_json: bool) -> None:
    from medpodium.challenges.campaign import exclusions
    from medpodium.challenges.campaign import folder as campaigns

    with campaigns.opened(campaign) as opened:
        tasks = [one.task for one in exclusions.exclude(opened, team, task, kind, reason)]
    if as_json:
        console.print_json({"team": team, "tasks": tasks, "kind": kind, "reason": reason})
    else:
        words = f"{team} is {kind} ({reason}); rank and report leave it out and say so"
        console.out.print(words, markup=False)


@click.command(epilog="Example: medpodium campaign reinstate campaign/ --team aurora --reason 'appeal granted'")
@_team_options
def reinstate(campaign: Path, team: str, task: str | None, reason: str, as_json: bool) -> None:
    """Take a team in again that withdrew or was disqualified, with the submission and the results it had."""
    from medpodium.challenges.campaign import exclusions
    from medpodium.challenges.campaign import folder as campaigns

    with campaigns.opened(campaign) as opened:
        tasks = [one.task for one in exclusions.reinstate(opened, team, task, reason)]
    if as_json:
        console.print_json({"team": team, "tasks": tasks, "reason": reason})
    else:
        console.out.print(f"{team} takes part again ({reason}); 'medpodium status' says what is pending", markup=False)


@click.command(
    epilog="Example: medpodium campaign rerun campaign/ --team aurora --code timeout --reason 'the disk was slow'"
)
@click.argument("campaign", type=_FOLDER)
@click.option("--team", "teams", multiple=True, help="Only this team; repeat for several.")
@click.option("--case", "cases", multiple=True, help="Only this case; repeat for several.")
@click.option("--code", "codes", multiple=True, help="Only failures with this code; repeat for several.")
@click.option("--reason", required=True, help="Why; it is kept in the ledger.")
@console.json_option
@console.guarded
def rerun(
    campaign: Path,
    teams: tuple[str, ...],
    cases: tuple[str, ...],
    codes: tuple[str, ...],
    reason: str,
    as_json: bool,
) -> None:
    """Take failures back, and results whose predictions are no longer what was collected: 'run' makes them again."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign import work

    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        entries = [one for one in opened.submissions() if not teams or one.team in teams]
        rows = [
            {"team": one.team, "task": one.task, "case": case}
            for one in entries
            for case in work.retry(opened, one, reason, cases=cases, codes=codes)
        ]
    if as_json:
        console.print_json({"again": rows, "reason": reason})
    else:
        if rows:
            console.print_table(("team", "task", "case"), [list(row.values()) for row in rows])
        console.out.print(f"{len(rows)} runs are pending again; go on with 'medpodium run'", markup=False)
