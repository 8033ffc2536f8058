"""Segment a case with trained networks as nnU-Net does: one, several whose probabilities are averaged, or a cascade.

Everything runs in the process that calls; nothing of nnU-Net's worker processes is used.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Stage:
    """A network ready to predict, and that of the stage before it in a cascade.

    Parameters
    ----------
    predictor : nnUNetPredictor
        Initialised.
    previous : Stage, optional
        Its labels are given to this one beside the image.
    """

    predictor: Any
    previous: Stage | None = None


@dataclass
class Segmented:
    """What came out for a case.

    Parameters
    ----------
    labels : numpy.ndarray
        In the model's values, axes as nnU-Net's reader gives the image (z, y, x).
    properties : dict
        Of the image, for nnU-Net's writer.
    probabilities : numpy.ndarray, optional
        Of every class, shape (classes, z, y, x); averaged over the networks.
    seconds : dict
        Of ``preprocess``, ``network`` and ``export``.
    """

    labels: Any
    properties: dict[str, Any]
    probabilities: Any = None
    seconds: dict[str, float] = field(default_factory=lambda: dict.fromkeys(("preprocess", "network", "export"), 0.0))


def segment(
    stages: Sequence[Stage],
    files: Sequence[str],
    *,
    steps: Sequence[Mapping[str, Any]] = (),
    probabilities: bool = False,
) -> Segmented:
    """Segment a case.

    Parameters
    ----------
    stages : sequence of Stage
        Networks whose probabilities are averaged on the image's grid, as ``nnUNetv2_ensemble`` does.
    files : sequence of str
        The image, a file per channel in the model's order.
    steps : sequence of mapping
        Postprocessing: of the union of ``labels`` only the largest component stays.
    probabilities : bool
        Whether they are wanted.
    """
    made = Segmented(None, {})
    if len(stages) == 1 and not probabilities:
        made.labels, _ = _one(stages[0], files, made, probabilities=False)
    else:
        total: Any = None
        for stage in stages:
            made.labels, own = _one(stage, files, made, probabilities=True)
            total = own.astype(np.float32) if total is None else total + own
        made.probabilities = total / len(stages)
        if len(stages) > 1:
            manager = stages[0].predictor.label_manager
            made.labels = np.asarray(manager.convert_probabilities_to_segmentation(made.probabilities))
    for step in steps:
        made.labels = keep_largest(made.labels, step["labels"])
    return made


def _one(stage: Stage, files: Sequence[str], made: Segmented, *, probabilities: bool) -> tuple[Any, Any]:
    """Return labels and, if wanted, probabilities of one network; what is noted of the image is the last stage's."""
    import torch
    from nnunetv2.inference.export_prediction import convert_predicted_logits_to_segmentation_with_correct_shape

    before = None
    if stage.previous is not None:
        before, _ = _one(stage.previous, files, made, probabilities=False)
    one = stage.predictor
    plans, configuration = one.plans_manager, one.configuration_manager
    marks = [time.perf_counter()]
    data, made.properties = _preprocessed(one, files, before)
    marks.append(time.perf_counter())
    logits = one.predict_logits_from_preprocessed_data(torch.from_numpy(data)).cpu()
    marks.append(time.perf_counter())
    found = convert_predicted_logits_to_segmentation_with_correct_shape(
        logits, plans, configuration, one.label_manager, made.properties,
        return_probabilities=probabilities, num_threads_torch=torch.get_num_threads(),
    )  # fmt: skip
    marks.append(time.perf_counter())
    for name, seconds in zip(made.seconds, np.diff(marks).tolist(), strict=True):
        made.seconds[name] += seconds
    return found if probabilities else (np.asarray(found), None)


def _preprocessed(one: Any, files: Sequence[str], before: Any) -> tuple[Any, dict[str, Any]]:
    """Return the input of a network, shape (channels, z, y, x), and what is to be known of the image."""
    plans, configuration = one.plans_manager, one.configuration_manager
    preprocessor = configuration.preprocessor_class(verbose=False)
    if before is None:
        data, _, properties = preprocessor.run_case(files, None, plans, configuration, one.dataset_json)
        return data, properties
    from nnunetv2.utilities.label_handling.label_handling import convert_labelmap_to_one_hot

    voxels, properties = plans.image_reader_writer_class().read_images(files)
    labels = before[None].astype(np.float32)  # as nnU-Net reads them; cropping marks what is outside by -1
    data, own, properties = preprocessor.run_case_npy(
        voxels, labels, properties, plans, configuration, one.dataset_json
    )
    return np.vstack(
        (data, convert_labelmap_to_one_hot(own[0], one.label_manager.foreground_labels, data.dtype))
    ), properties


def keep_largest(labels: Any, kept: Sequence[int]) -> Any:
    """Return a label map in which all but the largest component of a union of labels is background."""
    from acvl_utils.morphology.morphology_helper import remove_all_but_largest_component

    mask = np.isin(labels, list(kept))
    if not mask.any():
        return labels
    found = labels.copy()
    found[mask & ~remove_all_but_largest_component(mask)] = 0
    return found
