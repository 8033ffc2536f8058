"""Sentences about what the data carry of "better" and "equivalent", none of them stronger than its table.

*Better* is said with the probability that it is false, and of structures only where tests of all pairs, metrics and
structures together show it. *Equivalent* is said only within a declared margin that two one-sided tests stay in. That
two submissions cannot be told apart is no claim about them at all.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from medpodium.reports.model.document import Cell, Column, Table
from medpodium.reports.model.results import TaskResults, slug
from medpodium.reports.model.wording.grammar import count, listed
from medpodium.scoring.evidence.tables.claimed import EQUIVALENT, NON_INFERIOR
from medpodium.scoring.ranking.counting import selected


def leaders(task: TaskResults) -> tuple[str, str] | None:
    """Return the first submission and the second; nothing where several share the first place, or nobody is second."""
    board = task.leaderboard.dropna(subset=["rank"]).sort_values(["rank", "submission"])
    first = board[board["rank"] == board["rank"].min()]
    rest = board[board["rank"] > board["rank"].min()]
    if len(first) != 1 or rest.empty:
        return None
    return str(first["submission"].iloc[0]), str(rest["submission"].iloc[0])


def sentences(task: TaskResults) -> list[str]:
    """Return what can be claimed of the first submission against the second."""
    pair = leaders(task)
    if pair is None:
        return []
    return [*_of_value(task, *pair), *_joint(task, *pair)]


def against_first(task: TaskResults) -> list[Table]:
    """Return the claims about the first submission and every other one as a table; nothing where there are none."""
    pair, claims = leaders(task), task.table("claims")
    if pair is None or not len(claims):
        return []
    value = claims[claims["metric"] == ""].set_index(["submission", "versus"])
    rivals = [name for name in task.order if (pair[0], name) in value.index]
    if not rivals:
        return []
    margins = value["margin"].dropna()
    columns = [Column("Submission", "team")]
    columns.append(Column("Behind the first by", "number", None, note="difference of what is ranked"))
    columns.append(Column("False claim", note="probability that the first is no better"))
    if len(margins):
        columns.append(Column(f"Within ±{margins.iloc[0]:g}", note="two one-sided tests, adjusted for all pairs"))
    rows = []
    for name in rivals:
        row: Any = value.loc[(pair[0], name)]
        told = "" if pd.isna(row["false_claim"]) else chance(float(row["false_claim"]))
        cells: list[Cell] = [name, float(row["difference"]), told]
        if len(margins):
            back = value.loc[(name, pair[0]), "verdict"]
            words = {EQUIVALENT: "equivalent", NON_INFERIOR: f"less than {margins.iloc[0]:g} worse"}
            cells.append(words.get(str(back), "not shown"))
        rows.append(tuple(cells))
    unit = value["unit"].iloc[0]
    return [
        Table(
            f"claims-{slug(task.name)}",
            f"{pair[0]} against every other submission",
            tuple(columns),
            tuple(rows),
            caption=f"Paired differences over {count(int(value['n_units'].max()), str(unit))}.",
            data=claims.drop(columns="task"),
        )
    ]


def chance(probability: float) -> str:
    """Return a probability with two digits, never as certain: ``0.21``, ``0.0042``, ``under 0.001``."""
    if probability < 0.001:
        return "under 0.001"
    if probability > 0.999:
        return "over 0.999"
    shown = f"{probability:.2g}"
    return shown if "e" not in shown else f"{probability:.4f}"


def _of_value(task: TaskResults, first: str, second: str) -> list[str]:
    """Return the claims about the value that is ranked."""
    row = _row(task, first, second)
    if row is None or pd.isna(row["false_claim"]):
        return []
    said = [
        f"The claim that {first} is better than {second}, which ranks next, is false with probability "
        f"{chance(float(row['false_claim']))}."
    ]
    back: Any = _row(task, second, first)
    if pd.isna(row["margin"]):
        return said
    margin = f"{float(row['margin']):g}"
    if row["verdict"] == EQUIVALENT:
        p = chance(float(row["p_equivalent_adjusted"]))
        return [
            *said,
            f"{first} and {second} are equivalent within ±{margin} (two one-sided tests, adjusted p {_at(p)}).",
        ]
    if back is not None and back["verdict"] in (EQUIVALENT, NON_INFERIOR):
        p = chance(float(back["p_no_worse_adjusted"]))
        return [*said, f"{second} is worse than {first} by less than {margin} (non-inferiority, adjusted p {_at(p)})."]
    return [*said, f"A difference of {margin} or more is not excluded."]


def _at(shown: str) -> str:
    return shown if shown.startswith(("under", "over")) else f"= {shown}"


def _row(task: TaskResults, first: str, second: str) -> Any:
    claims = task.table("claims")
    if not len(claims):
        return None
    own = claims[(claims["metric"] == "") & (claims["submission"] == first) & (claims["versus"] == second)]
    return None if own.empty else own.iloc[0]


def _joint(task: TaskResults, first: str, second: str) -> list[str]:
    """Return in how many structures the first is better, all pairs, metrics and structures taken together."""
    found = task.table("joint_claims")
    if not len(found):
        return []
    chosen, _ = selected(task.settled.steps, task.settled.ranked)
    own = found[(found["submission"] == first) & (found["versus"] == second) & found["metric"].isin(list(chosen))]
    if own["n_claims"].sum() < 2:
        return []
    parts = []
    single = own["n_claims"] == 1
    if single.any():
        shown = [task.metric_name(str(name)) for name in own.loc[single & (own["better"] > 0), "metric"]]
        of = count(int(single.sum()), "metric")
        parts.append(f"by {len(shown) or 'none'} of {of}" + (f" ({listed(shown)})" if shown else ""))
    for row in own[~single].to_dict("records"):
        pooled = task.metric(str(row["metric"])).info.scope == "pooled"
        words = ("set of cases", "sets of cases") if pooled else (task.words.structure, task.words.structures)
        of = count(int(row["n_claims"]), *words)
        parts.append(f"in {int(row['better']) or 'none'} of {of} by {task.metric_name(str(row['metric']))}")
    level = f"jointly at level {task.drawn.alpha:g}"
    return [f"Tests of all pairs show {first} better than {second} {listed(parts)}, {level}."]


def methods(task: TaskResults) -> list[str]:
    """Return how the claims are made, for the section on methods; nothing where there are none."""
    claims, joint = task.table("claims"), task.table("joint_claims")
    said = []
    if len(claims) and claims["false_claim"].notna().any():
        said.append(
            "The probability that a claim of being better is false is that of Christodoulou et al. (arXiv 2505.04720): "
            "posterior of the paired difference under a flat prior (Student's t for means, a Dirichlet distribution "
            "for shares of right cases); it does not allow for the choice of the pair."
        )
    if len(claims) and claims["margin"].notna().any():
        said.append(
            "Margins were declared in the challenge file; equivalence and non-inferiority are shown by two one-sided "
            "paired t-tests (Schuirmann 1987), adjusted by Holm's method over all pairs."
        )
    if len(joint):
        several = bool((joint["n_claims"] > 1).any())
        tested = f"pairs, metrics and {task.words.structures}" if several else "pairs and metrics"
        said.append(
            f"Joint statements use the p-values of all {tested} together, adjusted by Holm's method, which holds "
            "whatever they have to do with each other; evidence tables also give the bounds of closed testing (Goeman "
            "and Solari 2011)."
        )
    return [" ".join(said)] if said else []
