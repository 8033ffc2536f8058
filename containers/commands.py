"""The verbs ``template``, ``init``, ``submit`` and ``run``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console
from medpodium.scoring.scheduling.options import Where, elsewhere, scheduler_options

if TYPE_CHECKING:
    from medpodium.challenges.campaign.work import Submission
    from medpodium.containers.run.runner import Options
    from medpodium.findings import Finding

_FOLDER = click.Path(path_type=Path)


def _options(gpu: tuple[str, ...], runtime: str | None, keep_images: bool = False) -> Options:
    from medpodium.containers.run.runner import Options

    return Options(gpu_ids=gpu, runtime=runtime, keep_images=keep_images)


@dataclass(frozen=True)
class HiddenTest:
    """What ``init`` makes a campaign of.

    Parameters
    ----------
    cases, references : Path
        Folders of the hidden cases and of their references.
    groups : Path, optional
        Table of groups and metadata.
    training : Path, optional
        Folder of the training set.
    task, variant : str, optional
        Which container protocol, and which scoring variant.
    """

    cases: Path
    references: Path | None
    groups: Path | None
    training: Path | None
    task: str | None
    variant: str | None


@click.command(epilog="Example: medpodium template flare-pancancer my-submission/")
@click.argument("challenge")
@click.argument("folder", type=_FOLDER)
@click.option("--task", help="Task, where the challenge has several container protocols.")
@click.option("--base", default="python:3.11-slim", show_default=True, help="Base image of the Dockerfile.")
@console.json_option
@console.guarded
def template(challenge: str, folder: Path, task: str | None, base: str, as_json: bool) -> None:
    """Write a Dockerfile and a runnable example segmenter that passes 'check image' for CHALLENGE."""
    from medpodium.challenges import registry
    from medpodium.containers.template import write as templates

    written = templates.write(registry.load(challenge), folder, task=task, base=base)
    if as_json:
        console.print_json({"folder": folder, "files": written})
    else:
        console.out.print("\n".join(written), markup=False)
        console.out.print(f"next: see {folder / 'README.md'}", markup=False)


@click.command(
    epilog="Example: medpodium init flare-pancancer campaign/ --cases hidden/images --references hidden/labels"
)
@click.argument("challenge")
@click.argument("folder", type=_FOLDER)
@click.option("--cases", required=True, type=_FOLDER, help="Folder of the hidden cases.")
@click.option("--references", type=_FOLDER, help="Folder of the hidden references.")
@click.option("--groups", type=_FOLDER, help="CSV or TSV: case, and one column per group or metadata field.")
@click.option("--training", type=_FOLDER, help="Folder of the training set, to look for leaks.")
@click.option("--task", help="Task, where the container protocols see different cases.")
@click.option("--variant", help="Scoring variant.")
@console.json_option
@console.guarded
@console.gathered(HiddenTest, "hidden")
def init(challenge: str, folder: Path, hidden: HiddenTest, as_json: bool) -> None:
    """Start a campaign: take stock of the hidden cases, check them, freeze the definition."""
    from medpodium.challenges import registry
    from medpodium.challenges.campaign import cases as case_files
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.containers import athome
    from medpodium.containers.intake import integrity
    from medpodium.findings import has_errors

    loaded = registry.load(challenge, variant=hidden.variant)
    container = campaigns.container_name(loaded, hidden.task or next(iter(loaded.containers), None))
    groups = case_files.read_groups(hidden.groups) if hidden.groups else None
    manifest, findings = case_files.build(
        loaded.containers[container],
        hidden.cases,
        hidden.references,
        athome.reference_patterns(loaded),
        groups,
        athome.reference_patterns(loaded, container),
    )
    with console.progress() as bar:
        line = bar.add_task("checking cases", total=len(manifest.cases))
        findings += integrity.check(loaded, container, manifest, hidden.training, lambda: bar.advance(line))
    made = not has_errors(findings)
    if made:
        campaign = campaigns.create(folder, loaded, manifest)
        campaign.ledger.event("checked", loaded.reference, findings=[one.as_dict() for one in findings])
        campaign.close()
    if as_json:
        console.print_json({"campaign": folder if made else None, "cases": len(manifest.cases), "findings": findings})
    else:
        console.print_findings(findings)
        state = f"{folder}: campaign of {loaded.reference}" if made else "no campaign was made"
        console.out.print(f"{state}, {len(manifest.cases)} cases", markup=False)
    console.finish(findings)


@click.command(epilog="Example: medpodium submit campaign/ aurora.tar.gz --team aurora")
@click.argument("campaign", type=_FOLDER)
@click.argument("image")
@click.option("--team", required=True, help="Name of the team.")
@click.option("--task", help="Task, where the challenge has several container protocols.")
@click.option("--allow-duplicate", is_flag=True, help="Accept an image that another team has submitted.")
@console.json_option
@console.guarded
def submit(campaign: Path, image: str, team: str, task: str | None, allow_duplicate: bool, as_json: bool) -> None:
    """Check, load and pin a team's IMAGE (an archive of docker save, a local image, or REGISTRY/NAME@sha256:...)."""
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.containers import athome
    from medpodium.containers.sandbox import engine

    with campaigns.opened(campaign) as opened:
        client = engine.connect()
        entry, findings = athome.submit(client, opened, image, team, task, allow_duplicate=allow_duplicate)
        payload = {
            "team": entry.team,
            "task": entry.task,
            "digest": entry.digest,
            "pending": len(opened.pending(entry)),
        }
    if as_json:
        console.print_json({**payload, "findings": findings})
    else:
        console.print_findings(findings)
        console.out.print(f"{payload['team']}: {payload['digest']}, {payload['pending']} runs pending", markup=False)
    console.finish(findings)


@click.command(epilog="Example: medpodium run campaign/ --gpu 0")
@click.argument("campaign", type=_FOLDER)
@click.option("--team", multiple=True, help="Only these teams.")
@click.option("--gpu", multiple=True, help="GPU to hand out; repeat for several.")
@click.option("--runtime", help="Container runtime of the engine, for instance runsc (gVisor).")
@click.option("--keep-images", is_flag=True, help="Leave loaded images in the engine when a team is done.")
@click.option("--retry", is_flag=True, help="Run failures again, and what lost its predictions.")
@scheduler_options
@console.json_option
@console.guarded
def run(
    campaign: Path,
    team: tuple[str, ...],
    gpu: tuple[str, ...],
    runtime: str | None,
    keep_images: bool,
    retry: bool,
    as_json: bool,
    scheduler: str | None,
    slurm: Path | None,
) -> None:
    """Run every pending case of every submission in the sandbox; run it again to go on after any interruption.

    A submission's failure is recorded as a finding and does not change the exit code; see 'medpodium status'. With
    --scheduler or --slurm, containers run on the cluster's workers (those with GPU=1 where the challenge hands out
    one), which must see the campaign and the cases under the same paths.
    """
    from medpodium.challenges.campaign import durable, work
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.containers.run.fleet import Fleet
    from medpodium.containers.run.runner import Runner
    from medpodium.containers.sandbox import engine
    from medpodium.findings import Severity

    options = _options(gpu, runtime, keep_images)
    done: list[dict[str, Any]] = []
    with campaigns.opened(campaign) as opened, elsewhere(Where(scheduler, slurm)) as place:
        client = engine.connect() if place is None else None
        entries = [one for one in opened.submissions() if not team or one.team in team]
        warnings = engine.preflight(client, gpus=bool(gpu)) if place is None else []
        for entry in entries if place is None else []:
            warnings += [
                one for one in engine.shortages(opened.protocol(entry.task), options.gpu_ids) if one not in warnings
            ]
        runner = Runner(client, opened, options)
        with console.progress() as bar, runner.session():
            warnings += runner.machine.findings
            for entry in entries if retry else []:
                work.retry(opened, entry, "run --retry")
            line = bar.add_task("running", total=sum(len(opened.pending(entry)) for entry in entries))

            def tell(entry: Submission, case: str, problem: Finding | None) -> None:
                bar.advance(line)
                found = problem.as_dict() if problem else None
                done.append({"team": entry.team, "task": entry.task, "case": case, "problem": found})

            (runner if place is None else Fleet(runner, place)).run(entries, tell)
            durable.write(opened.root / "runs.csv", opened.resources().to_csv(index=False))
    failed = [row for row in done if row["problem"]]
    if as_json:
        console.print_json({"runs": done, "findings": warnings})
    else:
        console.print_findings(warnings)
        columns = ("team", "case", "code", "cause", "fix")
        rows = [[row["team"], row["case"], *(row["problem"][key] for key in columns[2:])] for row in failed]
        if rows:
            console.print_table(columns, rows, title="failed runs (recorded, and penalised as the challenge says)")
        console.out.print(f"{len(done)} runs done, {len(failed)} of them failed", markup=False)
    console.finish(one for one in warnings if one.severity is Severity.ERROR)
