"""The verbs ``baseline stage fit`` and ``baseline stage predict``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console
from medpodium.baselines.options import LiverOptions

if TYPE_CHECKING:
    from medpodium.baselines.staging.model import Livers

_PATH = click.Path(path_type=Path)
_VERBS = {
    "fit": ("baselines.staging.commands:fit", "Fit the model to staged training cases with liver masks."),
    "predict": ("baselines.staging.commands:predict", "Write the challenge's table of probabilities."),
}


@click.group(cls=console.LazyGroup, verbs=_VERBS)
def stage(**_: Any) -> None:
    """Run a small, honest staging baseline: fifteen features of the liver and a logistic regression."""


def _liver_options(function: Any) -> Any:
    for option in (
        click.option(
            "--mask-pattern", default="{case}/GED4_pred.nii.gz", show_default=True, help="File of a liver mask."
        ),
        click.option("--masks", type=_PATH, help="Folder of liver masks; the images' folder by default."),
        click.option(
            "--image-pattern", default="{vendor}/{case}/GED4.nii.gz", show_default=True, help="File of an image."
        ),
        click.option("--images", type=_PATH, required=True, help="Folder of images."),
        click.option("--task", help="Classification task; that of the declared staging baseline by default."),
    ):
        function = option(function)
    return function


def _livers(options: LiverOptions) -> Livers:
    from medpodium.baselines.staging.model import Livers

    masks = options.masks or options.images
    return Livers(options.images, options.image_pattern, masks, options.mask_pattern)


@click.command(
    epilog="Example: medpodium baseline stage fit liqa/2025 --stages stages.csv --images train --masks predictions "
    "--model staging.json"
)
@click.argument("challenge")
@click.option("--stages", type=_PATH, required=True, help="CSV of the training cases' stages (columns Case, stage).")
@click.option("--model", type=_PATH, required=True, help="Model file to write (JSON).")
@click.option("--group-by", help="Column of the stages' table that names the patient; 'patient' or 'subject' if there.")
@_liver_options
@console.json_option
@console.guarded
@console.gathered(LiverOptions)
def fit(
    challenge: str,
    stages: Path,
    model: Path,
    group_by: str | None,
    task: str | None,
    as_json: bool,
    options: LiverOptions,
) -> None:
    """Fit the staging model and print its cross-validated AUCs.

    All scans of a patient are in the same fold, where a column says whose they are.
    """
    from medpodium.baselines import extras
    from medpodium.baselines.staging import model as staging
    from medpodium.challenges import registry

    extras.require("sklearn")
    _, chosen = staging.task_of(registry.load(challenge), task)
    known = staging.read_stages(stages, chosen)
    groups = staging.read_groups(stages, chosen, group_by)
    with console.progress() as bar:
        line = bar.add_task("features", total=None)
        features, findings = staging.collect(
            _livers(options), lambda done, total: bar.update(line, completed=done, total=total)
        )
    fitted = staging.fit(chosen, known, features, groups)
    fitted.save(model)
    if as_json:
        told = {"model": model, "cases": fitted.cases, "auc": fitted.validation}
        console.print_json({**told, "calibration": fitted.calibration, "findings": findings})
    else:
        console.print_findings(findings)
        console.print_table(
            ["problem", "AUC", "Brier score", "calibration error"],
            [[name, value, *(fitted.calibration[name][key] for key in ("brier", "ece"))]
             for name, value in fitted.validation.items()],
            f"cross-validation, {fitted.cases} cases",
        )  # fmt: skip
        for name, facts in fitted.calibration.items():
            console.print_table(
                ["predicted", "observed", "cases"],
                [[row[key] for key in ("predicted", "observed", "cases")] for row in facts["reliability"]],
                f"reliability of {name}",
            )
    console.finish(findings)


@click.command(
    epilog="Example: medpodium baseline stage predict liqa/2025 --model staging.json --images test --masks predictions "
    "--out LiFS_pred.csv"
)
@click.argument("challenge")
@click.option("--model", type=_PATH, required=True, help="Model file that 'fit' wrote.")
@click.option("--out", type=_PATH, required=True, help="Table to write.")
@_liver_options
@console.json_option
@console.guarded
@console.gathered(LiverOptions)
def predict(challenge: str, model: Path, out: Path, task: str | None, as_json: bool, options: LiverOptions) -> None:
    """Predict the stages of every case and write the table that the challenge asks for."""
    from medpodium.baselines.staging import model as staging
    from medpodium.challenges import registry

    _, chosen = staging.task_of(registry.load(challenge), task)
    cases, findings = staging.predict(chosen, staging.StagingModel.load(model), _livers(options), out)
    if as_json:
        console.print_json({"out": out, "cases": cases, "findings": findings})
    else:
        console.print_findings(findings)
        console.out.print(f"{cases} cases in {out}")
    console.finish(findings)
