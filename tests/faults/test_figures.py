"""Figures show measurements: penalties do not squeeze them, axes have labels, podiums can be read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHALLENGE = """\
schema: 1
name: figures
title: Figures
summary: An organ.
modality: [CT]
tasks:
  organs:
    kind: segmentation
    title: Organs
    empty: {both: best, reference: worst, prediction: worst}
    structures:
      liver: {label: 1, title: Liver}
    metrics:
      dice: {kind: dice, missing: worst}
      hd95: {kind: hd_percentile, percentile: 95, missing: 3741, empty: {both: 0, prediction: 3741, reference: 3741}}
      running_time: {kind: running_time, worst: 3600}
recipes:
  mean:
    title: Mean
    steps:
      - select: {metric: dice}
      - mean: [case, structure]
      - mean: metric
      - rank: {ties: min}
ranking: {organs: mean}
editions:
  "1": {}
"""
TEAMS = [f"team {at}" for at in range(9)]


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory, write_report: Any) -> dict[str, str]:
    """Return the drawings of a report on nine teams, one of which found nothing in one case, as SVG by name."""
    path = tmp_path_factory.mktemp("figures")
    random = np.random.default_rng(0)
    rows = []
    for number, team in enumerate(TEAMS):
        for case in range(6):
            lost = number == 4 and case == 2
            distance = 3741.0 if lost else 4 + 20 * random.uniform()
            row = ("organs", team, f"c{case}")
            rows.append((*row, "liver", "dice", 0.0 if lost else random.uniform(), "penalised" if lost else "ok"))
            rows.append((*row, "liver", "hd95", distance, "penalised" if lost else "ok"))
            rows.append((*row, "", "running_time", 1.2 + 2 * number**1.4, "ok"))
    made: Path = write_report(path, CHALLENGE, rows, "markdown")
    return {each.stem: each.read_text(encoding="utf-8") for each in made.rglob("*.svg")}


def _numbers(svg: str) -> list[float]:
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    return [float(text.replace(",", "")) for text in texts if re.fullmatch(r"[\d,]+(\.\d+)?", text)]


@pytest.mark.parametrize("kind", ["dots", "podium"])
def test_a_penalty_does_not_squeeze_what_was_measured(drawings: dict[str, str], kind: str) -> None:
    (svg,) = (text for name, text in drawings.items() if name.startswith(kind) and "hd95" in name)
    assert 20 <= max(_numbers(svg)) <= 30  # the measured distances end at 24 mm


def test_a_penalty_is_counted_beside_its_row(drawings: dict[str, str]) -> None:
    (svg,) = (text for name, text in drawings.items() if name.startswith("dots") and "dice" in name)
    assert re.search(r">1</text>", svg)


def test_a_podium_shows_no_more_submissions_than_can_be_told_apart(drawings: dict[str, str]) -> None:
    (svg,) = (text for name, text in drawings.items() if name.startswith("podium") and "dice" in name)
    assert "6 or later" in svg
    assert len(re.findall(r"\d: team \d", svg)) == 5


def test_an_axis_of_costs_has_labels_within_a_decade(drawings: dict[str, str]) -> None:
    (svg,) = (text for name, text in drawings.items() if name.startswith("cost") and "dice" in name)
    # Times from 1.2 to 38 s: with decades alone, 10 would be the only label.
    assert {2.0, 5.0, 10.0, 20.0} <= set(_numbers(svg))
