"""Which figures on structures, tasks, groups of cases, cost and transfer the results support."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from medpodium.reports.figures import across, cost, groups, stability, tasks
from medpodium.reports.figures.layout import records
from medpodium.reports.figures.palette import look
from medpodium.reports.model import scores
from medpodium.reports.model.document import Block, Column, Figure, Paragraph, Plot, Section, Table
from medpodium.reports.model.results import CASE_MEAN, Panel, Results, TaskResults, slug
from medpodium.reports.model.wording.grammar import agree, count, listed
from medpodium.scoring.evidence.consensus import cluster_tasks
from medpodium.scoring.evidence.units import plural

_GAP_LEVELS = 3
"""A domain-gap figure is drawn for groups with at most this many levels."""
_MEMORY = ("peak_gpu_memory", "peak_memory", "gpu_memory_area")
_COST_KINDS = ("running_time", "gpu_memory_area", "peak_gpu_memory", "peak_memory", "cpu_time")


def structures(task: TaskResults) -> Section:
    """Return how the ranking differs between the structures of a task."""
    blocks: list[Block] = []
    for overall in task.overall:
        if overall.structure != CASE_MEAN:
            continue
        mine = [panel for panel in task.panels if panel.metric == overall.metric]
        ranks = {task.structure_title(panel.structure): _mean_ranks(task, panel) for panel in mine}
        key = f"structures-{slug(task.name)}-{overall.metric}"
        blocks.append(_map(task, overall, mine))
        blocks += _across(task.order, task, ranks, task.ranks, key, overall, task.words.structures)
    return Section(f"structures-{slug(task.name)}", f"Differences between {task.words.structures}", tuple(blocks))


def _map(task: TaskResults, overall: Panel, panels: Sequence[Panel]) -> Figure:
    """Return the means of all submissions in all structures as one picture."""
    wide = pd.DataFrame({task.structure_title(panel.structure): task.means(panel) for panel in panels})
    name, noun = task.metric_name(overall.metric), task.words.structure
    spread = wide.mean().dropna()
    hard, easy = (
        (spread.idxmin(), spread.idxmax()) if overall.better == "higher" else (spread.idxmax(), spread.idxmin())
    )
    return Figure(
        f"map-{slug(task.name)}-{slug(overall.metric)}",
        f"{name} of every submission in every {noun}",
        "Mean over cases, penalties as declared; light is better. Submissions in the order of the ranking.",
        f"Coloured table of {count(len(wide), 'submission')} by {count(len(panels), noun, task.words.structures)}; on "
        f"average {easy} has the best {name}, {hard} the worst.",
        Plot(across.heat_map, {"wide": wide, "axis": f"{overall.axis}, mean", "better": overall.better}),
        wide.rename_axis("submission").reset_index(),
    )


def _mean_ranks(task: TaskResults, panel: Panel) -> dict[str, float]:
    means = task.means(panel)
    ranks = means.rank(method="min", ascending=panel.better == "lower", na_option="bottom")
    return {str(name): float(rank) for name, rank in ranks.items()}


def _across(
    order: Sequence[str],
    task: TaskResults,
    ranks: Mapping[str, Mapping[str, float]],
    full: pd.Series,
    key: str,
    panel: Panel | None,
    what: str,
) -> list[Block]:
    table = pd.DataFrame(ranks).reindex(list(order))
    long = table.rename_axis("submission").reset_index().melt("submission", var_name=what[:-1], value_name="rank")
    shares = long.groupby(["submission", "rank"], sort=True).size().div(len(ranks)).rename("share").reset_index()
    summary = pd.DataFrame(
        {
            "rank": full.reindex(list(order)),
            "median": table.median(axis=1),
            "lower": table.quantile(0.025, axis=1),
            "upper": table.quantile(0.975, axis=1),
        }
    )
    name = f", {task.metric_name(panel.metric)}" if panel is not None else ""
    how = "by the mean over cases" if panel is not None else "as each task declares, submissions to all tasks only"
    blocks: list[Block] = [
        Figure(
            f"blob-{key}",
            f"Ranks over {what}{name}",
            f"Area of each disc: share of the {len(ranks)} {what} in which the submission has that rank "
            f"({how}); cross: "
            "median; line: from the 2.5 to the 97.5 % quantile.",
            f"Ranks of {count(len(order), 'submission')} over {len(ranks)} {what}.",
            Plot(
                stability.blob,
                {"frequencies": shares, "summary": summary, "order": list(order), "look": task.look, "across": what},
            ),
            long,
        )
    ]
    if len(ranks) > 2:
        merges = pd.DataFrame(cluster_tasks(ranks, "average"), columns=["height", "left", "right"])
        if merges["height"].max() > 0:  # else the same ranking everywhere: nothing to cluster
            shown = merges.assign(left=merges["left"].map("; ".join), right=merges["right"].map("; ".join))
            blocks.append(
                Figure(
                    f"dendrogram-{key}",
                    f"Similarity of the {what}{name}",
                    "Hierarchical clustering by the symmetric difference of the rankings, average linkage; evidence "
                    "tables have complete linkage, too.",
                    f"Dendrogram of {len(ranks)} {what}; most alike: {shown['left'].iloc[0]} and "
                    f"{shown['right'].iloc[0]}.",
                    Plot(tasks.dendrogram, {"merges": merges}),
                    shown,
                )
            )
    return blocks


def across_tasks(results: Results, consensus: pd.DataFrame) -> Section:
    """Return how the tasks of a challenge agree: consensus, ranks over tasks, similarity of the tasks."""
    shared = set.intersection(*(set(task.order) for task in results.tasks)) if results.tasks else set()
    if len(results.tasks) < 2 or len(shared) < 2:
        return Section("tasks", "Across tasks")
    ranks = {task.title: {name: float(task.ranks[name]) for name in shared} for task in results.tasks}
    means = pd.DataFrame(ranks).rank(method="average").mean(axis=1)
    order = [str(name) for name in means.sort_index().sort_values(kind="stable").index]
    blocks: list[Block] = []
    euclidean = consensus[consensus["method"] == "euclidean"] if not consensus.empty else consensus
    if not euclidean.empty:
        rows = tuple(
            (float(row.rank), str(row.submission), float(row.score))
            for row in records(euclidean.sort_values(["rank", "submission"]))
        )
        columns = (Column("Rank", "integer"), Column("Submission", "team"), Column("Mean rank", "number", 3))
        blocks.append(
            Table(
                "consensus",
                "Consensus over tasks (Euclidean)",
                columns,
                rows,
                "Mean over tasks of the rank, ties averaged.",
            )
        )
    # The printed rank is the consensus by which the submissions are ordered.
    blocks += _across(order, results.tasks[0], ranks, means.rank(method="min"), "tasks", None, "tasks")
    return Section("tasks", "Across tasks", tuple(blocks))


def subgroup_sections(task: TaskResults, prefix: str = "") -> Section:
    """Return tables and figures per group of cases: centre, vendor, sex, age, domain."""
    parts = []
    for group in task.groups:
        blocks: list[Block] = []
        for panel in task.overall[:3]:
            table = scores.per_group(task, group, panel.metric)
            if table is None:
                continue
            blocks += [_subgroups(task, group, panel), table, *_slopes(task, group, panel), *_gaps(task, group, panel)]
        small = _too_small(task, group)
        if small and blocks:
            blocks.insert(0, Paragraph(small, "note"))
        parts.append(
            Section(
                f"group-{slug(task.name)}-{slug(group)}",
                f"By {task.group_title(group)}",
                tuple(blocks),
                folded=True,
            )
        )
    sections = tuple(part for part in parts if part)
    fine = [f"{task.group_title(group)} ({count(levels, 'level')})" for group, levels in task.fine_groups.items()]
    words = f"Too fine for subgroups of {count(len(task.cases), task.words.case, task.words.cases)}: {listed(fine)}."
    notes = (Paragraph(words, "note"),) if fine else ()
    return Section(f"subgroups-{slug(task.name)}", f"{prefix}Subgroups", notes, sections)


def _sizes(task: TaskResults, group: str) -> pd.Series:
    """Return the number of cases in each level of a group, levels in printing order."""
    counts = task.case_groups[group].value_counts()
    return counts.reindex(task.levels(group)).fillna(0).astype(int)


def _too_small(task: TaskResults, group: str) -> str:
    least = task.smallest_group(group)
    small = [f"{level} ({size})" for level, size in _sizes(task, group).items() if size < least]
    if not small:
        return ""
    return f"Fewer than {least} cases, too few to conclude from: {', '.join(small)}."


def _subgroups(task: TaskResults, group: str, panel: Panel) -> Figure:
    cells = scores.group_cells(task, group, panel.metric)
    title, metric = task.group_title(group), task.metric_name(panel.metric)
    levels = cells["level"].nunique()
    return Figure(
        f"subgroup-{slug(task.name)}-{slug(group)}-{slug(panel.metric)}",
        f"{metric} by {title}",
        "Mean over cases"
        + (
            f"; lines: 95 % intervals, where there are at least {task.smallest_group(group)} cases."
            if levels <= groups.MOST_LEVELS
            else "; number of cases in brackets."
        )
        + " Differences between groups may also stem from which cases they contain.",
        f"{metric} of {count(len(task.order), 'submission')} in {count(levels, 'level')} of {title}.",
        Plot(groups.subgroups, {"cells": cells, "order": task.order, "axis": panel.axis, "better": panel.better}),
        cells,
    )


def _slopes(task: TaskResults, group: str, panel: Panel) -> list[Block]:
    """Return the means of both levels of a group, joined per submission; nothing where there are more or fewer."""
    cells = scores.group_cells(task, group, panel.metric)
    # Cases that hold nothing to score are in no mean.
    counted = cells.groupby("level", sort=False)["cases"].max()
    large = [str(level) for level, size in counted.items() if size >= task.smallest_group(group)]
    if len(large) != 2 or len(task.order) < 2:
        return []
    ends = cells.pivot(index="submission", columns="level", values="mean").reindex(index=task.order, columns=large)
    change = (ends[large[1]] - ends[large[0]]).dropna() * (1 if panel.better == "higher" else -1)
    lost = int((change < 0).sum())
    name, title = task.metric_name(panel.metric), task.group_title(group)
    return [
        Figure(
            f"slope-{slug(task.name)}-{slug(group)}-{slug(panel.metric)}",
            f"{name} in {large[0]} and {large[1]}",
            f"Mean over the {counted[large[0]]:,} and {counted[large[1]]:,} cases, joined per submission; better is up"
            + (f"; in colour: the first {across.LINES} of the ranking." if len(task.order) > across.LINES else "."),
            f"Lines of {count(len(ends), 'submission')} by {title}: {count(lost, 'submission')} "
            f"{agree(lost, 'is', 'are')} worse in {large[1]} than in {large[0]}.",
            Plot(across.slopes, {"ends": ends, "look": task.look, "axis": panel.axis, "better": panel.better}),
            ends.reset_index(),
        )
    ]


def _gaps(task: TaskResults, group: str, panel: Panel) -> list[Block]:
    found = task.table("domain_gap", panel)
    found = found[found["group"] == group] if not found.empty else found
    sizes = _sizes(task, group)
    large = [level for level, size in sizes.items() if size >= task.smallest_group(group)]
    if found.empty or not 2 <= len(large) <= _GAP_LEVELS:
        return []
    present = [level for level in large if level in set(found["level"])]
    blocks: list[Block] = []
    for level in present[:1] if len(large) == 2 else present:  # of two levels, one is the other's mirror image
        gaps = found[found["level"] == level].set_index("submission")
        gaps = gaps.assign(better_in=gaps["better_in"].fillna(""))
        better = gaps["better_in"].value_counts()
        blocks.append(
            Figure(
                f"gap-{slug(task.name)}-{slug(group)}-{slug(str(level))}-{slug(panel.metric)}",
                f"Gap between {level} and the other cases, {task.metric_name(panel.metric)}",
                f"Difference of the means with its 95 % interval ({plural(task.units.noun)} resampled); "
                f"{count(better.get('level', 0), 'submission')} {agree(better.get('level', 0), 'is', 'are')} "
                f"better in {level}, "
                f"{better.get('rest', 0)} elsewhere; {count(better.get('', 0), 'interval')} "
                f"{agree(better.get('', 0), 'contains', 'contain')} zero.",
                f"Difference between {level} and the other cases for {count(len(gaps), 'submission')}.",
                Plot(groups.domain_gap, {"gaps": gaps, "order": task.order, "axis": panel.axis, "level": str(level)}),
                gaps.reset_index().drop(columns=["task"], errors="ignore"),
            )
        )
    return blocks


def cost_section(task: TaskResults) -> Section:
    """Return accuracy against cost, where the scores have metrics of cost."""
    blocks: list[Block] = []
    kinds = {panel.metric: task.metric(panel.metric).kind for panel in task.overall}
    costs = [panel for panel in task.overall if kinds[panel.metric] in _COST_KINDS]
    accuracies = [panel for panel in task.overall if task.metric(panel.metric).info.scope == "structure"]
    for panel in accuracies[:2]:
        for paid in costs:
            points = pd.DataFrame({"cost": task.means(paid), "accuracy": task.means(panel)})
            if points.dropna().shape[0] < 2:
                continue
            memory = next((one for one in costs if kinds[one.metric] in _MEMORY), None)
            bubbles = memory is not None and kinds[paid.metric] == "running_time"
            if memory is not None and bubbles:
                points["memory"] = task.means(memory)
            told = points.assign(cases_cost=task.summary(paid)["n"], cases_accuracy=task.summary(panel)["n"])
            name, price = task.metric_name(panel.metric), task.metric_name(paid.metric)
            blocks.append(
                Figure(
                    f"cost-{slug(task.name)}-{panel.id}-{paid.id}",
                    f"{name} against {price[0].lower()}{price[1:]}",
                    f"Means over cases. {_front(points, panel.better)}"
                    + (f" Area: {task.metric_name(memory.metric)}." if memory is not None and bubbles else ""),
                    f"Scatter plot of {name} against {price} of {count(len(points), 'submission')}.",
                    Plot(
                        cost.accuracy_cost,
                        {"points": points, "order": task.order, "look": task.look,
                         "axes_names": (f"{paid.axis}, mean", f"{panel.axis}, mean"), "better": panel.better},
                    ),
                    told.rename_axis("submission").reset_index(),
                )
            )  # fmt: skip
    return Section(f"cost-{slug(task.name)}", "Accuracy and cost", tuple(blocks))


def _front(points: pd.DataFrame, better: str) -> str:
    """Return what the dashed line joins; one submission that is best in both has none."""
    known = points.dropna()
    best = cost.pareto(known["cost"].to_numpy(float), known["accuracy"].to_numpy(float) * (-1) ** (better == "lower"))
    if len(best) == 1:
        return f"{known.index[best[0]]} is best in both."
    return "The dashed line joins the submissions that no other one beats in both."


def memory_section(results: Results) -> Section:
    """Return memory over time of every run of a campaign, where curves were recorded."""
    curves = results.curves
    if curves is not None:
        # One reading is no curve: runs of a fraction of a second have no more.
        curves = curves[curves.groupby(["submission", "case"])["seconds"].transform("size") > 1]
    if curves is None or curves.empty:
        return Section("memory", "Memory over time")
    order = [name for name in results.submissions if name in set(curves["submission"])]
    colours = look(results.submissions)
    what = str(curves["what"].iloc[0])
    blocks: list[Block] = []
    pages = -(-len(order) // cost.PER_PAGE)
    for page in range(pages):
        names = order[page * cost.PER_PAGE : (page + 1) * cost.PER_PAGE]
        part = curves[curves["submission"].isin(names)]
        words = f" ({page + 1} of {pages})" if pages > 1 else ""
        blocks.append(
            Figure(
                f"memory-{page + 1}",
                f"{what} over time{words}",
                "One line per case, from the start of the container to its end.",
                f"{what} against time for {count(len(names), 'submission')}.",
                Plot(cost.memory_curves, {"curves": part, "order": names, "look": colours}),
                part.reset_index(drop=True),
            )
        )
    return Section("memory", "Memory over time", tuple(blocks))


def transfer_section(task: TaskResults, prefix: str = "") -> Section:
    """Return the gains of fine-tuned submissions over their twins trained from scratch, where there are such twins."""
    from medpodium.scoring.evidence.transfer import FINE_TUNED

    twins = {name[: -len(ending)]: name for ending in FINE_TUNED for name in task.order if name.endswith(ending)}
    twins = {scratch: tuned for scratch, tuned in twins.items() if scratch in task.order}
    blocks: list[Block] = []
    for panel in task.overall if twins else []:
        values = task.matrix(panel)
        sign = 1 if panel.better == "higher" else -1
        for group in [name for name in task.groups if name in ("modality", "target_kind", "size_bin")][:3] or [""]:
            level = task.case_groups[group] if group else None
            gains = pd.concat(
                [
                    pd.DataFrame(
                        {
                            "model": scratch,
                            "case": values.index,
                            "group": level.reindex(values.index).to_numpy() if level is not None else "all",
                            "gain": sign * (values[tuned] - values[scratch]).to_numpy(),
                        }
                    )
                    for scratch, tuned in sorted(twins.items())
                ],
                ignore_index=True,
            ).dropna(subset=["gain"])
            blocks += _gains(task, panel, gains, group)
    return Section(f"transfer-{slug(task.name)}", f"{prefix}What pre-training brings", tuple(blocks))


_SIZES = ("small", "base", "large", "huge")
"""STU-Net's sizes, as readers expect them."""


def _in_order(gains: pd.DataFrame, levels: Sequence[str]) -> pd.DataFrame:
    """Sort gains by group as listed, model by size and case by name."""
    places = {"at_group": ("group", levels), "at_model": ("model", _SIZES)}
    keys = {
        key: gains[column].map({name: at for at, name in enumerate(names)}).fillna(len(names))
        for key, (column, names) in places.items()
    }
    ordered = gains.assign(**keys).sort_values(["at_group", "group", "at_model", "model", "case"], ignore_index=True)
    return ordered.drop(columns=list(keys))


def _gains(task: TaskResults, panel: Panel, gains: pd.DataFrame, group: str) -> list[Block]:
    name = task.metric_name(panel.metric)
    title = task.group_title(group) if group else "data set"
    key = f"{slug(task.name)}-{panel.id}-{slug(group or 'all')}"
    axis = f"gain in {name}, fine-tuned minus from scratch"
    gains = _in_order(gains, task.levels(group) if group else [])
    up = int((gains["gain"] > 0).sum())
    figures: list[Block] = [
        Figure(
            f"gains-{key}-groups",
            f"Gain of fine-tuning by {title}",
            f"One dot per data set; positive: fine-tuning is better ({up:,} of {len(gains):,} "
            "comparisons). Each value is one "
            "training run, so its spread over seeds is unknown.",
            f"Distribution of the gain by {title}.",
            Plot(cost.transfer_by_group, {"gains": gains, "axis": axis}),
            gains,
        )
    ]
    if group in ("modality", ""):
        figures.insert(
            0,
            Figure(
                f"gains-{key}",
                "Gain of fine-tuning per data set",
                f"One bar per data set, sorted by gain within each model; colour: {title}.",
                f"Bars of the gain of fine-tuning over {gains['case'].nunique()} data sets.",
                Plot(cost.transfer_gains, {"gains": gains, "axis": f"gain in {name}"}),
                gains,
            ),
        )
    return figures
