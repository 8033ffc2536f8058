"""Tell a person what a challenge file says: the tables of ``medpodium challenges`` and ``medpodium show``."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

from medpodium import console
from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge, TaskModel
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.spec import Cell, EmptyPolicy, MetricSpec
from medpodium.challenges.schema.steps import Recipe
from medpodium.challenges.schema.task import Grid, Words


def overview() -> list[dict[str, Any]]:
    """Return one row per built-in challenge: name, title, editions, tasks, variants."""
    rows = []
    for name in registry.names():
        source, _ = registry.locate(name)
        challenge = registry.resolve(source)
        rows.append(
            {
                "name": name,
                "title": challenge.title,
                "aliases": challenge.aliases,
                "editions": source.editions or [challenge.edition],
                "tasks": list(challenge.tasks),
                "variants": source.variants or ["corrected"],
            }
        )
    return rows


def as_dict(challenge: Challenge) -> dict[str, Any]:
    """Return the resolved definition with its digest and the list of unconfirmed facts."""
    facts = [{"field": path, "value": value, "why": why} for path, value, why in challenge.unconfirmed_list()]
    return {"digest": challenge.digest, "definition": challenge.model_dump(mode="json"), "unconfirmed": facts}


def outcome_text(outcome: Cell) -> str:
    """Write an outcome as printed: ``0``, ``worst``, ``skip``."""
    return f"{outcome:g}" if isinstance(outcome, float) else str(outcome)


def metric_parameters(spec: MetricSpec) -> str:
    """Write what besides its kind makes a metric what it is, in one line."""
    return ", ".join(spec.parameters())


def step_text(recipe: Recipe) -> list[str]:
    """Write the steps of a recipe as they stand in a challenge file, one line each, defaults left out."""
    lines = []
    for step in recipe.steps:
        ((name, fields),) = step.model_dump(mode="json", exclude_defaults=True).items()
        shown = {key: value for key, value in fields.items() if key != "unconfirmed"}
        lines.append(f"{name}: {_flow(shown)}" if shown else name)
    return lines


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return _flow(value[0]) if len(value) == 1 else "[" + ", ".join(map(_flow, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def fact_text(value: Any) -> str:
    """Return the value of a fact in one short line; empty where it is a whole section of the challenge file."""
    if isinstance(value, EmptyPolicy):
        return _flow(value.model_dump(mode="json", exclude={"unconfirmed"}, exclude_none=True))
    return str(value) if isinstance(value, (int, float, str)) else ""


def print_challenge(challenge: Challenge) -> None:
    """Print everything a resolved definition says; unconfirmed facts come last, each with its reason."""
    out = console.out
    out.print(f"[bold]{escape(challenge.title)}[/]  {challenge.reference}, variant {challenge.variant}")
    if challenge.summary:
        out.print(escape(challenge.summary))
    out.print(f"definition {challenge.digest[:16]}…")
    for name, task in challenge.tasks.items():
        out.print(f"\n[bold]Task {escape(name)}[/] ({task.kind}) {escape(task.title or '')}")
        words = KINDS[task.kind].words
        if words != Words():
            out.print(
                f"{words.cases} are scored, by their {words.truth}; {words.teams} are ranked by their {words.answers}"
            )
        for item in task.details():
            if isinstance(item, Grid):
                console.print_table(list(item.columns), [list(row) for row in item.rows])
            else:
                out.print(escape(item))
        _print_metrics(task)
    for name, recipe in challenge.recipes.items():
        tasks = [task for task, used in challenge.ranking.items() if used == name]
        tasks += [f"{key} ({', '.join(own.tasks)})" for key, own in challenge.overall.items() if own.recipe == name]
        mark = f"  ranks {', '.join(tasks)}" if tasks else ""
        out.print(f"\n[bold]Recipe {escape(name)}[/]{escape(mark)}  {escape(recipe.title)}")
        for line in step_text(recipe):
            out.print(f"  - {escape(line)}")
        if recipe.margin is not None:
            out.print(f"  margin {recipe.margin:g}: smaller differences do not matter")
    _print_containers(challenge)
    for title, lines in (("Known defects", challenge.known_defects), ("Warnings", challenge.warnings)):
        if lines:
            out.print(f"\n[bold]{title}[/]")
            for line in lines:
                out.print(f"  - {escape(line)}")
    if challenge.sources:
        out.print("\n[bold]Sources[/]")
        for source in challenge.sources:
            out.print(f"  - {escape(' '.join(filter(None, [source.title, source.url, source.note])))}")
    facts = challenge.unconfirmed_list()
    if facts:
        out.print(f"\n[bold yellow]Unconfirmed[/] ({len(facts)} facts without a primary source)")
        for path, value, why in facts:
            shown = f" = {text}" if (text := fact_text(value)) else ""
            out.print(f"  - [yellow]{escape(path + shown)}[/]: {escape(why)}")


def _print_metrics(task: TaskModel) -> None:
    rows = []
    policies = {name: task.policy_for(spec) for name, spec in task.metrics.items()}
    empty = any(policies.values())
    for name, spec in task.metrics.items():
        margin = [] if spec.margin is None else [f"margin {spec.margin:g}"]
        how = ", ".join([*filter(None, [metric_parameters(spec)]), *margin])
        row = [name, spec.with_unit(), how, f"{spec.better} is better"]
        if empty:
            policy = policies[name]
            cells = (policy.both, policy.reference, policy.prediction) if policy else ()
            row.append(" / ".join(map(outcome_text, cells)))
        rows.append([*row, outcome_text(spec.missing)])
    columns = ["metric", "what", "how", "direction", *(["empty: both / reference / prediction"] if empty else [])]
    console.print_table([*columns, "missing"], rows)


def _print_containers(challenge: Challenge) -> None:
    for name, protocol in challenge.containers.items():
        console.out.print(f"\n[bold]Container {escape(name)}[/]: one run per {protocol.per}")
        for mount in protocol.mounts:
            files = ", ".join(file.target for file in mount.files)
            console.out.print(f"  {mount.kind} {escape(mount.path)} {escape(files)}")
        console.out.print(f"  writes {escape(', '.join(output.name for output in protocol.outputs))}")
        limits = protocol.limits.model_dump(exclude={"unconfirmed"}, exclude_none=True)
        console.out.print(f"  limits {', '.join(f'{key} {value}' for key, value in limits.items())}")
