"""The verbs ``baseline predict`` and ``baseline adopt``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from medpodium import console
from medpodium.baselines.options import AdoptOptions, FoldList, PredictOptions, pairs
from medpodium.baselines.progress import JobBar

if TYPE_CHECKING:
    from medpodium.baselines.command.method import Method

_PATH = click.Path(path_type=Path)
_DEVICES = click.Choice(["auto", "cuda", "cpu", "mps"])
_CHECKPOINTS = click.Choice(["final", "best", "latest"])


@click.command(
    epilog="Example: medpodium baseline predict flare-pancancer/2023 --model MODEL --images imagesTs --out predictions"
)
@click.argument("challenge")
@click.option("--model", type=_PATH, help="Folder of the trained model, as 'train' prints it.")
@click.option("--baseline", help="Baseline of the challenge file that is a command.")
@click.option("--images", type=_PATH, required=True, help="Folder of the images.")
@click.option("--out", type=_PATH, required=True, help="Folder for the predictions, in the challenge's layout.")
@click.option("--folds", type=FoldList(), help="Folds to average; every trained one by default.")
@click.option("--checkpoint", type=_CHECKPOINTS, help="Weights of each fold; the final ones by default.")
@click.option("--image-pattern", "image_patterns", multiple=True, metavar="CHANNEL=PATTERN",
              help="Where images are named differently from the training's.")  # fmt: skip
@click.option("--device", type=_DEVICES, default="auto", show_default=True)
@click.option("--step-size", type=click.FloatRange(0, 1, min_open=True), help="Of the sliding window.")
@click.option("--mirroring/--no-mirroring", default=None, help="Average over mirrored inputs.")
@click.option("--fast-export/--exact-export", default=None, help="Resample probabilities with torch, or as planned.")
@click.option("--full-check", is_flag=True, help="Unpack every image to find damage inside it, not only a cut-off end.")
@click.option("--trust-checkpoint", is_flag=True, help="Unpickle objects in the checkpoints; this can run code.")
@click.option("--overwrite", is_flag=True, help="Replace predictions of another model or other settings.")
@click.option("--npz", type=_PATH, help="Folder for the classes' probabilities, as nnUNetv2_ensemble reads them.")
@console.json_option
@console.guarded
@console.gathered(PredictOptions)
def predict(challenge: str, as_json: bool, options: PredictOptions) -> None:
    """Predict the cases of a folder with a trained model, in the challenge's own file layout and labels.

    Every case is written when it is ready. Run the same command again after a stop: what is done is kept, and a case
    that fails stops no other.
    """
    from medpodium.baselines import extras
    from medpodium.baselines.models import predict as predicting
    from medpodium.challenges import registry

    if (method := command_of(challenge, options.baseline, options.model)) is not None:
        _predict_command(method, challenge, as_json, options)
        return
    if options.model is None:
        raise click.UsageError("Missing option '--model'.")
    extras.require_nnunet()
    how = predicting.How(
        options.folds, options.checkpoint, options.device, options.step_size, options.mirroring, options.fast_export,
        pairs(options.image_patterns, "--image-pattern"), options.full_check, options.trust_checkpoint,
        options.overwrite, options.npz,
    )  # fmt: skip
    loaded = registry.load(challenge)
    with console.progress() as bar:
        result = predicting.predict(loaded, options.model, options.images, options.out, how, JobBar(bar))
    findings = result["findings"]
    if as_json:
        console.print_json(result)
        console.finish(findings)
    _show(result, challenge, ("case", "preprocess", "network", "export"))


def _show(result: dict[str, Any], challenge: str, columns: tuple[str, ...]) -> None:
    findings = result["findings"]
    console.print_findings(findings)
    console.print_table(columns, [[row[key] for key in columns] for row in result["cases"]], "seconds per case")
    if result["kept"]:
        console.out.print(f"{len(result['kept'])} cases were predicted before and kept")
    console.out.print(
        f"Next: medpodium score {challenge} --references ... --predictions NAME={result['out']} --out ..."
    )
    console.finish(findings)


def command_of(challenge: str, name: str | None, model: Path | None) -> Method | None:
    """Return the command baseline that is meant: by name, by what a model's notes say, or the only kind there is."""
    from medpodium.baselines.command.method import find_method
    from medpodium.baselines.nnunet.dataset import read_record

    notes = read_record(model) if model is not None else {}
    if name is None and notes:
        return find_method(challenge, notes["baseline"]) if notes.get("kind") == "command" else None
    return find_method(challenge, name)


def _predict_command(method: Method, challenge: str, as_json: bool, options: PredictOptions) -> None:
    """Predict with a baseline that is a command."""
    from medpodium.baselines.command import predict as predicting

    if options.npz is not None:
        raise click.UsageError("--npz is for models of nnU-Net; a command writes what it writes.")
    fold = (options.folds or method.baseline.folds)[0]
    patterns = pairs(options.image_patterns, "--image-pattern")
    how = predicting.How(options.model, fold, options.device, patterns, options.full_check, options.overwrite)
    with console.progress() as bar:
        result = predicting.predict(method, options.images, options.out, how, JobBar(bar))
    if as_json:
        console.print_json(result)
        console.finish(result["findings"])
    _show(result, challenge, ("case", "seconds"))


@click.command(
    epilog="Example: medpodium baseline adopt nnUNet_results/Dataset007_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres "
    "--challenge flare-pancancer/2023 --label Liver=1"
)
@click.argument("models", type=_PATH, nargs=-1, required=True, metavar="MODEL...")
@click.option("--challenge", required=True, help="Challenge that the model is to predict.")
@click.option("--task", help="Segmentation task; the challenge's first by default.")
@click.option("--name", default="adopted", show_default=True, help="What the baseline is called.")
@click.option("--label", "labels", multiple=True, metavar="STRUCTURE=LABEL",
              help="The model's label, by name or value, of a structure; 'none' if it has none.")  # fmt: skip
@click.option("--channel", "channels", multiple=True, metavar="NUMBER=CHANNEL",
              help="The challenge's channel for one of the model's, where names do not say it.")  # fmt: skip
@click.option("--image-pattern", "image_patterns", multiple=True, metavar="CHANNEL=PATTERN",
              help="File pattern of a channel that the challenge does not name.")  # fmt: skip
@click.option("--folds", type=FoldList(), help="Folds to average; every trained one by default.")
@click.option("--checkpoint", type=_CHECKPOINTS, help="Weights to use; final, else best, else latest.")
@click.option("--trainer-file", type=_PATH, help="Python file of a trainer that nnU-Net does not have.")
@click.option("--out", type=_PATH, help="New folder of links to the model; by default notes go into the model's own.")
@click.option("--previous", type=_PATH, help="Model of a cascade's first stage, where it is not beside the second's.")
@click.option("--postprocessing", metavar="FILE|none", help="nnU-Net's postprocessing.pkl; that of the best "
              "configuration where a data set's folder of results is given.")  # fmt: skip
@click.option("--dataset-json", type=_PATH, help="dataset.json with the names of the labels of a model of nnU-Net v1.")
@click.option("--trust-checkpoint", is_flag=True, help="Unpickle objects in the checkpoints; this can run code.")
@console.json_option
@console.guarded
@console.gathered(AdoptOptions)
def adopt(models: tuple[Path, ...], challenge: str, as_json: bool, options: AdoptOptions) -> None:
    """Take a MODEL that was trained with plain nnU-Net as a baseline, to predict, package and score with.

    Several are averaged; a data set's folder of results is taken as nnUNetv2_find_best_configuration chose. Weights of
    nnU-Net v1 are converted. Labels and channels are matched by their names. The networks are built and loaded once
    to see that they can be.
    """
    from medpodium.baselines import extras
    from medpodium.baselines.models import adopt as adopting
    from medpodium.challenges import registry

    extras.require_nnunet()
    steps: Path | Literal["none"] | None = "none" if options.postprocessing == "none" else None
    if options.postprocessing and steps is None:
        steps = Path(options.postprocessing)
    wanted = adopting.Wanted(
        options.task,
        options.name,
        pairs(options.labels, "--label"),
        pairs(options.channels, "--channel"),
        pairs(options.image_patterns, "--image-pattern"),
        options.folds,
        options.checkpoint,
        options.trainer_file,
        options.out,
        options.trust_checkpoint,
        options.previous,
        steps,
        options.dataset_json,
    )
    with console.progress() as bar:
        made = adopting.adopt(registry.load(challenge), models, wanted, JobBar(bar))
    if as_json:
        console.print_json({"model": made.model, **made.record, "findings": made.findings})
        console.finish(made.findings)
    console.print_findings(made.findings)
    settings = made.record["settings"]
    labels = [f"{value}: {label}" for value, label in made.record["values"].items() if value != "0"]
    rows = [(key, str(settings[key])) for key in ("trainer", "configuration", "checkpoint")]
    rows += [("folds", ", ".join(map(str, settings["folds"]))), ("channels", ", ".join(made.record["channels"]))]
    rows.append(("labels, model: task", ", ".join(labels)))
    if members := made.record.get("members"):
        rows.append(("networks", ", ".join(Path(item["folder"]).name for item in members)))
    rows += [("largest component of", ", ".join(map(str, step["labels"]))) for step in made.record["postprocessing"]]
    console.print_table(["", f"baseline {options.name}"], rows)
    console.out.print(f"Next: medpodium baseline predict {challenge} --model {made.model} --images ... --out ...")
    console.finish(made.findings)
