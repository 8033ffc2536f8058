"""Rules of a challenge file that span several fields; each broken rule is a finding with file and line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medpodium.challenges import penalties, registry
from medpodium.challenges.naming.patterns import file_pattern_problems
from medpodium.challenges.schema import formats
from medpodium.challenges.schema.base import Location
from medpodium.challenges.schema.definition import Challenge, TaskModel
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.rules import Broken, LintCode, Rules
from medpodium.challenges.schema.steps import (
    GONE,
    Change,
    Difference,
    Quantile,
    Rank,
    Recipe,
    Reduce,
    Select,
    Spread,
    Step,
    Threshold,
    Trapezoid,
)
from medpodium.findings import Finding, Severity, UsageError

__all__ = ["LintCode", "lint", "lint_source"]

_DIMENSIONS = ("submission", "case", "structure", "metric")
_WARNINGS = {LintCode.RECIPE_UNUSED, LintCode.REWARD_DECLARED, LintCode.LAZY_WINS}
_OUTPUT_ENDINGS = {"mask": tuple(one for one in formats.MASKS if one not in formats.NAMED), "table": formats.TABLES}


def lint_source(source: registry.Source) -> list[Finding]:
    """Check every edition and variant of a challenge file.

    Returns
    -------
    list of Finding
        Schema errors and broken rules, each once, with file and line.
    """
    found: dict[str, Finding] = {}
    for edition in source.editions or [source.default_edition]:
        own = (source.data.get("editions") or {}).get(edition) or {}
        for variant in dict.fromkeys(["corrected", *source.variants, *(own.get("variants") or {})]):
            try:
                challenge = registry.resolve(source, edition, variant)
            except UsageError as error:
                found |= {str(finding): finding for finding in error.findings}
                continue
            found |= {str(finding): finding for finding in lint(challenge, source)}
    return list(found.values())


def lint(challenge: Challenge, source: registry.Source) -> list[Finding]:
    """Check the rules that span several fields of one resolved challenge."""
    found = []
    for rule in _RULES:
        for code, location, cause, fix in rule(challenge):
            severity = Severity.WARNING if code in _WARNINGS else Severity.ERROR
            line = _line(source, location)
            where = f"{source.path}:{line}" if line else str(source.path)
            named = ".".join(map(str, location))
            found.append(Finding(code, where, f"{named}: {cause}", fix, severity))
    return found


def _line(source: registry.Source, location: Location) -> int | None:
    while location:
        if location in source.lines:
            return source.lines[location]
        location = location[:-1]
    return None


def _tasks(challenge: Challenge) -> Rules:
    """Ask every task, and every metric among its siblings, what is wrong: each kind knows its own rules."""
    for name, task in challenge.tasks.items():
        for key, metric in task.metrics.items():
            for code, cause, fix in metric.broken(task.metrics):
                yield Broken(code, ("tasks", name, "metrics", key), cause, fix)
        for rule in task.broken():
            yield rule._replace(at=("tasks", name, *rule.at))


def _files(challenge: Challenge) -> Rules:
    for name, task in challenge.tasks.items():
        kind = KINDS[task.kind]
        if not kind.computed:
            continue
        for side in ("reference", "prediction"):
            pattern = getattr(task.files, side)
            at = ("tasks", name, "files", side)
            if kind.layout == "files":
                for cause, fix in file_pattern_problems(task.files.reference, pattern, side=side):
                    yield Broken(LintCode.PATTERN, at, cause, fix)
            elif pattern.startswith(("/", "\\")) or ".." in pattern:
                yield Broken(LintCode.PATTERN, at, f"{pattern!r} leaves its folder", "give the name of the one table")
            if kind.endings and not formats.may_be_read(pattern, kind.endings):
                cause = f"{pattern!r} names files that can never be read"
                yield Broken(LintCode.UNREADABLE, at, cause, f"end it in one of {', '.join(kind.endings)}")
        for channel, pattern in task.files.images.items() if kind.layout == "files" else ():
            for cause, fix in file_pattern_problems(task.files.reference, pattern, side="image"):
                yield Broken(LintCode.PATTERN, ("tasks", name, "files", "images", channel), cause, fix)


def _groups(challenge: Challenge) -> Rules:
    for name, group in challenge.groups.items():
        at = ("groups", name)
        if group.derived_from is None or group.map is None:
            continue
        parent = challenge.groups.get(group.derived_from)
        if parent is None:
            cause = f"derived from {group.derived_from!r}, no such group"
            yield Broken(LintCode.GROUP_UNKNOWN, at, cause, "declare it")
            continue
        for level, members in group.map.items():
            for member in members:
                if parent.levels is not None and member not in parent.levels:
                    cause = f"{level!r} maps {member!r}, which {group.derived_from!r} has not"
                    fix = f"use one of {', '.join(parent.levels)}"
                    yield Broken(LintCode.GROUP_LEVEL_UNKNOWN, at, cause, fix)
    for name, task in challenge.tasks.items():
        for group_name in task.named_groups:
            if group_name not in challenge.groups:
                cause = f"group {group_name!r} is not declared"
                yield Broken(LintCode.GROUP_UNKNOWN, ("tasks", name), cause, "declare it under 'groups'")


def _containers(challenge: Challenge) -> Rules:
    for name, task in challenge.tasks.items():
        if task.container is not None and task.container not in challenge.containers:
            at = ("tasks", name, "container")
            known = ", ".join(challenge.containers) or "none declared"
            cause = f"no container protocol {task.container!r}"
            yield Broken(LintCode.CONTAINER_UNKNOWN, at, cause, f"use one of: {known}")


def _outputs(challenge: Challenge) -> Rules:
    for name, protocol in challenge.containers.items():
        for index, output in enumerate(protocol.outputs):
            endings = _OUTPUT_ENDINGS.get(output.kind)
            if endings and not formats.may_be_read(output.name, endings):
                at = ("containers", name, "outputs", index)
                cause = f"{output.name!r} is a {output.kind} that can never be read"
                fix = f"end it in one of {', '.join(endings)}, or say 'kind: other'"
                yield Broken(LintCode.UNREADABLE, at, cause, fix)


def _ranking(challenge: Challenge) -> Rules:
    use_task = f"use one of {', '.join(challenge.tasks)}"
    for task, recipe in challenge.ranking.items():
        at = ("ranking", task)
        if task not in challenge.tasks:
            yield Broken(LintCode.TASK_UNKNOWN, at, "no such task", use_task)
        if recipe not in challenge.recipes:
            fix = f"use one of {', '.join(challenge.recipes)}"
            yield Broken(LintCode.RECIPE_UNKNOWN, at, f"no recipe {recipe!r}", fix)
    for name, own in challenge.overall.items():
        at = ("ranking", name)
        if name in challenge.tasks:
            yield Broken(LintCode.TASK_UNKNOWN, at, "is the name of a task", "give the ranking another name")
        for task in own.tasks:
            if task not in challenge.tasks:
                yield Broken(LintCode.TASK_UNKNOWN, at, f"no task {task!r}", use_task)
        if own.recipe not in challenge.recipes:
            fix = f"use one of {', '.join(challenge.recipes)}"
            yield Broken(LintCode.RECIPE_UNKNOWN, at, f"no recipe {own.recipe!r}", fix)
    for task in challenge.tasks:
        if task not in challenge.ranked_tasks:
            cause = "has no entry in 'ranking'"
            yield Broken(LintCode.TASK_UNRANKED, ("tasks", task), cause, "name its recipe there")
    for task, debatable in challenge.debatable.items():
        at = ("debatable", task)
        if task not in challenge.tasks:
            yield Broken(LintCode.TASK_UNKNOWN, at, "no such task", use_task)
            continue
        for recipe in debatable.recipes:
            if recipe not in challenge.recipes:
                yield Broken(LintCode.RECIPE_UNKNOWN, at, f"no recipe {recipe!r}", "correct the name")
        for metric in {metric for metrics in debatable.metrics for metric in metrics}:
            if metric not in challenge.tasks[task].metrics:
                yield Broken(LintCode.METRIC_UNKNOWN, at, f"no metric {metric!r}", "correct the name")


def _recipes(challenge: Challenge) -> Rules:
    used = {*challenge.ranking.values(), *(own.recipe for own in challenge.overall.values())}
    for debatable in challenge.debatable.values():
        used |= set(debatable.recipes)
    for name, rules in challenge.recipes.items():
        at = ("recipes", name)
        for task in rules.tasks or ():
            if task not in challenge.tasks:
                fix = f"use one of {', '.join(challenge.tasks)}"
                yield Broken(LintCode.TASK_UNKNOWN, at, f"no task {task!r}", fix)
        if name not in used and not rules.tasks:
            yield Broken(LintCode.RECIPE_UNUSED, at, "no task uses it", "name its tasks, or remove it")


def _steps(challenge: Challenge) -> Rules:
    for name, recipe in challenge.recipes.items():
        tasks = [task for task, used in challenge.ranking.items() if used == name and task in challenge.tasks]
        tasks += [task for task in recipe.tasks or () if task in challenge.tasks and task not in tasks]
        for task in tasks:
            yield from _walk(challenge, (task,), name, recipe)
        for own in challenge.overall.values():
            if own.recipe == name and set(own.tasks) <= set(challenge.tasks):
                yield from _walk(challenge, own.tasks, name, recipe)


def _walk(challenge: Challenge, names: Sequence[str], recipe_name: str, recipe: Recipe) -> Rules:
    """Follow the dimensions through a recipe and name the step at which one is unknown or gone."""
    tasks = [challenge.tasks[name] for name in names]
    labels = _labels(challenge, tasks[0])
    for task in tasks[1:]:
        for dimension, known in _labels(challenge, task).items():
            before = labels[dimension]
            labels[dimension] = None if before is None or known is None else before | known
    if len(names) > 1:
        labels["task"] = set(names)
    present = set(_DIMENSIONS)
    present -= {name for name in _DIMENSIONS if all(name in _single(task, recipe) for task in tasks)}
    for index, step in enumerate(recipe.steps):
        at = ("recipes", recipe_name, "steps", index)
        for dimension in _named(step) if not isinstance(step, (Select, Threshold, Change)) else ():
            if dimension not in labels:
                fix = f"use one of {', '.join([*_DIMENSIONS, *challenge.groups])}"
                yield Broken(LintCode.DIMENSION_UNKNOWN, at, f"no dimension {dimension!r}", fix)
            elif dimension not in present:
                cause = f"dimension {dimension!r} is not there any more, or not yet"
                yield Broken(LintCode.DIMENSION_GONE, at, cause, "change the order of the steps")
        yield from _step_labels(step, at, labels, challenge)
        if isinstance(step, GONE) and not (isinstance(step, Reduce) and step.groups):
            present -= set(step.over)
            if isinstance(step, (Reduce, Quantile, Spread)) and step.by is not None:
                present.add(step.by)
    left = present - {"submission"}
    if left:
        cause = f"task {', '.join(names)!r}: {', '.join(sorted(left))} still there at the last rank"
        fix = "reduce these dimensions in earlier steps"
        yield Broken(LintCode.DIMENSION_LEFT, ("recipes", recipe_name), cause, fix)


def _labels(challenge: Challenge, task: TaskModel) -> dict[str, set[str] | None]:
    """Return the labels of every dimension and group; ``None`` where the file does not say."""
    structures = task.recipe_structures
    labels: dict[str, set[str] | None] = {"submission": None, "case": None, "metric": set(task.metrics)}
    labels["structure"] = None if structures is None else set(structures)
    for name, group in challenge.groups.items():
        levels = group.levels or list(group.map or {})
        labels.setdefault(name, set(levels) or None)
    return labels


def _single(task: TaskModel, recipe: Recipe) -> set[str]:
    """Return the dimensions that the ranking drops by itself: no step names them, and they have one label at most."""
    named = {dimension for step in recipe.steps for dimension in _named(step)}
    ranked = [metric for metric in task.metrics.values() if metric.ranked]
    # Where the file does not say which structures there are, only the scores can tell.
    parts = {name for metric in ranked for name in task.structures_of(metric)}
    return {name for name, size in (("metric", len(ranked)), ("structure", len(parts))) if size <= 1} - named


def _named(step: Step) -> tuple[str, ...]:
    """Return the dimensions a step names."""
    if isinstance(step, Select):
        return tuple(step.keep)
    if isinstance(step, Threshold):
        return ("metric",)
    if isinstance(step, Change):
        return () if step.metric is None else ("metric",)
    return (step.within or ()) if isinstance(step, Rank) else step.over


def _told_labels(step: Step) -> list[tuple[str, str]]:
    """Return dimension and label of what a step names, where it names single labels."""
    if isinstance(step, (Threshold, Change)):
        return [("metric", name) for name in step.metric or ()]
    if isinstance(step, Difference):
        return [(step.over[0], name) for name in (step.of, step.minus)]
    return [(step.over[0], name) for name in step.at or ()] if isinstance(step, Trapezoid) else []


def _step_labels(step: Step, at: Location, labels: dict[str, set[str] | None], challenge: Challenge) -> Rules:
    """Check the labels a step names, and add the ones it makes."""
    if isinstance(step, Select):
        for dimension, wanted in step.keep.items():
            if dimension not in labels:
                yield Broken(LintCode.DIMENSION_UNKNOWN, at, f"no dimension {dimension!r}", "correct the name")
                continue
            known = labels[dimension]
            for label in wanted:
                if known is not None and label not in known:
                    yield Broken(LintCode.LABEL_UNKNOWN, at, f"no {dimension} {label!r}", "correct the name")
    for dimension, label in _told_labels(step):
        known = labels.get(dimension)
        if known is not None and label not in known:
            yield Broken(LintCode.LABEL_UNKNOWN, at, f"no {dimension} {label!r}", "correct the name")
    if (
        isinstance(step, (Reduce, Quantile, Spread))
        and step.by is not None
        and not {step.by} & {*challenge.groups, *labels}
    ):
        fix = "declare it under 'groups'"
        yield Broken(LintCode.GROUP_UNKNOWN, at, f"by {step.by!r}: no such group", fix)
    if isinstance(step, Reduce):
        for group, members in (step.groups or {}).items():
            known = labels.get(step.over[0])
            for label in members:
                if known is not None and label not in known:
                    cause = f"group {group!r}: no {step.over[0]} {label!r}"
                    yield Broken(LintCode.LABEL_UNKNOWN, at, cause, "correct it")
            if known is not None:
                labels[step.over[0]] = known | {group}
        # Nobody names hidden cases in a challenge file, so a weight means a label of another dimension.
        every = [labels.get(dimension) for dimension in step.over if dimension != "case"]
        for label in step.weights or {}:
            if all(known is not None and label not in known for known in every):
                yield Broken(LintCode.LABEL_UNKNOWN, at, f"weight for unknown label {label!r}", "correct the name")


def _margins(challenge: Challenge) -> Rules:
    """Name margins that nothing can be tested against, or that everything lies within."""
    for task_name, task in challenge.tasks.items():
        for key, metric in task.metrics.items():
            low, high = metric.bounds
            if metric.margin is not None and metric.margin >= high - low:
                cause = f"margin {metric.margin:g} is as large as the range of {metric.name}, {low:g} to {high:g}"
                fix = "declare the largest difference that does not matter, such as 0.01 for Dice"
                yield Broken(LintCode.MARGIN, ("tasks", task_name, "metrics", key, "margin"), cause, fix)
    for name, recipe in challenge.recipes.items():
        if recipe.margin is not None and not recipe.averages:
            cause = "its last step ranks no means over the cases, so no margin of theirs can be tested"
            fix = "give the metrics a margin instead"
            yield Broken(LintCode.MARGIN, ("recipes", name, "margin"), cause, fix)


_RULES: tuple[Callable[[Challenge], Rules], ...] = (
    _tasks,
    _files,
    _groups,
    _containers,
    _outputs,
    _ranking,
    _recipes,
    _steps,
    _margins,
    penalties.rewards,
)
