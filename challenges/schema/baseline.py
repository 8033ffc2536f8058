"""What a challenge file says about a reference method: how it is planned, trained and run.

A baseline that names a trainer, a planner or commands can be run with ``medpodium baseline``; one that only carries
published figures is a line in a table.
"""

from __future__ import annotations

import re
import shlex
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from medpodium.challenges.naming.patterns import relative_pattern
from medpodium.challenges.schema.base import Model, nearest

Positive = Annotated[float, Field(gt=0)]
Voxels = Annotated[int, Field(gt=0)]
Normalisation = Literal["ct", "z-score", "rescale-0-1", "none"]

PLACEHOLDER = re.compile(r"\{([a-z_]+)(?::([A-Za-z0-9_.-]+))?\}")
"""Placeholder of a command: ``{model}``, or ``{image:t1}`` with the name of a channel."""
_LITERAL = re.compile(r"\{\{[a-z_]+(:[A-Za-z0-9_.-]+)?\}\}")
TRAINING = ("dataset", "model", "fold", "device", "python")
"""Placeholders of the command that trains."""
PREDICTING = ("model", "images", "out", "fold", "device", "python", "case", "image")
"""Placeholders of the command that predicts; with one of the last two it is run once per case."""
PER_CASE = ("case", "image")


def _words(value: object) -> object:
    """Split a command line as a shell splits words; nothing else of it is the shell's."""
    return tuple(shlex.split(value)) if isinstance(value, str) else value


Command = Annotated[tuple[str, ...], BeforeValidator(_words), Field(min_length=1)]
"""A program and its arguments: a line, which is split into words, or a list of words. No shell looks at it."""


class Package(Model):
    """What goes into the image of a baseline that is a command.

    Parameters
    ----------
    base : str
        Base image; it needs Python 3.9 or later, and numpy and SimpleITK where ``labels`` are declared.
    setup : list of str
        Lines that are run when the image is built (``pip install ...``).
    files : list of str
        Files and folders of the method, relative to the challenge file; there the command is run.
    predict : command, optional
        Where it differs from the one at home.
    """

    base: str = "python:3.12-slim"
    setup: list[str] = Field(default_factory=list)
    files: list[str] = Field(default_factory=list)
    predict: Command | None = None


class Published(Model):
    """Figures printed about a method, for tables and checks; they change nothing about how it is run.

    Parameters
    ----------
    parameters_millions : float, optional
        Trainable parameters.
    teraflops : float, optional
        Floating-point operations of one forward pass, in 10^12.
    gpu_memory_gb, training_hours : float, optional
        Graphics memory and time of the published training.
    column, fine_tuned_column : str, optional
        Columns of the challenge's published table that hold its results.
    """

    parameters_millions: Positive | None = None
    teraflops: Positive | None = None
    gpu_memory_gb: Positive | None = None
    training_hours: str | None = None
    column: str | None = None
    fine_tuned_column: str | None = None


class Baseline(Model):
    """Defaults of one reference method in one challenge; every one of them is an option of ``medpodium baseline``.

    Parameters
    ----------
    method : str
        One line for tables.
    kind : {"nnunet", "command", "staging", "published"}
        Trained with nnU-Net v2, any program that can be started, a staging model of images and masks, or published
        figures only.
    task : str, optional
        Task it predicts; the challenge's first of the right kind when left out.
    channels : list of str, optional
        Image channels in order (keys of the task's ``files.images``); all of them when left out.
    normalisation : str or dict of str to str, optional
        Intensity normalisation of every channel, or per channel; ``ct`` for CT and ``z-score`` for anything else
        when left out.
    planner : str
        Class name of nnU-Net's experiment planner.
    configuration : str
        nnU-Net's configuration (``3d_fullres``).
    trainer : str
        Class name of nnU-Net's trainer, its own or one of ``medpodium.baselines.stunet``.
    folds : list of int or "all"
        Folds that are trained; several are averaged when predicting.
    epochs, learning_rate : optional
        Override the trainer's.
    spacing_zyx_mm, patch_zyx, batch_size : optional
        Override the plan's (millimetres, voxels, patches).
    mirroring : bool
        Average predictions over mirrored inputs.
    step_size : float
        Step of the sliding window as a share of the patch.
    fast_export : bool
        Resample probabilities with torch instead of scipy.
    published : Published
        Figures printed about the method.
    train, predict : command, optional
        Of ``kind: command``: what is started to train and to predict, with the placeholders of :data:`TRAINING` and
        :data:`PREDICTING`, in the folder of the challenge file.
    outputs : str, optional
        Pattern of the files that ``predict`` writes below ``{out}``; the task's own when left out.
    labels : dict of str to int or str, optional
        Structure (or label value) of the task to the method's own: a label value, the word that ``{structure}`` stands
        for in ``outputs``, or ``none``. Without it ``predict`` writes the challenge's own values.
    package : Package
        What goes into the image.
    """

    method: str
    kind: Literal["nnunet", "command", "staging", "published"] = "nnunet"
    task: str | None = None
    channels: list[str] | None = Field(default=None, min_length=1)
    normalisation: Normalisation | dict[str, Normalisation] | None = None
    planner: str = "ExperimentPlanner"
    configuration: Literal["2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres"] = "3d_fullres"
    trainer: str = "nnUNetTrainer"
    folds: list[Annotated[int, Field(ge=0)] | Literal["all"]] = Field(default=[0], min_length=1)
    epochs: Annotated[int, Field(gt=0)] | None = None
    learning_rate: Positive | None = None
    spacing_zyx_mm: tuple[Positive, Positive, Positive] | None = None
    patch_zyx: tuple[Voxels, Voxels, Voxels] | None = None
    batch_size: Annotated[int, Field(ge=1)] | None = None
    mirroring: bool = True
    step_size: float = Field(default=0.5, gt=0, le=1)
    fast_export: bool = False
    published: Published = Published()
    train: Command | None = None
    predict: Command | None = None
    outputs: str | None = None
    labels: dict[str, int | str] | None = Field(default=None, min_length=1)
    package: Package = Package()
    notes: str = ""

    @model_validator(mode="after")
    def _all_is_alone(self) -> Baseline:
        if "all" in self.folds and len(self.folds) > 1:
            raise ValueError("fold 'all' trains on every case and cannot be combined with other folds")
        return self

    @model_validator(mode="after")
    def _commands(self) -> Baseline:
        # what is at its default says nothing: a definition that was written out in full names every field
        fields = {name: type(self).model_fields[name] for name in ("train", "predict", "outputs", "labels", "package")}
        own = [name for name, field in fields.items() if getattr(self, name) != field.get_default()]
        if self.kind != "command":
            if own:
                raise ValueError(f"{own[0]} belongs to 'kind: command', this is {self.kind}")
            return self
        if self.predict is None:
            raise ValueError("a baseline that is a command needs 'predict'")
        if self.outputs is not None:
            relative_pattern(self.outputs)
        for name, command, known in (
            ("train", self.train, TRAINING),
            ("predict", self.predict, PREDICTING),
            ("package.predict", self.package.predict, PREDICTING),
        ):
            check_placeholders(name, command or (), known)
        if not any("{out}" in word for word in self.predict):
            raise ValueError("predict needs {out}, the folder that it writes to")
        return self


def check_placeholders(name: str, command: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Refuse a command with a placeholder that nothing stands for; ``{{model}}`` stands for ``{model}`` itself.

    Raises
    ------
    ValueError
        With the placeholder, and those that there are.
    """
    for word in command:
        for found in PLACEHOLDER.finditer(_LITERAL.sub("", word)):
            if found[1] not in known or (found[2] and found[1] != "image"):
                raise ValueError(
                    f"{name}: unknown placeholder {found[0]}{nearest(found[1], known)}; "
                    f"known: {', '.join(f'{{{item}}}' for item in known)}"
                )
