"""The multiverse: the ranking under every combination of choices a challenge marks as debatable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from medpodium.challenges.schema.steps import Change, Rank, Reduce, Select, Step, Threshold, Ties
from medpodium.findings import Finding, MedpodiumError, Severity
from medpodium.scoring.evidence.stability import kendall
from medpodium.scoring.ranking.axes import RankingCode, ScoreArray
from medpodium.scoring.ranking.recipe import Floats, rank_array
from medpodium.scoring.ranking.rules import Outcome, Rules
from medpodium.scoring.ranking.settled import settle

MAX_UNIVERSES = 5000
"""More combinations than this are not tried; the finding says so."""


@dataclass(frozen=True)
class Universe:
    """One combination of choices; ``None`` is the declared default.

    Parameters
    ----------
    recipe : str
        Name of the recipe.
    metrics : tuple of str or None
        Only these metrics.
    ties : str or None
        Tie rule of every rank step.
    missing, empty : outcome or None
        Score of a missing prediction, and of a case whose reference is empty.
    tolerance : float or None
        Tolerance of the first rank step.
    """

    recipe: str
    metrics: tuple[str, ...] | None = None
    ties: Ties | None = None
    missing: Outcome | None = None
    empty: Outcome | None = None
    tolerance: float | None = None

    def labels(self) -> dict[str, str]:
        """Return the choices as text; the default is empty."""
        texts = {
            "metrics": None if self.metrics is None else "+".join(self.metrics),
            "ties": self.ties,
            "missing": self.missing,
            "empty": self.empty,
            "tolerance": self.tolerance,
        }
        return {"recipe": self.recipe, **{name: "" if text is None else str(text) for name, text in texts.items()}}


def universes(
    recipe: str,
    *,
    recipes: Sequence[str] = (),
    metrics: Sequence[Sequence[str]] = (),
    ties: Sequence[Ties] = (),
    missing: Sequence[Outcome] = (),
    empty: Sequence[Outcome] = (),
    tolerance: Sequence[float] = (),
) -> list[Universe]:
    """Combine every choice with every other; the first universe is the declared ranking."""
    names = [recipe, *(name for name in recipes if name != recipe)]
    options = product(
        names,
        [None, *(tuple(own) for own in metrics)],
        [None, *ties],
        [None, *missing],
        [None, *empty],
        [None, *tolerance],
    )
    return [Universe(*choice) for choice in options]


def adapt_steps(steps: Sequence[Step], universe: Universe) -> tuple[Step, ...]:
    """Return the steps of a recipe under the choices of a universe."""
    adapted: list[Step] = []
    if universe.metrics is not None:
        adapted.append(Select(keep={"metric": universe.metrics}))
    first_rank = True
    for step in steps:
        if universe.missing is not None and getattr(step, "missing", None) is not None:
            # what is debated is what a missing score counts: a step's own word would leave it as it is
            step = step.model_copy(update={"missing": None})
        if isinstance(step, Rank):
            update: dict[str, object] = {} if universe.ties is None else {"ties": universe.ties}
            if universe.tolerance is not None and first_rank:
                update["tolerance"] = universe.tolerance
            first_rank = False
            adapted.append(step.model_copy(update=update))
        elif universe.metrics is not None and isinstance(step, Select) and "metric" in step.keep:
            keep = tuple(name for name in step.keep["metric"] if name in universe.metrics)
            adapted.append(step.model_copy(update={"keep": {**step.keep, "metric": keep or universe.metrics}}))
        elif universe.metrics is not None and isinstance(step, (Threshold, Change)) and step.metric:
            left = tuple(name for name in step.metric if name in universe.metrics)
            adapted += [step.model_copy(update={"metric": left})] if left else []
        elif universe.metrics is not None and isinstance(step, Reduce) and step.weights and "metric" in step.over:
            weights = {name: own for name, own in step.weights.items() if name in universe.metrics}
            adapted.append(step.model_copy(update={"weights": weights or None}))
        else:
            adapted.append(step)
    return tuple(adapted)


@dataclass(frozen=True)
class Multiverse:
    """Ranks and winners of every universe (columns as in :mod:`medpodium.scoring.evidence.tables.columns`)."""

    ranks: pd.DataFrame
    winners: pd.DataFrame
    findings: tuple[Finding, ...]


def multiverse(
    scores: pd.DataFrame,
    task: str,
    rules: Rules,
    recipes: Mapping[str, Sequence[Step]],
    choices: Sequence[Universe],
    *,
    submissions: Sequence[str] | None = None,
) -> Multiverse:
    """Rank one task in every universe.

    Parameters
    ----------
    scores : DataFrame
        Long score table.
    recipes : mapping of str to sequence of Step
        Every recipe the universes name.
    choices : sequence of Universe
        The first is the declared ranking, with which the others are compared.
    """
    findings: list[Finding] = []
    if len(choices) > MAX_UNIVERSES:
        cause = f"{len(choices)} combinations are debatable, {MAX_UNIVERSES} are tried"
        findings.append(
            Finding(RankingCode.NOT_POSSIBLE, f"multiverse: {task}", cause, "debate less", Severity.WARNING)
        )
    blocks, winners = [], []
    reference: Floats | None = None
    arrays: dict[tuple[Outcome | None, Outcome | None], ScoreArray] = {}
    for number, universe in enumerate(choices[:MAX_UNIVERSES]):
        try:
            key = (universe.missing, universe.empty)
            if key not in arrays:
                missing, empty = key
                made = settle(scores, task, rules, (), submissions=submissions, missing=missing, empty=empty)
                arrays[key] = made.raw
            array = arrays[key]
            ranking = rank_array(array, adapt_steps(recipes[universe.recipe], universe), task=task)
        except MedpodiumError as error:
            findings += [
                Finding(own.code, f"universe {number} of {task}: {own.where}", own.cause, own.fix, Severity.NOTE)
                for own in error.findings
            ]
            continue
        reference = ranking.ranks if reference is None else reference
        labels: dict[str, Any] = {"task": task, "universe": number, **universe.labels()}
        own = pd.DataFrame({"submission": ranking.submissions, "value": ranking.values, "rank": ranking.ranks})
        blocks.append(own.sort_values(["rank", "submission"]).assign(**labels))
        won = ranking.ranks == np.nanmin(ranking.ranks)
        first = [name for name, wins in zip(ranking.submissions, won.tolist(), strict=True) if wins]
        same = bool((won == (reference == np.nanmin(reference))).all())
        tau = kendall(reference, ranking.ranks)
        winners.append({**labels, "winners": "; ".join(first), "same_winner": same, "tau": tau})
    ranks = pd.concat(blocks, ignore_index=True) if blocks else pd.DataFrame()
    return Multiverse(ranks, pd.DataFrame(winners), tuple(dict.fromkeys(findings)))
