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

_ITEMS: tuple[tuple[str, str, str], ...] = (
    ("Organization", "Organizers", "organizers"),
    ("Organization", "Life cycle type", "life_cycle"),
    ("Organization", "Venue", "venue"),
    ("Organization", "Platform", "platform"),
    ("Organization", "Interaction level", "interaction_policy"),
    ("Organization", "Training data policy", "training_data_policy"),
    ("Organization", "Participation of the organizers", "organizer_participation"),
    ("Organization", "Awards", "awards"),
    ("Organization", "Announcement of results", "result_announcement"),
    ("Organization", "Publication policy", "publication_policy"),
    ("Organization", "Submission method", "submission_method"),
    ("Organization", "Schedule", "schedule"),
    ("Organization", "Ethics approval", "ethics_approval"),
    ("Organization", "Data usage agreement", "data_usage_agreement"),
    ("Organization", "Code availability", "code_availability"),
    ("Organization", "Conflicts of interest", "conflicts_of_interest"),
    ("Mission", "Field of application", "field_of_application"),
    ("Mission", "Task category", "task_category"),
    ("Mission", "Target cohort", "target_cohort"),
    ("Mission", "Challenge cohort", "challenge_cohort"),
    ("Mission", "Imaging modality", "imaging_modality"),
    ("Mission", "Context information", "context_information"),
    ("Mission", "Target entity", "target_entity"),
    ("Mission", "Assessment aims", "assessment_aims"),
    ("Data", "Data sources", "data_sources"),
    ("Data", "What a case is", "case_definition"),
    ("Data", "Number of cases and split", "case_numbers"),
    ("Data", "Annotation protocol", "annotation_protocol"),
    ("Data", "Annotators", "annotators"),
    ("Data", "Merging of annotations", "annotation_merging"),
    ("Data", "Pre-processing", "pre_processing"),
    ("Data", "Sources of error", "error_sources"),
    ("Assessment", "Justification of the metrics", "metric_justification"),
    ("Assessment", "Justification of the ranking", "ranking_justification"),
    ("Assessment", "Missing results", "missing_results"),
    ("Assessment", "Statistical analyses", "statistics"),
    ("Assessment", "Further analyses", "further_analyses"),
)


def checklist(results: Results) -> Table:
    """Return the checklist as a table: part, item, what is reported, where it comes from."""
    challenge = results.challenge
    unconfirmed = challenge.bias.unconfirmed if isinstance(challenge.bias.unconfirmed, dict) else {}
    rows: list[tuple[str, str, str, str]] = [
        ("Identity", "Name and edition", f"{challenge.title}, edition {challenge.edition}", "challenge file")
    ]
    for part, item, field in _ITEMS:
        text = getattr(challenge.bias, field) or ""
        if not text and field == "imaging_modality" and challenge.modality:
            text = listed(challenge.modality)
        source = "challenge file" if text else ""
        if text and field in unconfirmed:
            source = f"challenge file, unconfirmed: {unconfirmed[field]}"
        rows.append((part, item, text or MISSING, source))
    for task in results.tasks:
        rows += _from_data(results, task)
    columns = (Column("Part"), Column("Item"), Column("Reported"), Column("Source"))
    missing = sum(row[2] == MISSING for row in rows)
    stated = "nothing is missing" if not missing else f"{count(missing, 'item')} not stated in the challenge file"
    return Table("bias", "BIAS checklist", columns, tuple(rows), caption=f"{len(rows)} items; {stated}.")


def _cases(task: TaskResults) -> str:
    if task.cases:
        return count(len(task.cases), "case")
    return "no single cases published" if task.wholly_published else "pooled values only"


def _from_data(results: Results, task: TaskResults) -> list[tuple[str, str, str, str]]:
    prefix = f"{task.title}: " if len(results.tasks) > 1 else ""
    groups = [f"{task.group_title(name)} ({len(task.levels(name))})" for name in task.groups]
    metrics = [task.metric_name(name) for name in task.task.metrics]
    found = [
        ("Results", f"{prefix}Submissions", count(len(task.order), "submission"), "data"),
        (
            "Results",
            f"{prefix}Test cases",
            _cases(task),
            "data",
        ),
        ("Results", f"{prefix}Score rows", f"{len(task.scores):,}", "data"),
        ("Results", f"{prefix}Metrics", listed(metrics), "challenge file"),
        ("Results", f"{prefix}Subgroups", listed(groups) or MISSING, "data" if groups else ""),
        (
            ("Results", f"{prefix}Ranking method", f"as published in {listed(task.sources)}", "publication")
            if has_ranks(task)
            else ("Results", f"{prefix}Ranking method", task.recipe, "challenge file")
        ),
    ]
    resamples = task.drawn.resamples
    found.append(
        (
            "Results",
            f"{prefix}Uncertainty of the ranking",
            f"{count(resamples, 'bootstrap resample')}, seed {results.seed}" if resamples else MISSING,
            "data" if resamples else "",
        )
    )
    return found


def fields_covered() -> set[str]:
    """Return the names of the definition's BIAS fields that the checklist prints (all of them, by a test)."""
    return {field for _, _, field in _ITEMS} & set(Bias.model_fields)
