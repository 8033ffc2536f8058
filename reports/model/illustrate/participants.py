"""Who took part, and on which cases: the tables of teams and cohort that challenge papers print."""

from __future__ import annotations

from collections.abc import Mapping

from medpodium.reports.model.document import Block, Cell, Column, Section, Table
from medpodium.reports.model.results import Results, TaskResults, slug
from medpodium.reports.model.wording.grammar import count
from medpodium.reports.model.wording.spoken import voice
from medpodium.reports.teams import Team

_LEVELS = 25
"""Levels of a group that are listed one by one."""
_TOLD = (
    ("challenge_cohort", "Cohort"), ("data_sources", "Sources"), ("case_definition", "A case is"),
    ("case_numbers", "Numbers"), ("annotation_protocol", "Annotation"), ("annotators", "Annotators"),
)  # fmt: skip
"""Fields of the challenge file that describe the cases."""


def participants(results: Results, teams: Mapping[str, Team]) -> Section:
    """Return the section of cohort and teams; empty where nothing is known of either.

    Parameters
    ----------
    teams : mapping of str to Team
        What is said of the submissions (:mod:`medpodium.reports.teams`).
    """
    blocks: list[Block] = [] if not teams else [_teams(results, teams)]
    for task in results.tasks:
        table = _cohort(results, task)
        blocks += [] if table is None else voice(task).blocks([table])
    return Section("participants", "Cohort and participants" if teams else "Cohort", tuple(blocks))


def _teams(results: Results, teams: Mapping[str, Team]) -> Table:
    fields = [name for name in Team.model_fields if any(getattr(team, name) for team in teams.values())]
    rows: list[tuple[Cell, ...]] = [
        (name, *(getattr(teams.get(name, Team()), field) for field in fields)) for name in results.submissions
    ]
    silent = sum(not any(row[1:]) for row in rows)
    lacking = f" Nothing was said of {silent:,} of them." if silent else ""
    columns = (Column("Team", "team"), *(Column(name.replace("_", "-").capitalize()) for name in fields))
    return Table(
        "teams-described",
        "Participating teams and their methods",
        columns,
        tuple(rows),
        caption=f"{count(len(rows), 'team')} in the order of the ranking, in their own words; nothing here was checked."
        f"{lacking}",
    )


def _cohort(results: Results, task: TaskResults) -> Table | None:
    cases = len(task.cases)
    if not cases:
        return None
    rows: list[tuple[Cell, ...]] = []
    for group in task.groups:
        of = task.case_groups[group].astype(str)
        levels = task.levels(group)
        if len(levels) > _LEVELS:
            sizes = of[of != ""].value_counts()
            told = f"{len(levels)} levels of {sizes.min()} to {sizes.max()}"
            rows.append((task.group_title(group), told, int(sizes.sum()), float(sizes.sum()) / cases))
            continue
        for level in [*levels, ""]:
            number = int((of == level).sum())
            if number:
                rows.append((task.group_title(group), level or "not stated", number, number / cases))
    bias = results.challenge.bias
    said = [f"{title}: {text.rstrip('.')}." for field, title in _TOLD if (text := getattr(bias, field))]
    if not rows and not said:
        return None
    rows.insert(0, ("All", "", cases, 1.0))
    columns = (Column("Property"), Column("Level"), Column("Cases", "integer"), Column("Share", "percent", 1))
    caption = " ".join([f"The {count(cases, 'case')} that were scored.", *said])
    return Table(f"cohort-{slug(task.name)}", f"Cohort of {task.title}", columns, tuple(rows), caption=caption)
