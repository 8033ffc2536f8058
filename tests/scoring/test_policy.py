"""What empty, missing and failed scores become, cell by cell."""

from __future__ import annotations

import math

import pytest

from medpodium.challenges.schema.metrics.resource import ResourceMetric
from medpodium.challenges.schema.metrics.spec import EmptyPolicy, MetricSpec
from medpodium.challenges.schema.metrics.structure import OverlapMetric, VolumeMetric
from medpodium.challenges.schema.metrics.surfaces import SurfaceMetric
from medpodium.scoring import table
from medpodium.scoring.policy import absent_score, empty_score

DICE = OverlapMetric(kind="dice")
HD = SurfaceMetric(kind="hd", worst="diagonal")
FLARE = EmptyPolicy(both=1, reference=0, prediction=0)
TOUCHSTONE = EmptyPolicy(both="skip", reference="skip", prediction=0)
STRICT = EmptyPolicy(both="best", reference="worst", prediction="worst")


@pytest.mark.parametrize(
    ("spec", "policy", "empty", "expected"),
    [
        (DICE, FLARE, (True, True), (1.0, table.EMPTY_REFERENCE)),
        (DICE, FLARE, (True, False), (0.0, table.EMPTY_REFERENCE)),
        (DICE, FLARE, (False, True), (0.0, table.PENALISED)),
        (DICE, TOUCHSTONE, (True, True), (math.nan, table.SKIPPED)),
        (DICE, TOUCHSTONE, (True, False), (math.nan, table.SKIPPED)),
        (DICE, TOUCHSTONE, (False, True), (0.0, table.PENALISED)),
        (HD, STRICT, (True, True), (0.0, table.EMPTY_REFERENCE)),
        (HD, STRICT, (True, False), (50.0, table.EMPTY_REFERENCE)),
        (HD, STRICT, (False, True), (50.0, table.PENALISED)),
    ],
)
def test_four_cells(
    spec: MetricSpec, policy: EmptyPolicy, empty: tuple[bool, bool], expected: tuple[float, str]
) -> None:
    score = empty_score(spec, policy, *empty, diagonal_mm=50.0)
    assert score is not None
    assert (
        score == pytest.approx(expected, nan_ok=True) if math.isnan(expected[0]) is False else math.isnan(score.value)
    )
    assert score.status == expected[1]


def test_both_present_is_computed() -> None:
    assert empty_score(DICE, FLARE, False, False, 50.0) is None


def test_compute_cell_is_computed() -> None:
    spec = VolumeMetric(kind="fp_volume", worst=1e6)
    policy = EmptyPolicy(both="compute", reference="compute", prediction="compute")
    assert empty_score(spec, policy, True, False, 50.0) is None


def test_missing_prediction_gets_the_declared_penalty() -> None:
    assert absent_score(DICE, FLARE, False, 50.0) == (0.0, table.MISSING)
    assert absent_score(HD, STRICT, False, 50.0) == (50.0, table.MISSING)
    time = ResourceMetric(kind="running_time", missing=3600, failed=7200)
    assert absent_score(time, None, False, math.nan) == (3600.0, table.MISSING)
    assert absent_score(time, None, False, math.nan, "timeout") == (7200.0, "failed:timeout")


def test_missing_prediction_does_not_bring_back_a_case_that_is_left_out_for_all() -> None:
    score = absent_score(DICE, TOUCHSTONE, True, 50.0)
    assert math.isnan(score.value)
    assert score.status == table.SKIPPED
