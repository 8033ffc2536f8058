"""Names in any script are readable in PNG and PDF figures: from an installed font, or told by name, never as a box."""

from __future__ import annotations

import warnings
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

CHALLENGE = """\
schema: 1
name: names
title: Names
edition: "1"
tasks:
  organs:
    kind: segmentation
    structures: {a: {label: 1}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice, missing: worst}}
recipes: {own: {steps: [{mean: [case, structure, metric]}, rank]}}
ranking: {organs: own}
"""
EMOJI, HAN = "Team \U0001f600", "\u4e2d\u6587\u961f"


def test_no_name_becomes_a_box_in_a_pdf_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib warns for every glyph that it draws as a box: no such warning may be needed."""
    (tmp_path / "challenge.yaml").write_text(CHALLENGE, encoding="utf-8")
    rows = [
        {"task": "organs", "submission": name, "case": f"c{case}", "structure": "a", "metric": "dice",
         "value": 0.9 - 0.1 * place - 0.01 * case}
        for place, name in enumerate((EMOJI, HAN, "plain"))
        for case in range(4)
    ]  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "scores.csv", index=False)
    boxes: list[str] = []
    monkeypatch.setattr(warnings, "filterwarnings", lambda *_, **__: None)
    monkeypatch.setattr(warnings, "showwarning", lambda message, *_, **__: boxes.append(str(message)))
    warnings.simplefilter("always")
    for out, formats in (("one", "latex"), ("two", "latex"), ("three", "markdown")):
        if out == "three":  # SVG names glyphs and draws none
            # matplotlib 3.10 also warns of the 256 codes of a font that it embeds, which nobody asked it to draw
            asked = [f"Glyph {ord(char)} " for char in EMOJI + HAN]
            assert [text for text in boxes if text.startswith(tuple(asked))] == []
        call = ["report", str(tmp_path / "challenge.yaml"), str(tmp_path / "scores.csv"), "--out", str(tmp_path / out)]
        done = CliRunner().invoke(main, [*call, "--formats", formats, "--bootstrap", "0", "--workers", "1"])
        assert done.exit_code in (0, 1), done.output
    figures = sorted((tmp_path / "one/latex/figures").glob("*.pdf"))
    assert figures
    for path in figures:  # the same bytes on one machine
        assert path.read_bytes() == (tmp_path / "two/latex/figures" / path.name).read_bytes(), path.name
    drawings = "".join(path.read_text("utf-8") for path in (tmp_path / "three/figures").glob("*.svg"))
    assert EMOJI in drawings  # SVG is set by the reader's own fonts: the name as it is
    assert HAN in drawings


@pytest.mark.parametrize(
    ("char", "expected"),
    [("\U0001f600", "[grinning face]"), ("\U0001f9e0", "[brain]"), ("\ufe0f", ""), ("\u200d", ""), ("\U000e0100", "")],
)
def test_what_stands_for_a_character_that_no_font_has(char: str, expected: str) -> None:
    from medpodium.reports.formats import glyphs

    assert glyphs.told(char) == expected


def test_letters_of_every_name_are_drawn_by_a_font_that_has_them() -> None:
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    from medpodium.reports.formats import glyphs

    for char in {*EMOJI, *HAN, "\u0645", "\u05d0", "\u0928"}:
        family = glyphs.family_of(char)
        if family:
            path = font_manager.findfont(font_manager.FontProperties(family=family))
            assert FT2Font(path).get_char_index(ord(char)), (char, family, path)
            assert "Last Resort" not in family


def test_a_pdf_spells_out_what_would_turn_a_whole_name_into_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The writer of PDF sets a text in the one font that has all of it: a font of boxes, where only that has a sign."""
    from medpodium.reports.formats import glyphs

    monkeypatch.setattr(glyphs, "family_of", lambda char: "Some" if char in HAN else "")
    drawing = f"<svg><text>Team \U0001f40d \u2026</text><text>{HAN}</text></svg>".encode()
    assert glyphs.spelt_out(drawing).decode() == f"<svg><text>Team [snake] \u2026</text><text>{HAN}</text></svg>"
    plain = b"<svg><text>Team</text></svg>"
    assert glyphs.spelt_out(plain) is plain
