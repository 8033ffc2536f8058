"""Predict with a trained baseline and write the challenge's own files and label values."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet.dataset import RECORD, on_grid, write_zeros
from medpodium.challenges.schema.definition import SegmentationTask

Emit = Callable[..., None]
FAST = "resample_torch_fornnunet"
"""nnU-Net's resampling with torch; the default for probabilities uses scikit-image, one class after the other."""


def trained_folds(model: Path, wanted: Sequence[int | str] | None = None) -> list[str]:
    """Return the folds of a model folder that have a final checkpoint.

    Raises
    ------
    UsageError
        If the folder holds no trained fold, or not all of the wanted ones.
    """
    found = sorted(path.parent.name.removeprefix("fold_") for path in model.glob("fold_*/checkpoint_final.pth"))
    asked = [str(fold) for fold in wanted] if wanted else None
    lacking = [fold for fold in asked or [] if fold not in found]
    if not found or lacking:
        cause = f"fold {', '.join(lacking)} is not trained" if lacking else "no fold with a checkpoint_final.pth"
        fix = "run 'medpodium baseline train' to its end first (--resume goes on after a stop)"
        raise refuse(BaselineCode.NOT_TRAINED, model, cause, fix)
    if asked:
        return asked
    # 'all' has seen every case; cross-validation folds are averaged
    numbered = [fold for fold in found if fold != "all"]
    return numbered or found


def predict_here(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Predict in this process, one case after the other.

    Parameters
    ----------
    job : mapping
        model (folder), folds, device, step_size, mirroring, fast_export, and cases: a list of
        (name, image files in channel order, output file without its ending).
    emit : callable
        Told after every case.

    Returns
    -------
    dict
        Seconds per case spent on preprocessing, network and export.
    """
    import torch
    from nnunetv2.inference.export_prediction import export_prediction_from_logits
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        tile_step_size=job["step_size"],
        use_mirroring=job["mirroring"],
        device=torch.device(job["device"]),
        perform_everything_on_device=job["device"] == "cuda",
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(job["model"], job["folds"])
    if job["fast_export"]:
        use_fast_export(predictor.configuration_manager.configuration)
    preprocessor = predictor.configuration_manager.preprocessor_class(verbose=False)
    rows = []
    for done, (name, files, target) in enumerate(job["cases"], start=1):
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        marks = [time.perf_counter()]
        data, _, properties = preprocessor.run_case(
            files, None, predictor.plans_manager, predictor.configuration_manager, predictor.dataset_json
        )
        marks.append(time.perf_counter())
        logits = predictor.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
        marks.append(time.perf_counter())
        export_prediction_from_logits(
            logits, properties, predictor.configuration_manager, predictor.plans_manager, predictor.dataset_json, target
        )
        marks.append(time.perf_counter())
        seconds = np.diff(marks)
        rows.append({"case": name, **dict(zip(("preprocess", "network", "export"), seconds.tolist(), strict=True))})
        emit("case", done=done, total=len(job["cases"]), name=name)
    return {"cases": rows, "ending": predictor.dataset_json["file_ending"]}


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


def to_challenge(task: SegmentationTask, record: Mapping[str, Any], produced: Path, case: str, out: Path) -> list[Path]:
    """Turn nnU-Net's output of a case into the challenge's prediction files.

    Parameters
    ----------
    task : SegmentationTask
        File pattern and structures.
    record : mapping
        ``medpodium.json`` of the data set: the label values.
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

    from medpodium.challenges.naming.patterns import format_name, placeholders

    image = SimpleITK.ReadImage(str(produced))
    values = {int(new): int(old) for new, old in record["values"].items()}
    table = np.zeros(max(values) + 1, dtype=np.uint16)
    table[list(values)] = list(values.values())
    voxels = table[SimpleITK.GetArrayFromImage(image)]
    pattern = task.files.prediction
    if not set(placeholders(pattern)) <= {"case", "structure"}:
        cause, fix = f"the names of predictions have several parts ({pattern})", "let the challenge ask for {case}"
        raise refuse(BaselineCode.NO_CASES, "files.prediction", cause, fix)
    masks = {"": voxels}
    if "{structure}" in pattern:
        masks = {
            item.file or name: np.isin(voxels, sorted(item.labels)).astype(np.uint8)
            for name, item in task.structures.items()
        }
    written = []
    for structure, mask in masks.items():
        target = out / format_name(pattern, {"case": case, "structure": structure})
        target.parent.mkdir(parents=True, exist_ok=True)
        kind = np.uint8 if mask.max() < 256 else np.uint16
        SimpleITK.WriteImage(on_grid(mask.astype(kind), image), str(target), useCompression=True)
        written.append(target)
    return written


def model_record(model: Path) -> dict[str, Any]:
    """Return what was noted about a model folder when it was trained.

    Raises
    ------
    UsageError
        If there is no such note.
    """
    path = model / RECORD
    if not path.exists():
        fix = "give the model folder that 'medpodium baseline train' printed"
        raise refuse(BaselineCode.NOT_TRAINED, model, f"holds no {RECORD}", fix)
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record
