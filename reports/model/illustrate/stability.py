"""Which figures and tables on the stability of the ranking the evidence supports."""

from __future__ import annotations

import pandas as pd

from medpodium.reports.figures import beyond, stability
from medpodium.reports.model import claims, text
from medpodium.reports.model.document import Block, Column, Figure, Paragraph, Plot, Section, Table
from medpodium.reports.model.results import CASE_MEAN, Panel, TaskResults, slug
from medpodium.reports.model.tables import guarantee
from medpodium.reports.model.wording.grammar import agree, count
from medpodium.scoring.evidence.units import Units, plural


def stability_section(task: TaskResults, prefix: str = "", *, every: bool = True) -> Section:
    """Return everything the evidence says about how stable the ranking of one task is.

    Parameters
    ----------
    every : bool
        Draw significance maps and line plots of each structure by itself too.
    """
    bootstrap = Section(f"bootstrap-{slug(task.name)}", "Other cases: bootstrap", tuple(_bootstrap(task)))
    sets = Section(
        f"sets-{slug(task.name)}", "What the data cannot rule out", (*_sets(task), *claims.against_first(task))
    )
    tests = Section(f"tests-{slug(task.name)}", "Pairwise tests", tuple(_significance(task, task.overall)))
    methods = Section(f"choices-{slug(task.name)}", "Other ways to rank", tuple(_methods(task)))
    rest = [panel for panel in task.panels if panel not in task.overall] if every else []
    single = Section(
        f"tests-structures-{slug(task.name)}",
        f"Tests and ranking methods per {task.words.structure}",
        tuple(block for panel in rest for block in (*_significance(task, [panel]), *_lines(task, panel))),
        folded=True,
    )
    parts = tuple(part for part in (sets, bootstrap, tests, methods, single) if part)
    return Section(f"stability-{slug(task.name)}", f"{prefix}How stable is the ranking?", sections=parts)


def _bootstrap(task: TaskResults) -> list[Block]:
    intervals = task.table("rank_intervals")
    frequencies = task.table("frequencies")
    if intervals.empty or frequencies.empty:
        return []
    resamples = task.drawn.resamples
    summary = intervals.set_index("submission").rename(columns={"q025": "lower", "q975": "upper"})
    shown = frequencies[["submission", "rank", "share"]]
    order = [name for name in task.order if name in summary.index]
    blocks: list[Block] = [
        Figure(
            f"blob-{slug(task.name)}",
            "Blob plot of the bootstrap ranks",
            f"Area of each disc: share of {count(resamples, 'resample')} of the cases in which the submission "
            "got that rank; "
            "cross: median; line: from the 2.5 to the 97.5 % quantile. The rank on all cases stands before the name.",
            f"Bootstrap distribution of the rank of {count(len(order), 'submission')}.",
            Plot(
                stability.blob,
                {"frequencies": shown, "summary": summary[["rank", "median", "lower", "upper"]], "order": order,
                 "look": task.look, "across": "bootstrap resamples"},
            ),
            frequencies.drop(columns="task", errors="ignore"),
        )
    ]  # fmt: skip
    taus = task.table("kendall_tau").dropna(subset=["tau"]) if not task.table("kendall_tau").empty else pd.DataFrame()
    if not taus.empty:
        blocks += _tau(task, taus)
    return blocks


def _tau(task: TaskResults, taus: pd.DataFrame) -> list[Block]:
    summary = task.table("kendall_summary")
    row = summary.iloc[0]
    undefined = int(row["n_undefined"])
    left_out = (
        f" {count(undefined, 'resample')} in which all submissions tie {agree(undefined, 'has', 'have')} no tau and "
        f"{agree(undefined, 'is', 'are')} left out."
        if undefined
        else ""
    )
    data = taus.assign(task=task.title)[["task", "resample", "tau"]]
    return [
        Figure(
            f"tau-{slug(task.name)}",
            "Similarity of the resampled rankings to the ranking on all cases",
            f"Distribution of Kendall's tau-b over {count(int(row['n']), 'resample')}, with box and median: mean "
            f"{float(row['mean']):.3f}, median {float(row['median']):.3f}, quartiles {float(row['q25']):.3f} and "
            f"{float(row['q75']):.3f}.{left_out}",
            f"Violin plot of Kendall's tau: median {float(row['median']):.3f}.",
            Plot(stability.violin, {"taus": data[["task", "tau"]]}),
            data,
        ),
    ]


def _sets(task: TaskResults) -> list[Block]:
    board = task.leaderboard
    if "set_low" not in board or board["set_low"].isna().all():
        return []
    sets = board.set_index("submission")[["rank", "set_low", "set_high"]].astype(float)
    order = [name for name in task.order if not sets.loc[name].isna().any()]
    held = guarantee(board)
    caption = f"Ranks that the data cannot rule out (confidence level {held}), for all submissions at once; dot: rank."
    if not held:
        caption = "Ranks that the resamples leave open, without a guarantee for this recipe; dot: rank."
    title = "Rank confidence sets" if held else "Rank sets without a guarantee"
    return [
        Figure(
            f"sets-{slug(task.name)}-figure",
            title,
            caption,
            f"{title} of {count(len(order), 'submission')}.",
            Plot(beyond.confidence_sets, {"sets": sets, "order": order, "look": task.look}),
            sets.reset_index(),
        )
    ]


def _significance(task: TaskResults, panels: list[Panel]) -> list[Block]:
    blocks: list[Block] = []
    for panel in panels:
        pairs = task.table("significance", panel)
        if not pairs.empty:
            blocks.append(_map(task, panel, pairs))
        friedman, nemenyi = task.table("friedman", panel), task.table("nemenyi", panel)
        if panel.structure == CASE_MEAN or panel in task.overall:
            blocks += _critical_difference(task, panel, friedman, nemenyi)
    return blocks


def _map(task: TaskResults, panel: Panel, pairs: pd.DataFrame) -> Figure:
    won = pairs.assign(significant=pairs["significant"].astype(float)).pivot(
        index="submission", columns="versus", values="significant"
    )
    matrix = won.reindex(index=task.order, columns=task.order).fillna(0.0).astype(bool)
    adjust = str(pairs["adjust"].iloc[0])
    alpha = task.drawn.alpha
    wins = int(matrix.to_numpy().sum())
    return Figure(
        f"significance-{slug(task.name)}-{panel.id}",
        f"Significance map, {panel.title}",
        f"One-sided paired Wilcoxon signed-rank tests of all {len(pairs):,} ordered pairs, "
        f"{adjust.capitalize()} adjusted, level {alpha:g}, on {_pairs_words(pairs, task.units)}: "
        f"{wins:,} {agree(wins, 'is', 'are')} significant. Ranks of the task stand before the names.",
        f"Matrix of {len(task.order)} by {count(len(task.order), 'submission')}: "
        f"{count(wins, 'significant difference')}.",
        Plot(
            stability.significance_map,
            {"matrix": matrix, "ranks": task.ranks, "order": task.order, "alpha": alpha, "adjust": adjust},
        ),
        pairs.drop(columns=["task"], errors="ignore").reset_index(drop=True),
    )


def _pairs_words(pairs: pd.DataFrame, units: Units) -> str:
    """Return on how many cases, or clusters, the tests of a map stand."""
    low, high = int(pairs["n_pairs"].min()), int(pairs["n_pairs"].max())
    return units.words(low) if low == high else f"{low:,} to {high:,} {plural(units.noun)} that both have"


def _within(task: TaskResults, panel: Panel, row: pd.Series) -> str:
    """Return in what the Friedman test ranks: cases, or clusters with the means of their cases."""
    cases = text.cases_words(task, panel, int(row["n_cases"]))
    return f"{task.units.words(int(row['n_units']))} (means of {cases})" if task.units.clustered else cases


def _critical_difference(task: TaskResults, panel: Panel, friedman: pd.DataFrame, nemenyi: pd.DataFrame) -> list[Block]:
    if friedman.empty or nemenyi.empty or friedman["critical_difference"].isna().all():
        return []
    row = friedman.iloc[0]
    ranks = nemenyi.drop_duplicates("submission").set_index("submission")["mean_rank"].astype(float)
    difference = float(row["critical_difference"])
    p_value = "p < 0.0001" if row["p_value"] < 1e-4 else f"p = {row['p_value']:.4f}"
    return [
        Figure(
            f"critical-{slug(task.name)}-{panel.id}",
            f"Critical-difference diagram, {panel.title}",
            f"Mean rank within {_within(task, panel, row)}; a grey bar "
            "joins submissions that "
            f"differ by less than the critical difference of the Nemenyi test (Friedman test: chi-squared "
            f"{row['statistic']:.1f}, {p_value}).",
            f"Mean ranks of {count(len(ranks), 'submission')} with the critical difference {difference:.2f}.",
            Plot(beyond.critical_difference, {"mean_ranks": ranks, "difference": difference, "look": task.look}),
            ranks.rename("mean_rank").reset_index().assign(critical_difference=difference, n_cases=int(row["n_cases"])),
        )
    ]


def _lines(task: TaskResults, panel: Panel) -> list[Block]:
    found = task.table("method_comparison", panel)
    if found.empty or found["method"].nunique() < 2 or len(task.order) < 2:
        return []
    shown = found[["method", "submission", "rank"]].dropna()
    sizes = found["n_cases"].astype(int)
    size = f"{sizes.min():,}" if sizes.min() == sizes.max() else f"{sizes.min():,} to {sizes.max():,}"
    return [
        Figure(
            f"methods-{slug(task.name)}-{panel.id}",
            f"Line plot over ranking methods, {panel.title}",
            "Rank of each submission under common ranking methods, this metric alone; tied submissions "
            f"share the lowest rank; {size} cases per submission, a missing score as the recipe says.",
            f"Lines: ranks of {count(len(task.order), 'submission')} under "
            f"{count(found['method'].nunique(), 'method')}.",
            Plot(stability.ranking_methods, {"comparison": shown, "order": task.order, "look": task.look}),
            found.drop(columns=["task"], errors="ignore").reset_index(drop=True),
        )
    ]


def _methods(task: TaskResults) -> list[Block]:
    blocks: list[Block] = [block for panel in task.overall for block in _lines(task, panel)]
    blocks += _multiverse(task)
    curve = task.table("subsampling")
    number = int(curve["n_units"].max()) if len(curve) else 0  # pooled values have cases the score table does not list
    noun = plural(task.units.noun)
    if not curve.empty:
        samples = int(curve["n_samples"].max())
        blocks.append(
            Figure(
                f"subsampling-{slug(task.name)}",
                f"Would fewer {noun} have been enough?",
                f"Random subsets of the {number:,} {noun} ({samples:,} per size). Left: how often "
                "the first rank goes "
                f"to the same submission as on all {noun}. Right: similarity of the ranking to the one on all {noun}.",
                f"Curves over the number of {noun}: share of subsets with the same winner, and Kendall's tau.",
                Plot(beyond.subsampling, {"curve": curve, "number": number, "noun": noun}),
                curve.drop(columns=["task"], errors="ignore"),
            )
        )
    return blocks


_CHOICES = ("recipe", "metrics", "ties", "missing", "empty", "tolerance")


def _multiverse(task: TaskResults) -> list[Block]:
    found, winners = task.table("multiverse"), task.table("multiverse_winners")
    if found.empty or found["universe"].nunique() < 2:
        return []
    ranks = found.pivot(index="submission", columns="universe", values="rank").reindex(task.order)
    choices = winners.set_index("universe")[list(_CHOICES)].fillna("").astype(str)
    same = int(winners["same_winner"].astype(bool).sum())
    names = sorted({name for cell in winners["winners"] for name in str(cell).split("; ")})
    universes = len(winners)
    words = (
        f"{'Applied to the published values, ' if task.sources else ''}{same:,} of "
        f"{count(universes, 'combination')} of choices "
        f"that the challenge marks as debatable {agree(same, 'has', 'have')} the same first rank as the declared one; "
        f"{count(len(names), 'submission')} {agree(len(names), 'ranks', 'rank')} first in at "
        "least one."
    )
    counted = pd.Series([name for cell in winners["winners"] for name in str(cell).split("; ")]).value_counts()
    shown = [(name, int(counted[name]), int(counted[name]) / universes) for name in task.order if name in counted.index]
    columns = (Column("Submission", "team"), Column("First in", "integer"), Column("Share", "percent", 1))
    return [
        Paragraph(words),
        Figure(
            f"multiverse-{slug(task.name)}",
            "Multiverse of defensible choices",
            "Rank of every submission under every combination of choices; a white dot marks the first "
            "rank. Below: what was "
            "chosen in each column.",
            f"Strip of ranks of {count(len(task.order), 'submission')} in "
            f"{count(universes, 'combination')} of choices.",
            Plot(beyond.multiverse, {"ranks": ranks, "choices": choices, "order": task.order}),
            found.drop(columns=["task"], errors="ignore").reset_index(drop=True),
        ),
        Table(
            f"multiverse-winners-{slug(task.name)}",
            "Who ranks first in how many of them",
            columns,
            tuple(shown),
            caption="Shared first ranks count for each; the download lists every combination.",
            data=winners.drop(columns=["task"], errors="ignore"),
        ),
    ]
