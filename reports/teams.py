"""What a ``teams.yaml`` says of the submissions: who made them and how, as challenge papers print it in a table."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from medpodium.challenges import registry
from medpodium.challenges.schema.base import nearest
from medpodium.findings import Code, Finding, Severity, UsageError

NAME, TOLD = "teams.yaml", "teams.json"
"""Names of the file in a campaign's folder, and of what a report keeps of it."""
_FIX = "write one mapping per team, such as 'My team: {affiliation: ..., architecture: ..., cost: ...}'"


class TeamsCode(Code):
    """What can be wrong with a description of the submissions."""

    INVALID = "teams-file-invalid"
    UNKNOWN = "teams-name-unknown"
    HIDDEN = "teams-not-told"
    """An anonymous report tells nothing of who took part: leave out ``--anonymous``, or the file."""


class Team(BaseModel):
    """One submission in the words of who made it; every field is free text and may be left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    members: str | None = None
    affiliation: str | None = None
    architecture: str | None = None
    pre_training: str | None = None
    training_data: str | None = None
    augmentation: str | None = None
    ensembling: str | None = None
    post_processing: str | None = None
    parameters: str | None = None
    cost: str | None = None
    code: str | None = None
    reference: str | None = None


Teams = Mapping[str, Team]


def read_teams(path: Path) -> dict[str, Team]:
    """Read a ``teams.yaml``.

    Raises
    ------
    UsageError
        If it cannot be read, or a field is unknown or no text.
    """
    if not path.is_file():
        raise UsageError(Finding(TeamsCode.INVALID, str(path), "no such file", "check the path given to --teams"))
    try:
        source = registry.read(path)
    except UsageError as error:
        (first, *_) = error.findings
        raise UsageError(Finding(TeamsCode.INVALID, first.where, first.cause, _FIX)) from None
    found = {}
    for name, fields in source.data.items():
        try:
            found[name] = Team.model_validate({} if fields is None else fields)
        except ValidationError as error:
            problem = error.errors()[0]
            where = (name, *problem["loc"])
            line = source.lines.get(where, source.lines.get((name,), 1))
            field = str(problem["loc"][0]) if problem["loc"] else name
            cause = f"{name}: {problem['msg'].lower()}"
            if problem["type"] == "extra_forbidden":
                cause = f"{name}: no field {field!r}{nearest(field, Team.model_fields)}"
            fix = f"use {', '.join(Team.model_fields)}, each one text"
            raise UsageError(Finding(TeamsCode.INVALID, f"{path}:{line}", cause, fix)) from None
    return found


def known(teams: Teams, submissions: Collection[str], *, anonymous: bool) -> tuple[dict[str, Team], list[Finding]]:
    """Return the described submissions that a report tells of, and what was odd.

    Parameters
    ----------
    anonymous : bool
        Whether the report hides names: then nothing is told.
    """
    if anonymous and teams:
        cause, fix = "the report is anonymous", "leave out --anonymous, or --teams"
        return {}, [Finding(TeamsCode.HIDDEN, NAME, cause, fix, Severity.WARNING)]
    odd = [
        Finding(
            TeamsCode.UNKNOWN, NAME, f"{name!r} made no submission{nearest(name, submissions)}",
            "write the name as the score table does", Severity.WARNING,
        )
        for name in teams
        if name not in submissions
    ]  # fmt: skip
    return {name: team for name, team in teams.items() if name in submissions}, odd


def to_json(teams: Teams) -> str:
    """Return what is told of the submissions, for the folder of a report."""
    told = {name: team.model_dump(exclude_none=True) for name, team in sorted(teams.items())}
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> dict[str, Team]:
    """Return what :func:`to_json` wrote."""
    return {name: Team.model_validate(fields) for name, fields in json.loads(text).items()}
