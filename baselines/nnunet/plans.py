"""Plan and preprocess with nnU-Net, with spacing, patch and batch size overridden where a baseline says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse, unusable
from medpodium.baselines.portable.cores import usable_cores
from medpodium.challenges.schema.baseline import Baseline
from medpodium.findings import MedpodiumError

MIN_EDGE = 4
"""Smallest edge of nnU-Net's coarsest feature map, in voxels."""
MAX_FEATURES = {2: 512, 3: 320}
"""nnU-Net's largest number of features, by dimensions."""

_ALIKE = ("preprocessor_name", "spacing", "normalization_schemes", "use_mask_for_norm", "resampling_fn_data",
          "resampling_fn_data_kwargs", "resampling_fn_seg", "resampling_fn_seg_kwargs")  # fmt: skip
_ALIKE_PLANS = ("transpose_forward", "image_reader_writer", "foreground_intensity_properties_per_channel")
"""What decides how data are preprocessed; patch, batch and network do not."""
Emit = Callable[..., None]
Strides = tuple[int, int, int]


def plan_job(
    dataset: str,
    name: str,
    baseline: Baseline,
    *,
    gpu_memory_gb: float | None = None,
    processes: int | None = None,
    keep: bool = False,
) -> dict[str, Any]:
    """Return the arguments of the job that plans and preprocesses a data set.

    Parameters
    ----------
    processes : int, optional
        Half of the cores that may be used, at most 8, when left out.
    keep : bool
        Leave other configurations of the same plans as they are; right only where the data are the same.
    """
    return {
        "dataset": dataset,
        "baseline": name,
        "planner": baseline.planner,
        "configuration": baseline.configuration,
        "spacing": baseline.spacing_zyx_mm,
        "patch": baseline.patch_zyx,
        "batch_size": baseline.batch_size,
        "gpu_memory_gb": gpu_memory_gb,
        "processes": processes or max(1, min(8, usable_cores() // 2)),
        "keep": keep,
        "trainer": baseline.trainer,
        "epochs": baseline.epochs,
    }


def plan_here(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Fingerprint, plan and preprocess in this process; see :func:`plan_job` for the arguments.

    Returns
    -------
    dict
        Plans name, configuration, patch, spacing (z, y, x order of the plan), batch size, number of pools per axis.

    Raises
    ------
    UsageError
        If there is no such planner or configuration.
    """
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api
    from nnunetv2.paths import nnUNet_preprocessed

    number = int(job["dataset"][7:10])
    planner = find_planner(job["planner"])
    emit("stage", name="fingerprint")
    api.extract_fingerprints([number], num_processes=job["processes"], clean=not job["keep"])
    emit("stage", name="plan")
    name = plans_name(planner, job)
    path = Path(str(nnUNet_preprocessed)) / job["dataset"] / f"{name}.json"
    before = json.loads(path.read_text(encoding="utf-8"))["configurations"] if job["keep"] and path.exists() else {}
    api.plan_experiments(
        [number],
        job["planner"],
        gpu_memory_target_in_gb=job["gpu_memory_gb"],
        overwrite_target_spacing=job["spacing"],
        overwrite_plans_name=name,
    )
    plans = json.loads(path.read_text(encoding="utf-8"))
    chosen = choose_configuration(plans, job["configuration"])
    override(chosen, plans["transpose_forward"], job["patch"], job["batch_size"])
    own = {job["configuration"], chosen_name(plans, job["configuration"])}
    plans["configurations"] |= {key: value for key, value in before.items() if key not in own}
    shared = _preprocessed_alike(path, plans, chosen) if job["keep"] else None
    if shared is not None:
        chosen["data_identifier"] = shared
    path.write_text(json.dumps(plans, indent=4), encoding="utf-8")
    if shared is None:
        emit("stage", name="preprocess")
        whole = _whole(path.parent, chosen["data_identifier"])
        whole.unlink(missing_ok=True)
        api.preprocess([number], name, [job["configuration"]], num_processes=[job["processes"]])
        whole.write_text("preprocessed to the end\n", encoding="utf-8")
    strides = chosen["architecture"]["arch_kwargs"]["strides"]
    return {
        "plans": name,
        "configuration": job["configuration"],
        "patch": list(chosen["patch_size"]),
        "spacing": list(chosen["spacing"]),
        "batch_size": chosen["batch_size"],
        "strides": [list(stride) for stride in strides],
        "normalisation": chosen["normalization_schemes"],
        "pools": [sum(stride[axis] > 1 for stride in strides) for axis in range(len(strides[0]))],
        "resampling": chosen["resampling_fn_probabilities"],
        "shared": shared,
        "estimate": _estimate(job, plans),
    }


def _estimate(job: Mapping[str, Any], plans: dict[str, Any]) -> dict[str, float] | None:
    """Return what a training of this plan will take; None where its trainer is not known here."""
    from nnunetv2.paths import nnUNet_raw
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from medpodium.baselines.nnunet.demand import demand_of
    from medpodium.baselines.nnunet.prediction import trainer_class

    dataset = json.loads((Path(str(nnUNet_raw)) / job["dataset"] / "dataset.json").read_text(encoding="utf-8"))
    manager = PlansManager(plans)
    try:
        trainer = trainer_class(job["trainer"], [])
    except MedpodiumError:
        return None
    return demand_of(trainer, manager, manager.get_configuration(job["configuration"]), dataset, epochs=job["epochs"])


def _preprocessed_alike(own: Path, plans: Mapping[str, Any], chosen: Mapping[str, Any]) -> str | None:
    """Return the folder of data that another plan, or an earlier one, preprocessed to the end in the same way."""
    for path in sorted(own.parent.glob("*.json")):
        try:
            other = json.loads(path.read_text(encoding="utf-8"))
            known = other["configurations"].values()
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        if any(other.get(key) != plans.get(key) for key in _ALIKE_PLANS):
            continue
        for item in known:
            folder = item.get("data_identifier")
            alike = folder and all(item.get(key) == chosen.get(key) for key in _ALIKE)
            if alike and _whole(own.parent, folder).exists():
                return str(folder)
    return None


def _whole(preprocessed: Path, folder: str) -> Path:
    """Return our mark of a folder that was preprocessed to the end; beside it: nnU-Net reads all that is in it."""
    return preprocessed / f".{folder}.whole"


def find_planner(name: str) -> Any:
    """Return nnU-Net's planner class of a name.

    Raises
    ------
    UsageError
        If there is none.
    """
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    folder = Path(nnunetv2.__path__[0]) / "experiment_planning"
    found = recursive_find_python_class(str(folder), name, current_module="nnunetv2.experiment_planning")
    if found is None:
        fix = "for instance ExperimentPlanner, nnUNetPlannerResEncM, -L or -XL, nnUNetPlannerResEncL_torchres"
        raise refuse(BaselineCode.CONFIGURATION, name, "nnU-Net has no planner of this name", fix)
    return found


def plans_name(planner: Any, job: Mapping[str, Any]) -> str:
    """Return the planner's own name for its plans, with the baseline's where anything is overridden."""
    import inspect

    default = str(inspect.signature(planner.__init__).parameters["plans_name"].default)
    if not any(job[key] for key in ("spacing", "patch", "batch_size", "gpu_memory_gb")):
        return default
    return f"{default}_{''.join(char for char in job['baseline'].title() if char.isalnum())}"


def choose_configuration(plans: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a configuration of the plans, following ``inherits_from``.

    Raises
    ------
    MedpodiumError
        If nnU-Net planned none of that name (a low resolution stage for small images).
    """
    known = plans["configurations"]
    if name not in known:
        cause = f"nnU-Net planned no {name} for these images"
        fix = f"use --configuration {' or '.join(known)}"
        raise unusable(BaselineCode.CONFIGURATION, name, cause, fix)
    chosen: dict[str, Any] = known[chosen_name(plans, name)]
    return chosen


def chosen_name(plans: Mapping[str, Any], name: str) -> str:
    """Return the configuration that holds the patch and the network of one: itself, or what it inherits from."""
    return str(plans["configurations"][name].get("inherits_from") or name)


def strides_for(spacing: Sequence[float], patch_zyx: Sequence[int]) -> tuple[tuple[int, ...], tuple[Strides, ...]]:
    """Return the patch that nnU-Net makes of a patch, and the strides of every stage of its network.

    Parameters
    ----------
    spacing : sequence of float
        Millimetres (z, y, x); only their ratios count.
    patch_zyx : sequence of int
        Voxels.
    """
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    _, strides, _, patch, _ = get_pool_and_conv_props(list(spacing), list(patch_zyx), MIN_EDGE, 999999)
    return tuple(int(edge) for edge in patch), tuple((int(z), int(y), int(x)) for z, y, x in strides)


def override(
    configuration: dict[str, Any], transpose: Sequence[int], patch_zyx: Sequence[int] | None, batch_size: int | None
) -> None:
    """Change patch and batch size of a configuration, and the network's stages with the patch.

    Parameters
    ----------
    configuration : dict
        Of nnU-Net's plans; changed in place.
    transpose : sequence of int
        ``transpose_forward`` of the plans: the patch is given in the image's (z, y, x), the plan has its own order.
    patch_zyx : sequence of int, optional
        Voxels; rounded up to what the poolings divide, as nnU-Net does.
    batch_size : int, optional
        Patches per batch.
    """
    if batch_size is not None:
        configuration["batch_size"] = batch_size
    if patch_zyx is None:
        return
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    spacing = configuration["spacing"]
    own = [patch_zyx[axis] for axis in transpose][-len(spacing) :]
    _, strides, kernels, patch, _ = get_pool_and_conv_props(spacing, own, MIN_EDGE, 999999)
    configuration["patch_size"] = [int(value) for value in patch]
    network = configuration["architecture"]["arch_kwargs"]
    stages = len(strides)
    first = network["features_per_stage"][0]
    widest = max(MAX_FEATURES[len(spacing)], *network["features_per_stage"])
    network |= {
        "n_stages": stages,
        "features_per_stage": [min(widest, first * 2**stage) for stage in range(stages)],
        "kernel_sizes": [list(map(int, kernel)) for kernel in kernels],
        "strides": [list(map(int, stride)) for stride in strides],
    }
    for key in ("n_conv_per_stage", "n_blocks_per_stage", "n_conv_per_stage_decoder"):
        if key in network:
            length = stages - 1 if key.endswith("decoder") else stages
            network[key] = ([*network[key], *[network[key][-1]] * length])[:length]
