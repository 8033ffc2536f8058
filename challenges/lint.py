"""Rules of a challenge file that span several fields; each broken rule is a finding with file and line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from medpodium.challenges import registry
from medpodium.challenges.findings import Code, Finding, Severity, UsageError
from medpodium.challenges.schema.definition import Challenge, ClassificationTask, SegmentationTask, TableTask
from medpodium.challenges.schema.metrics import COMPUTABLE_KINDS
from medpodium.challenges.schema.steps import Common, Quantile, Rank, Recipe, Reduce, Select, Test, Threshold

_DIMENSIONS = ("submission", "case", "structure", "metric")


class LintCode(Code):
    """Rules that a challenge file can break."""

    LABEL_TWICE = "label-twice"
    STRUCTURE_UNKNOWN = "structure-unknown"
    TOLERANCE_MISSING = "tolerance-missing"
    WORST_UNKNOWN = "worst-unknown"
    GATE_UNKNOWN = "gate-unknown"
    PATTERN = "file-pattern"
    GROUP_UNKNOWN = "group-unknown"
    GROUP_LEVEL_UNKNOWN = "group-level-unknown"
    RECIPE_UNKNOWN = "recipe-unknown"
    RECIPE_UNUSED = "recipe-unused"
    DIMENSION_UNKNOWN = "recipe-dimension-unknown"
    DIMENSION_GONE = "recipe-dimension-gone"
    DIMENSION_LEFT = "recipe-dimension-left"
    LABEL_UNKNOWN = "recipe-label-unknown"
    TASK_UNKNOWN = "task-unknown"
    TASK_UNRANKED = "task-unranked"
    CLASS_UNKNOWN = "class-unknown"
    PROBLEM_UNKNOWN = "problem-unknown"
    CONTAINER_UNKNOWN = "container-unknown"
    METRIC_UNKNOWN = "metric-unknown"
    SCOPE = "metric-scope"


Broken = Iterator[tuple[LintCode, registry.Location, str, str]]


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
            severity = Severity.WARNING if code is LintCode.RECIPE_UNUSED else Severity.ERROR
            line = _line(source, location)
            where = f"{source.path}:{line}" if line else str(source.path)
            named = ".".join(map(str, location))
            found.append(Finding(code, where, f"{named}: {cause}", fix, severity))
    return found


def _line(source: registry.Source, location: registry.Location) -> int | None:
    while location:
        if location in source.lines:
            return source.lines[location]
        location = location[:-1]
    return None


def _labels(challenge: Challenge) -> Broken:
    for name, task in challenge.tasks.items():
        if not isinstance(task, SegmentationTask):
            continue
        seen: dict[int, str] = {}
        for structure, item in task.structures.items():
            at = ("tasks", name, "structures", structure)
            if item.label is not None:
                if item.label in seen:
                    cause = f"label {item.label} is already {seen[item.label]!r}"
                    yield LintCode.LABEL_TWICE, at, cause, "give it another label, or write a union"
                seen.setdefault(item.label, structure)
            if item.union and len(set(item.union)) < len(item.union):
                yield (
                    LintCode.LABEL_TWICE,
                    at,
                    f"union {item.union} names a label twice",
                    "remove the repetition",
                )


def _metrics(challenge: Challenge) -> Broken:
    for name, task in challenge.tasks.items():
        for metric, spec in task.metrics.items():
            at = ("tasks", name, "metrics", metric)
            allowed = {
                "segmentation": ("structure", "case", "imported"),
                "classification": ("pooled", "case", "imported"),
                "table": ("imported", "case", "structure", "pooled"),
            }[task.kind]
            if spec.info.scope not in allowed:
                cause = f"{spec.kind} is a {spec.info.scope} metric, the task is a {task.kind} task"
                yield LintCode.SCOPE, at, cause, "use a metric that fits the task"
            if spec.gate and spec.gate.metric not in task.metrics:
                cause = f"gate on {spec.gate.metric!r}, which is no metric of the task"
                yield LintCode.GATE_UNKNOWN, at, cause, f"use one of {', '.join(task.metrics)}"
            if isinstance(task, SegmentationTask):
                yield from _segmentation_metric(task, metric, at)
            if isinstance(task, ClassificationTask) and spec.problem and spec.problem not in task.problems:
                cause = f"problem {spec.problem!r} is not declared"
                yield LintCode.PROBLEM_UNKNOWN, at, cause, f"use one of {', '.join(task.problems)}"


def _segmentation_metric(task: SegmentationTask, metric: str, at: registry.Location) -> Broken:
    spec = task.metrics[metric]
    roles = {item.role for item in task.structures.values()}
    for wanted in spec.structures or []:
        if wanted not in task.structures and wanted not in roles:
            yield LintCode.STRUCTURE_UNKNOWN, at, f"no structure or role {wanted!r}", "correct the name"
    if spec.info.scope != "structure":
        return
    for structure in task.structures_of(spec):
        if spec.tolerance_mm == "structure" and task.structures[structure].tolerance_mm is None:
            where = ("tasks", *at[1:2], "structures", structure)
            yield (
                LintCode.TOLERANCE_MISSING,
                where,
                "has no tolerance_mm",
                f"add it: metric {metric!r} needs it",
            )
    policy = task.empty_policy(spec)
    for cell in ("both", "reference", "prediction"):
        outcome = getattr(policy, cell)
        if outcome == "compute" and spec.kind not in COMPUTABLE_KINDS:
            cause = f"empty policy ({cell}: compute), but {spec.kind} has no value for empty masks"
            yield LintCode.WORST_UNKNOWN, at, cause, f"'compute' fits {', '.join(sorted(COMPUTABLE_KINDS))}"
        if outcome == "worst" and spec.worst_value(0.0) is None:
            cause = f"empty policy ({cell}: worst) on an unbounded metric"
            yield (
                LintCode.WORST_UNKNOWN,
                at,
                cause,
                "add 'worst: <number>' or 'worst: diagonal' to the metric",
            )
        if outcome == "best" and spec.best_value() is None:
            cause = f"empty policy ({cell}: best), but {spec.kind} has no best value"
            yield LintCode.WORST_UNKNOWN, at, cause, "give a number or 'skip'"


def _files(challenge: Challenge) -> Broken:
    for name, task in challenge.tasks.items():
        if isinstance(task, TableTask):
            continue
        for kind in ("reference", "prediction"):
            pattern = getattr(task.files, kind)
            at = ("tasks", name, "files", kind)
            fields = set(re.findall(r"\{(.*?)\}", pattern))
            if isinstance(task, SegmentationTask) and "case" not in fields:
                yield LintCode.PATTERN, at, f"{pattern!r} has no {{case}}", "say where the case's name stands"
            if unknown := fields - {"case", "structure"}:
                yield (
                    LintCode.PATTERN,
                    at,
                    f"unknown placeholder {sorted(unknown)}",
                    "use {case} and {structure}",
                )
            if pattern.startswith(("/", "\\")) or ".." in pattern:
                yield (
                    LintCode.PATTERN,
                    at,
                    f"{pattern!r} leaves its folder",
                    "give a path relative to the folder",
                )


def _groups(challenge: Challenge) -> Broken:
    for name, group in challenge.groups.items():
        at = ("groups", name)
        if group.derived_from is None or group.map is None:
            continue
        parent = challenge.groups.get(group.derived_from)
        if parent is None:
            yield (
                LintCode.GROUP_UNKNOWN,
                at,
                f"derived from {group.derived_from!r}, no such group",
                "declare it",
            )
            continue
        for level, members in group.map.items():
            for member in members:
                if parent.levels is not None and member not in parent.levels:
                    cause = f"{level!r} maps {member!r}, which {group.derived_from!r} has not"
                    yield LintCode.GROUP_LEVEL_UNKNOWN, at, cause, f"use one of {', '.join(parent.levels)}"
    for name, task in challenge.tasks.items():
        wanted = [*(task.groups or [])]
        if isinstance(task, ClassificationTask) and task.pool_by:
            wanted.append(task.pool_by)
        for group_name in wanted:
            if group_name not in challenge.groups:
                cause = f"group {group_name!r} is not declared"
                yield LintCode.GROUP_UNKNOWN, ("tasks", name), cause, "declare it under 'groups'"


def _classes(challenge: Challenge) -> Broken:
    for name, task in challenge.tasks.items():
        if isinstance(task, ClassificationTask):
            for problem, item in task.problems.items():
                for positive in item.positive:
                    if positive not in task.classes:
                        at = ("tasks", name, "problems", problem)
                        yield (
                            LintCode.CLASS_UNKNOWN,
                            at,
                            f"no class {positive!r}",
                            f"use {', '.join(task.classes)}",
                        )


def _containers(challenge: Challenge) -> Broken:
    for name, task in challenge.tasks.items():
        if task.container is not None and task.container not in challenge.containers:
            at = ("tasks", name, "container")
            known = ", ".join(challenge.containers) or "none declared"
            yield (
                LintCode.CONTAINER_UNKNOWN,
                at,
                f"no container protocol {task.container!r}",
                f"use one of: {known}",
            )


def _ranking(challenge: Challenge) -> Broken:
    used = set(challenge.ranking.values())
    for task, recipe in challenge.ranking.items():
        at = ("ranking", task)
        if task not in challenge.tasks:
            yield LintCode.TASK_UNKNOWN, at, "no such task", f"use one of {', '.join(challenge.tasks)}"
        if recipe not in challenge.recipes:
            yield (
                LintCode.RECIPE_UNKNOWN,
                at,
                f"no recipe {recipe!r}",
                f"use one of {', '.join(challenge.recipes)}",
            )
    for task in challenge.tasks:
        if task not in challenge.ranking:
            yield (
                LintCode.TASK_UNRANKED,
                ("tasks", task),
                "has no entry in 'ranking'",
                "name its recipe there",
            )
    for task, debatable in challenge.debatable.items():
        at = ("debatable", task)
        used |= set(debatable.recipes)
        if task not in challenge.tasks:
            yield LintCode.TASK_UNKNOWN, at, "no such task", f"use one of {', '.join(challenge.tasks)}"
            continue
        for recipe in debatable.recipes:
            if recipe not in challenge.recipes:
                yield LintCode.RECIPE_UNKNOWN, at, f"no recipe {recipe!r}", "correct the name"
        for metric in {metric for metrics in debatable.metrics for metric in metrics}:
            if metric not in challenge.tasks[task].metrics:
                yield LintCode.METRIC_UNKNOWN, at, f"no metric {metric!r}", "correct the name"
    for name, rules in challenge.recipes.items():
        at = ("recipes", name)
        for task in rules.tasks or ():
            if task not in challenge.tasks:
                yield (
                    LintCode.TASK_UNKNOWN,
                    at,
                    f"no task {task!r}",
                    f"use one of {', '.join(challenge.tasks)}",
                )
        if name not in used and not rules.tasks:
            yield LintCode.RECIPE_UNUSED, at, "no task uses it", "name its tasks, or remove it"


def _steps(challenge: Challenge) -> Broken:
    for name, recipe in challenge.recipes.items():
        tasks = [task for task, used in challenge.ranking.items() if used == name and task in challenge.tasks]
        tasks += [task for task in recipe.tasks or () if task in challenge.tasks and task not in tasks]
        for task in tasks:
            yield from _walk(challenge, task, name, recipe)


def _walk(challenge: Challenge, task_name: str, recipe_name: str, recipe: Recipe) -> Broken:
    """Follow the dimensions through a recipe and name the step at which one is unknown or gone."""
    task = challenge.tasks[task_name]
    labels: dict[str, set[str] | None] = {"submission": None, "case": None, "metric": set(task.metrics)}
    labels["structure"] = _structure_labels(task)
    for name, group in challenge.groups.items():
        levels = group.levels or list(group.map or {})
        labels.setdefault(name, set(levels) or None)
    present = set(_DIMENSIONS)
    for index, step in enumerate(recipe.steps):
        at = ("recipes", recipe_name, "steps", index)
        named: list[str] = []
        if isinstance(step, (Reduce, Quantile, Test, Common)):
            named += step.over
        elif isinstance(step, Rank):
            named += step.within or ()
        for dimension in named:
            if dimension not in labels:
                known = ", ".join([*_DIMENSIONS, *challenge.groups])
                yield LintCode.DIMENSION_UNKNOWN, at, f"no dimension {dimension!r}", f"use one of {known}"
            elif dimension not in present:
                cause = f"dimension {dimension!r} is not there any more, or not yet"
                yield LintCode.DIMENSION_GONE, at, cause, "change the order of the steps"
        yield from _step_labels(step, at, labels, challenge)
        if isinstance(step, (Reduce, Quantile, Test)) and not (isinstance(step, Reduce) and step.groups):
            present -= set(step.over)
            if isinstance(step, (Reduce, Quantile)) and step.by is not None:
                present.add(step.by)
    left = present - {"submission"}
    if left:
        cause = f"task {task_name!r}: {', '.join(sorted(left))} still there at the last rank"
        yield (
            LintCode.DIMENSION_LEFT,
            ("recipes", recipe_name),
            cause,
            "reduce these dimensions in earlier steps",
        )


def _structure_labels(task: object) -> set[str] | None:
    if isinstance(task, SegmentationTask):
        return {*task.structures, ""}
    if isinstance(task, ClassificationTask):
        return {*task.problems, ""}
    return None


def _step_labels(
    step: object, at: registry.Location, labels: dict[str, set[str] | None], challenge: Challenge
) -> Broken:
    """Check the labels a step names, and add the ones it makes."""
    if isinstance(step, Select):
        for dimension, wanted in step.keep.items():
            if dimension not in labels:
                yield LintCode.DIMENSION_UNKNOWN, at, f"no dimension {dimension!r}", "correct the name"
                continue
            known = labels[dimension]
            for label in wanted:
                if known is not None and label not in known:
                    yield LintCode.LABEL_UNKNOWN, at, f"no {dimension} {label!r}", "correct the name"
    if isinstance(step, Threshold):
        known = labels["metric"]
        for label in step.metric:
            if known is not None and label not in known:
                yield LintCode.LABEL_UNKNOWN, at, f"no metric {label!r}", "correct the name"
    if isinstance(step, (Reduce, Quantile)) and step.by is not None and step.by not in challenge.groups:
        yield LintCode.GROUP_UNKNOWN, at, f"by {step.by!r}: no such group", "declare it under 'groups'"
    if isinstance(step, Reduce):
        for group, members in (step.groups or {}).items():
            known = labels.get(step.over[0])
            for label in members:
                if known is not None and label not in known:
                    yield (
                        LintCode.LABEL_UNKNOWN,
                        at,
                        f"group {group!r}: no {step.over[0]} {label!r}",
                        "correct it",
                    )
            if known is not None:
                labels[step.over[0]] = known | {group}
        # Nobody names hidden cases in a challenge file, so a weight means a label of another dimension.
        every = [labels.get(dimension) for dimension in step.over if dimension != "case"]
        for label in step.weights or {}:
            if all(known is not None and label not in known for known in every):
                yield LintCode.LABEL_UNKNOWN, at, f"weight for unknown label {label!r}", "correct the name"


_RULES: tuple[Callable[[Challenge], Broken], ...] = (
    _labels,
    _metrics,
    _files,
    _groups,
    _classes,
    _containers,
    _ranking,
    _steps,
)
