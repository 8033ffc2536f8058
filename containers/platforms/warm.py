"""Compile the scorer's kernels while an image is built, so that its containers start at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

_RULES = """
schema: 1
name: warm
title: Warm-up
tasks:
  it:
    kind: segmentation
    files: {reference: "{case}.mha", prediction: "{case}.mha"}
    structures: {a: {label: 1}, b: {label: 2}, both: {union: [1, 2]}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 1.0}, hd95: {kind: hd_percentile, worst: diagonal}}
recipes: {means: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, {rank: {}}]}}
ranking: {it: means}
"""
_HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
CompressedData = False
DimSize = 8 8 8
ElementSpacing = 1 1 2
Offset = 0 0 0
TransformMatrix = 1 0 0 0 1 0 0 0 1
ElementType = MET_UCHAR
ElementDataFile = LOCAL
"""


def main() -> None:
    """Score one tiny made-up case in this process."""
    from medpodium.challenges import registry
    from medpodium.scoring.kinds.engine import score_task

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "rules.yaml").write_text(_RULES, encoding="utf-8")
        for place, start in (("references", 1), ("predictions", 2)):
            voxels = bytearray(512)
            for index in range(512):
                z, y, x = index // 64, index // 8 % 8, index % 8
                if start <= min(z, y, x) and max(z, y, x) < start + 5:
                    voxels[index] = 1 + (x > 3)
            (folder / place).mkdir()
            (folder / place / "case.mha").write_bytes(_HEADER.encode() + bytes(voxels))
        rules = registry.load(folder / "rules.yaml")
        score_task(rules, "it", folder / "references", {"warm": folder / "predictions"}, workers=1)


if __name__ == "__main__":
    main()
