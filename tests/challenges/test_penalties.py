"""What lint takes for granted about lazy predictions is what the scorer computes on small masks."""

from __future__ import annotations

import numpy as np
import pytest

from medpodium.challenges.penalties import rewards
from medpodium.challenges.registry import load
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.challenges.schema.metrics.outcomes import resolve
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.scoring.kinds.segmentation.measures import CaseMeasures, Volume
from medpodium.scoring.masks.geometry import Geometry

SKIP = {"both": "skip", "reference": "skip", "prediction": "skip"}
SHAPE = (6, 16, 16)
GRID = Geometry(SHAPE, (2.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))


def _kinds() -> list[dict[str, object]]:
    needed: dict[str, dict[str, object]] = {"nsd": {"tolerance_mm": 1.0}, "boundary_iou": {"width": 1}}
    needed |= {
        "lesion_nsd": {"tolerance_mm": 1.0},
        "lesion_hd_percentile": {"missed": 99, "invented": 99, "worst": 999.0},
        "variant_accuracy": {"edges": [{"structure": "lesion"}]},
        "topology_match": {"edges": [{"structure": "lesion"}], "compared": ["lesion"]},
    }
    kinds = [{"kind": name, "worst": 999.0} for name in SegmentationTask.metric_kinds() if name not in needed]
    kinds += [{"kind": name, **own} for name, own in needed.items()]
    lesion = [one for one in kinds if str(one["kind"]).startswith(("lesion", "panoptic", "segmentation_quality"))]
    rules = [{"overlap": "any", "matching": "greedy"}, {"overlap": "iou", "threshold": 0.3}, {"overlap": "dice"}]
    found = kinds + [{**one, "lesions": rule} for one in lesion for rule in rules]
    return [one for one in found if _task(one).metrics["metric"].info.scope == "structure"]  # not what a run measures


def _task(metric: dict[str, object]) -> SegmentationTask:
    return SegmentationTask.model_validate(
        {"structures": {"lesion": {"label": 1}}, "empty": SKIP, "metrics": {"metric": metric}}
    )


@pytest.mark.parametrize("metric", _kinds(), ids=lambda metric: "-".join(map(str, metric.values())))
def test_kind_says_which_lazy_predictions_it_cannot_tell_from_perfect_ones(metric: dict[str, object]) -> None:
    task = _task(metric)
    spec = task.metrics["metric"]
    reference = np.zeros(SHAPE, np.uint8)
    reference[1:3, 2:6, 2:6] = reference[3:5, 9:14, 9:14] = 1
    topology = spec.kind in ("euler_error", "betti0_error", "betti1_error")
    reference[3, 11, 11] = 0 if topology else 1
    if topology:
        reference[3:5, 9:14, 9:14] = 0  # one ball, as lesions mostly are
    nothing = np.zeros(SHAPE, np.uint8)
    nothing[1, 3, 3] = 1
    measures = CaseMeasures(Volume(reference, GRID), task)

    def value(prediction: np.ndarray) -> float:
        return measures.against(Volume(prediction, GRID)).value(spec, "lesion", task.tolerance_of(spec, "lesion"))

    perfect = value(reference)
    sign = 1 if spec.better == "higher" else -1
    lazy = {"everything": np.ones(SHAPE, np.uint8), "next to nothing": nothing}
    fooled = {name for name, mask in lazy.items() if sign * value(mask) >= sign * perfect}
    assert fooled == set(spec.blind_to)
    best = resolve("best", spec, 0.0)
    assert np.isnan(best) or best == perfect


@pytest.mark.parametrize("reference", ["feta", "flare-pancancer", "liqa", "touchstone", "stunet-transfer"])
def test_nobody_wins_a_built_in_challenge_by_handing_in_nothing(reference: str) -> None:
    challenge = load(reference)
    assert list(rewards(challenge)) == []
    assert all(
        isinstance(one, MetricSpec) and one.rewards is None
        for t in challenge.tasks.values()
        for one in t.metrics.values()
    )
