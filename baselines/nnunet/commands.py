"""The verb ``baseline plan``, and the options that it shares with ``train``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console
from medpodium.baselines.options import (
    FoldList,
    Overrides,
    PerAxis,
    PlanOptions,
    pairs,
)
from medpodium.baselines.progress import JobBar

if TYPE_CHECKING:
    from medpodium.baselines.nnunet.flow import Chosen

_PATH = click.Path(path_type=Path)
WORKSPACE = click.option(
    "--workspace", type=_PATH, help="nnU-Net's three folders; nnU-Net's own variables or ./nnunet by default."
)


def choice_options(function: Any) -> Any:
    """Add the options that choose a baseline and override its fields."""
    for option in reversed(
        [
            click.option(
                "--baseline", "name", help="Baseline of the challenge file; its first nnU-Net one by default."
            ),
            click.option("--task", help="Task to predict."),
            click.option("--configuration", help="nnU-Net configuration, such as 3d_fullres."),
            click.option("--trainer", help="nnUNetTrainer, STUNetTrainer_base, STUNetTrainer_base_ft, ..."),
            click.option("--folds", type=FoldList(), help="Folds to train or average: 0,1,2 or all."),
        ]
    ):
        function = option(function)
    return function


def choose(challenge: str, name: str | None, overrides: Overrides) -> Chosen:
    """Return the baseline of nnU-Net that is meant, with the fields that the command line says otherwise."""
    from medpodium.baselines.nnunet import flow as nnunet
    from medpodium.challenges import registry

    return nnunet.choose(registry.load(challenge), name, overrides)


@click.command(
    epilog="Example: medpodium baseline plan flare-pancancer/2023 --images imagesTr2200 --labels labelsTr2200 "
    "--baseline stunet-base --partial annotated.csv"
)
@click.argument("challenge")
@choice_options
@click.option("--images", type=_PATH, required=True, help="Folder of training images.")
@click.option("--labels", type=_PATH, help="Folder of labels; the images' folder by default.")
@click.option("--image-pattern", "image_patterns", multiple=True, metavar="CHANNEL=PATTERN",
              help="File pattern of a channel, with {case}; repeat per channel.")  # fmt: skip
@click.option("--label-pattern", help="File pattern of the labels, with {case} and perhaps {structure}.")
@click.option("--missing-channel", type=click.Choice(["refuse", "drop", "zero"]), default="refuse",
              show_default=True, help="A case without one of the channels.")  # fmt: skip
@click.option("--partial", help="CSV of annotated structures per case (columns case, annotated), or 'infer'.")
@click.option("--regions", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
              help="Train unions of labels as nnU-Net regions.")  # fmt: skip
@click.option("--normalisation", type=click.Choice(["ct", "z-score", "rescale-0-1", "none"]), help="Of every channel.")
@click.option("--planner", help="ExperimentPlanner, nnUNetPlannerResEncL, nnUNetPlannerResEncL_torchres, ...")
@click.option("--spacing", "spacing_zyx_mm", type=PerAxis(float), help="Target spacing z,y,x in mm.")
@click.option("--patch", "patch_zyx", type=PerAxis(int), help="Patch z,y,x in voxels.")
@click.option("--batch-size", type=click.IntRange(1), help="Patches per batch.")
@click.option("--gpu-memory", type=float, help="GPU memory in GB that the planner aims at.")
@click.option(
    "--dataset-id", type=click.IntRange(1, 999), help="Number of nnU-Net's data set; the first free from 500."
)
@click.option("--splits", type=_PATH, help="Folds to use, a JSON file as nnU-Net's splits_final.json.")
@click.option("--group-by", help="Folds that keep the cases of a patient (centre, ...) together: a column of --groups, "
              "or a placeholder in the names of the labels.")  # fmt: skip
@click.option("--groups", type=_PATH, help="CSV of the groups (columns case, patient).")
@click.option("--full-check", is_flag=True, help="Unpack every image to find damage inside it, not only a cut-off end.")
@click.option("--replace", is_flag=True,
              help="Set trainings on other data aside (moved, not deleted) where they are in the way.")  # fmt: skip
@WORKSPACE
@console.json_option
@console.guarded
@console.gathered(Overrides, "overrides")
@console.gathered(PlanOptions)
def plan(challenge: str, name: str | None, as_json: bool, overrides: Overrides, options: PlanOptions) -> None:
    """Check the training data of CHALLENGE, write them in nnU-Net's layout, plan and preprocess.

    Every check that needs only headers runs before any conversion. What a partly labelled case does not show as
    annotated becomes nnU-Net's ignore label.
    """
    from medpodium.baselines import extras
    from medpodium.baselines.nnunet import flow as nnunet
    from medpodium.baselines.nnunet.training_data import Groups
    from medpodium.baselines.nnunet.workspace import Workspace

    extras.require_nnunet()
    chosen = choose(challenge, name, overrides)
    if options.group_by is not None and options.splits is not None:
        raise click.UsageError("--splits and --group-by exclude each other.")
    groups = None if options.group_by is None else Groups(options.group_by, options.groups)
    partial = options.partial
    folders = nnunet.Folders(
        options.images,
        options.labels or options.images,
        pairs(options.image_patterns, "--image-pattern"),
        options.label_pattern,
        options.missing_channel,
        partial if partial is None or partial == "infer" else Path(partial),
    )
    with console.progress() as bar:
        line = JobBar(bar)
        planned = nnunet.plan(
            chosen, folders, Workspace.at(options.workspace), number=options.dataset_id,
            regions=options.regions, gpu_memory_gb=options.gpu_memory, replace=options.replace,
            full=options.full_check, splits=options.splits, groups=groups, progress=line.converting, on_event=line,
        )  # fmt: skip
    written = planned.written
    if as_json:
        console.print_json(
            {
                "dataset": planned.dataset,
                "folder": written.folder,
                "cases": written.cases,
                "linked": written.linked,
                "converted": written.converted,
                "structures": dict(written.structures),
                "plan": planned.plan,
                "findings": planned.findings,
            }
        )
    else:
        console.print_findings(planned.findings)
        facts: dict[str, Any] = {"data set": planned.dataset, "cases": written.cases, "files linked": written.linked}
        facts |= {"files converted": written.converted, **planned.plan}
        if (estimate := facts.pop("estimate", None)) is not None:
            facts["GPU memory, GB (estimated)"] = estimate["gpu_memory_gb"]
            facts["hours a fold on an A100 (estimated)"] = estimate["hours"]
        console.print_table(["", f"baseline {chosen.name}"], list(facts.items()))
        console.out.print(f"Next: medpodium baseline train {challenge} --baseline {chosen.name}")
    console.finish(planned.findings)
