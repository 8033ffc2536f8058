"""Predict with a trained baseline and write the challenge's own files and label values."""

from __future__ import annotations

import json
import os
import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.baselines.checkpoints import read_content, weights_of
from medpodium.baselines.failures import BaselineCode, refuse, unusable
from medpodium.baselines.nnunet.dataset import on_grid, write_zeros
from medpodium.baselines.portable import networks
from medpodium.baselines.portable.image_files import damage
from medpodium.baselines.portable.segment import Segmented, Stage, segment
from medpodium.challenges.schema.definition import SegmentationTask

Emit = Callable[..., None]
EXTERNAL = "nnUNet_extTrainer"
"""nnU-Net's variable for folders of further trainers."""
FAST = "resample_torch_fornnunet"
"""nnU-Net's resampling with torch; the default for probabilities uses scikit-image, one class after the other."""


def load_here(job: Mapping[str, Any]) -> list[Stage]:
    """Return the networks of a model, ready to predict, read without running what a checkpoint says.

    Parameters
    ----------
    job : mapping
        members (as :meth:`medpodium.baselines.models.record.Member.job`), trust, device, step_size, mirroring,
        fast_export.

    Raises
    ------
    MedpodiumError
        If a trainer is unknown, or the weights do not fit its network.
    """
    return [_stage(member, job) for member in job["members"]]


def _stage(member: Mapping[str, Any], job: Mapping[str, Any]) -> Stage:
    previous = None if member["previous"] is None else _stage(member["previous"], job)
    return Stage(_predictor(member, job), previous)


def _predictor(member: Mapping[str, Any], job: Mapping[str, Any]) -> Any:
    """Return nnU-Net's predictor of one network."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    model = Path(member["model"])
    predictor = nnUNetPredictor(
        tile_step_size=job["step_size"],
        use_mirroring=job["mirroring"],
        device=torch.device(job["device"]),
        perform_everything_on_device=job["device"] == "cuda",
        allow_tqdm=False,
    )
    plans = PlansManager(json.loads((model / "plans.json").read_text(encoding="utf-8")))
    dataset = json.loads((model / "dataset.json").read_text(encoding="utf-8"))
    paths = [model / f"fold_{fold}" / f"checkpoint_{member['checkpoint']}.pth" for fold in member["folds"]]
    contents = [read_content(path, trust=job["trust"]) for path in paths]
    weights = [weights_of(content, path) for content, path in zip(contents, paths, strict=True)]
    trainer = str(contents[0].get("trainer_name") or member["trainer"])
    configuration = plans.get_configuration(member["configuration"])
    if job["fast_export"]:
        use_fast_export(configuration.configuration)
    kind = trainer_class(trainer, [Path(folder) for folder in member["trainers"]])
    network = networks.build(kind, plans, configuration, dataset)
    for path, own in zip(reversed(paths), reversed(weights), strict=True):  # the first one stays
        try:
            networks.fill(network, own)
        except networks.NetworkError as error:
            fix = f"check that {trainer} and the plans beside the checkpoint are those of its training"
            raise unusable(BaselineCode.CHECKPOINT_SIZE, path, f"{error}; built as {trainer} does", fix) from None
    axes = contents[0].get("inference_allowed_mirroring_axes")
    predictor.manual_initialization(
        network, plans, configuration, weights, dataset, trainer, None if axes is None else tuple(axes)
    )
    return predictor


def trainer_class(trainer: str, folders: Sequence[Path]) -> type | None:
    """Return the class of a trainer of nnU-Net or of one of the folders; None for nnU-Net's usual one.

    Raises
    ------
    UsageError
        If there is no such trainer.
    """
    fix = "give the file that defines it: medpodium baseline adopt MODEL --trainer-file FILE"
    path = networks.locate(trainer, [*folders, *external_folders(), networks.own_folder()])
    if path is None:
        raise refuse(BaselineCode.TRAINER, trainer, "neither nnU-Net nor the model's folder defines this trainer", fix)
    if path == networks.own_folder() / f"{networks.PLAIN}.py" and trainer == networks.PLAIN:
        return None
    try:
        found: type = getattr(networks.import_file(path), trainer)
    except networks.NetworkError as error:
        raise refuse(BaselineCode.TRAINER, trainer, str(error), "install what it imports") from None
    return found


def external_folders() -> list[Path]:
    """Return the folders of nnU-Net's own variable for trainers."""
    return [Path(part) for part in os.environ.get(EXTERNAL, "").split(os.pathsep) if part.strip()]


def predict_here(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Predict in this process, one case after the other; one that fails stops no other.

    Parameters
    ----------
    job : mapping
        As :func:`load_here`, full (unpack images to check them), postprocessing (steps), probabilities (whether to
        keep them), and cases: a list of (name, image files in channel order, output file without its ending).
    emit : callable
        Told before and after every case.

    Returns
    -------
    dict
        The ending of the output files.
    """
    import torch

    stages = load_here(job)
    first = stages[0].predictor
    ending = first.dataset_json["file_ending"]
    writer = first.plans_manager.image_reader_writer_class()
    total = len(job["cases"])
    for done, (name, files, target) in enumerate(job["cases"], start=1):
        emit("begin", done=done - 1, total=total, name=name)
        try:
            damaged = [f"{Path(file).name} {why}" for file in files if (why := damage(file, full=job["full"]))]
            if damaged:
                raise ValueError(damaged[0])
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            made = segment(stages, files, steps=job["postprocessing"], probabilities=job["probabilities"])
            writer.write_seg(made.labels, target + ending, made.properties)
            if job["probabilities"]:
                _keep_probabilities(made, target)
        except Exception as error:  # whatever is wrong with this case, the others are not to blame
            traceback.print_exc()  # into the log
            text = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            emit("failed", done=done, total=total, name=name, cause=f"{type(error).__name__}: {text}"[:300])
            if job["device"] == "cuda":
                torch.cuda.empty_cache()
            continue
        emit("case", done=done, total=total, name=name, file=target + ending, **made.seconds)
    return {"ending": ending}


def _keep_probabilities(made: Segmented, target: str) -> None:
    """Write the two files that ``nnUNetv2_ensemble`` reads."""
    with Path(f"{target}.pkl").open("wb") as stream:
        pickle.dump(made.properties, stream)
    np.savez_compressed(f"{target}.npz", probabilities=made.probabilities)


def use_fast_export(configuration: dict[str, Any]) -> None:
    """Resample probabilities with torch, whatever the plan says.

    Strongly anisotropic images keep nnU-Net's rule: in plane linear, across planes nearest.
    """
    configuration["resampling_fn_probabilities"] = FAST
    configuration["resampling_fn_probabilities_kwargs"] = {
        "is_seg": False,
        "force_separate_z": None,
        "memefficient_seg_resampling": False,
    }


def prediction_cases(
    images: Mapping[str, Mapping[str, Path]], channels: Sequence[str], folder: Path, *, zeros: bool = False
) -> list[tuple[str, list[str], str]]:
    """Return the (name, files, output) rows of a prediction job.

    Parameters
    ----------
    images : mapping
        Files of every case by channel.
    channels : sequence of str
        Channels in the model's order.
    folder : Path
        Folder of the outputs, and of channels that are made of zeros.
    zeros : bool
        Fill missing channels with zeros, as the model was trained.

    Raises
    ------
    UsageError
        If a case lacks a channel.
    """
    rows = []
    for name, files in images.items():
        lacking = [channel for channel in channels if channel not in files]
        present = dict(files)
        if lacking and zeros and files:
            filled = folder / f"{name}-missing.nii.gz"
            write_zeros(next(iter(files.values())), filled)
            present |= dict.fromkeys(lacking, filled)
        elif lacking:
            fix = "add the file, or leave the case out; a model needs every channel it was trained on"
            raise refuse(BaselineCode.CHANNEL_MISSING, name, f"lacks the channel {', '.join(lacking)}", fix)
        rows.append((name, [str(present[channel].resolve()) for channel in channels], str(folder / name)))
    return rows


def targets(task: SegmentationTask, case: str) -> dict[str, str]:
    """Return the prediction files of a case, relative to their folder, by structure ("" for the whole label map).

    Raises
    ------
    UsageError
        If the challenge names predictions by more than the case.
    """
    from medpodium.challenges.naming.patterns import format_name, placeholders

    pattern = task.files.prediction
    if not set(placeholders(pattern)) <= {"case", "structure"}:
        cause, fix = f"the names of predictions have several parts ({pattern})", "let the challenge ask for {case}"
        raise refuse(BaselineCode.NO_CASES, "files.prediction", cause, fix)
    if "{structure}" not in pattern:
        return {"": format_name(pattern, {"case": case})}
    return {
        name: format_name(pattern, {"case": case, "structure": item.file or name})
        for name, item in task.structures.items()
    }


def to_challenge(task: SegmentationTask, record: Mapping[str, Any], produced: Path, case: str, out: Path) -> list[Path]:
    """Turn nnU-Net's output of a case into the challenge's prediction files; each appears whole or not at all.

    Parameters
    ----------
    task : SegmentationTask
        File pattern and structures.
    record : mapping
        Notes of the model: the label values.
    produced : Path
        nnU-Net's label map.
    case : str
        Case name.
    out : Path
        Folder of the submission's predictions.

    Returns
    -------
    list of Path
        The files written: one, or one per structure.
    """
    import SimpleITK

    image = SimpleITK.ReadImage(str(produced))
    found = SimpleITK.GetArrayFromImage(image)
    values = {int(new): int(old) for new, old in record["values"].items()}
    table = np.zeros(max(*values, int(found.max())) + 1, dtype=np.uint16)
    table[list(values)] = list(values.values())
    voxels = table[found]
    written = []
    for structure, name in targets(task, case).items():
        mask = np.isin(voxels, sorted(task.structures[structure].labels)).astype(np.uint8) if structure else voxels
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = np.uint8 if mask.max() < 256 else np.uint16
        partial = target.with_name(f".part-{target.name}")
        SimpleITK.WriteImage(on_grid(mask.astype(kind), image), str(partial), useCompression=True)
        partial.replace(target)
        written.append(target)
    return written
