"""The verb ``analyse plan``: how many cases the next edition needs, or what a field can show before there is one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console
from medpodium.scoring.analysis_commands import OUT, finish

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    from medpodium.findings import Finding
    from medpodium.scoring.evidence.planning.edition import Edition
    from medpodium.scoring.evidence.units import Units
    from medpodium.scoring.ranking.blocks import Block
    from medpodium.scoring.ranking.settled import Settled


@click.command(
    epilog="Example: medpodium analyse plan liver.yaml scores.csv --power 0.8 --out plan. "
    "Without scores: medpodium analyse plan --teams 5 --cases 10"
)
@click.argument("challenge", required=False)
@click.argument("scores", required=False, type=click.Path(path_type=Path))
@click.option("--power", default=0.8, show_default=True, type=click.FloatRange(0.05, 0.99), help="Wanted chance.")
@click.option("--margin", type=click.FloatRange(0, min_open=True), help="Difference of the ranked value that matters.")
@click.option("--pair", metavar="A,B", help="Two submissions; the first and the second when left out.")
@click.option("--task", help="Task, where several are ranked.")
@click.option("--cluster", metavar="GROUP", help="Count levels of a group (patients); 'none' for cases.")
@click.option("--editions", default=1000, show_default=True, type=click.IntRange(100), help="Simulated per size.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Same seed, same numbers.")
@click.option("--teams", type=click.IntRange(2), help="Size of the field, without scores.")
@click.option("--cases", type=click.IntRange(1), help="Number of cases (or patients), without scores.")
@OUT
@console.json_option
@console.guarded
def plan(
    challenge: str | None,
    scores: Path | None,
    power: float,
    margin: float | None,
    pair: str | None,
    task: str | None,
    cluster: str | None,
    editions: int,
    seed: int,
    teams: int | None,
    cases: int | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Tell how many cases the next edition needs to tell the first submission from the second.

    With SCORES of this edition, editions of several sizes are drawn from its cases and judged by the tests and rank
    sets of the ranking. With --teams and --cases instead, what such a field can show at all is counted.
    """
    if challenge is None and teams is not None and cases is not None:
        _before(teams, cases, out, as_json)
        return
    if challenge is None or scores is None or teams is not None or cases is not None:
        raise click.UsageError("Give CHALLENGE and SCORES, or --teams and --cases.")
    from medpodium.scoring.evidence.planning.edition import size_of_next

    edition, units, notes = _edition(challenge, scores, task, pair, margin, cluster)
    with console.progress() as bar:
        handle = bar.add_task("simulating editions", total=None)
        needed, curve = size_of_next(
            edition, power, n_editions=editions, seed=seed, advance=lambda done: bar.advance(handle, done)
        )
    first, second = (edition.names[at] for at in edition.pair)
    title = f"{units.noun}s needed to tell {first} from {second} with power {power:g}"
    own = curve[curve["if_true"] == "as observed"]
    shown = {title: _told(needed, units), "Share of simulated editions that show it": _drawn(own, power)}
    finish({"needed": needed, "curve": curve}, shown, [*notes, *_notes(needed, units)], out, as_json)


def _before(teams: int, cases: int, out: Path | None, as_json: bool) -> None:
    from dataclasses import asdict

    import pandas as pd

    from medpodium.findings import Finding, Severity
    from medpodium.scoring.evidence.planning.before import before
    from medpodium.scoring.ranking.axes import RankingCode

    found = before(teams, cases)
    findings = []
    words = {"tests": "reach significance", "sets": "be told apart by rank sets"}
    for own in found:
        if not own.possible:
            cause = (
                f"no pair of {teams} teams can {words[own.by]} with {cases} cases: the smallest p-value is "
                f"{own.smallest:.3g}, and {own.comparisons} comparisons need {own.needed:.3g}"
            )
            fix = f"use {own.least_cases} cases or more (then one pair can, if all cases speak for the same team)"
            findings.append(Finding(RankingCode.TOO_FEW_CASES, own.by, cause, fix, Severity.WARNING))
    frame = pd.DataFrame([asdict(own) for own in found])
    title = f"What {teams} teams and {cases} cases can show"
    finish({"reach": frame}, {title: frame}, findings, out, as_json)


def _edition(
    reference: str, path: Path, task: str | None, pair: str | None, margin: float | None, cluster: str | None
) -> tuple[Edition, Units, list[Finding]]:
    """Read an edition as the ranking reads it."""
    import numpy as np

    from medpodium.challenges import registry
    from medpodium.findings import Finding, Severity
    from medpodium.scoring import definitions, observations, table
    from medpodium.scoring.evidence.planning.edition import VALUE, Edition
    from medpodium.scoring.evidence.sets.construct import value_contributions
    from medpodium.scoring.evidence.tables.collect import Options, rank_task
    from medpodium.scoring.evidence.tables.plan import plan_task, unsuitable
    from medpodium.scoring.evidence.units import choose, task_units
    from medpodium.scoring.ranking.axes import RankingCode

    challenge = registry.load(reference)
    frame = table.read_scores(path)
    findings = [*definitions.check(challenge, frame, definitions.read_beside(path)), *unsuitable(challenge, frame)]
    tasks = [name for name in challenge.ranking if name in set(frame["task"]) and task in (None, name)]
    if len(tasks) != 1:
        known = ", ".join(name for name in challenge.ranking if name in set(frame["task"])) or "none"
        raise click.UsageError(f"Name one ranked task with --task; the table has {known}")
    own = plan_task(challenge, tasks[0], None, observations.read_beside(path))
    settled, prepared, ranking = rank_task(frame, own, Options())
    scheme = choose(table.group_columns(frame), challenge.groups, cluster=cluster)
    units, told = task_units(settled.array, scheme, own.pool, own.task)
    value = value_contributions(prepared, units.among(prepared.array.cases).members)
    names = ranking.submissions
    numbers = {}
    margins = {} if (margin if margin is not None else own.margin) is None else {VALUE: margin or own.margin or 0.0}
    for block in _headlines(settled):
        name = block.metric
        oriented = block.values if block.better == "higher" else -block.values
        numbers[name] = units.among(block.cases).means(np.where(block.incomplete, np.nan, oriented))
        if name in own.margins:
            margins[name] = own.margins[name]
    if value is None:
        margins.pop(VALUE, None)
        cause = "its rank sets rest on no mean over cases, so only its tests are simulated"
        fix = "read the rows of the metrics"
        findings.append(Finding(RankingCode.NOT_POSSIBLE, own.task, cause, fix, Severity.NOTE))
    chosen = _pair(names, ranking.ranks, pair)
    edition = Edition(names, chosen, value, numbers, margins, units.n_cases / max(units.number, 1))
    return edition, units, [*findings, *told, *ranking.findings]


def _headlines(settled: Settled) -> list[Block]:
    """Return of every ranked metric the values of whole cases: its mean over structures where it has several."""
    from medpodium.scoring.ranking.blocks import MEAN

    found = [block for block in settled.blocks if block.metric in settled.ranked]
    means = {block.metric for block in found if block.structure == MEAN}
    return [block.without_empty() for block in found if block.structure == MEAN or block.metric not in means]


def _pair(names: tuple[str, ...], ranks: npt.NDArray[np.float64], pair: str | None) -> tuple[int, int]:
    """Return the positions of the two submissions, the better one first."""
    from medpodium.scoring.ranking.axes import near

    order = [at for at in ranks.argsort(kind="stable").tolist() if ranks[at] == ranks[at]]
    if len(order) < 2:
        raise click.UsageError("The table ranks fewer than two submissions.")
    if pair is None:
        return order[0], order[1]
    chosen = [name.strip() for name in pair.split(",")]
    for name in chosen:
        if name not in names:
            raise click.BadParameter(f"no submission {name!r}; {near(name, names)}", param_hint="--pair")
    if len(set(chosen)) != 2:
        raise click.BadParameter("name two submissions: A,B", param_hint="--pair")
    one, two = (names.index(name) for name in chosen)
    return (one, two) if ranks[one] <= ranks[two] else (two, one)


def _told(needed: pd.DataFrame, units: Units) -> pd.DataFrame:
    """Return the table as it is printed."""
    from medpodium.scoring.evidence.planning.size import MOST_UNITS

    most = f"over {MOST_UNITS:,}"
    rows = []
    for row in needed.to_dict("records"):
        known = row["units"] == row["units"]
        number = f"{row['units']:,.0f} ({row['low']:,.0f} to {row['high']:,.0f})" if known else most
        if row["difference"] <= 0 and not known:
            number = "no number is enough"
        own = [row["shows"], row["number"], row["if_true"], f"{row['difference']:.3g}", number]
        rows.append([*own, f"{row['cases']:,.0f}" if known else ""] if units.clustered else own)
    import pandas as pd

    columns = ["shown by", "of", "if the true difference is", "that is", f"{units.noun}s"]
    return pd.DataFrame(rows, columns=[*columns, *(["cases"] if units.clustered else [])])


def _drawn(curve: pd.DataFrame, power: float) -> pd.DataFrame:
    """Return the curve as a table with a bar per size; a mark says where the wanted power is."""
    rows = []
    for row in curve.to_dict("records"):
        bar = ["\u2588" if at < round(20 * row["power"]) else "\u00b7" for at in range(20)]
        bar.insert(round(20 * power), "|")
        rows.append([row["shows"], row["number"], row["units"], f"{row['power']:.2f}", "".join(bar)])
    import pandas as pd

    return pd.DataFrame(rows, columns=["shown by", "of", "units", "power", f"| {power:g}"])


def _notes(needed: pd.DataFrame, units: Units) -> list[Finding]:
    """Say how far the numbers can be trusted."""
    from medpodium.findings import Finding, Severity
    from medpodium.scoring.ranking.axes import RankingCode

    cause = (
        f"the difference was seen on {units.words()} and is uncertain; of two chosen because they lead it tends to be "
        "too large (winner's curse)"
    )
    fix = "plan for the lower end of its interval, or for a margin that matters (--margin)"
    findings = [Finding(RankingCode.TOO_FEW_CASES, "plan", cause, fix, Severity.NOTE)]
    low = needed[(needed["if_true"] == "lower end of its interval") & (needed["difference"] <= 0)]
    if len(low):
        cause = "its 95 % interval includes zero: at the lower end no number of cases is enough"
        findings.append(Finding(RankingCode.NOT_POSSIBLE, "plan", cause, fix, Severity.NOTE))
    return findings
