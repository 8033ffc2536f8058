"""The verb ``baseline``: a table of its own verbs, each imported when it is used."""

from __future__ import annotations

from typing import Any

import click

from medpodium import console

_VERBS = {
    "plan": ("baselines.nnunet.commands:plan", "Check and convert training data, plan and preprocess them."),
    "train": ("baselines.models.train_command:train", "Train a planned baseline."),
    "adopt": ("baselines.models.commands:adopt", "Take a model that was trained with plain nnU-Net v2."),
    "predict": ("baselines.models.commands:predict", "Predict with a trained model, in the challenge's own layout."),
    "package": ("baselines.package.commands:package", "Turn a trained model into a container image."),
    "transfer": ("baselines.transfer.commands:transfer", "Train data sets from scratch and fine-tuned, and compare."),
    "stage": ("baselines.staging.commands:stage", "Fit and run the small staging model."),
}


@click.group(cls=console.LazyGroup, verbs=_VERBS, epilog="Example: medpodium baseline plan --help")
def baseline(**_: Any) -> None:
    """Train, run and package reference methods: nnU-Net v2, STU-Net, any command, and a small staging model.

    Needs pip install 'medpodium[baselines]', commands only what they start.
    """
