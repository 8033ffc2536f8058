"""BraTS 2025, metastases: from the published values of single lesions to the organizers' summary, every number."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.challenges import registry
from medpodium.challenges.schema.metrics.lesions import LesionMetric, LesionwiseFamily, SizedLesionFamily
from medpodium.scoring.measures.lesions.scores import EVERY, Invented, Lesions, SizeClass, Worth

METRICS = {"dsc": "dice", "hd95": "hd95", "nsd": "nsd"}


Require = Callable[[bool, str], None]


def _lesions(region: dict[str, Any]) -> tuple[Lesions, dict[str, list[float]]]:
    instances = region["reference_instances"]
    values = {name: [one.get(f"sq_{name}", math.nan) for one in instances] for name in METRICS}
    found = np.array([one["is_matched"] == 1 for one in instances], np.bool_)
    overlap = np.nan_to_num(np.array(values["dsc"], np.float64))
    sizes = np.array([round(1000 * one["volume"]) for one in instances], np.int64)  # as voxels of 0.001 mm³
    return Lesions(sizes, found, overlap, overlap / (2 - overlap), np.zeros(region["fp"], np.int64)), values


def _size(spec: Any) -> SizeClass:
    assert isinstance(spec, SizedLesionFamily)
    if spec.size is None:
        return EVERY
    high = math.inf if spec.size.below_ml is None else spec.size.below_ml
    return SizeClass(1e6 * (spec.size.from_ml or 0), 1e6 * high, Invented(spec.size.invented))


def _summary(region: dict[str, Any], metrics: dict[str, Any]) -> dict[str, float]:
    lesions, values = _lesions(region)
    every = lesions.counts()
    row = {
        "all_instance_tp": every.true_positives,
        "all_instance_fp": every.false_positives,
        "all_instance_fn": every.false_negatives,
        "all_instance_f1": every.f1,
    }
    for theirs, ours in METRICS.items():
        spec = metrics[ours]
        assert isinstance(spec, LesionwiseFamily)
        missed = math.nan if spec.missed == "skip" else spec.missed
        worth = Worth(missed, math.nan, math.nan if spec.all_missed is None else spec.all_missed)
        size = _size(spec)
        row[f"lesionwise_{theirs}_mean"] = lesions.mean(values[theirs], worth, size)
        of_size = size.holds(lesions.sizes)
        own = np.array(values[theirs])[of_size & lesions.matched]
        row[f"lesionwise_{theirs}_std"] = own.std() if own.size else 0.0 if of_size.any() else math.nan
    spec = metrics["small_f1"]
    assert isinstance(spec, LesionMetric)
    small = lesions.counts(_size(spec), spec.lesions.found_from)
    some = small.referenced > 0
    row |= {
        "small_instance_tp": small.true_positives if some else math.nan,
        "small_instance_fn": small.false_negatives if some else math.nan,
        "small_instance_fp": small.false_positives if some else math.nan,
        "small_instance_f1": small.f1 if some else math.nan,
    }
    return row


def test_every_number_of_the_organizers_summary(shared: Path, require: Require) -> None:
    folder = shared / "oracle" / "kinds"
    require(folder.is_dir(), "the published example of BraTS")
    metrics = registry.load("brats/2025-met@as-published").tasks["segmentation"].metrics
    with (folder / "brats_sample_mets_summary.csv").open(newline="") as file:
        published = {row["subject_id"]: row for row in csv.DictReader(file)}
    rows: dict[str, dict[str, float]] = {}
    for subject in json.loads((folder / "brats_sample_mets_metrics.json").read_text())["metrics"]:
        own = {key: _summary(region, dict(metrics)) for key, region in subject.items() if isinstance(region, dict)}
        rows[subject["subject_name"]] = {
            f"{name}_{key}": value for key, row in own.items() for name, value in row.items()
        }
    columns = list(next(iter(rows.values())))
    table = np.array([[row[column] for column in columns] for row in rows.values()], np.float64)
    present = ~np.isnan(table)
    for column, values, there in zip(columns, table.T, present.T, strict=True):
        kept = values[there]
        rows.setdefault("mean", {})[column] = kept.mean() if kept.size else math.nan
        rows.setdefault("std", {})[column] = kept.std(ddof=1) if kept.size > 1 else math.nan
    compared = 0
    assert set(rows) == set(published)
    for subject, theirs in published.items():
        assert set(theirs) == {"subject_id", *columns}
        for column in columns:
            expected = float(theirs[column]) if theirs[column] else math.nan
            assert rows[subject][column] == pytest.approx(expected, rel=1e-12, nan_ok=True), (subject, column)
            compared += 1
    assert compared > 300


def test_the_default_counts_missed_large_lesions_and_the_variant_drops_them(shared: Path, require: Require) -> None:
    path = shared / "oracle" / "kinds" / "brats_sample_mets_metrics.json"
    require(path.is_file(), "the published example of BraTS")
    subject = json.loads(path.read_text())["metrics"][0]
    default, published = (
        dict(registry.load(f"brats/2025-met{variant}").tasks["segmentation"].metrics)
        for variant in ("", "@as-published")
    )
    # one of seven lesions of at least 20 mm³ was missed: six values count, and a zero
    six = _summary(subject["et"], published)["lesionwise_dsc_mean"]
    assert six == pytest.approx(0.7735988324659234, rel=1e-12)
    assert _summary(subject["et"], default)["lesionwise_dsc_mean"] == pytest.approx(6 * six / 7, rel=1e-12)
