"""docs/migrate.md: what it says to write instead gives what the other library gave, where that is installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import medpodium

PAGE = Path(medpodium.__file__).resolve().parent / "docs" / "migrate.md"
BLOCK = re.compile(r"^```python ?(before|after)?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def section(heading: str) -> list[tuple[str, str]]:
    text = PAGE.read_text(encoding="utf-8")
    (found,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    return BLOCK.findall(found)


def masks() -> dict[str, Any]:
    z, y, x = np.mgrid[:16, :30, :32]
    reference = ((z - 8) * 2.5) ** 2 + ((y - 15) * 0.8) ** 2 + ((x - 15) * 0.8) ** 2 < 80
    prediction = np.roll(reference, (1, 2), (0, 1))
    prediction[12, 3:6, 3:6] = True
    return {"reference": reference, "prediction": prediction, "spacing": (2.5, 0.8, 0.8), "medpodium": medpodium}


@pytest.mark.parametrize(("heading", "names"), [("surface-distance", ["nsd", "hd95"]), ("MedPy", ["numbers"])])
def test_before_and_after_agree(heading: str, names: list[str]) -> None:
    results: dict[str, dict[str, Any]] = {}
    for when, text in section(heading):
        if when:
            results[when] = masks()
            exec(compile(text, str(PAGE), "exec"), results[when])
    for name in names:
        np.testing.assert_allclose(results["after"][name], results["before"][name], rtol=1e-12)


def test_medpy_by_definitions() -> None:
    from medpy.metric import binary

    names = masks()
    for when, text in section("MedPy"):
        if not when:
            exec(compile(text, str(PAGE), "exec"), names)
    words = names["prediction"], names["reference"], names["spacing"]
    expected = {"dice": binary.dc(*words[:2]), "hd95": binary.hd95(*words), "assd": binary.assd(*words)}
    assert names["measured"] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("heading", ["nnU-Net", "MONAI", "panoptica", "seg-metrics"])
def test_what_is_to_be_written_runs(heading: str) -> None:
    names = masks()
    for when, text in section(heading):
        if when != "before":
            exec(compile(text, str(PAGE), "exec"), names)
    if heading != "nnU-Net":
        assert all(np.isfinite(value) for value in names["measured"].values())
