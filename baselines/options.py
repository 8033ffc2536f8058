"""Values of the command line: numbers per axis, folds, and name=value pairs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

_AXES = 3


@dataclass(frozen=True)
class Overrides:
    """Fields of a declared baseline that the command line says otherwise; ``None`` leaves one as it is declared.

    The names are those of :class:`medpodium.challenges.schema.baseline.Baseline`.
    """

    task: str | None = None
    configuration: str | None = None
    trainer: str | None = None
    folds: list[int | str] | None = None
    normalisation: str | None = None
    planner: str | None = None
    spacing_zyx_mm: tuple[float, ...] | None = None
    patch_zyx: tuple[int, ...] | None = None
    batch_size: int | None = None
    epochs: int | None = None
    learning_rate: float | None = None


@dataclass(frozen=True)
class PlanOptions:
    """Training data and planning, as ``baseline plan`` takes them."""

    images: Path
    labels: Path | None
    image_patterns: tuple[str, ...]
    label_pattern: str | None
    missing_channel: Literal["refuse", "drop", "zero"]
    partial: str | None
    regions: Literal["auto", "always", "never"]
    gpu_memory: float | None
    dataset_id: int | None
    splits: Path | None
    group_by: str | None
    groups: Path | None
    full_check: bool
    replace: bool
    workspace: Path | None


@dataclass(frozen=True)
class TrainOptions:
    """How to train, as ``baseline train`` takes it."""

    iterations: int | None
    device: str
    resume: bool
    restart: bool
    pretrained: Path | None
    stem: Literal["repeat", "average"] | None
    trust_checkpoint: bool
    no_validation: bool
    workspace: Path | None
    dataset: Path | None
    model: Path | None
    gpus: str | None
    gpus_per_fold: int


@dataclass(frozen=True)
class PredictOptions:
    """Model, images and how to predict, as ``baseline predict`` takes them; ``None`` means as in the training."""

    baseline: str | None
    model: Path | None
    images: Path
    out: Path
    folds: list[int | str] | None
    checkpoint: Literal["final", "best", "latest"] | None
    image_patterns: tuple[str, ...]
    device: str
    step_size: float | None
    mirroring: bool | None
    fast_export: bool | None
    full_check: bool
    trust_checkpoint: bool
    overwrite: bool
    npz: Path | None


@dataclass(frozen=True)
class AdoptOptions:
    """How a model of somebody else is taken, as ``baseline adopt`` takes it."""

    task: str | None
    name: str
    labels: tuple[str, ...]
    channels: tuple[str, ...]
    image_patterns: tuple[str, ...]
    folds: list[int | str] | None
    checkpoint: Literal["final", "best", "latest"] | None
    trainer_file: Path | None
    out: Path | None
    trust_checkpoint: bool
    previous: Path | None
    postprocessing: str | None
    dataset_json: Path | None


@dataclass(frozen=True)
class PackageOptions:
    """What becomes an image, as ``baseline package`` takes it."""

    baseline: str | None
    out: Path | None
    context: Path | None
    no_build: bool
    team: str
    base: str | None
    folds: list[int | str] | None
    channels: tuple[str, ...]
    network: str | None
    checkpoint: Literal["final", "best", "latest"] | None
    user: str | None
    trust_checkpoint: bool


@dataclass(frozen=True)
class LiverOptions:
    """Images and liver masks, as the verbs of the staging baseline take them."""

    images: Path
    image_pattern: str
    masks: Path | None
    mask_pattern: str


@dataclass(frozen=True)
class TransferOptions:
    """Where a suite runs and goes, as ``baseline transfer`` takes it."""

    out: Path | None
    workspace: Path | None
    device: str
    dry_run: bool
    status: bool
    teraflops: float
    retrain: bool
    full_check: bool


class PerAxis(click.ParamType):  # type: ignore[type-arg]
    """Three numbers in z, y, x order, separated by commas."""

    name = "z,y,x"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return a tuple of three numbers."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(self.kind(item) for item in str(value).split(","))
        except ValueError:
            found = ()
        if len(found) != _AXES:
            self.fail(f"{value!r} is not three numbers such as {'2.5,1.5,1.5' if self.kind is float else '48,128,160'}")
        return found


class FoldList(click.ParamType):  # type: ignore[type-arg]
    """Fold numbers separated by commas, or ``all``."""

    name = "folds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int | str]:
        """Return the folds as a list."""
        if isinstance(value, list):
            return value
        try:
            return [item if item == "all" else int(item) for item in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is neither 'all' nor numbers such as 0,1,2")


def pairs(values: Iterable[str], option: str) -> dict[str, str]:
    """Split ``NAME=VALUE`` arguments.

    Raises
    ------
    click.BadParameter
        If one has no ``=``, or a name occurs twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name or not text or name in found:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE, or the name occurs twice", param_hint=option)
        found[name] = text
    return found
