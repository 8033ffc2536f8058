"""The verb ``baseline package``."""

from __future__ import annotations

from pathlib import Path

import click

from medpodium import console
from medpodium.baselines.options import FoldList, PackageOptions, pairs

_PATH = click.Path(path_type=Path)


@click.command(
    epilog="Example: medpodium baseline package MODEL --challenge flare-pancancer/2023 --out baseline.tar.gz"
)
@click.argument("model", type=_PATH)
@click.option("--challenge", required=True, help="Challenge whose container protocol the image follows.")
@click.option("--out", type=_PATH, help="Archive to write, such as baseline.tar.gz.")
@click.option("--context", type=_PATH, help="New folder in which to keep the Docker build context.")
@click.option("--no-build", is_flag=True, help="Write the build context only (needs --context).")
@click.option("--team", default="baseline", show_default=True, help="Team name in the image's name.")
@click.option("--base", help="Base image with Python 3 and PyTorch; a CUDA image of PyTorch by default.")
@click.option("--folds", type=FoldList(), help="Folds to put in; every trained one by default.")
@click.option("--channel", "channels", multiple=True, metavar="CHANNEL=ROLE",
              help="Input of the protocol that is a channel, where names differ.")  # fmt: skip
@click.option("--network", help="Network of the build, such as none or host; the engine's own by default.")
@click.option("--checkpoint", type=click.Choice(["final", "best", "latest"]), help="Weights of each fold.")
@click.option("--user", help="User of the image, such as 1000:1000; root by default.")
@click.option("--trust-checkpoint", is_flag=True, help="Unpickle objects in the checkpoints; this can run code.")
@console.json_option
@console.guarded
@console.gathered(PackageOptions)
def package(model: Path, challenge: str, as_json: bool, options: PackageOptions) -> None:
    """Turn a trained MODEL into a container image that is submitted, checked and scored like any team's."""
    from medpodium.baselines.package import build as packaging
    from medpodium.challenges import registry

    if options.no_build and options.context is None:
        raise click.UsageError("--no-build needs --context.")
    made = packaging.package(
        registry.load(challenge),
        model,
        out=options.out,
        context=options.context,
        team=options.team,
        base=options.base or packaging.BASE,
        folds=options.folds,
        build=not options.no_build,
        channels=pairs(options.channels, "--channel"),
        network=options.network,
        checkpoint=options.checkpoint,
        user=options.user or "root",
        trust=options.trust_checkpoint,
    )
    if as_json:
        console.print_json({"context": made.context, "image": made.image, "archive": made.archive, "bytes": made.bytes})
        return
    facts = {"build context": made.context, "image": made.image, "archive": made.archive}
    console.print_table(["", "package"], [[key, value] for key, value in facts.items() if value is not None])
    if made.image is not None:
        source = made.archive or made.image
        console.out.print(f"Next: medpodium check image {challenge} {source} --team {options.team} --cases ...")
