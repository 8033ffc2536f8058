"""Graphs of structures and whether two masks agree on them, by hand, and pooled as recall over variants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.scoring.measures.variants import Anatomy, same_topology

sitk = pytest.importorskip("SimpleITK")


def row(*numbers: int) -> npt.NDArray[np.uint8]:
    """Return numbers along x, away from the border."""
    mask = np.zeros((3, 3, len(numbers) + 2), np.uint8)
    mask[1, 1, 1:-1] = numbers
    return mask


def test_edges_neighbours_and_pieces_by_hand() -> None:
    mask = row(1, 1, 2, 0, 3, 0, 2)
    mask[2, 2, 6] = 4  # at a corner of the 3
    found = Anatomy(mask)
    assert [found.pieces(one) for one in (1, 2, 3, 4, 5)] == [1, 2, 1, 1, 0]
    assert found.neighbours(1) == {2}
    assert found.neighbours(2) == {1, 4}
    assert found.neighbours(3) == {4}
    assert found.edges([(1, 0), (1, 2), (1, 3), (3, 4), (5, 0), (5, 1)]) == "110100"
    assert found.middle_x(1) == 1.5
    assert Anatomy(np.zeros((2, 2, 2), np.uint8)).edges([(1, 0)]) == "0"


@pytest.mark.parametrize(
    ("said", "same"),
    [
        (row(1, 1, 1, 2, 2, 3, 3), True),
        (row(1, 1, 2, 2, 2, 3, 3), True),  # the border between two is off by a voxel
        (row(1, 1, 1, 2, 2, 0, 3), False),  # nothing touches the 3
        (row(1, 0, 1, 2, 2, 3, 3), False),  # in two pieces
        (row(1, 1, 1, 2, 2, 2, 0), False),  # the 3 is missed
        (row(0, 0, 1, 2, 2, 3, 3), False),  # found with an IoU of one third
    ],
)
def test_topology_by_hand(said: Any, same: bool) -> None:
    truth = row(1, 1, 1, 2, 2, 3, 3)
    assert same_topology(truth, said, [1, 2, 3], 0.5, []) is same
    assert same_topology(truth, said, [1, 2, 3], 0.5, [(3, 1)]) is same
    assert not same_topology(truth, said, [1, 2, 3], 0.5, [(1, 3)])  # the left one has to lie at the larger x


CHALLENGE = """
schema: 1
name: vessels
title: Vessels
tasks:
  seg:
    kind: segmentation
    structures: {a: {label: 1}, b: {label: 2}, c: {label: 3}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      graph: {kind: variant_accuracy, edges: [{structure: a, touches: b}, {structure: c}]}
      topology: {kind: topology_match, edges: [{structure: a, touches: b}, {structure: c}], compared: [a, b, c]}
recipes: {mean: {steps: [mean: [metric, case, structure], rank: {ties: min}]}}
ranking: {seg: mean}
"""


def test_recall_over_the_variants_of_the_references(tmp_path: Path) -> None:
    truths = [row(1, 1, 2, 2), row(1, 1, 2, 2), row(1, 1, 2, 2), row(1, 0, 2, 3)]
    said = {
        "x": [truths[0], row(1, 1, 0, 2), row(1, 0, 2, 2), truths[3]],  # 2: nothing touches; 3: the same
        "y": [truths[0], truths[1], row(1, 0, 1, 2), None],  # 3: a in two pieces; 4: missing
    }
    (tmp_path / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    teams = []
    for team, masks in {"reference": truths, **said}.items():
        (tmp_path / team).mkdir()
        for number, mask in enumerate(masks):
            if mask is not None:
                sitk.WriteImage(sitk.GetImageFromArray(mask), str(tmp_path / team / f"c{number}.nii.gz"))
        teams += [] if team == "reference" else ["--predictions", f"{team}={tmp_path / team}"]
    out = tmp_path / "scores.csv"
    given = ["score", str(tmp_path / "challenge.yaml"), "--references", str(tmp_path / "reference"), *teams]
    result = CliRunner().invoke(main, [*given, "--workers", "1", "--out", str(out)])
    assert result.exit_code == 1, result.output  # a case is missing
    values = pd.read_csv(out).set_index(["submission", "metric"])["value"]
    # two variants: a at b (three cases), and c alone (one case)
    assert values["x", "graph"] == pytest.approx((1 / 3 + 1) / 2)
    assert values["x", "topology"] == pytest.approx((1 / 3 + 1) / 2)
    assert values["y", "graph"] == pytest.approx((3 / 3 + 0) / 2)
    assert values["y", "topology"] == pytest.approx((2 / 3 + 0) / 2)
