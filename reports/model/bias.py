"""The BIAS reporting checklist, filled from the challenge file and the results; what is missing is marked.

Items follow the BIAS statement (Maier-Hein et al. 2020, doi:10.1016/j.media.2020.101796, arXiv:1910.04071), in our
own wording.
"""

from __future__ import annotations

from medpodium.challenges.schema.definition import Bias
from medpodium.reports.model.document import Column, Table
from medpodium.reports.model.results import Results, TaskResults
from medpodium.reports.model.wording.grammar import count, listed
from medpodium.reports.model.wording.published import has_ranks

MISSING = "not stated"
"""Of an item that the challenge file leaves out."""

_ITEMS: tuple[tuple[str, str, str, str], ...] = (
    ("1.2", "Challenge organization", "Organizers", "organizers"),
    ("1.3", "Challenge organization", "Life cycle type", "life_cycle"),
    ("1.4a", "Challenge organization", "Venue", "venue"),
    ("1.4b", "Challenge organization", "Platform", "platform"),
    ("1.5a", "Challenge organization", "Interaction level", "interaction_policy"),
    ("1.5b", "Challenge organization", "Training data policy", "training_data_policy"),
    ("1.5c", "Challenge organization", "Participation of the organizers", "organizer_participation"),
    ("1.5d", "Challenge organization", "Awards", "awards"),
    ("1.5e", "Challenge organization", "Announcement of results", "result_announcement"),
    ("1.5f", "Challenge organization", "Publication policy", "publication_policy"),
    ("1.6", "Challenge organization", "Submission method", "submission_method"),
    ("1.7", "Challenge organization", "Schedule", "schedule"),
    ("1.8", "Challenge organization", "Ethics approval", "ethics_approval"),
    ("1.9", "Challenge organization", "Data usage agreement", "data_usage_agreement"),
    ("1.10", "Challenge organization", "Code availability", "code_availability"),
    ("1.11", "Challenge organization", "Conflicts of interest", "conflicts_of_interest"),
    ("2.1", "Mission of the challenge", "Field of application", "field_of_application"),
    ("2.2", "Mission of the challenge", "Task category", "task_category"),
    ("2.3a", "Mission of the challenge", "Target cohort", "target_cohort"),
    ("2.3b", "Mission of the challenge", "Challenge cohort", "challenge_cohort"),
    ("2.4", "Mission of the challenge", "Imaging modality", "imaging_modality"),
    ("2.5", "Mission of the challenge", "Context information", "context_information"),
    ("2.6", "Mission of the challenge", "Target entity", "target_entity"),
    ("2.7", "Mission of the challenge", "Assessment aims", "assessment_aims"),
    ("3.1", "Challenge data sets", "Data sources", "data_sources"),
    ("3.2a", "Challenge data sets", "What a case is", "case_definition"),
    ("3.2b", "Challenge data sets", "Number of cases and split", "case_numbers"),
    ("3.3a", "Challenge data sets", "Annotation protocol", "annotation_protocol"),
    ("3.3b", "Challenge data sets", "Annotators", "annotators"),
    ("3.3c", "Challenge data sets", "Merging of annotations", "annotation_merging"),
    ("3.4", "Challenge data sets", "Pre-processing", "pre_processing"),
    ("3.5", "Challenge data sets", "Sources of error", "error_sources"),
    ("4.1b", "Assessment methods", "Justification of the metrics", "metric_justification"),
    ("4.2b", "Assessment methods", "Missing results", "missing_results"),
    ("4.2c", "Assessment methods", "Justification of the ranking", "ranking_justification"),
    ("4.3", "Assessment methods", "Statistical analyses", "statistics"),
    ("4.4", "Assessment methods", "Further analyses", "further_analyses"),
)
"""Items in the order of the statement, each with a number, its part, its name and the field of the challenge file; the
others (name, metrics, ranking, outcome) follow from definition and scores."""


def checklist(results: Results) -> Table:
    """Return the checklist as a table: number, part, item, what is reported, where it comes from."""
    challenge = results.challenge
    unconfirmed = challenge.bias.unconfirmed if isinstance(challenge.bias.unconfirmed, dict) else {}
    rows: list[tuple[str, str, str, str, str]] = [
        ("1.1", "Challenge organization", "Name and edition", f"{challenge.title}, edition {challenge.edition}", _FILE)
    ]
    for number, part, item, field in _ITEMS:
        text = getattr(challenge.bias, field) or ""
        if not text and field == "imaging_modality" and challenge.modality:
            text = listed(challenge.modality)
        source = _FILE if text else ""
        if text and field in unconfirmed:
            source = f"{_FILE}, unconfirmed: {unconfirmed[field]}"
        rows.append((number, part, item, text or MISSING, source))
    for task in results.tasks:
        rows += _from_data(results, task)
    rows.sort(key=lambda row: _place(row[0]))
    columns = (Column("No."), Column("Part"), Column("Item"), Column("Reported"), Column("Source"))
    missing = [f"{number} {item.lower()}" for number, _, item, text, _ in rows if text == MISSING]
    stated = f"{count(len(missing), 'item')} not stated in the challenge file" if missing else "nothing is missing"
    order = "in the parts and the order of the BIAS statement (the numbers are this report's)"
    caption = f"{len(rows)} entries, {order}; {stated}."
    return Table("bias", "BIAS checklist", columns, tuple(rows), caption=caption)


_FILE = "challenge file"


def _place(number: str) -> tuple[int, int, str]:
    """Return where an item stands: 1.5a before 1.5b, both before 1.12."""
    part, _, item = number.partition(".")
    return int(part), int(item.rstrip("abcdef")), number


def _cases(task: TaskResults) -> str:
    if task.cases:
        return count(len(task.cases), "case")
    return "no single cases published" if task.wholly_published else "pooled values only"


def _first(task: TaskResults) -> str:
    """Return who is first, all that share the rank."""
    ranks = task.ranks.dropna()
    return listed([str(name) for name in ranks.index[ranks == ranks.min()]]) or MISSING


def _from_data(results: Results, task: TaskResults) -> list[tuple[str, str, str, str, str]]:
    prefix = f"{task.title}: " if len(results.tasks) > 1 else ""
    groups = [f"{task.group_title(name)} ({len(task.levels(name))})" for name in task.groups]
    metrics = [task.metric_name(name) for name in task.task.metrics]
    resamples = task.drawn.resamples
    drawn = f"{count(resamples, 'bootstrap resample')}, seed {results.seed}" if resamples else MISSING
    methods, outcome = "Assessment methods", "Challenge outcome"
    published = has_ranks(task)
    ranking = f"as published in {listed(task.sources)}" if published else task.recipe
    return [
        ("4.1a", methods, f"{prefix}Metrics", listed(metrics), _FILE),
        ("4.2a", methods, f"{prefix}Ranking method", ranking, "publication" if published else _FILE),
        ("4.3", methods, f"{prefix}Uncertainty of the ranking", drawn, "data" if resamples else ""),
        ("5.1", outcome, f"{prefix}Submissions", count(len(task.order), "submission"), "data"),
        ("5.2", outcome, f"{prefix}Test cases", _cases(task), "data"),
        ("5.3", outcome, f"{prefix}Score rows", f"{len(task.scores):,}", "data"),
        ("5.4", outcome, f"{prefix}Subgroups", listed(groups) or MISSING, "data" if groups else ""),
        ("5.5", outcome, f"{prefix}First of the ranking", _first(task), "data"),
    ]


def fields_covered() -> set[str]:
    """Return the names of the definition's BIAS fields that the checklist prints (all of them, by a test)."""
    return {field for *_, field in _ITEMS} & set(Bias.model_fields)
