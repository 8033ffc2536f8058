"""Whole sets: policies in the table, bad predictions beside good ones, groups, resources, several processes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from medpodium.challenges import registry
from medpodium.findings import UsageError
from medpodium.scoring import table
from medpodium.scoring.kinds import engine
from medpodium.scoring.kinds.caseflow import score_job
from medpodium.scoring.kinds.engine import score_task
from medpodium.scoring.kinds.protocol import BrokenReferencesError
from medpodium.scoring.scheduling import pool, scheduler
from medpodium.scoring.scheduling.pool import Done
from medpodium.scoring.scheduling.scheduler import Needs, Scheduler

DEFINITION = """
schema: 1
name: mine
title: Mine
groups:
  centre: {levels: [north, south]}
  domain: {derived_from: centre, map: {seen: [north], unseen: [south]}}
tasks:
  seg:
    empty: {both: 1, reference: 0, prediction: 0}
    structures:
      a: {label: 1}
      b: {label: 2}
      both: {union: [1, 2]}
    metrics:
      dice: {kind: dice}
      nsd: {kind: nsd, tolerance_mm: 1.5, gate: {metric: dice, below: 0.2}}
      hd95: {kind: hd_percentile, worst: diagonal, empty: {both: 0, reference: worst, prediction: worst}}
      fp: {kind: fp_volume, worst: 1000, empty: {both: compute, reference: compute, prediction: compute}}
      f1: {kind: lesion_f1}
      euler: {kind: euler_error, worst: 100, empty: {both: compute, reference: compute, prediction: compute}}
      running_time: {kind: running_time, missing: 3600, failed: 7200, free: 10}
recipes:
  mean: {steps: [{mean: [case, structure, metric]}, rank]}
ranking: {seg: mean}
"""
SPACING_XYZ = (1.0, 1.0, 2.0)
DIAGONAL = math.sqrt(24**2 + 24**2 + (12 * 2) ** 2)


def _blocks(shift: int = 0, second: bool = True) -> np.ndarray:
    labels = np.zeros((12, 24, 24), dtype=np.uint8)
    labels[3:8, 4:12, 4 + shift : 12 + shift] = 1
    if second:
        labels[3:8, 14:20, 4:12] = 2
    return labels


def _save(labels: np.ndarray, path: Path, spacing: tuple[float, float, float] = SPACING_XYZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path))


@pytest.fixture
def campaign(tmp_path: Path) -> Path:
    folder = tmp_path / "Wettbewerb é"
    folder.mkdir()
    (folder / "c.yaml").write_text(DEFINITION, encoding="utf-8")
    for case in ("c1", "c2", "c3"):
        _save(_blocks(second=case != "c3"), folder / "ref" / f"{case}.nii.gz")
        _save(_blocks(second=case != "c3"), folder / "perfect" / f"{case}.nii.gz")
    _save(_blocks(shift=2), folder / "shifted" / "c1.nii.gz")
    _save(_blocks(), folder / "shifted" / "c3.nii.gz")
    return folder


def _score(folder: Path, teams: list[str], **options: object) -> engine.Result:
    challenge = registry.load(folder / "c.yaml")
    predictions = {team: folder / team for team in teams}
    return score_task(challenge, "seg", folder / "ref", predictions, workers=1, **options)  # type: ignore[arg-type]


def _value(scores: pd.DataFrame, *key: str) -> tuple[float, str]:
    columns = ["submission", "case", "structure", "metric"]
    (row,) = scores[(scores[columns] == list(key)).all(axis=1)].itertuples()
    return row.value, row.status


def test_perfect_team(campaign: Path) -> None:
    scores = _score(campaign, ["perfect"]).scores
    assert set(scores[scores["metric"].isin(["dice", "nsd", "f1"])]["value"]) == {1.0}
    assert set(scores[scores["metric"].isin(["hd95", "fp", "euler"])]["value"]) == {0.0}
    assert _value(scores, "perfect", "c3", "b", "dice") == (1.0, table.EMPTY_REFERENCE)


def test_values_by_hand(campaign: Path) -> None:
    scores = _score(campaign, ["shifted"]).scores
    # Two blocks of 5x8x8, one moved by 2 of 8 voxels: 5*8*6 shared.
    assert _value(scores, "shifted", "c1", "a", "dice") == (2 * 240 / 640, table.OK)
    assert _value(scores, "shifted", "c1", "b", "dice") == (1.0, table.OK)
    # The union: 240 + 240 shared of twice 560.
    assert _value(scores, "shifted", "c1", "both", "dice") == (2 * 480 / 1120, table.OK)
    assert _value(scores, "shifted", "c1", "a", "fp") == pytest.approx((5 * 8 * 2 * 2.0 / 1000, table.OK))
    assert _value(scores, "shifted", "c1", "a", "hd95") == (2.0, table.OK)


def test_missing_prediction_is_penalised_never_left_out(campaign: Path) -> None:
    result = _score(campaign, ["perfect", "shifted"])
    assert _value(result.scores, "shifted", "c2", "a", "dice") == (0.0, table.MISSING)
    value, status = _value(result.scores, "shifted", "c2", "a", "hd95")
    assert (value, status) == (pytest.approx(DIAGONAL), table.MISSING)
    counts = result.scores.groupby(["submission", "metric"]).size()
    assert counts.loc["perfect"].equals(counts.loc["shifted"])
    assert any("c2" in finding.cause for finding in result.findings["shifted"])


def test_false_positive_structure(campaign: Path) -> None:
    scores = _score(campaign, ["shifted"]).scores
    assert _value(scores, "shifted", "c3", "b", "dice") == (0.0, table.EMPTY_REFERENCE)
    value, status = _value(scores, "shifted", "c3", "b", "fp")
    assert (value, status) == (pytest.approx(5 * 6 * 8 * 2.0 / 1000), table.OK)


def test_gate_replaces_nsd(campaign: Path) -> None:
    _save(_blocks(shift=7), campaign / "far" / "c1.nii.gz")
    scores = _score(campaign, ["far"]).scores
    dice, _ = _value(scores, "far", "c1", "a", "dice")
    assert dice == 2 * 40 / 640
    assert _value(scores, "far", "c1", "a", "nsd") == (0.0, table.PENALISED)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_bytes(b""), "file-empty"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), None),
        (lambda path: _save(_blocks(), path, (1.0, 1.0, 2.5)), None),
        (lambda path: _save(_blocks() * 3, path), "label-unknown"),
        (lambda path: _save(_blocks()[:-1], path), None),
    ],
    ids=["empty", "truncated", "spacing", "label", "shape"],
)
def test_bad_prediction_fails_alone(campaign: Path, spoil: object, reason: str | None) -> None:
    spoil(campaign / "perfect" / "c2.nii.gz")  # type: ignore[operator]
    result = _score(campaign, ["perfect"])
    value, status = _value(result.scores, "perfect", "c2", "a", "dice")
    assert value == 0.0
    assert status.startswith(table.FAILED_PREFIX)
    if reason:
        assert status == table.FAILED_PREFIX + reason
    (finding,) = [item for item in result.findings["perfect"] if item.severity == "error"]
    assert "c2.nii.gz" in finding.where
    assert finding.fix
    assert _value(result.scores, "perfect", "c1", "a", "dice") == (1.0, table.OK)


def test_bad_reference_stops_and_is_not_blamed_on_a_team(campaign: Path) -> None:
    (campaign / "ref" / "c2.nii.gz").write_bytes(b"not gzip")
    with pytest.raises(BrokenReferencesError) as caught:
        _score(campaign, ["perfect"])
    assert "c2" in caught.value.findings[0].where


def test_groups_and_resources(campaign: Path) -> None:
    cases = pd.DataFrame({"case": ["c1", "c2", "c3"], "centre": ["north", "south", "north"]})
    resources = pd.DataFrame(
        [
            ("perfect", "c1", "running_time", 8.0, "ok"),
            ("perfect", "c2", "running_time", 25.0, "ok"),
            ("perfect", "c3", "running_time", math.nan, "failed:timeout"),
        ],
        columns=["submission", "case", "metric", "value", "status"],
    )
    scores = _score(campaign, ["perfect"], cases=cases, resources=resources).scores
    assert _value(scores, "perfect", "c1", "", "running_time") == (0.0, table.OK)
    assert _value(scores, "perfect", "c2", "", "running_time") == (15.0, table.OK)
    assert _value(scores, "perfect", "c3", "", "running_time") == (7200.0, "failed:timeout")
    assert dict(zip(scores["case"], scores["domain"], strict=True)) == {"c1": "seen", "c2": "unseen", "c3": "seen"}


def test_unmeasured_resources_are_said_not_invented(campaign: Path) -> None:
    result = _score(campaign, ["perfect"])
    assert "running_time" not in set(result.scores["metric"])
    assert any("running_time" in finding.cause for finding in result.findings[""])


@pytest.mark.parametrize("memory", [0, 1 << 60])
def test_same_table_on_several_processes_or_threads(
    campaign: Path, monkeypatch: pytest.MonkeyPatch, memory: int
) -> None:
    monkeypatch.setattr(scheduler, "memory_limit", lambda: memory)
    challenge = registry.load(campaign / "c.yaml")
    predictions = {team: campaign / team for team in ("perfect", "shifted")}
    one, two = (score_task(challenge, "seg", campaign / "ref", predictions, workers=count).scores for count in (1, 2))
    pd.testing.assert_frame_equal(one, two, check_exact=True)


class Deadly(Scheduler):
    """A place where some jobs take their process with them."""

    def __init__(self, *deadly: str) -> None:
        self._deadly = set(deadly)

    def run(self, function: Any, jobs: Sequence[Any], needs: Needs | None = None) -> Iterator[Done[Any]]:
        for index, job in enumerate(jobs):
            if function is score_job and job.case == "c1" and self._deadly & {*job.predictions, "reference"}:
                yield Done(index, None, pool.JobError("died", died=True))
            else:
                yield pool.run_here(function, index, job)


def test_prediction_that_kills_its_process_costs_its_team_the_case(campaign: Path) -> None:
    result = _score(campaign, ["perfect", "shifted"], scheduler=Deadly("shifted"))
    assert result.unscored == ()
    assert _value(result.scores, "perfect", "c1", "a", "dice") == (1.0, table.OK)
    assert _value(result.scores, "shifted", "c1", "a", "dice") == (0.0, "failed:memory")
    assert _value(result.scores, "shifted", "c3", "a", "dice") == (1.0, table.OK)
    assert any("shifted" in finding.where and "c1" in finding.where for finding in result.findings["shifted"])


def test_reference_that_kills_its_process_blames_nobody(campaign: Path) -> None:
    result = _score(campaign, ["perfect", "shifted"], scheduler=Deadly("reference"))
    assert [finding.where for finding in result.unscored] == ["c1"]
    assert set(result.scores["case"]) == {"c2", "c3"}
    assert _value(result.scores, "perfect", "c2", "a", "dice") == (1.0, table.OK)


def test_one_file_per_structure_with_overlap(tmp_path: Path) -> None:
    text = DEFINITION.replace(
        "    empty: {both: 1",
        '    files: {reference: "{case}/{structure}.nii.gz", prediction: "{case}/{structure}.nii.gz"}\n'
        "    empty: {both: 1",
    )
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    for team, shift in (("ref", 0), ("team", 1)):
        labels = _blocks(shift)
        _save((labels == 1).astype(np.uint8), tmp_path / team / "c1" / "a.nii.gz")
        second = (labels == 2).astype(np.uint8)
        second[3:8, 10:12, 6:10] = 1  # inside the first structure
        _save(second, tmp_path / team / "c1" / "b.nii.gz")
    scores = _score(tmp_path, ["team"]).scores
    assert _value(scores, "team", "c1", "a", "dice") == (2 * 280 / 640, table.OK)
    assert _value(scores, "team", "c1", "b", "dice") == (1.0, table.OK)
    # The extra part of the second structure lies inside the first one, so the union is as without it.
    assert _value(scores, "team", "c1", "both", "dice") == (2 * 520 / 1120, table.OK)


@pytest.mark.parametrize(
    ("teams", "code"),
    [
        ({}, "prediction-missing"),
        ({"a\nb": "perfect"}, "submission-name-invalid"),
        ({"a": "nowhere"}, "prediction-missing"),
    ],
)
def test_bad_names_are_usage_errors(campaign: Path, teams: dict[str, str], code: str) -> None:
    challenge = registry.load(campaign / "c.yaml")
    with pytest.raises(UsageError) as caught:
        score_task(challenge, "seg", campaign / "ref", {k: campaign / v for k, v in teams.items()})
    assert caught.value.findings[0].code == code


def test_no_references(campaign: Path) -> None:
    challenge = registry.load(campaign / "c.yaml")
    with pytest.raises(UsageError) as caught:
        score_task(challenge, "seg", campaign / "nowhere", {"perfect": campaign / "perfect"})
    assert caught.value.findings[0].code == "no-cases"
