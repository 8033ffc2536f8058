"""Find the networks that nnU-Net left: a model folder, what find_best_configuration chose, stages of a cascade."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.pickles import read_plain

BEST = "inference_information.json"
"""Written by ``nnUNetv2_find_best_configuration`` into the results of a data set."""
_LARGEST = ("nnunetv2.postprocessing.remove_connected_components", "remove_all_but_largest_component_from_segmentation")
_DEPTHS = ("*", "*/*")


@dataclass(frozen=True)
class Found:
    """Model folders, and what nnU-Net's choice of the best configuration says of them.

    Parameters
    ----------
    models : list of Path
        Their probabilities are averaged.
    folds : list of int, optional
        That the choice was made with.
    postprocessing : Path, optional
        Its ``postprocessing.pkl``.
    """

    models: list[Path]
    folds: list[int | str] | None = None
    postprocessing: Path | None = None


def find_models(given: Sequence[Path]) -> Found:
    """Return the model folders that are meant by folders on the command line.

    Raises
    ------
    UsageError
        If one is no model, or several.
    """
    if len(given) == 1 and (given[0] / BEST).is_file():
        return _best(given[0])
    return Found([find_model(folder) for folder in given])


def find_model(folder: Path) -> Path:
    """Return the model folder, which may be the only one below the given one.

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    if not folder.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, folder, "no such folder", "give nnU-Net's folder of a trained model")
    if (folder / "plans.json").is_file():
        return folder
    below = sorted(path.parent for depth in _DEPTHS for path in folder.glob(f"{depth}/plans.json"))
    below = [path for path in below if any(path.glob("fold_*"))]  # not those of results of a cross-validation
    if len(below) == 1:
        return below[0]
    names = ", ".join(path.name for path in below[:4])
    cause = f"holds {len(below)} models: {names}" if below else "holds no plans.json"
    fix = "give one folder of nnUNet_results, such as Dataset500_X/nnUNetTrainer__nnUNetPlans__3d_fullres"
    if below:
        fix += f", several to average them, or run nnUNetv2_find_best_configuration, whose {BEST} is followed"
    raise refuse(BaselineCode.MODEL_UNKNOWN, folder, cause, fix)


def _best(results: Path) -> Found:
    """Follow ``inference_information.json``; its paths are those of the machine that wrote it, so only names count."""
    path = results / BEST
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        best = content["best_model_or_ensemble"]
        chosen = best["selected_model_or_models"]
        models = [
            results / f"{row['trainer']}__{row['plans_identifier']}__{row['configuration']}"
            for row in (chosen if isinstance(chosen, list) else [chosen])
        ]
        folds = [fold if fold == "all" else int(fold) for fold in content["folds"]]
        noted = Path(str(best["postprocessing_file"]).replace("\\", "/"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = f"cannot be read ({type(error).__name__}: {error})"
        raise refuse(BaselineCode.MODEL_UNKNOWN, path, cause, "run nnUNetv2_find_best_configuration again") from None
    for model in models:
        if not (model / "plans.json").is_file():
            fix = "bring the whole folder of results along, or give the model folders themselves"
            raise refuse(BaselineCode.MODEL_UNKNOWN, model, f"named in {BEST}, but not there", fix)
    parts = [part for part in noted.parts if part not in ("/", "\\")]
    own = [results.joinpath(*parts[index:]) for index in range(len(parts))]
    steps = next((file for file in own if file.is_file()), None)
    if steps is None:
        fix = "bring the whole folder of results along, or give --postprocessing none or FILE"
        raise refuse(BaselineCode.MODEL_UNKNOWN, path, f"names {noted.name}, which is not there", fix)
    return Found(models, folds, steps)


def read_steps(path: Path) -> list[dict[str, Any]]:
    """Return the steps of nnU-Net's ``postprocessing.pkl``, read without running anything in it.

    Returns
    -------
    list of dict
        For each step the ``labels`` of whose union only the largest component stays.

    Raises
    ------
    UsageError
        If the file asks for anything else.
    """
    fix = "give the postprocessing.pkl that nnUNetv2_determine_postprocessing wrote"
    try:
        functions, settings = read_plain(path, {_LARGEST: _largest})
        if any(one is not _largest for one in functions) or len(functions) != len(settings):
            raise ValueError("a step that is unknown")
        return [{"labels": sorted(_labels(row))} for row in settings]
    except (OSError, EOFError, ValueError, TypeError, KeyError, pickle.UnpicklingError) as error:
        raise refuse(BaselineCode.MODEL_UNKNOWN, path, f"cannot be followed ({error})", fix) from None


def _largest() -> None:
    """Stand for nnU-Net's function in a pickle; never called."""


def _labels(settings: Mapping[str, Any]) -> set[int]:
    if set(settings) - {"labels_or_regions", "background_label"} or int(settings.get("background_label", 0)) != 0:
        raise ValueError(f"unknown settings {', '.join(settings)}")

    def flat(value: Any) -> set[int]:
        if isinstance(value, list | tuple):
            return set().union(*map(flat, value))
        return {int(value)}

    return flat(settings["labels_or_regions"])


def inherited(plans: Mapping[str, Any], name: str, model: Path) -> dict[str, Any]:
    """Return a configuration with what it inherits.

    Raises
    ------
    UsageError
        If the plans have none of this name.
    """
    known = plans.get("configurations", {})
    if name not in known:
        cause = f"its plans have no configuration {name}, only {', '.join(known) or 'none'}"
        raise refuse(BaselineCode.CONFIGURATION, model, cause, "give the plans.json of this training")
    own, seen = dict(known[name]), {name}
    while own.get("inherits_from") in known and own["inherits_from"] not in seen:
        above = known[own["inherits_from"]]
        seen.add(own["inherits_from"])
        own = {**above, **own, "inherits_from": above.get("inherits_from")}
    return own


def stage_before(
    model: Path, trainer: str, plans: Mapping[str, Any], settings: Mapping[str, Any], given: Path | None
) -> Path | None:
    """Return the folder of a cascade's first stage: as given, or beside the model; None where there is no cascade.

    Raises
    ------
    UsageError
        If it is not there.
    """
    name = settings.get("previous_stage")
    if not name:
        return None
    beside = model.resolve().parent
    usual = [beside / f"{trainer}__{plans.get('plans_name')}__{name}", *sorted(beside.glob(f"*__{name}"))]
    found = given or next((folder for folder in usual if (folder / "plans.json").is_file()), None)
    if found is None or not (found / "plans.json").is_file():
        where = "there" if given else "beside it"
        cause = f"is the second stage of a cascade, and no model of the first, {name}, is {where}"
        raise refuse(BaselineCode.CONFIGURATION, given or model, cause, f"give the folder of {name} with --previous")
    return found
