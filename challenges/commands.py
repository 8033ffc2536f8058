"""Verbs about challenge files: ``challenges``, ``show`` and ``lint``."""

from __future__ import annotations

from pathlib import Path

import click

from medpodium import console


@click.command(epilog="Example: medpodium challenges --json")
@console.json_option
@console.guarded
def challenges(as_json: bool) -> None:
    """List the built-in challenges with their editions, tasks and scoring variants."""
    from medpodium.challenges import describe

    rows = describe.overview()
    if as_json:
        console.print_json({"challenges": rows})
        return
    console.print_table(
        ["challenge", "title", "editions", "tasks", "variants"],
        [
            [row["name"], row["title"], *(", ".join(row[key]) for key in ("editions", "tasks", "variants"))]
            for row in rows
        ],
    )


@click.command(epilog="Example: medpodium show flare-pancancer/2023@as-published")
@click.argument("challenge")
@click.option("--variant", help="Scoring variant; the same as CHALLENGE@VARIANT.")
@console.json_option
@console.guarded
def show(challenge: str, variant: str | None, as_json: bool) -> None:
    """Show everything the definition of CHALLENGE says, unconfirmed facts marked as such."""
    from medpodium.challenges import describe, registry

    loaded = registry.load(challenge, variant=variant)
    if as_json:
        console.print_json(describe.as_dict(loaded))
        return
    describe.print_challenge(loaded)


@click.command(epilog="Example: medpodium lint my-challenge.yaml")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
@console.json_option
@console.guarded
def lint(files: tuple[str, ...], as_json: bool) -> None:
    """Check challenge files (paths or built-in names) against every rule, all editions and variants."""
    from medpodium.challenges import lint as rules
    from medpodium.challenges import registry

    findings = []
    for file in files:
        source, _ = registry.locate(file)
        findings += rules.lint_source(source)
    if as_json:
        console.print_json({"files": list(files), "findings": findings})
    else:
        console.print_findings(findings)
        names = ", ".join(Path(file).name for file in files)
        console.out.print(f"{names}: {len(findings)} finding{'s' if len(findings) != 1 else ''}")
    console.finish(findings)
