"""What a prediction looks like decides its score, not whether there is one: stray voxels, webs, very long axes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner
from scipy import ndimage, optimize

from medpodium.cli import main

CHALLENGE = """
schema: 1
name: mine
title: Mine
tasks:
  seg:
    files: {{reference: "{{case}}.nrrd", prediction: "{{case}}.nrrd"}}
    empty: {{both: skip, reference: skip, prediction: worst}}
    structures: {{lesion: {{label: 1}}}}
    metrics: {metrics}
recipes:
  main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}
ranking: {{seg: main}}
"""
SURFACES = (
    "{dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 1}, hd: {kind: hd, worst: diagonal},"
    " hd95: {kind: hd_percentile, definition: pooled, worst: diagonal}}"
)


COST = """
import json, os, resource, sys
if os.environ.get("LIMIT"):
    resource.setrlimit(resource.RLIMIT_AS, (int(os.environ["LIMIT"]),) * 2)
from medpodium.cli import main
from click.testing import CliRunner
result = CliRunner().invoke(main, ["score", *sys.argv[1:]])
if result.exit_code > 1:
    sys.exit(result.output)
with open("/proc/self/status") as status:
    (peak,) = [line.split()[1] for line in status if line.startswith("VmHWM:")]
print(json.dumps({"mb": int(peak) / 1024}))
"""
"""Scores, and says how much memory that took: the peak that getrusage knows is never below that of the process that
started this one, so that a large test process would hide everything."""


def save(labels: np.ndarray, path: Path, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = SimpleITK.GetImageFromArray(labels)
    image.SetSpacing(spacing)
    SimpleITK.WriteImage(image, str(path), useCompression=True)


def score(folder: Path, metrics: str, limit: int | None = None) -> pd.Series:
    (folder / "c.yaml").write_text(CHALLENGE.format(metrics=metrics), encoding="utf-8")
    out = folder / "scores.csv"
    given = ["--references", str(folder / "ref"), "--predictions", f"team={folder / 'team'}", "--out", str(out)]
    command = [str(folder / "c.yaml"), *given]
    if limit is None:
        said = CliRunner().invoke(main, ["score", *command]).output
    else:
        environment = {**os.environ, "LIMIT": str(limit)}
        command = [sys.executable, "-c", COST, *command, "--workers", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        said = done.stdout + done.stderr
    assert out.is_file(), said
    rows = pd.read_csv(out, keep_default_na=False).set_index("metric")
    assert (rows["status"] == "ok").all(), rows
    return rows["value"].astype(float)


@pytest.mark.slow  # compiles the loops for 32 bits
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_axis_longer_than_sixteen_bits_is_scored(tmp_path: Path, axis: int) -> None:
    """An axis of 40,000 voxels (NIfTI-1 ends at 32,767, other formats do not): two blocks, 11 voxels apart at most."""
    shape = [3, 3, 3]
    shape[axis] = 40_000
    reference, prediction = (np.zeros(shape, np.uint8) for _ in range(2))
    long = [slice(None)] * 3
    long[axis] = slice(35_000, 35_100)
    reference[tuple(long)] = 1
    long[axis] = slice(35_011, 35_111)
    prediction[tuple(long)] = 1
    save(reference, tmp_path / "ref/a.nrrd")
    save(prediction, tmp_path / "team/a.nrrd")
    values = score(tmp_path, SURFACES)
    assert values["dice"] == 89 / 100
    assert values["hd"] == 11.0
    outside = [ndimage.distance_transform_edt(1 - mask[tuple(crop(axis))]) for mask in (reference, prediction)]
    borders = [border(mask[tuple(crop(axis))]) for mask in (reference, prediction)]
    pooled = np.concatenate([distances(borders[0], borders[1]), distances(borders[1], borders[0])])
    assert values["hd95"] == pytest.approx(np.percentile(pooled, 95), rel=1e-12)
    assert max(outside[0].max(), outside[1].max()) > 11  # the crop holds both


def crop(axis: int) -> list[slice]:
    part = [slice(None)] * 3
    part[axis] = slice(34_900, 35_300)
    return part


def border(mask: np.ndarray) -> np.ndarray:
    padded = np.pad(mask.astype(bool), 1)
    return (padded & ~ndimage.binary_erosion(padded))[1:-1, 1:-1, 1:-1]


def distances(of: np.ndarray, to: np.ndarray) -> np.ndarray:
    return np.asarray(ndimage.distance_transform_edt(~to)[of])


@pytest.mark.slow
def test_stray_voxels_cost_no_more_memory_than_a_good_prediction(
    tmp_path: Path, require: Callable[[bool, str], None]
) -> None:
    """Three voxels far apart had tiles of a voxel, as many as the volume has voxels, eight bytes each."""
    require(Path("/proc/self/status").exists(), "Linux, which says how much memory a process took,")
    shape = (200, 400, 400)
    reference = np.zeros(shape, np.uint8)
    reference[60:140, 120:280, 120:280] = 1
    stray = np.zeros(shape, np.uint8)
    stray[0, 0, 0] = stray[-1, -1, -1] = stray[100, 0, -1] = 1
    save(reference, tmp_path / "ref/a.nrrd")
    save(np.roll(reference, 2, 0), tmp_path / "good/a.nrrd")
    save(stray, tmp_path / "stray/a.nrrd")
    (tmp_path / "c.yaml").write_text(CHALLENGE.format(metrics=SURFACES), encoding="utf-8")
    peak = {}
    for team in ("good", "stray", "good", "stray"):  # who comes first compiles
        given = ["--references", tmp_path / "ref", "--predictions", f"team={tmp_path / team}"]
        command = [tmp_path / "c.yaml", *given, "--out", tmp_path / f"{team}.csv", "--workers", "1"]
        done = subprocess.run(
            [sys.executable, "-c", COST, *map(str, command)], capture_output=True, text=True, check=True
        )
        peak[team] = json.loads(done.stdout.splitlines()[-1])["mb"]
    assert peak["stray"] < 1.25 * peak["good"] + 40, peak  # 256 MB more before


@pytest.mark.slow
def test_web_that_joins_lesions_and_specks_is_matched(tmp_path: Path) -> None:
    """A table of gains of 2,048 lesions by 131,073 components is two gigabytes of zeros: the process was gone."""
    shape = (64, 128, 128)
    reference, prediction = (np.zeros(shape, np.uint8) for _ in range(2))
    cell = np.zeros((8, 8, 8), np.uint8)
    cell[1:, 1:, 1:] = 1
    reference[:] = np.tile(cell, (8, 16, 16))
    prediction[1::2, 1::2, 1::2] = 1  # 64 specks in every lesion
    prediction[4::8, 4::8, :] = prediction[4::8, :, 0] = prediction[:, 4, 0] = 1  # and a thread through all of them
    save(reference, tmp_path / "ref/a.nrrd")
    save(prediction, tmp_path / "team/a.nrrd")
    rule = "{overlap: any, matching: hungarian, connectivity: 6}"
    metrics = f"{{tp: {{kind: lesion_tp, lesions: {rule}}}, pq: {{kind: panoptic_quality, lesions: {rule}}}}}"
    values = score(tmp_path, metrics, 3 << 30)
    # A speck is 1 of a lesion's 343 voxels, the thread covers 7 of them and tens of thousands more elsewhere.
    lesions, components = 8 * 16 * 16, 64 * 8 * 16 * 16 + 1
    assert ndimage.label(prediction)[1] == components
    assert values["tp"] == lesions
    assert values["pq"] == pytest.approx(lesions / 343 / (lesions + (components - lesions) / 2), rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_sparse_and_dense_assignments_are_equally_good(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from medpodium.scoring.measures.lesions import matching

    monkeypatch.setattr(matching, "_DENSE", -1)
    rng = np.random.default_rng(seed)
    table = np.where(
        rng.random((8, 30)) < rng.choice([0.05, 0.1]), np.round(rng.random((8, 30)), int(rng.integers(1, 9))), 0
    )
    rows, columns = np.nonzero(table)
    if seed % 2:
        rows, columns, table = columns, rows, table.T
    chosen = matching._assigned(np.arange(rows.size), rows, columns, table[rows, columns])
    best = table[optimize.linear_sum_assignment(table, maximize=True)].sum()
    assert table[rows[chosen], columns[chosen]].sum() == pytest.approx(best, abs=1e-12)
    assert len(set(rows[chosen])) == len(set(columns[chosen])) == len(chosen)


@pytest.mark.parametrize("seed", range(6))
def test_noise_is_measured_as_everything_else(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces that fill their box take another way to the same distances: those of scipy's distance transform."""
    from medpodium.scoring.measures.pair import measure_pair
    from medpodium.scoring.measures.surfaces import distances as ways

    monkeypatch.setattr(ways, "_MANY", 50)
    monkeypatch.setattr(ways, "_ONE_BY_ONE_NS", 1e9)
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.choice([0.3, 0.7, 1.0, 2.5], 3).tolist())
    reference, prediction = (np.zeros((9, 40, 70), np.uint8) for _ in range(2))
    reference[2:4, 5 : 8 + seed, 3:9] = 1
    prediction[rng.random(prediction.shape) < 0.5] = 1
    pair = measure_pair(reference, prediction, spacing, [frozenset({1})]).borders(0)
    found = np.repeat(pair.from_prediction.values, pair.from_prediction.counts)
    borders = [border(mask) for mask in (reference, prediction)]
    expected = np.sort(ndimage.distance_transform_edt(~borders[0], sampling=spacing)[borders[1]])
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["borders", "surfels"])
def test_surfaces_too_large_to_keep_are_those_that_are_kept(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise of several labels: surfaces worked out slice by slice give the distances of surfaces kept as points."""
    from medpodium.scoring.measures.pair import measure_pair
    from medpodium.scoring.measures.surfaces import outline

    rng = np.random.default_rng(5)
    reference = np.zeros((9, 40, 50), np.uint8)
    reference[2:5, 5:15, 3:19], reference[5:8, 20:30, 30:45] = 1, 2
    prediction = rng.integers(0, 4, reference.shape).astype(np.uint8)
    structures = [frozenset({1}), frozenset({2}), frozenset({1, 2})]
    sides = {}
    for few in (1 << 21, 0):
        monkeypatch.setattr(outline, "_FEW", few)
        pair = measure_pair(reference, prediction, (2.5, 0.7, 0.8), structures)
        found = [getattr(pair, kind)(number) for number in range(3)]
        assert isinstance(found[0].prediction, outline.Surface) == (few > 0)
        sides[few] = [side for one in found for side in (one.from_reference, one.from_prediction)]
    for kept, worked_out in zip(*sides.values(), strict=True):
        # two ways to one distance may differ in its last bit, so compare every point
        every = [np.repeat(side.values, side.counts) for side in (kept, worked_out)]
        np.testing.assert_allclose(every[0], every[1], rtol=1e-12)
        assert worked_out.total == pytest.approx(kept.total, rel=1e-12)


def test_binary_masks_of_a_structure_end_at_the_box_around_both() -> None:
    """Euler numbers and lesions of a small structure used to look at the whole volume, once per metric."""
    from medpodium.scoring.measures.pair import measure_pair

    reference, prediction = (np.zeros((20, 30, 40), np.uint8) for _ in range(2))
    reference[3:5, 4:9, 6:8], prediction[4:8, 5:7, 1:4] = 1, 1
    first, second = measure_pair(reference, prediction, (1, 1, 1), [frozenset({1}), frozenset({2})]).binaries(0)
    assert first.shape == second.shape == (5, 5, 7)
    assert first.sum() == reference.sum()
    assert second.sum() == prediction.sum()
