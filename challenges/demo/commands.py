"""The verb ``demo``."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import click

from medpodium import console
from medpodium.challenges.sources import python_command


@click.command(epilog="Example: medpodium demo my-demo")
@click.argument("folder", default="medpodium-demo", type=click.Path(path_type=Path), metavar="[DIR]")
@click.option("--cases", default=8, show_default=True, type=click.IntRange(2, 500), help="Number of cases to make.")
@click.option("--challenge", help="Make masks, or questions, for this challenge instead.")
@click.option("--seed", default=0, show_default=True, help="Same seed, same files.")
@console.json_option
@console.guarded
def demo(folder: Path, cases: int, challenge: str | None, seed: int, as_json: bool) -> None:
    """Make a small synthetic challenge in DIR, then score, rank and report it with the real verbs.

    References are ellipsoids, no medical data; the three teams fail in realistic ways: a missing case, a flipped
    one, lesions missed and invented. With --challenge, made-up questions, a key and the replies of three models; or,
    for a challenge of masks, tubes under every label of its tasks.
    """
    from medpodium.challenges.demo import make as maker

    if challenge is not None:
        _of_challenge(folder, challenge, cases, seed, as_json)
        return
    places = maker.make(folder, cases, seed)
    teams = [f"{team.name}={places[f'predictions/{team.name}']}" for team in maker.TEAMS]
    scores, leaderboard = folder / "scores.csv", folder / "leaderboard.csv"
    verbs = (
        ["score", maker.CHALLENGE, "--references", str(places["references"]), "--cases", str(places["cases"])]
        + ["--resources", str(places["resources"]), "--out", str(scores)]
        + [part for team in teams for part in ("--predictions", team)],
        # The report collects the evidence itself and keeps its tables in report/data.
        ["rank", maker.CHALLENGE, str(scores), "--out", str(leaderboard)],
        ["report", maker.CHALLENGE, str(scores), "--out", str(folder / "report")],
    )
    _show(verbs, folder, as_json)


def _show(verbs: Iterable[list[str]], folder: Path, as_json: bool) -> None:
    """Run the verbs and say where leaderboard and report are."""
    from medpodium.findings import ExitCode

    codes = _run(verbs, as_json)
    leaderboard, page = folder / "leaderboard.csv", (folder / "report" / "index.html").resolve()
    if not (leaderboard.exists() and page.exists()):
        # A verb that crashed also ends with exit code 1.
        raise SystemExit(ExitCode.INFRASTRUCTURE)
    if as_json:
        console.print_json({"folder": folder, "leaderboard": leaderboard, "report": page, "exit_codes": codes})
        return
    console.out.print(f"\nLeaderboard  {leaderboard}\nReport       {page}", markup=False, highlight=False)


def _run(verbs: Iterable[list[str]], as_json: bool) -> dict[str, int]:
    """Run verbs as a user would; findings (exit code 1) are part of the show."""
    from medpodium.findings import ExitCode

    codes = {}
    for verb in verbs:
        if not as_json:
            console.out.print(f"\n$ medpodium {' '.join(verb)}", style="bold", markup=False, highlight=False)
        done = subprocess.run(python_command("medpodium.cli", *verb), check=False, capture_output=as_json)
        codes[verb[0]] = done.returncode
        if done.returncode > ExitCode.FINDINGS:
            raise SystemExit(done.returncode)
    return codes


def _of_challenge(folder: Path, challenge: str, number: int, seed: int, as_json: bool) -> None:
    """Make questions or masks for a challenge, then score every task of them, rank and report."""
    from medpodium.challenges import registry
    from medpodium.challenges.demo import masks, questions

    drawn = any(task.file_stems for task in registry.load(challenge).tasks.values())
    made = (
        masks.make(folder, challenge, number, seed)
        if drawn
        else questions.make(folder, challenge, max(number, 12), seed)
    )

    scores, leaderboard = folder / "scores.csv", folder / "leaderboard.csv"
    groups = ["--cases", str(folder / masks.CASES)] if drawn else []  # the key of questions has its own
    verbs = []
    for task, (key, teams) in made.items():
        given = [part for name, path in teams.items() for part in ("--predictions", f"{name}={path}")]
        score = ["score", challenge, "--task", task, "--references", str(key), *groups, *given]
        verbs.append([*score, "--out", str(scores), "--add"])
    verbs.append(["rank", challenge, str(scores), "--out", str(leaderboard)])
    verbs.append(["report", challenge, str(scores), "--out", str(folder / "report")])
    _show(verbs, folder, as_json)
