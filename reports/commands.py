"""The verbs ``report`` and ``verify``."""

from __future__ import annotations

from pathlib import Path

import click

from medpodium import console
from medpodium.reports.formats.names import FORMATS, LATEX_CLASSES
from medpodium.reports.request import Asked, Request


@click.command(
    epilog="Examples: medpodium report flare-pancancer/2023 scores.csv --out report   "
    "medpodium report my-campaign --out report --formats html,pdf --site site"
)
@click.argument("source", metavar="CAMPAIGN|CHALLENGE")
@click.argument("scores", required=False, type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write the report to.")
@click.option(
    "--formats",
    default="html",
    show_default=True,
    metavar="LIST",
    help=f"Comma-separated: {', '.join(FORMATS)}, or all.",
)
@click.option("--title", help="Title of the report; the challenge's when left out.")
@click.option("--anonymous", is_flag=True, help="Call the submissions Team 01, Team 02, ... everywhere.")
@click.option(
    "--bootstrap", default=1000, show_default=True, type=click.IntRange(0, 100_000), help="Resamples of the cases."
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="Seed of every resampling.")
@click.option("--recipe", help="Another recipe of the challenge file than the official one.")
@click.option(
    "--cluster",
    metavar="GROUP",
    help="Group whose levels are the independent units (patient by default), or none: every case is one.",
)
@click.option("--stratify", metavar="GROUP", help="Draw from every level of a group as many units as it has.")
@click.option(
    "--figures",
    default="main",
    show_default=True,
    type=click.Choice(["main", "all"]),
    help="Draw the figures of whole cases only, or those of each structure too.",
)
@click.option("--site", type=click.Path(path_type=Path), help="Also write a static leaderboard site to this folder.")
@click.option("--images", type=click.Path(path_type=Path), help="Folder of the input images, for the gallery.")
@click.option("--references", type=click.Path(path_type=Path), help="Folder of the references, for the gallery.")
@click.option(
    "--predictions",
    multiple=True,
    metavar="TEAM=DIR",
    help="A team's folder of predictions, for the gallery; repeatable.",
)
@click.option("--show-images", is_flag=True, help="Allow hidden test images in the report (the organizer's decision).")
@click.option(
    "--view-case",
    multiple=True,
    metavar="CASE",
    help="Open a hidden case in the site's viewer: its reference and predictions, and its image with --show-images.",
)
@click.option(
    "--latex-class",
    default="article",
    show_default=True,
    type=click.Choice(LATEX_CLASSES),
    help="Document class of the LaTeX project.",
)
@click.option(
    "--teams", type=click.Path(path_type=Path), help="teams.yaml: affiliation, architecture, cost, ... of each team."
)
@click.option("--sizes", is_flag=True, help="Draw scores against the volumes of the --references, in classes of size.")
@click.option(
    "--evidence",
    type=click.Path(path_type=Path),
    help="What 'rank --evidence' wrote of these scores: not computed again.",
)
@click.option("--sign", metavar="KEY", type=click.Path(path_type=Path), help="Sign the manifest: SSH or minisign key.")
@click.option("--workers", type=click.IntRange(1), help="Processes that make the report, this one included.")
@click.option("--accept-other-rules", is_flag=True, help="Report scores of other rules than the challenge's; says so.")
@click.option("--with-pending", is_flag=True, help="Report teams of a campaign whose runs are not complete, too.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
def report(asked: Asked, out: Path, as_json: bool) -> None:
    """Write the report of a CHALLENGE's scores, or of a CAMPAIGN folder that has been scored.

    HTML is one self-contained page; PDF, LaTeX, Markdown and Word have the same content. manifest.json records what
    it was made from; "medpodium verify DIR" recomputes its numbers.
    """
    from medpodium.challenges import registry
    from medpodium.challenges.campaign.folder import is_campaign

    if not is_campaign(Path(asked.source)):
        registry.load(asked.source)  # an unknown name is said before anything heavy is imported or read
    from medpodium.challenges.campaign.folder import STANDING, CampaignCode
    from medpodium.reports import write

    written = write.write_report(Request.of(asked), out)
    if as_json:
        console.print_json({"report": out, "files": written.files, "findings": list(written.findings)})
    else:
        console.print_first(one for one in written.findings if one.code in STANDING)
        console.print_findings(one for one in written.findings if one.code is not CampaignCode.EXCLUDED)
        for path in written.shown:
            console.out.print(f"wrote {path}", markup=False, highlight=False)
    console.finish(written.findings)


@click.command(epilog="Example: medpodium verify report")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--scores", type=click.Path(path_type=Path), help="Recompute from this score table instead of the report's own."
)
@click.option(
    "--signer",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Public key (SSH or minisign), or OpenSSH's allowed signers: one of them has to have signed the report.",
)
@console.json_option
@console.guarded
def verify(folder: Path, scores: Path | None, signer: Path | None, as_json: bool) -> None:
    """Recompute the numbers of the report in DIR from its scores and say what differs.

    Every page is read: HTML, Markdown, LaTeX, Word and PDF.
    """
    from medpodium.reports import verification

    outcome = verification.verify(folder, scores, signer)
    if as_json:
        console.print_json({"report": folder, **outcome.counts, "findings": list(outcome.findings)})
    else:
        console.print_findings(outcome.findings)
        console.out.print(outcome.sentence, markup=False, highlight=False)
    console.finish(outcome.findings)
