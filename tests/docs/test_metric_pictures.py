"""The pictures of the page of scores are those that its script draws, with values counted by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
pytest.importorskip("skimage")


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pictures_are_as_drawn_and_shown() -> None:
    page = (DOCS / "metrics.md").read_text(encoding="utf-8")
    drawn = script("draw_metrics").drawn()
    assert {path.name for path in (DOCS / "metrics").iterdir()} == set(drawn)
    for name, text in drawn.items():
        assert (DOCS / "metrics" / name).read_text(encoding="utf-8") == text, "run python docs/draw_metrics.py"
        assert f"](metrics/{name})" in page
        ElementTree.fromstring(text)
    # 17 of 24 and 24 pixels of what dilation joins, a lesion that is missed and a false one: 2 * 17 / 48 / 3
    assert "Dice 0.24" in drawn["lesion-wise.svg"]
    assert "IoU 0.30" in drawn["overlap.svg"]  # 42 of 96 + 84 - 42 pixels, counted by hand
