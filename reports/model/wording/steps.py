"""Recipes in words: every step as a sentence, and what a step gives as the head of a column."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from medpodium.challenges.schema.steps import (
    COLLAPSING,
    DECIMAL,
    Change,
    Clip,
    Common,
    Difference,
    Normalise,
    Quantile,
    Rank,
    Recipe,
    Reduce,
    Select,
    Spread,
    Step,
    Target,
    Test,
    Threshold,
    Trapezoid,
)
from medpodium.reports.model.results import TaskResults
from medpodium.reports.model.wording.grammar import agree, amount, listed
from medpodium.scoring.ranking.reduce import step_name

_TIES = {
    "min": "equal values shared the lowest of their ranks",
    "max": "equal values shared the highest of their ranks",
    "average": "equal values shared the mean of their ranks",
    "first": "equal values were ranked in alphabetical order of submission",
    "dense": "equal values shared a rank and no rank was left out",
}
_MISSING_RANK = {
    "worst": "a missing value ranked behind every other",
    "after-last": "a missing value took the rank after the last one assigned",
    "skip": "a missing value got no rank",
}
ADJUST = {
    "none": "without adjustment for multiple testing",
    "holm": "Holm's adjustment",
    "hochberg": "Hochberg's adjustment",
    "hommel": "Hommel's adjustment",
    "bonferroni": "Bonferroni's adjustment",
    "BH": "the Benjamini-Hochberg adjustment",
    "BY": "the Benjamini-Yekutieli adjustment",
}


Names = Callable[[str], str]
"""The printed name of a metric, a structure or another label."""


def label_name(task: TaskResults, label: str) -> str:
    """Return the printed name of a label: a metric's, a structure's, or the label itself."""
    if label in task.task.metrics:
        return task.metric_name(label)
    return task.structure_title(label).replace("_", " ")


def step_words(step: Step, name: Names) -> str:
    """Return one recipe step in words."""
    if isinstance(step, Select):
        kept = [
            f"the {_many(dim) if len(items) > 1 else _one(dim)} {listed([name(item) for item in items], 6)}"
            for dim, items in step.keep.items()
        ]
        return f"only {listed(kept)} {agree(sum(map(len, step.keep.values())), 'was', 'were')} kept"
    if isinstance(step, Common):
        return f"only the {listed([_many(dim) for dim in step.over])} for which every submission had a value were kept"
    if isinstance(step, Threshold):
        names = listed([name(metric) for metric in step.metric])
        if step.good_enough is not None:
            return f"every {names} better than {amount(step.good_enough)} counted as {amount(step.good_enough)}"
        return f"every {names} within {amount(step.tolerance or 0.0)} of the best equalled the best"
    if isinstance(step, Rank):
        within = f" within each {listed(list(step.within))}" if step.within else ""
        missing = f"; {_MISSING_RANK[step.missing]}" if isinstance(step.missing, str) else ""
        if isinstance(step.missing, float):
            missing = f"; a missing value counted as {amount(step.missing)}"
        tolerance = f"; values within {amount(step.tolerance)} tied" if step.tolerance else ""
        if 0 < step.tolerance <= DECIMAL:
            tolerance = "; values that only rounding tells apart tied"
        return f"the submissions were ranked{within} ({_TIES[step.ties]}{tolerance}{missing})"
    if isinstance(step, Change):
        return _change(step, name)
    over = listed([_many(dim) for dim in step.over])
    if isinstance(step, Difference):
        return f"{name(step.of)} less {name(step.minus)} of the {over} was taken"
    if isinstance(step, Trapezoid):
        what = "mean height" if step.mean else "area"
        return f"the {what} under the values over the {over} was taken (trapezoidal rule)"
    if isinstance(step, Test):
        return (
            f"all pairs of submissions were compared with one-sided paired Wilcoxon signed-rank tests over the {over} "
            f"({ADJUST[step.adjust]}, significance level {step.alpha:g}), and the share of the others beaten was taken"
        )
    return _reduction(step, over, name)


def _change(step: Change, name: Names) -> str:
    """Return in words what becomes of every value."""
    of = "every value" if step.metric is None else f"every value of {listed([name(metric) for metric in step.metric])}"
    if isinstance(step, Target):
        return f"the distance of {of} from {amount(step.value)} was taken"
    if isinstance(step, Clip):
        ends = [f"no less than {amount(step.low)}"] if step.low is not None else []
        ends += [f"no more than {amount(step.high)}"] if step.high is not None else []
        return f"{of} counted as {listed(ends)}"
    if isinstance(step, Normalise):
        return f"{of} was scaled so that {amount(step.low)} became 0 and {amount(step.high)} became 1"
    return f"{of} was changed"


def _reduction(step: Reduce | Quantile | Spread, over: str, name: Names) -> str:
    if isinstance(step, Quantile):
        what = f"the {100 * step.q:g} % quantile"
    else:
        what = {
            "mean": "the mean",
            "median": "the median",
            "min": "the smallest",
            "max": "the largest",
            "sum": "the sum",
            "range": "the largest less the smallest",
            "rms": "the root of the mean square",
        }[step.step]
    text = f"{what} over the {over} was taken"
    if isinstance(step, Reduce):
        if step.weights:
            text += " with weights " + listed([f"{name(key)} {weight:g}" for key, weight in step.weights.items()])
        if step.groups:
            text += " within " + listed(
                [f"{name(key)} ({listed([name(one) for one in own], 4)})" for key, own in step.groups.items()]
            )
    if step.by:
        text += f", separately for each {step.by.replace('_', ' ')}"
    if step.missing == "skip":
        text += "; missing values were left out"
    elif isinstance(step.missing, float):
        text += f"; missing values counted as {amount(step.missing)}"
    return text


def _one(dim: str) -> str:
    return dim if dim in ("case", "structure", "metric") else f"{dim.replace('_', ' ')} value"


def _many(dim: str) -> str:
    return f"{_one(dim)}s"


def recipe_items(recipe: Recipe, task: TaskResults) -> list[str]:
    """Return the steps of a recipe in words, in order."""
    said = [step_words(step, lambda label: label_name(task, label)) for step in recipe.steps]
    return [f"{words[0].upper()}{words[1:]}." for words in said]


_VERBS = {"mean": "mean", "median": "median", "min": "smallest", "max": "largest", "sum": "sum"}
_VERBS |= {"range": "range", "rms": "root mean square"}


def column_title(task: TaskResults, column: str) -> str:
    """Return the head of a leaderboard's column in words.

    ``mean_case:dice`` becomes ``DSC, mean over cases``, and ``DSC, mean rank over cases`` where the steps before it
    rank: what was ranked is no Dice any more. Dimensions with one label are not spoken of: nothing was averaged.

    Parameters
    ----------
    column : str
        As :meth:`medpodium.scoring.ranking.recipe.Ranking.table` calls it: the step, the labels that are left.
    """
    bare, _, again = column.partition("#")
    steps = task.settled.steps
    found = [at for at, step in enumerate(steps[:-1]) if bare == (own := _name(step)) or bare.startswith(f"{own}:")]
    if not found:
        return bare[:1].upper() + bare[1:].replace("_", " ")
    at = found[-1] if again else found[0]
    step = steps[at]
    labels = [one for one in bare.removeprefix(_name(step)).split(":") if one]
    ranked = any(isinstance(one, Rank) for one in steps[:at])
    names = [label_name(task, one) for one in labels]
    if not ranked and not isinstance(step, (Rank, Test)) and labels and labels[-1] in task.task.metrics:
        names[-1] = task.metric(labels[-1]).with_unit(names[-1])
    told = ", ".join(filter(None, [*names, _given(task, step, ranked)]))
    return told[:1].upper() + told[1:] if told else "Value"


def _name(step: Step) -> str:
    return step_name(step) if isinstance(step, COLLAPSING) else step.step


def _given(task: TaskResults, step: Step, ranked: bool) -> str:
    """Return what a step gives: ``mean rank over cases``; nothing where it takes values as they are."""
    if isinstance(step, Rank):
        return "rank"
    if isinstance(step, Test):
        return "share of the others beaten"
    if not isinstance(step, (Reduce, Quantile, Spread)):
        return ""
    over = [_dim(task, dim) for dim in step.over if _several(task, dim)]
    if not over:
        return "rank" if ranked else ""
    verb = f"{100 * step.q:g} % quantile" if isinstance(step, Quantile) else _VERBS[step.step]
    if ranked:
        verb = "sum of ranks" if verb == "sum" else f"{verb} rank" if verb in ("mean", "median") else f"{verb} of ranks"
    return f"{verb} over {listed(over)}"


def _dim(task: TaskResults, dim: str) -> str:
    words = {"case": task.words.cases, "structure": task.words.structures}
    if dim == "case" and all(task.settled.raw.pooled or (False,)):
        return "sets of cases"
    return words.get(dim) or _many(dim)


def _several(task: TaskResults, dim: str) -> bool:
    return len(task.settled.raw.labels.get(dim, ("", ""))) > 1


def distinct(titles: Sequence[str], values: Sequence[object]) -> list[int]:
    """Return the positions of columns that say something new: neither head nor values stood there before."""
    seen: set[tuple[str, object]] = set()
    kept = []
    for at, pair in enumerate(zip(titles, values, strict=True)):
        if pair not in seen:
            kept.append(at)
        seen.add(pair)
    return kept
