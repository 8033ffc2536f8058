"""The verb ``baseline train``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medpodium import console
from medpodium.baselines.nnunet.commands import WORKSPACE, choice_options, choose
from medpodium.baselines.options import Overrides, TrainOptions
from medpodium.baselines.progress import JobBar

if TYPE_CHECKING:
    from medpodium.baselines.command.method import Method

_PATH = click.Path(path_type=Path)
_DEVICES = click.Choice(["auto", "cuda", "cpu", "mps"])


@click.command(
    epilog="Example: medpodium baseline train flare-pancancer/2023 --baseline stunet-base --folds all --device cuda"
)
@click.argument("challenge")
@choice_options
@click.option("--epochs", type=click.IntRange(1), help="Epochs; nnU-Net's 1000 by default.")
@click.option("--iterations", type=click.IntRange(1), help="Batches per epoch; nnU-Net's 250 by default.")
@click.option("--learning-rate", type=float, help="Initial learning rate.")
@click.option("--device", type=_DEVICES, default="auto", show_default=True)
@click.option("--resume", is_flag=True, help="Keep finished folds, go on with the others.")
@click.option("--restart", is_flag=True, help="Set earlier trainings aside (moved, not deleted) and start anew.")
@click.option("--pretrained", type=_PATH, help="Checkpoint to start from; every shape is checked.")
@click.option("--stem", type=click.Choice(["repeat", "average"]), help="Weights of one channel over several.")
@click.option("--trust-checkpoint", is_flag=True, help="Unpickle objects in the checkpoint; this can run code.")
@click.option("--no-validation", is_flag=True, help="Skip the prediction of the validation cases at the end.")
@click.option("--gpus", metavar="0,1,...", help="GPUs to use; folds are trained side by side, one on each.")
@click.option("--gpus-per-fold", type=click.IntRange(1), default=1, show_default=True,
              help="GPUs that train a fold together (nnU-Net's distributed training).")  # fmt: skip
@click.option("--dataset", type=_PATH, help="Folder of training data, for a baseline that is a command.")
@click.option("--model", type=_PATH, help="Folder of the model, for a baseline that is a command.")
@WORKSPACE
@console.json_option
@console.guarded
@console.gathered(Overrides, "overrides")
@console.gathered(TrainOptions)
def train(challenge: str, name: str | None, as_json: bool, overrides: Overrides, options: TrainOptions) -> None:
    """Train a planned baseline, fold by fold.

    An interrupted fold with the same settings goes on where it stopped. A finished one is never overwritten.
    """
    from medpodium.baselines import extras
    from medpodium.baselines.command.method import find_method
    from medpodium.baselines.nnunet import folds as nnunet
    from medpodium.baselines.nnunet.workspace import Workspace

    if options.resume and options.restart:
        raise click.UsageError("--resume and --restart exclude each other.")
    if (method := find_method(challenge, name, overrides.task)) is not None:
        _train_command(method, challenge, as_json, overrides, options)
        return
    if options.dataset or options.model:
        raise click.UsageError("--dataset and --model are for baselines of 'kind: command'.")
    extras.require_nnunet()
    chosen = choose(challenge, name, overrides)
    start = nnunet.Start(options.resume, options.restart, options.pretrained, options.stem, options.trust_checkpoint)
    gpus = tuple(name.strip() for name in (options.gpus or "").split(",") if name.strip())
    how = nnunet.How(options.device, options.iterations, not options.no_validation, gpus, options.gpus_per_fold)
    with console.progress() as bar, _interruptible():
        results = nnunet.train(chosen, Workspace.at(options.workspace), how=how, start=start, on_event=JobBar(bar))
    if as_json:
        console.print_json({"model": results[0]["model"], "folds": results})
        return
    columns = ("folder", "epochs", "seconds_per_epoch", "validation_dice", "training_dice", "gpu_memory_mb")
    console.print_table(columns, [[row[key] for key in columns] for row in results])
    console.out.print(
        f"Next: medpodium baseline predict {challenge} --model {results[0]['model']} --images ... --out ..."
    )


def _train_command(method: Method, reference: str, as_json: bool, overrides: Overrides, options: TrainOptions) -> None:
    """Train a baseline that is a command."""
    from medpodium.baselines.command import train as training
    from medpodium.baselines.nnunet.workspace import Workspace

    if options.dataset is None:
        raise click.UsageError(f"baseline {method.name} is a command: give its training data with --dataset FOLDER.")
    models = Workspace.at(options.workspace).results.parent / "models"
    model = options.model or models / f"{method.challenge.name}-{method.task_name}-{method.name}"
    folds = overrides.folds or list(method.baseline.folds)
    start = training.Start(options.resume, options.restart, options.device)
    with console.progress() as bar, _interruptible():
        results = training.train(method, options.dataset, model, folds, start, JobBar(bar))
    if as_json:
        console.print_json({"model": str(model), "folds": results})
        return
    console.print_table(("fold", "seconds"), [[row["fold"], row["seconds"]] for row in results], str(model))
    console.out.print(
        f"Next: medpodium baseline predict {reference} --baseline {method.name} --model {model} --images ... --out ..."
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Say how to go on after Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        console.err.print("Interrupted; run the same command with --resume to go on from the last checkpoint.")
        raise SystemExit(130) from None
