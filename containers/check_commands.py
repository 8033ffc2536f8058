"""The verb ``check``: what a participant runs before submitting."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console

if TYPE_CHECKING:
    from medpodium.challenges.campaign.work import Submission
    from medpodium.challenges.schema.definition import Challenge
    from medpodium.containers.athome import Verdict
    from medpodium.containers.sandbox.elsewhere import Platform
    from medpodium.findings import Finding

_FOLDER = click.Path(path_type=Path)

_CHECKS = {
    "predictions": ("containers.check_commands:predictions", "Check a folder of predictions, all findings at once."),
    "image": (
        "containers.check_commands:check_image",
        "Run a container as the hidden test does, and check it.",
    ),
}


@click.group(cls=console.LazyGroup, verbs=_CHECKS)
def check(**_: Any) -> None:
    """Check predictions or a container image before submitting."""


@click.command(
    epilog="Example: medpodium check predictions flare-pancancer/2023 --references val/labels --predictions out/"
)
@click.argument("challenge")
@click.option("--references", required=True, type=click.Path(path_type=Path), help="Folder of references.")
@click.option("--predictions", "folder", required=True, type=click.Path(path_type=Path), help="Folder to check.")
@click.option("--cases", type=click.Path(path_type=Path), help="CSV with a column 'case'; only these are checked.")
@click.option("--task", help="Task to check, where the challenge has several.")
@click.option("--variant", help="Scoring variant.")
@console.json_option
@console.guarded
def predictions(
    challenge: str,
    references: Path,
    folder: Path,
    cases: Path | None,
    task: str | None,
    variant: str | None,
    as_json: bool,
) -> None:
    """Check every prediction in a folder: files, grids, labels, and what would explain a low overlap."""
    from medpodium.challenges import registry
    from medpodium.scoring import groups
    from medpodium.scoring.kinds import engine
    from medpodium.scoring.kinds.lookup import pick_task

    loaded = registry.load(challenge, variant=variant)
    name = pick_task(loaded, task)
    known = None if cases is None else groups.read_cases(cases)
    with console.progress() as bar:
        line = bar.add_task("checking cases", total=None)
        findings = engine.check_task(
            loaded,
            name,
            references,
            folder,
            lambda done, total: bar.update(line, completed=done, total=total),
            cases=known,
        )
    if as_json:
        console.print_json({"challenge": loaded.reference, "task": name, "findings": findings})
    else:
        console.print_findings(findings)
        count = len(findings)
        console.out.print(f"{folder}: {count} finding{'s' if count != 1 else ''}", markup=False)
    console.finish(findings)


@dataclass(frozen=True)
class Trial:
    """What ``check image`` runs an image on.

    Parameters
    ----------
    cases, references : Path
        Folders of cases and, where there are any, of their references.
    groups : Path, optional
        Table of case metadata.
    task : str, optional
        Which container protocol.
    team : str
        Name of the team.
    keep : Path, optional
        New folder for everything that is usually thrown away.
    platform : str, optional
        Whose rules hold instead of the hidden test's.
    """

    cases: Path
    references: Path | None
    groups: Path | None
    task: str | None
    team: str
    keep: Path | None
    platform: str | None


@click.command(
    "image",
    epilog="Example: medpodium check image flare-pancancer team.tar.gz --cases val/images --references val/labels",
)
@click.argument("challenge")
@click.argument("image")
@click.option("--cases", required=True, type=_FOLDER, help="Folder of cases, laid out as the challenge's own.")
@click.option("--references", type=_FOLDER, help="Folder of their references; scores every prediction.")
@click.option("--groups", type=_FOLDER, help="CSV of case metadata, where the protocol hands it to the container.")
@click.option("--task", help="Task, where the challenge has several container protocols.")
@click.option("--team", default="team", show_default=True, help="Team name, for name rules.")
@click.option("--keep", type=_FOLDER, help="New folder for logs, predictions and resource curves.")
@click.option(
    "--platform",
    type=click.Choice(["grand-challenge", "codabench", "synapse"]),
    help="Run under the rules that this platform applies, not the hidden test's.",
)
@click.option("--gpu", multiple=True, help="GPU to use; repeat for several.")
@click.option("--runtime", help="Container runtime of the engine, for instance runsc.")
@console.json_option
@console.guarded
@console.gathered(Trial, "trial")
def check_image(
    challenge: str, image: str, trial: Trial, gpu: tuple[str, ...], runtime: str | None, as_json: bool
) -> None:
    """Run IMAGE (archive of docker save, local image, or REGISTRY/NAME@sha256:...) exactly as the hidden test does.

    The same sandbox, limits, collection and scoring; prints the command it stands for and what to mend. With --platform
    the flags and limits are those of another platform, as far as its public sources tell.
    """
    from medpodium.challenges import registry
    from medpodium.challenges.campaign import cases as case_files
    from medpodium.containers import athome
    from medpodium.containers.run.runner import Options
    from medpodium.containers.sandbox import engine
    from medpodium.containers.sandbox.elsewhere import PLATFORMS

    loaded = registry.load(challenge)
    client = engine.connect()
    groups = case_files.read_groups(trial.groups) if trial.groups else None
    elsewhere = PLATFORMS[trial.platform] if trial.platform else None
    with console.progress() as bar:
        line = bar.add_task("running cases", total=None)

        def tell(_: Submission, __: str, ___: Finding | None) -> None:
            bar.advance(line)

        verdict = athome.check_image(
            client,
            loaded,
            image,
            trial.cases,
            trial.references,
            task=trial.task,
            team=trial.team,
            groups=groups,
            options=Options(gpu_ids=gpu, runtime=runtime, elsewhere=elsewhere),
            keep=trial.keep,
            report=tell,
        )
    _print_verdict(loaded, verdict, elsewhere, as_json)
    console.finish(verdict.findings)


def _print_verdict(challenge: Challenge, verdict: Verdict, elsewhere: Platform | None, as_json: bool) -> None:
    scores = verdict.scores
    if as_json:
        rows = scores.to_dict("records") if scores is not None else None
        console.print_json(
            {
                "passed": verdict.passed,
                "command": verdict.command,
                "by_hand": verdict.by_hand,
                "log": {"case": verdict.log[0], "end": verdict.log[1]},
                "cases": verdict.cases,
                "findings": verdict.findings,
                "scores": rows,
                **({"platform": asdict(elsewhere)} if elsewhere is not None else {}),
            }
        )
        return
    columns = ("case", "status", "running_time", "cpu_time", "peak_memory", "peak_gpu_memory")
    console.print_table(columns, ([row[name] for name in columns] for row in verdict.cases))
    if scores is not None and len(scores):
        from medpodium.scoring.ranking.settled import settle_task

        for task, own in scores.groupby("task", sort=False):
            means = settle_task(own, challenge, str(task), ranked=False).averages("metric", "structure").reset_index()
            console.print_table(
                ("metric", "structure", "mean", "n"), means.itertuples(index=False), title=f"scores, {task}"
            )
    if elsewhere is not None:
        lines = [f"rules of {elsewhere.title}, as read in {elsewhere.source}:"]
        lines += [f"  {setting}" for setting in elsewhere.settings]
        console.out.print("\n".join(lines), markup=False, soft_wrap=True)
    console.print_findings(verdict.findings)
    if verdict.log[1]:
        console.out.print(f"end of the log of case {verdict.log[0]}:\n{verdict.log[1]}", markup=False)
    if verdict.by_hand:
        console.out.print(f"run the first case by hand:\n{verdict.by_hand}", markup=False)
    else:
        who = elsewhere.title if elsewhere is not None else "the hidden test"
        text = f"{who} runs (first case; with --keep DIR its folders stay, and you get a line to run by hand):"
        console.out.print(f"{text}\n{verdict.command}", markup=False)
    console.out.print(_last_word(verdict, elsewhere), markup=False)


def _last_word(verdict: Verdict, elsewhere: Platform | None) -> str:
    if not verdict.passed:
        return "FAIL: see the findings"
    text = "PASS: the hidden test would take every output"
    if elsewhere is not None:
        text = f"PASS under the rules of {elsewhere.title}, with the outputs that the challenge asks for"
    if doubts := verdict.doubts:
        cases = len({one.where for one in doubts})
        text += f", but {cases} of them hardly fit{'s' if cases == 1 else ''} the reference: {doubts[0].cause}"
    return text
