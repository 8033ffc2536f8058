"""Instances pooled over all cases, against plain loops over pairs of objects that know nothing of weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK
from click.testing import CliRunner
from scipy import optimize

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.scoring import observations, table
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.measures.instances import matched_objects
from medpodium.scoring.measures.lesions.matching import Matching

RULES = """
schema: 1
name: cells
title: Cells
tasks:
  cells:
    kind: segmentation
    empty: {both: skip, reference: 0, prediction: 0}
    structures: {cell: {instances: [1, 999], title: Cell}}
    metrics:
      dice: {kind: dice}
      ap: {kind: instance_ap}
      ap50: {kind: instance_ap, thresholds: [0.5]}
      f1: {kind: instance_f1, threshold: 0.3, matching: hungarian}
      pq: {kind: instance_pq}
      sq: {kind: instance_sq}
      rq: {kind: instance_rq}
      md: {kind: instance_dice, objects: components}
      there: {kind: presence_f1, threshold: 0.25}
recipes: {by-ap: {steps: [{select: {metric: ap}}, {mean: [case, structure, metric]}, rank]}}
ranking: {cells: by-ap}
"""
TEAMS = ("aurora", "borealis")


def cells(rng: np.random.Generator, shape: tuple[int, int, int] = (3, 24, 24)) -> np.ndarray:
    """Boxes that may cover each other, with numbers that do not follow each other."""
    mask = np.zeros(shape, np.uint16)
    for number in rng.permutation(np.arange(1, 999))[: rng.integers(2, 9)]:
        y, x = rng.integers(0, 18, 2)
        mask[:, y : y + rng.integers(3, 7), x : x + rng.integers(3, 7)] = number
    return mask


def moved(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """The same objects under other numbers, some lost, some moved, some invented."""
    found = np.zeros_like(mask)
    for number in np.unique(mask[mask > 0]):
        if rng.random() < 0.85:
            shift = tuple(rng.integers(-1, 2, 2))
            found[np.roll(mask == number, shift, (1, 2))] = rng.integers(1, 999)
    if rng.random() < 0.5:
        found[:, :3, :3] = 998
    return found


def overlaps(reference: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return intersection over union and Dice of every pair of objects, one mask at a time."""
    own, other = (np.unique(mask[mask > 0]) for mask in (reference, prediction))
    iou, dice = np.zeros((2, own.size, other.size))
    for i, one in enumerate(own):
        for j, two in enumerate(other):
            both = ((reference == one) & (prediction == two)).sum()
            sizes = (reference == one).sum() + (prediction == two).sum()
            iou[i, j], dice[i, j] = both / (sizes - both), 2 * both / sizes
    return iou, dice


def greedy(iou: np.ndarray, threshold: float) -> list[tuple[int, int]]:
    left, pairs = iou.copy(), []
    while left.size and left.max() >= threshold:
        i, j = np.unravel_index(left.argmax(), left.shape)
        pairs.append((int(i), int(j)))
        left[i, :] = left[:, j] = -1
    return pairs


def test_one_hundred_random_cases_as_plain_loops_match_them() -> None:
    rng = np.random.default_rng(0)
    thresholds = (0.1, 0.3, 0.5, 0.75)
    for _ in range(100):
        reference = cells(rng)
        prediction = moved(rng, reference)
        iou, dice = overlaps(reference, prediction)
        found = matched_objects(reference, prediction, thresholds)
        assert (found.referenced, found.predicted) == iou.shape
        best = matched_objects(reference, prediction, thresholds, Matching.HUNGARIAN)
        for one, two, threshold in zip(found.found, best.found, thresholds, strict=True):
            pairs = greedy(iou, threshold)
            assert one.matched == len(pairs)
            assert one.iou == pytest.approx(sum(iou[pair] for pair in pairs))
            assert one.dice == pytest.approx(sum(dice[pair] for pair in pairs))
            gain = np.where(iou >= threshold, iou, 0)
            assert two.iou == pytest.approx(gain[optimize.linear_sum_assignment(gain, maximize=True)].sum())


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[tuple[Any, Any]]]]:
    folder = tmp_path_factory.mktemp("cells")
    rng = np.random.default_rng(1)
    (folder / "cells.yaml").write_text(RULES, encoding="utf-8")
    truth = {f"c{number}": cells(rng) for number in range(8)}
    truth["c8"] = np.zeros_like(truth["c0"])
    said: dict[str, list[tuple[Any, Any]]] = {}
    for team in ("references", *TEAMS):
        (folder / team).mkdir()
        for case, mask in truth.items():
            own = mask if team == "references" else moved(rng, mask)
            if (team, case) == ("borealis", "c3"):
                said[team].append((mask, None))  # no file: everything in it is missed
                continue
            said.setdefault(team, []).append((mask, own))
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(own), str(folder / team / f"{case}.nii.gz"))
    arguments = ["score", str(folder / "cells.yaml"), "--references", str(folder / "references"), "--workers", "1"]
    for team in TEAMS:
        arguments += ["--predictions", f"{team}={folder / team}"]
    result = CliRunner().invoke(main, [*arguments, "--out", str(folder / "scores.csv")])
    assert result.exit_code == 1, result.output  # a case is missing, which is a finding
    return folder, said


def restated(pairs: list[tuple[Any, Any]]) -> dict[str, float]:
    """Return every pooled value of one team from all its cases."""
    thresholds = np.arange(50, 100, 5) / 100
    counts = np.zeros((len(thresholds), 3))  # TP, FP, FN
    iou_sum, f1 = 0.0, np.zeros(3)
    present = np.zeros(3)
    for reference, prediction in pairs:
        own = np.zeros_like(reference) if prediction is None else prediction
        iou, _ = overlaps(reference, own)
        for at, threshold in enumerate(thresholds):
            matched = greedy(iou, threshold)
            counts[at] += len(matched), iou.shape[1] - len(matched), iou.shape[0] - len(matched)
            iou_sum += sum(iou[pair] for pair in matched) if at == 0 else 0.0
        gain = np.where(iou >= 0.3, iou, 0)
        chosen = (gain[optimize.linear_sum_assignment(gain, maximize=True)] > 0).sum()
        f1 += chosen, iou.shape[1] - chosen, iou.shape[0] - chosen
        both, either = ((reference > 0) & (own > 0)).sum(), ((reference > 0) | (own > 0)).sum()
        if (reference > 0).any():
            present += (1, 0, 0) if both / either >= 0.25 else (0, 0, 1)
        elif (own > 0).any():
            present += 0, 1, 0
    tp, fp, fn = counts[0]
    return {
        "ap": float(np.mean(counts[:, 0] / counts.sum(axis=1))),
        "ap50": tp / (tp + fp + fn),
        "f1": 2 * f1[0] / (2 * f1[0] + f1[1] + f1[2]),
        "pq": iou_sum / (tp + fp / 2 + fn / 2),
        "sq": iou_sum / tp,
        "rq": tp / (tp + fp / 2 + fn / 2),
        "there": 2 * present[0] / (2 * present[0] + present[1] + present[2]),
    }


def test_pooled_values_of_a_challenge(scored: tuple[Path, dict[str, list[tuple[Any, Any]]]]) -> None:
    folder, said = scored
    rows = table.read_scores(folder / "scores.csv")
    pooled = rows[rows["case"] == ""].set_index(["submission", "metric"])["value"]
    for team in TEAMS:
        for metric, value in restated(said[team]).items():
            assert pooled[team, metric] == pytest.approx(value), (team, metric)
        assert 0 < pooled[team, "md"] <= 1


def test_weights_are_repeated_cases_and_ranks_resample(
    scored: tuple[Path, dict[str, list[tuple[Any, Any]]]], tmp_path: Path
) -> None:
    folder, said = scored
    challenge = registry.load(folder / "cells.yaml")
    seen = observations.read_beside(folder / "scores.csv")
    pool = of(challenge.tasks["cells"]).pool(challenge, "cells", seen)
    weights = np.array([[2, 0, 1, 3, 0, 1, 1, 0, 1]])
    (values,) = pool.values(weights)
    for cell, value in zip(pool.cells, values, strict=True):
        if cell.metric != "md":
            drawn = [said[cell.submission][at] for at, times in enumerate(weights[0]) for _ in range(times)]
            assert value == pytest.approx(restated(drawn)[cell.metric]), cell
    arguments = ["rank", str(folder / "cells.yaml"), str(folder / "scores.csv"), "--bootstrap", "50"]
    out = tmp_path / "board.csv"
    result = CliRunner().invoke(main, [*arguments, "--evidence", str(tmp_path / "evidence"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert "aurora" in out.read_text(encoding="utf-8")


def test_instances_need_a_label_map_and_a_range(tmp_path: Path) -> None:
    for old, new, cause in (
        ("instances: [1, 999]", "label: 1", "has none"),
        ("instances: [1, 999]", "instances: [9, 2]", "is no range"),
        ("structures:", 'files: {reference: "{case}/{structure}.nii.gz"}\n    structures:', "one file per structure"),
    ):
        (tmp_path / "c.yaml").write_text(RULES.replace(old, new, 1), encoding="utf-8")
        result = CliRunner().invoke(main, ["lint", str(tmp_path / "c.yaml"), "--json"])
        assert result.exit_code != 0
        assert cause in json.dumps(json.loads(result.output)), result.output
