"""How long a transfer suite will train, estimated from the networks' operations."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from medpodium.baselines.nnunet.plans import Strides, strides_for
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.baselines.transfer.definition import DataSet, Run, Suite, channels_of
from medpodium.baselines.transfer.suite import known_plan

ITERATIONS, VALIDATIONS = 250, 50
"""Batches per epoch that nnU-Net trains on, and validates on."""
EPOCHS = 1000
PATCH = (128, 128, 128)
BATCH = 2
BACKWARD = 3.0
"""Operations of a training step in those of a forward pass."""
TERAFLOPS = 40.0
"""Assumed throughput in mixed precision, in 10^12 operations per second; far below the peak of an A100."""


def estimate_hours(
    run: Run, suite: Suite, *, teraflops: float = TERAFLOPS, workspace: Workspace | None = None
) -> float:
    """Estimate the GPU hours of a training from the network's operations.

    Patch, strides and batch are the plan's where the data set is planned already; else the patch is the suite's or
    nnU-Net's usual one, with the strides that nnU-Net derives from it for voxels of equal edges.

    Parameters
    ----------
    run, suite
        The training.
    teraflops : float
        Throughput that the GPU is assumed to reach, in 10^12 operations per second.
    workspace : Workspace, optional
        Where a plan may be.

    Returns
    -------
    float
        Hours; data loading and the final validation are not in it.
    """
    from medpodium.baselines.stunet.operations import forward_operations

    facts = json.loads((Path(run.dataset.raw) / "dataset.json").read_text(encoding="utf-8"))
    patch, strides, batch = _network_of(run.dataset, suite, workspace)
    forward = forward_operations(run.size, len(channels_of(run.dataset)), len(facts["labels"]), patch, strides) * batch
    steps = suite.iterations or ITERATIONS
    per_epoch = forward * (BACKWARD * steps + steps * VALIDATIONS / ITERATIONS)
    return (suite.epochs or EPOCHS) * per_epoch / (teraflops * 1e12) / 3600


def _network_of(
    item: DataSet, suite: Suite, workspace: Workspace | None
) -> tuple[tuple[int, ...], tuple[Strides, ...], int]:
    """Return patch, strides of every stage and batch of a data set's network."""
    noted = None if workspace is None else known_plan(suite, item, workspace)
    if noted is not None and "strides" in noted:
        strides = tuple((int(z), int(y), int(x)) for z, y, x in noted["strides"])
        return tuple(noted["patch"]), strides, int(noted["batch_size"])
    patch, strides = _usual(suite.patch_zyx or PATCH)
    return patch, strides, BATCH


@cache
def _usual(patch_zyx: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[Strides, ...]]:
    return strides_for((1.0, 1.0, 1.0), patch_zyx)
