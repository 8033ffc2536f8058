"""A ranking from Python: a score table in, a leaderboard out that prints, plots and goes on as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.steps import Direction, Step, parse_steps
from medpodium.findings import Finding, MedpodiumError, Severity, UsageError
from medpodium.scoring import definitions, observations, table
from medpodium.scoring.evidence.tables.collect import Options, TaskPlan, rank_task
from medpodium.scoring.evidence.tables.plan import plan_task, unsuitable
from medpodium.scoring.measuring.request import STEPS, Request, make_task, task_facts
from medpodium.scoring.ranking.axes import RankingCode, near
from medpodium.scoring.ranking.recipe import Ranking as Ranks
from medpodium.scoring.ranking.rules import Rules, rules_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class Ranking:
    """The leaderboard of one task.

    Parameters
    ----------
    ranks : Ranking of :mod:`medpodium.scoring.ranking.recipe`
        Ranks, the values they rank, and the results of every step.
    steps : sequence of Step
        The recipe.
    findings : tuple of Finding
        What is odd about the scores.
    """

    ranks: Ranks
    steps: Sequence[Step]
    findings: tuple[Finding, ...] = ()

    def frame(self) -> pd.DataFrame:
        """Return the leaderboard: task, rank, submission, value, then one column per step; best first."""
        return self.ranks.table()

    def plot(self, axes: Axes | None = None) -> Axes:
        """Draw what the last step ranks, best on top, and return the axes.

        Parameters
        ----------
        axes : matplotlib.axes.Axes, optional
            Where to draw; a new figure when left out.
        """
        import matplotlib

        from medpodium.reports.figures.layout import WIDTH, name_rows, rows_height
        from medpodium.reports.figures.palette import RULE, STYLE, look

        board = self.frame().dropna(subset=["rank"])
        names = [str(name) for name in board["submission"]]
        colours = look(names)
        style: Any = STYLE  # matplotlib's stubs list every key
        with matplotlib.rc_context(style):
            if axes is None:
                import matplotlib.pyplot as plt

                _, axes = plt.subplots(figsize=(WIDTH, rows_height(len(names))), layout="constrained")
            rows = list(range(len(names)))
            axes.hlines(rows, float(board["value"].min()), board["value"], color=RULE, zorder=1)
            axes.scatter(board["value"], rows, c=[colours.colour(name) for name in names], s=36, zorder=2)
            for row, (rank, value) in enumerate(zip(board["rank"], board["value"], strict=True)):
                axes.annotate(f"{rank:g}", (value, row), xytext=(7, 0), textcoords="offset points", va="center")
            name_rows(axes, names)
            axes.set_xlabel(f"{self.ranks.recipe}: {self.ranks.better} is better; numbers are ranks")
            axes.set_title(self.ranks.task)
            if self.ranks.better == "lower":
                axes.invert_xaxis()  # better is to the right
        return axes

    def __str__(self) -> str:
        board = self.frame()[["rank", "submission", "value"]]
        lines = [f"{self.ranks.task} ({self.ranks.recipe}; {self.ranks.better} value is better)"]
        lines.append(board.to_string(index=False, na_rep="–", float_format=lambda value: f"{value:.4g}"))
        return "\n".join([*lines, *(str(one) for one in self.findings if one.severity is not Severity.NOTE)])

    def __repr__(self) -> str:
        return f"<Ranking of {len(self.ranks.submissions)} submissions>\n{self}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{row.rank:g}</td><td>{escape(str(row.submission))}</td><td>{row.value:.4g}</td></tr>"
            for row in self.frame().itertuples()
        )
        head = "<tr><th>rank</th><th>submission</th><th>value</th></tr>"
        said = escape(f"{self.ranks.task}: {self.ranks.recipe}, {self.ranks.better} is better")
        return f"<table><caption>{said}</caption><thead>{head}</thead><tbody>{rows}</tbody></table>"


def rank(
    scores: pd.DataFrame | str | Path,
    recipe: str | Sequence[object] | None = None,
    *,
    challenge: Challenge | str | Path | None = None,
    task: str | None = None,
    better: Mapping[str, Direction] | None = None,
    accept_other_rules: bool = False,
) -> Ranking:
    """Rank the submissions of a score table, as ``medpodium rank`` does.

    Parameters
    ----------
    scores : DataFrame or path
        Long score table: ``submission, case, metric, value``, and ``structure``, ``task``, ``status`` where there are
        any (``.csv`` or ``.parquet``).
    recipe : str, or sequence of steps, optional
        Recipe of the challenge by name, or steps as a challenge file has them. When left out, the challenge's own;
        without a challenge the ranks per metric of the means over cases and structures, and then their mean.
    challenge : Challenge, str or path, optional
        Whose rules hold. Without one, directions and penalties are those of ``medpodium.measure``.
    task : str, optional
        Which task, where the table has several.
    better : mapping of str to {"higher", "lower"}, optional
        Without a challenge: which values of a metric are better, where its name is none that is known.
    accept_other_rules : bool
        Whether scores that were computed by other rules than the challenge's are taken.

    Raises
    ------
    MedpodiumError
        If the scores or the recipe cannot be used; the findings say why.

    Examples
    --------
    >>> import medpodium
    >>> print(medpodium.rank("scores.csv", [{"rank": {"within": "case"}}, {"mean": "case"}, "rank"]))
    organs (given; lower value is better)
     rank submission  value
        1     aurora      1
        2   borealis      2
    """
    path = Path(scores) if isinstance(scores, (str, PathLike)) else None
    frame = table.read_scores(path) if path is not None else table.normalise(scores, "scores")  # type: ignore[arg-type]
    present = [str(name) for name in frame["task"].unique()]
    if challenge is None:
        chosen = _one(present, task)
        plan, findings = _without(frame[frame["task"] == chosen], chosen, recipe, better or {}), []
    else:
        rules = challenge if isinstance(challenge, Challenge) else registry.load(challenge)
        known = {} if path is None else definitions.read_beside(path)
        findings = definitions.check(rules, frame, known, accept=accept_other_rules) + unsuitable(rules, frame)
        chosen = _one([name for name in rules.ranking if name in present], task)
        observed = None if path is None else observations.read_beside(path)
        plan = plan_task(rules, chosen, recipe if isinstance(recipe, str) else None, observed)
        if recipe is not None and not isinstance(recipe, str):
            plan = TaskPlan(chosen, "given", parse_steps(recipe), plan.rules, pool=plan.pool)
    _, _, ranks = rank_task(frame, plan, Options(n_resamples=0))
    return Ranking(ranks, plan.steps, (*findings, *ranks.findings))


def _one(tasks: list[str], name: str | None) -> str:
    if name in tasks or (name is None and len(tasks) == 1):
        return name or tasks[0]
    cause = f"no scores of a task {name!r}" if name else f"the table has scores of {len(tasks)} ranked tasks"
    raise UsageError(
        Finding(RankingCode.UNKNOWN_TASK, "scores", cause, near(name or "", tasks) or "name one: task=...")
    )


def _without(
    frame: pd.DataFrame, task: str, recipe: str | Sequence[object] | None, better: Mapping[str, Direction]
) -> TaskPlan:
    """Return how scores are ranked that no challenge speaks for."""
    if isinstance(recipe, str):
        cause = f"recipe {recipe!r} is a name, and there is no challenge whose recipes have names"
        raise UsageError(Finding(RankingCode.UNKNOWN_LABEL, "recipe", cause, "give steps, or challenge=..."))
    specs: dict[str, Any] = {}
    missing: dict[str, Direction] = {}
    for name in map(str, frame["metric"].unique()):
        if name in better:
            missing[name] = better[name]
            continue
        try:
            specs |= make_task(task_facts(Request((name,)), {"any": 1})).metrics
        except MedpodiumError as error:
            cause = f"which values of {name!r} are better?"
            fix = f"say it: better={{{name!r}: 'higher'}}, or give challenge=..."
            raise UsageError(Finding(RankingCode.UNKNOWN_LABEL, "better", cause, fix)) from error
    own = rules_of(specs)
    rules = Rules(
        {**own.directions, **missing},
        {**own.missing, **dict.fromkeys(missing, "worst")},
        own.worst,
        own.best,
        own.failed,
        own.unranked,
    )
    steps = parse_steps(STEPS if recipe is None else recipe)
    return TaskPlan(task, "mean-of-ranks" if recipe is None else "given", steps, rules)
