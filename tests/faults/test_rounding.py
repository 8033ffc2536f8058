"""A change of unit changes no decision: what is exactly at a tolerance, a step or a minimum is so at every spacing."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.cli import main

CHALLENGE = """
schema: 1
name: mine
title: Mine
tasks:
  seg:
    files: {{reference: "{{case}}.nrrd", prediction: "{{case}}.nrrd"}}
    empty: {{both: skip, reference: 0, prediction: worst}}
    structures: {{lesion: {{label: 1}}}}
    metrics:
      dice: {{kind: dice}}
      nsd: {{kind: nsd, tolerance_mm: {tolerance}}}
      borders: {{kind: nsd, tolerance_mm: {tolerance}, definition: border-voxel}}
      gated: {{kind: dice, gate: {{metric: borders, below: 1.0, value: 0.0}}}}
      found: {{kind: lesion_tp, lesions: {{min_volume_ml: {volume}, connectivity: 6}}}}
recipes:
  main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}
ranking: {{seg: main}}
"""
UNITS = ["0.001", "0.01", "0.1", "0.3", "0.7", "1", "1.1", "3.3", "10", "1000"]


def scores(folder: Path, unit: str, steps: int, axis: int) -> pd.Series:
    """Score a slab against itself moved by some voxels: every distance along the axis is the tolerance exactly."""
    size = Fraction(unit)
    reference, prediction = (np.zeros((12, 16, 20), np.uint8) for _ in range(2))
    at: list[slice] = [slice(None)] * 3
    at[axis] = slice(2, 5)
    reference[tuple(at)] = 1
    at[axis] = slice(2 + steps, 5 + steps)
    prediction[tuple(at)] = 1
    folder.mkdir()
    for name, labels in (("ref", reference), ("team", prediction)):
        (folder / name).mkdir()
        image = SimpleITK.GetImageFromArray(labels)
        image.SetSpacing((float(size),) * 3)
        SimpleITK.WriteImage(image, str(folder / name / "a.nrrd"))
    volume = int(reference.sum()) * size**3 / 1000  # exactly that of the slab
    text = CHALLENGE.format(tolerance=float(steps * size), volume=f"{float(volume):.17g}")
    (folder / "c.yaml").write_text(text, encoding="utf-8")
    given = ["--references", str(folder / "ref"), "--predictions", f"team={folder / 'team'}"]
    out = folder / "scores.csv"
    result = CliRunner().invoke(main, ["score", str(folder / "c.yaml"), *given, "--out", str(out)])
    assert out.is_file(), result.output
    return pd.read_csv(out, keep_default_na=False).set_index("metric")["value"].astype(float)


def test_distance_of_exactly_the_tolerance_is_within_it_in_every_unit(tmp_path: Path) -> None:
    """Three voxels of 0.1 mm are 0.30000000000000004 mm, three of 1 mm are 3 mm."""
    for number, unit in enumerate(UNITS):
        for axis in (0, 2):
            values = scores(tmp_path / f"{number}-{axis}", unit, 3, axis)
            where = f"spacing {unit} mm, axis {axis}"
            assert values["borders"] == 1.0, where
            assert values["nsd"] == pytest.approx(1.0, abs=1e-12), where
            assert values["gated"] == values["dice"], where
            assert values["found"] == (1.0 if values["dice"] > 0 else 0.0), where


@pytest.mark.parametrize("scale", [0.001, 0.1, 1 / 3, 0.7, 3.0, 1000.0])
def test_measures_decide_alike_in_every_unit(scale: float) -> None:
    """Random masks: NSD and the percentile, as scored, do not depend on the unit that spacing and tolerance are in."""
    from medpodium.scoring.measures.pair import measure_pair
    from medpodium.scoring.measures.surfaces.metrics import nsd, percentile_weighted, reached, tolerant

    rng = np.random.default_rng(3)
    for _ in range(12):
        masks = (rng.random((2, 5, 6, 7)) < 0.4).astype(np.uint8)
        steps = rng.integers(1, 8, 3)
        tolerance = float(np.sqrt(np.sum((steps * rng.integers(0, 3, 3)) ** 2))) or 1.0
        found = []
        for unit in (1.0, scale):
            spacing = tuple(float(step) * unit for step in steps)
            surfaces = measure_pair(masks[0], masks[1], spacing, [frozenset({1})]).surfels(0)
            share = nsd(surfaces, tolerant(tolerance * unit))
            found.append((share, percentile_weighted(surfaces, reached(95)) / unit))
        assert found[1] == pytest.approx(found[0], rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.1, 7.7, 1e3])
def test_ties_within_a_tolerance_do_not_depend_on_the_last_bits(shift: float) -> None:
    from medpodium.scoring.ranking.ranks import no_more_than, tie_within

    best = np.array([0.1, 0.2, 0.3, 0.7]) + shift
    assert no_more_than(best + 0.1, best, 0.1).all()
    assert not no_more_than(best + 0.1001, best, 0.1).any()
    keys = np.array([[0.7], [0.8], [0.9]]) + shift
    assert tie_within(keys, 0.1).ravel().tolist() == [keys[0, 0], keys[0, 0], keys[2, 0]]
