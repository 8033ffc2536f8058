"""The score table of a campaign: what has changed is scored, the rest stands, and the ledger knows which is which."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from medpodium.challenges.campaign import folder as campaigns
from medpodium.challenges.campaign.cases import sha256_of
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.campaign.standing import LEFT_OUT, Marks, Scored, marks
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.sources import source_hash
from medpodium.findings import Finding, InfrastructureError
from medpodium.scoring.campaign import answered_tasks, check, merged, score
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import BrokenReferencesError, ScoreCode

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.scoring.kinds.engine import Result
    from medpodium.scoring.scheduling.scheduler import Scheduler

_NUMBERS = ("value", "confidence", "count", "time", "event")
"""Columns of scores and observations that hold numbers, even where all of them are missing."""


@dataclass(frozen=True)
class Ask:
    """What is to be scored of a campaign, and how.

    Parameters
    ----------
    task : str, optional
        Only this task; every task that somebody has submitted to when left out.
    out : Path, optional
        Another place for the table, which is then computed from nothing and not noted.
    place : Scheduler, optional
        Where to run; this machine when left out.
    skip_broken : bool
        Leave cases with a broken reference out, for everybody.
    anew : bool
        Score everything again, whatever has been scored.
    """

    task: str | None = None
    out: Path | None = None
    place: Scheduler | None = None
    skip_broken: bool = False
    anew: bool = False


@dataclass(frozen=True)
class Done:
    """A table that was written.

    Parameters
    ----------
    challenge : Challenge
        The frozen definition.
    result : Result
        Every score, new and old; the findings are those of what was scored now.
    out : Path
        Where it is.
    again, kept : int
        How many scores of a submission on a case were computed now, and how many stand as they were.
    """

    challenge: Challenge
    result: Result
    out: Path
    again: int
    kept: int


@dataclass
class _Old:
    """What is known of the table there is."""

    scores: pd.DataFrame | None = None
    observations: pd.DataFrame | None = None
    marks: Marks = field(default_factory=dict)


def score_campaign(root: Path, ask: Ask | None = None) -> Done:
    """Score every submission of a campaign on its own references and predictions, and write the table.

    A score is computed again where its reference, its prediction or its run is not the one it was computed from, and
    all of them where the scorer is another or the table was touched. The rest stands, so that a case that was added or
    corrected costs that case. The table is written first and noted last: a process that is killed in between leaves
    scores that count as out of date.

    Raises
    ------
    InfrastructureError
        If references or predictions are not what was hashed.
    """
    from medpodium.scoring import definitions
    from medpodium.scoring.kinds.lookup import pick_task

    ask = ask or Ask()
    with campaigns.opened(root) as campaign:
        tasks = [pick_task(campaign.challenge, ask.task)] if ask.task else answered_tasks(campaign)
        check(campaign, tasks)
        own = ask.out is None or ask.out.resolve() == campaign.scores_path.resolve()
        now = marks(campaign)
        old = _old(campaign) if own and not ask.anew else _Old()
        parts, again = [], 0
        for name in tasks:
            result, count = _task(campaign, name, now.get(name, {}), old, ask)
            parts.append(result)
            again += count
        others = [name for name in now if name not in tasks] if own else []
        parts += [_kept(old, name, set(now[name])) for name in others if old.scores is not None]
        whole = _plain(merged(_in_order(campaign, parts)))
        out = ask.out or campaign.scores_path
        files = definitions.write(campaign.challenge, whole.scores, whole.observations, out)
        campaign.ledger.event("score", ", ".join(tasks), rows=len(whole.scores), again=again, out=str(out))
        if own:
            noted = {name: _noted(now[name], whole.scores, name) for name in tasks}
            noted |= {name: old.marks[name] for name in others if name in old.marks}
            hashes = {path.name: sha256_of(path)[0] for path in files}
            Scored(hashes, noted, source_hash()).note(campaign)
        total = sum(len(cases) for name in tasks for cases in now.get(name, {}).values())
        return Done(campaign.challenge, whole, out, again, total - again)


def _old(campaign: Campaign) -> _Old:
    """Return the table there is, if it is the one that was noted and this scorer would compute the same."""
    from medpodium.scoring import observations, table

    known = Scored.of(campaign)
    if known is None or known.scorer != source_hash() or not known.is_there(campaign.root):
        return _Old()
    path = campaign.scores_path
    return _Old(table.read_scores(path), observations.read_beside(path), known.marks)


def _task(campaign: Campaign, name: str, now: dict[str, dict[str, str]], old: _Old, ask: Ask) -> tuple[Result, int]:
    """Return the scores of one task, and how many scores of a submission on a case were computed now."""
    everything = sum(len(cases) for cases in now.values())
    task = campaign.challenge.tasks[name]
    before = old.marks.get(name, {})
    # What is light is scored in a moment, and a table of answers has its cases in common.
    if old.scores is None or not of(task).heavy or KINDS[task.kind].layout != "files" or not before:
        return score(campaign, name, scheduler=ask.place, skip_broken=ask.skip_broken), everything
    late = {team for team in now if team not in before}
    changed = {
        case
        for team, cases in now.items()
        if team not in late
        for case, mark in cases.items()
        if mark != before[team].get(case)
    }
    kept = _kept(old, name, set(now), set(campaign.case_names()) - changed)
    parts: list[Result] = []
    if changed:
        parts.append(_some(campaign, name, ask, only=changed))
    if late and (rest := set(campaign.case_names()) - changed):
        parts.append(_some(campaign, name, ask, only=rest, teams=late))
    joined = _joined(campaign, name, kept, parts, list(now))
    if joined is None:
        return score(campaign, name, scheduler=ask.place, skip_broken=ask.skip_broken), everything
    return joined, len(changed) * len(now) + len(late) * (len(campaign.case_names()) - len(changed))


def _some(campaign: Campaign, name: str, ask: Ask, *, only: set[str], teams: set[str] | None = None) -> Result:
    """Score some cases, all teams or some; where none of them can be scored, the others still stand."""
    from medpodium.scoring import table
    from medpodium.scoring.kinds.engine import Result

    try:
        return score(campaign, name, scheduler=ask.place, skip_broken=ask.skip_broken, only=only, teams=teams)
    except BrokenReferencesError as error:
        if not ask.skip_broken:
            raise
        return Result(table.empty(), {"": list(error.findings)})
    except InfrastructureError as error:
        if any(str(one.code) != "scorer-failed" for one in error.findings):
            raise
        return Result(table.empty(), {"": list(error.findings)}, None, tuple(error.findings))


def _kept(old: _Old, task: str, teams: set[str], cases: set[str] | None = None) -> Result:
    """Return those scores of the table there is that stand."""
    from medpodium.scoring.kinds.engine import Result

    def rows(frame: pd.DataFrame) -> pd.DataFrame:
        there = (frame["task"] == task) & frame["submission"].isin(teams)
        return frame[there if cases is None else there & frame["case"].isin(cases)].reset_index(drop=True)

    assert old.scores is not None  # noqa: S101 - asked for only where there is a table
    scores = rows(old.scores)
    return Result(scores, _still(scores), rows(old.observations) if old.observations is not None else None)


def _still(scores: pd.DataFrame) -> dict[str, list[Finding]]:
    """Return what was wrong when these scores were made, and still is: cases without a usable prediction."""
    lost = scores[(scores["status"] == "missing") | scores["status"].str.startswith("failed:")]
    found: dict[str, list[Finding]] = {"": []}
    for row in lost.drop_duplicates(["submission", "case"]).to_dict("records"):
        where, cause = f"{row['submission']}: {row['case']}", f"{row['status']}, as it was when it was scored"
        problem = Finding(ScoreCode.PREDICTION_MISSING, where, cause, "nothing to do here; 'medpodium status' says why")
        found.setdefault(str(row["submission"]), []).append(problem)
    return found


def _joined(campaign: Campaign, name: str, kept: Result, parts: list[Result], teams: list[str]) -> Result | None:
    """Return old and new scores as one table in the order in which all at once would stand; ``None`` if they differ."""
    from medpodium.scoring import definitions, observations, table
    from medpodium.scoring.kinds.engine import Result

    filled = [one for one in (kept, *parts) if len(one.scores)]
    shapes = {(tuple(one.scores.columns), frozenset(one.scores["metric"])) for one in filled}
    if len(shapes) > 1:  # a measurement or a group that only some of them have
        return None
    whole = table.concatenate([one.scores for one in filled])
    observed = observations.concatenate(one.observations for one in filled)
    whole = _sorted(campaign, name, whole[whole["case"] != ""], teams)
    findings: dict[str, list[Finding]] = {"": []}
    if observed is not None and len(observed):
        observed = _sorted(campaign, name, observed, teams)
        task = campaign.challenge.tasks[name]
        pooled = of(task).score_pooled(campaign.challenge, name, observed, teams, findings)
        whole = table.concatenate([whole, definitions.mark(pooled, campaign.challenge, name)])
    return merged([Result(whole, findings, observed), *(_without_rows(one) for one in (kept, *parts))])


def _without_rows(result: Result) -> Result:
    from medpodium.scoring.kinds.engine import Result

    return Result(result.scores.iloc[:0], result.findings, None, result.unscored)


def _sorted(campaign: Campaign, name: str, frame: pd.DataFrame, teams: list[str]) -> pd.DataFrame:
    task = campaign.challenge.tasks[name]
    orders = {
        "case": campaign.case_names(),
        "submission": teams,
        "metric": list(task.metrics),
        "structure": ["", *task.structure_titles],
    }
    keys = [key for key in orders if key in frame.columns]
    ranks = {key: {value: number for number, value in enumerate(orders[key])} for key in keys}
    ordered = frame.sort_values(keys, key=lambda column: column.map(ranks[str(column.name)]), kind="stable")
    return ordered.reset_index(drop=True)


def _plain(result: Result) -> Result:
    """Return a result whose texts are plain objects, whether they were computed now or read from a file."""

    def plain(frame: pd.DataFrame) -> pd.DataFrame:
        texts = [name for name in frame.columns if frame[name].dtype.kind not in "fi" and name not in _NUMBERS]
        numbers = [name for name in frame.columns if name in _NUMBERS]
        return frame.astype({**dict.fromkeys(texts, object), **dict.fromkeys(numbers, "float64")})

    observed = plain(result.observations) if result.observations is not None else None
    return replace(result, scores=plain(result.scores), observations=observed)


def _in_order(campaign: Campaign, parts: Iterable[Result]) -> list[Result]:
    """Return results of several tasks in the definition's order."""
    order = list(campaign.challenge.tasks)

    def place(result: Result) -> int:
        return order.index(str(result.scores["task"].iloc[0])) if len(result.scores) else -1

    return sorted(parts, key=place)


def _noted(now: dict[str, dict[str, str]], scores: pd.DataFrame, task: str) -> dict[str, dict[str, str]]:
    """Return the marks of what is in the table; of what was left out (a broken reference), as such."""
    own = scores[(scores["task"] == task) & (scores["case"] != "")]
    there = set(zip(own["submission"].astype(str), own["case"].astype(str), strict=True))
    return {
        team: {
            case: mark if not mark or not there or (team, case) in there else LEFT_OUT + mark
            for case, mark in cases.items()
        }
        for team, cases in now.items()
    }
