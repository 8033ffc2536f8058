"""What a challenge file says about a reference method: how it is planned, trained and run.

A baseline that names a trainer or a planner can be trained with ``medpodium baseline``; one that only carries
published figures is a line in a table.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from medpodium.challenges.schema.base import Model

Positive = Annotated[float, Field(gt=0)]
Voxels = Annotated[int, Field(gt=0)]
Normalisation = Literal["ct", "z-score", "rescale-0-1", "none"]


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
    kind : {"nnunet", "staging", "published"}
        Trained with nnU-Net v2, a staging model of images and masks, or published figures only.
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
    """

    method: str
    kind: Literal["nnunet", "staging", "published"] = "nnunet"
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
    notes: str = ""

    @model_validator(mode="after")
    def _all_is_alone(self) -> Baseline:
        if "all" in self.folds and len(self.folds) > 1:
            raise ValueError("fold 'all' trains on every case and cannot be combined with other folds")
        return self
