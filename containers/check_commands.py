"""The verb ``check``: what a participant runs before submitting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from medpodium import console

_CHECKS = {
    "predictions": ("containers.check_commands:predictions", "Check a folder of predictions, all findings at once."),
    "image": ("containers.commands:check_image", "Run a container exactly as the hidden test does, and check it."),
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

    loaded = registry.load(challenge, variant=variant)
    name = engine.pick_task(loaded, task)
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
