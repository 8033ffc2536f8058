"""Assemble the document: which sections, tables and figures a set of results supports, in the order they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

import pandas as pd

from medpodium.challenges.describe import fact_text
from medpodium.challenges.schema.task import Words
from medpodium.reports.figures.layout import records
from medpodium.reports.figures.palette import look
from medpodium.reports.model import bias, claims, gallery, references, scores, tables, text
from medpodium.reports.model.board import leaderboard
from medpodium.reports.model.document import (
    REFERENCES,
    Block,
    Column,
    Document,
    Figure,
    Items,
    Paragraph,
    Place,
    Section,
    Table,
    figures_of,
    walked,
)
from medpodium.reports.model.gallery import Gallery
from medpodium.reports.model.illustrate import groups as illustrate_groups
from medpodium.reports.model.illustrate.observed import observed_section
from medpodium.reports.model.illustrate.participants import participants
from medpodium.reports.model.illustrate.raw import failures, looks_at_evidence, raw_data
from medpodium.reports.model.illustrate.sizes import size_section
from medpodium.reports.model.illustrate.stability import stability_section
from medpodium.reports.model.interactive.explore import Explored
from medpodium.reports.model.length import arranged
from medpodium.reports.model.results import Results, TaskResults, slug
from medpodium.reports.model.wording import published as publication
from medpodium.reports.model.wording.grammar import agree, count, listed
from medpodium.reports.model.wording.spoken import voice
from medpodium.reports.model.wording.steps import recipe_items
from medpodium.reports.teams import Team


def assemble(
    results: Results,
    title: str | None = None,
    galleries: Mapping[str, Gallery] | None = None,
    *,
    every: bool = True,
    described: Mapping[str, Team] | None = None,
    volumes: Mapping[str, pd.DataFrame] | None = None,
    ready: Callable[[Iterable[Figure]], None] = lambda _: None,
    early: Mapping[str, Early] = MappingProxyType({}),
) -> Document:
    """Return the report of a set of results.

    Parameters
    ----------
    galleries : mapping of str to Gallery, optional
        Pictures by task.
    every : bool
        Draw the figures of each structure by itself too.
    described : mapping of str to Team, optional
        What is said of the submissions.
    volumes : mapping of str to pandas.DataFrame, optional
        Volumes of the references by task: ``case, structure, ml``.
    ready : callable
        Told of figures as soon as they are known.
    early : mapping of str to Early
        What has been made of tasks already.
    """
    challenge = results.challenge
    several = len(results.tasks) > 1
    sections = [_ranking(results)]
    for task in results.tasks:
        for part in filter(None, _task_sections(task, several, every, early.get(task.name))):
            sections.append(part)
            ready(figures_of([part]))
        if (sizes := (volumes or {}).get(task.name)) is not None:
            sections.append(voice(task).section(size_section(task, sizes)))
    sections.append(illustrate_groups.across_tasks(results, results.consensus))
    sections.append(illustrate_groups.memory_section(results))
    sections += [_gallery(task, pictures) for task in results.tasks if (pictures := (galleries or {}).get(task.name))]
    sections += [participants(results, described or {}), _methods(results), _reliability(results)]
    told = tuple(section for section in sections if section)
    cited = _cited(results, told)
    listing = Section(
        REFERENCES, "References", (Items(tuple(work.text for work in cited), ordered=True),) if cited else ()
    )
    document = Document(
        title or challenge.title,
        _subtitle(results),
        _facts(results),
        (*told, listing) if listing else told,
        podium=_podium(results),
        colours=colours(results),
        explored=Explored(results),
        references=cited,
    )
    return arranged(document, [slug(task.name) for task in results.tasks])


def _cited(results: Results, sections: Sequence[Section]) -> tuple[references.Reference, ...]:
    """Return what the sentences of the sections cite: methods, metrics, and the challenge by its sources."""
    texts: list[str] = []
    for _, section in walked(sections):
        for block in section.blocks:
            texts += [block.text] if isinstance(block, Paragraph) else []
            texts += block.items if isinstance(block, Items) else []
    return references.cited(texts, [*references.WORKS, *references.of_challenge(results.challenge)])


def leaderboards(results: Results, title: str | None = None) -> Document:
    """Return the rankings alone: the front page of a leaderboard site."""
    parts = tuple(
        Section(
            f"scores-{slug(task.name)}",
            f"Scores, {task.title}",
            tuple(table for name in task.task.metrics for table in scores.per_metric(task, name)),
        )
        for task in results.tasks
    )
    return Document(
        title or results.challenge.title,
        _subtitle(results),
        _facts(results),
        tuple(section for section in (_ranking(results), *parts) if section),
        podium=_podium(results),
        colours=colours(results),
        explored=Explored(results),
    )


def _gallery(task: TaskResults, pictures: Gallery) -> Section:
    made = gallery.section(task, pictures)
    words = (
        "Contours: reference light blue, prediction orange; axial slice with the largest "
        "disagreement, patient's right on "
        "the left, front on top."
    )
    if pictures.left_out:
        words += f" {count(pictures.left_out, 'picture')} left out to keep the report readable."
    return replace(made, blocks=(Paragraph(words, "note"),)) if made else made


def colours(results: Results) -> dict[str, str]:
    """Return the colour of every submission."""
    return dict(look(results.submissions).colours)


def _subtitle(results: Results) -> str:
    summary = results.challenge.summary.strip()
    return summary or f"Results of {results.challenge.title}"


def _facts(results: Results) -> tuple[tuple[str, str], ...]:
    challenge = results.challenge
    cases = {case for task in results.tasks for case in task.cases}
    facts = [("Challenge", f"{challenge.name}, edition {challenge.edition}")]
    if challenge.variant != "corrected":
        facts.append(("Scoring variant", challenge.variant))
    kinds = {task.words for task in results.tasks}
    words = kinds.pop() if len(kinds) == 1 else Words()
    facts.append((words.teams.capitalize(), str(len(results.submissions))))
    if cases:
        facts.append((f"Test {words.cases}", f"{len(cases):,}"))
    where = list(dict.fromkeys(source for task in results.tasks for source in task.sources))
    if where:
        facts.append(("Values", f"as published in {listed(where)}"))
    facts.append(("Scores", f"{sum(len(task.scores) for task in results.tasks):,}"))
    facts.append(("Definition", challenge.digest[:12]))
    return tuple(facts)


def _podium(results: Results) -> tuple[Place, ...]:
    if len(results.tasks) != 1:
        return ()
    task = results.tasks[0]
    board = task.leaderboard.dropna(subset=["rank"])
    if len(board) < 2:
        return ()
    shared = board["rank"].value_counts()
    return tuple(
        Place(row.rank, int(shared[row.rank]), str(row.submission), text.place_words(task, str(row.submission)))
        for row in records(board.head(3))
    )


def _ranking(results: Results) -> Section:
    blocks: list[Block] = []
    for task in results.tasks:
        own: list[Block] = [Paragraph(text.headline(task), "lead")]
        own += [Paragraph(" ".join(said))] if (said := claims.sentences(task)) else []
        own += [Paragraph(" ".join(said))] if (said := text.defensible(task)) else []
        own += [Paragraph(" ".join(said), "note")] if (said := text.coverage(task)) else []
        blocks += voice(task).blocks([*own, leaderboard(task), tables.steps(task)])
    return Section("ranking", "Ranking", tuple(blocks))


@dataclass(frozen=True)
class Early:
    """The sections of a task that need no evidence, made in this order of its submissions."""

    order: list[str]
    sections: Mapping[str, Section]


def early_sections(task: TaskResults, every: bool) -> Early:
    """Return what is told of a task as soon as it is ranked."""
    say = voice(task)
    made = {} if looks_at_evidence(task) else {"raw": say.section(raw_data(task, every=every))}
    made["structures"] = say.section(illustrate_groups.structures(task))
    made["cost"] = say.section(illustrate_groups.cost_section(task))
    return Early(task.order, made)


def _task_sections(task: TaskResults, several: bool, every: bool, early: Early | None) -> Iterator[Section]:
    prefix = f"{task.title}: " if several else ""
    told = tuple(table for name in task.task.metrics for table in scores.per_metric(task, name))
    whole = scores.pooled(task)
    told += (whole,) if whole is not None else ()
    say = voice(task)
    known = early.sections if early is not None and early.order == task.order else {}

    def titled(name: str, make: Callable[[], Section]) -> Section:
        found = known[name] if name in known else say.section(make())
        return replace(found, title=f"{say.text(prefix)}{found.title}")

    yield say.section(Section(f"scores-{slug(task.name)}", f"{prefix}Scores", told))
    yield say.section(stability_section(task, prefix, every=every))
    yield say.section(observed_section(task, prefix))
    yield titled("raw", lambda: raw_data(task, every=every))
    yield titled("structures", lambda: illustrate_groups.structures(task))
    yield say.section(illustrate_groups.subgroup_sections(task, prefix))
    yield titled("cost", lambda: illustrate_groups.cost_section(task))
    yield say.section(illustrate_groups.transfer_section(task, prefix))


def _methods(results: Results) -> Section:
    parts = []
    for task in results.tasks:
        name, recipe = results.challenge.recipe_for(task.name, task.recipe)
        blocks: list[Block] = [
            Paragraph(words) for words in (*text.methods_paragraphs(results, task), *claims.methods(task))
        ]
        own = not task.wholly_published
        blocks.append(
            Paragraph("The metrics were defined as follows." if own else "The metrics were defined by the source.")
        )
        blocks.append(Items(tuple(text.metric_sentence(task, key) for key in task.task.metrics)))
        if own:  # what an empty mask counts is not known of values that somebody else computed
            empty = any(task.task.policy_for(spec) is not None for spec in task.task.metrics.values())
            blocks.append(
                Paragraph(
                    "Empty masks and missing predictions counted as declared."
                    if empty
                    else "Missing predictions counted as declared."
                )
            )
            blocks.append(Items(tuple(text.policy_sentences(task))))
        title = f" ({recipe.title})" if recipe.title else ""
        if publication.has_ranks(task):
            words = "The ranks are as published. Applied to the published values, the recipe"
            blocks.append(Paragraph(f"{words} {name}{title} gives the ranks by recipe, in this order."))
        else:
            blocks.append(Paragraph(f"The ranking followed the recipe {name}{title}, in this order."))
        blocks.append(Items(tuple(recipe_items(recipe, task)), ordered=True))
        parts.append(Section(f"methods-{slug(task.name)}", task.title, tuple(voice(task).blocks(blocks))))
    if len(parts) == 1:
        return Section("methods", "Methods", parts[0].blocks)
    return Section("methods", "Methods", sections=tuple(parts))


def _reliability(results: Results) -> Section:
    blocks: list[Block] = []
    for task in results.tasks:
        own: list[Block] = [Paragraph(text.skips_and_penalties(task))]
        if list(task.statuses.columns) != ["ok"]:
            own.append(tables.penalties(task))
        panel = failures(task)
        blocks += voice(task).blocks(own if panel is None else [*own, panel])
    parts = [Section("missing", "Missing, skipped and penalised scores", tuple(blocks))]
    if results.findings:
        rows = tuple(
            (str(item.severity), str(item.code), item.where, item.cause, item.fix) for item in results.findings
        )
        columns = tuple(map(Column, ("Severity", "Code", "Where", "Cause", "Fix")))
        verb = agree(len(rows), "thing was", "things were")
        said = Paragraph(f"{len(rows):,} {verb} odd about the scores; the table names each.")
        table = Table("findings", "What was odd about the scores", columns, rows)
        parts.append(Section("findings", "Findings", (said, table)))
    parts.append(_unconfirmed(results))
    challenge = results.challenge
    if challenge.known_defects or challenge.warnings:
        parts.append(
            Section("defects", "Known defects and warnings", (Items((*challenge.known_defects, *challenge.warnings)),))
        )
    parts.append(Section("bias", "BIAS checklist", (bias.checklist(results),), folded=True))
    if challenge.sources:
        shown = tuple(", ".join(filter(None, (item.title, item.url, item.note))) for item in challenge.sources)
        parts.append(Section("sources", "Sources", (Items(shown),), folded=True))
    return Section("reliability", "What this report rests on", sections=tuple(parts))


def _unconfirmed(results: Results) -> Section:
    facts = results.challenge.unconfirmed_list()
    if not facts:
        return Section(
            "unconfirmed",
            "Unconfirmed facts",
            (Paragraph("The challenge file marks no fact as unconfirmed."),),
        )
    rows = tuple((path, fact_text(value), why) for path, value, why in facts)
    columns = (Column("Field"), Column("Value"), Column("Why it is unconfirmed"))
    table = Table("unconfirmed", "Facts without a primary source", columns, rows)
    verb = agree(len(facts), "has", "have")
    words = f"{count(len(facts), 'fact')} of the challenge file {verb} no primary source."
    return Section("unconfirmed", "Unconfirmed facts", (Paragraph(words), table), folded=len(facts) > 8)
