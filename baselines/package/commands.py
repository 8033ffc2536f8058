"""The verb ``baseline package``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console
from medpodium.baselines.options import FoldList, PackageOptions, pairs

if TYPE_CHECKING:
    from medpodium.baselines.command.method import Method
    from medpodium.baselines.package.image import Packaged

_PATH = click.Path(path_type=Path)


@click.command(
    epilog="Example: medpodium baseline package MODEL --challenge flare-pancancer/2023 --out baseline.tar.gz"
)
@click.argument("model", type=_PATH, required=False)
@click.option("--challenge", required=True, help="Challenge whose container protocol the image follows.")
@click.option("--baseline", help="Baseline of the challenge file that is a command; it may need no MODEL.")
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
def package(model: Path | None, challenge: str, as_json: bool, options: PackageOptions) -> None:
    """Turn a trained MODEL into a container image that is submitted, checked and scored like any team's."""
    from medpodium.baselines.models.commands import command_of
    from medpodium.baselines.package import build as packaging
    from medpodium.challenges import registry

    if options.no_build and options.context is None:
        raise click.UsageError("--no-build needs --context.")
    if (method := command_of(challenge, options.baseline, model)) is not None:
        _finish(_package_command(method, model, options), challenge, as_json, options)
        return
    if model is None:
        raise click.UsageError("Missing argument 'MODEL'.")
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
    _finish(made, challenge, as_json, options)


def _package_command(method: Method, model: Path | None, options: PackageOptions) -> Packaged:
    from medpodium.baselines.package import image
    from medpodium.baselines.package.method import Options, package_method

    fold = (options.folds or method.baseline.folds)[0]
    how = Options(model, fold, options.base, options.user or "root", pairs(options.channels, "--channel"))
    wish = image.Wish(options.out, options.context, options.team, options.network, not options.no_build)
    return package_method(method, how, wish)


def _finish(made: Packaged, challenge: str, as_json: bool, options: PackageOptions) -> None:
    if as_json:
        console.print_json({"context": made.context, "image": made.image, "archive": made.archive, "bytes": made.bytes})
        return
    facts = {"build context": made.context, "image": made.image, "archive": made.archive}
    console.print_table(["", "package"], [[key, value] for key, value in facts.items() if value is not None])
    if made.image is not None:
        source = made.archive or made.image
        console.out.print(f"Next: medpodium check image {challenge} {source} --team {options.team} --cases ...")
