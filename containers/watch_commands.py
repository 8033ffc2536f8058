"""The verbs ``status`` and ``watch``: how far a campaign is."""

from __future__ import annotations

import math
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console

if TYPE_CHECKING:
    from rich.console import Group

    from medpodium.challenges.campaign.folder import Campaign
    from medpodium.challenges.campaign.glance import Glance, Line
    from medpodium.challenges.campaign.standing import Standing
    from medpodium.challenges.campaign.work import Submission

_FOLDER = click.Path(path_type=Path)
_SIGNS = {"pending": "·", "running": "▶", "done": "█", "failed": "✗"}
_STYLES = {"pending": "dim", "running": "bold cyan", "done": "green", "failed": "bold red"}
_WIDEST = 60
_MOST = 12


@click.command(epilog="Example: medpodium status campaign/ --json")
@click.argument("campaign", type=_FOLDER)
@console.json_option
@console.guarded
def status(campaign: Path, as_json: bool) -> None:
    """Show by phase, task and team what is done, what failed and why, what is pending, and which scores are stale."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign.standing import standing

    with campaigns.opened(campaign) as opened:
        table = opened.resources()
        known = standing(opened)
        unfinished = known.findings(str(campaign))
        rows, why = [], []
        for entry in opened.submissions():
            row, reasons = _row(opened, entry, known, table)
            rows.append(row)
            why += reasons
        rows.sort(key=lambda row: row["phase"])
        problems = [
            {"task": entry.task, "team": team, "case": case, "code": str(one.code), "cause": one.cause, "fix": one.fix}
            for entry in opened.submissions()
            for (team, case), one in opened.failures(entry.task).items()
            if team == entry.team
        ]
        payload = {
            "challenge": opened.challenge.reference,
            "cases": len(opened.manifest.cases),
            "submissions": rows,
            "pending": why,
            "failures": problems,
            "out": [vars(one) for one in known.out],
            "scored": opened.scores_path.exists(),
            "findings": unfinished,
        }
    if as_json:
        console.print_json(payload)
        return
    console.print_first(unfinished)
    names = ("phase", "task", "team", "done", "failed", "pending", "waiting", "stale", "running_time", "peak_memory")
    title = f"{payload['challenge']}, {payload['cases']} cases (mean running time in s, peak memory in MB)"
    console.print_table(names, ([row[name] for name in names] for row in rows), title=title)
    if why:
        words = ("task", "team", "count", "why", "first")
        console.print_table(words, ([row[key] for key in words] for row in why), title="pending")
    if problems:
        keys = ("task", "team", "case", "code", "cause", "fix")
        console.print_table(keys, ([row[key] for key in keys] for row in problems), title="failures")


def _row(campaign: Campaign, entry: Submission, known: Standing, table: Any) -> tuple[dict[str, Any], list[Any]]:
    from medpodium.challenges.campaign import work
    from medpodium.challenges.campaign.standing import tasks_of

    own = table[(table["submission"] == entry.team) & (table["task"] == entry.task)]
    reasons = work.why_pending(campaign, entry)
    counts = Counter(reasons.values())
    first = {why: name or "all cases" for name, why in reversed(list(reasons.items()))}
    stale = sum((known.stale.get((task, entry.team), Counter()) for task in tasks_of(campaign, entry)), Counter[str]())
    row = {
        "phase": work.level(campaign, entry.task) + 1,
        "task": entry.task,
        "team": entry.team,
        "digest": entry.digest,
        "done": int((own["status"] == "ok").sum()),
        "failed": int(own["status"].str.startswith("failed:").sum()),
        "pending": int((own["status"] == "pending").sum()),
        "waiting": len(work.waiting(campaign, entry)),
        "stale": stale.total(),
        "stale_why": dict(stale),
        "running_time": float(own["running_time"].mean()),
        "peak_memory": float(own["peak_memory"].max()),
    }
    named = {"task": entry.task, "team": entry.team}
    return row, [{**named, "count": number, "why": why, "first": first[why]} for why, number in counts.items()]


@click.command(epilog="Example: medpodium watch campaign/ --interval 5")
@click.argument("campaign", type=_FOLDER)
@click.option("--once", is_flag=True, help="Print one frame and end.")
@click.option("--interval", default=2.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between frames.")
@console.json_option
@console.guarded
def watch(campaign: Path, once: bool, interval: float, as_json: bool) -> None:
    """Watch teams and cases while they run: done, failed and why, time left, memory.

    CAMPAIGN is the folder or its ledger.sqlite. Nothing else is read, so that any machine that sees the ledger, or a
    copy of it, can watch; nothing is written. Ctrl-C ends it, and disturbs no run.
    """
    from medpodium.challenges.campaign import glance

    found = glance.look(campaign)
    if as_json:
        console.print_json(asdict(found))
        return
    if once or not console.out.is_terminal:
        console.out.print(_frame(found))
        return
    from rich.live import Live

    try:
        with Live(_frame(found), console=console.out, screen=False, auto_refresh=False) as live:
            while True:
                time.sleep(interval)
                live.update(_frame(glance.look(campaign)), refresh=True)
    except KeyboardInterrupt:
        return


def _frame(found: Glance) -> Group:
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    columns = ("phase", "task", "team", "cases", "done", "failed", "pending", "s/case", "MB peak", "MB limit", "left")
    table = Table(*columns, title=f"{found.challenge}, {found.time}", title_justify="left", box=None, pad_edge=False)
    for line in found.lines:
        table.add_row(*_cells(line))
    parts: list[Any] = [table]
    running = [(line, piece) for line in found.lines for piece in line.pieces if piece.state == "running"]
    if running:
        now = Table("running", "case", "for", "of", box=None, pad_edge=False)
        for line, piece in running:
            now.add_row(
                escape(f"{line.team} ({line.task})"),
                escape(piece.case or "all cases"),
                _duration(piece.seconds),
                _duration(line.limit_seconds),
            )
        parts.append(now)
    failed = [(line, piece) for line in found.lines for piece in line.pieces if piece.state == "failed"]
    stuck = [(line, piece) for line in found.lines for piece in line.pieces if piece.state == "pending" and piece.cause]
    for title, rows in (("failed", failed), ("pending", stuck)):
        if rows:
            own = Table(title, "case", "code", "cause", box=None, pad_edge=False)
            for line, piece in rows[:_MOST]:
                name = f"{line.team} ({line.task})"
                own.add_row(*(escape(text) for text in (name, piece.case or "all cases", piece.code, piece.cause)))
            if len(rows) > _MOST:
                own.add_row("...", f"{len(rows) - _MOST} more", "", "see 'medpodium status'")
            parts.append(own)
    parts += [Text(words) for words in found.out]
    counts = {state: sum(line.count(state) for line in found.lines) for state in _SIGNS}
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    left = "everything is done" if found.left == 0 else f"left at this pace: {_duration(found.left)}"
    parts.append(Text(f"{said}; {left}" if found.lines else "nobody has submitted anything"))
    return Group(*parts)


def _cells(line: Line) -> list[Any]:
    from rich.markup import escape
    from rich.text import Text

    signs = Text()
    if len(line.pieces) <= _WIDEST:
        for piece in line.pieces:
            signs.append(_SIGNS[piece.state], _STYLES[piece.state])
    else:  # a sign for several cases shows the share of each state
        for state in ("done", "failed", "running", "pending"):
            number = line.count(state)
            signs.append(
                _SIGNS[state] * (max(1, number * _WIDEST // len(line.pieces)) if number else 0), _STYLES[state]
            )
    times = [piece.seconds for piece in line.pieces if piece.state in ("done", "failed") and piece.seconds >= 0]
    peaks = [piece.memory for piece in line.pieces if not math.isnan(piece.memory)]
    return [
        str(line.phase + 1),
        escape(line.task),
        escape(line.team),
        signs,
        *(str(line.count(state)) for state in ("done", "failed")),
        str(line.count("pending") + line.count("running")),
        f"{sum(times) / len(times):.1f}" if times else "–",
        f"{max(peaks):.0f}" if peaks else "–",
        f"{line.limit_memory:.0f}",
        _duration(line.left),
    ]


def _duration(seconds: float) -> str:
    if math.isnan(seconds):
        return "–"
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
