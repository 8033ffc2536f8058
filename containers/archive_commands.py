"""The verbs ``campaign move``, ``campaign archive`` and ``campaign restore``."""

from __future__ import annotations

from pathlib import Path

import click

from medpodium import console

_FOLDER = click.Path(path_type=Path)


@click.command(epilog="Example: medpodium campaign move campaign/ /archive/2026/campaign --cases /archive/2026/images")
@click.argument("campaign", type=_FOLDER)
@click.argument("target", required=False, type=_FOLDER)
@click.option("--cases", type=_FOLDER, help="Where the hidden cases are now.")
@click.option("--references", type=_FOLDER, help="Where the hidden references are now.")
@console.json_option
@console.guarded
def move(campaign: Path, target: Path | None, cases: Path | None, references: Path | None, as_json: bool) -> None:
    """Move CAMPAIGN to TARGET, or say where its hidden data are now, or both. Files are compared by their hashes.

    Everything in the folder is found by relative paths, so that it may also be moved by other means.
    """
    from medpodium.challenges.campaign import archives, manifests
    from medpodium.challenges.campaign import folder as campaigns

    if target is None and cases is None and references is None:
        raise click.UsageError("Give TARGET, --cases or --references.")
    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        if cases is not None or references is not None:
            archives.relocated(opened, cases, references)
    if target is not None:
        archives.move(campaign, target)
    with campaigns.opened(target or campaign) as opened:
        if target is not None:
            before = str(campaign.resolve())
            manifests.change(opened, opened.manifest, "move", str(target.resolve()), before=before)
        findings = list(archives.unreachable(opened))
    if as_json:
        console.print_json({"campaign": target or campaign, "findings": findings})
    else:
        console.print_findings(findings)
        if not findings:
            console.out.print(f"{target or campaign}: its data are where it looks for them", markup=False)
    console.finish(findings)


@click.command(epilog="Example: medpodium campaign archive campaign/ campaign-2026.tar --with-data --with-images")
@click.argument("campaign", type=_FOLDER)
@click.argument("file", type=_FOLDER)
@click.option("--with-data", is_flag=True, help="The hidden cases and references, too.")
@click.option("--with-images", is_flag=True, help="The archives of the submitted images, too.")
@console.json_option
@console.guarded
def archive(campaign: Path, file: Path, with_data: bool, with_images: bool, as_json: bool) -> None:
    """Put CAMPAIGN into one FILE (.tar, .tar.gz): definition, ledger, predictions, logs, scores, each with its hash.

    Predictions, references and cases are compared with their hashes first; what has changed is named.
    """
    from medpodium.challenges.campaign import archives, truth
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.containers import athome

    with campaigns.opened(campaign) as opened:
        opened.ledger.lock()
        truth.verify(opened, opened.submissions(), athome.reference_patterns(opened.challenge), references=with_data)
        listing = archives.write(opened, file, data=with_data, images=with_images)
    size = sum(int(one["bytes"]) for one in listing["files"].values())
    if as_json:
        console.print_json({"archive": file, "files": len(listing["files"]), "bytes": size})
    else:
        console.out.print(
            f"{file}: {len(listing['files'])} files, {size / 1e6:.1f} MB, each with its hash", markup=False
        )


@click.command(epilog="Example: medpodium campaign restore campaign-2026.tar campaign/")
@click.argument("file", type=_FOLDER)
@click.argument("campaign", type=_FOLDER)
@console.json_option
@console.guarded
def restore(file: Path, campaign: Path, as_json: bool) -> None:
    """Unpack an archived campaign from FILE into the new folder CAMPAIGN; a changed or missing file is named."""
    from medpodium.challenges.campaign import archives
    from medpodium.challenges.campaign import folder as campaigns

    listing = archives.restore(file, campaign)
    with campaigns.opened(campaign) as opened:
        opened.ledger.event("restore", str(file), files=len(listing["files"]))
        findings = list(archives.unreachable(opened))
    if as_json:
        console.print_json({"campaign": campaign, "files": len(listing["files"]), "findings": findings})
    else:
        console.print_findings(findings)
        console.out.print(f"{campaign}: {len(listing['files'])} files, all as they were archived", markup=False)
    console.finish(findings)
