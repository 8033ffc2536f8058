"""The coverage benchmark: every setting runs, its tables are those of the documentation, and wrong sets fail it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from medpodium.scoring.evidence.bootstrap import stream

HERE = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def coverage() -> Iterator[ModuleType]:
    sys.path.insert(0, str(HERE / "benchmarks" / "how_often"))
    try:
        yield importlib.import_module("rank_sets")
    finally:
        sys.path.pop(0)
        for name in ("rank_sets", "settings"):
            sys.modules.pop(name, None)


def test_every_setting_runs_and_is_built_as_the_documentation_says(coverage: ModuleType) -> None:
    text = (HERE / "docs" / "statistics.md").read_text("utf-8")
    shown = text.partition(coverage.MARKERS[0])[2].partition(coverage.MARKERS[1])[0]
    rows = [line for line in shown.splitlines() if line.startswith("| ")]
    for setting in coverage.SETTINGS:
        found = coverage.simulate(setting, 2, 60, 5)
        head = coverage._row(found).split(" | ")[:4]
        assert sum(row.split(" | ")[:4] == head for row in rows) == 1, head


def test_what_is_printed_as_95_percent_is_shown_to_hold(coverage: ModuleType) -> None:
    """The table in the documentation: at least 0.95 less two Monte-Carlo standard errors, in every guaranteed line.

    Sets of few units are guaranteed unless failures that those did not show differ, and only the settings made of
    such failures may break that.
    """
    text = (HERE / "docs" / "statistics.md").read_text("utf-8")
    shown = text.partition(coverage.MARKERS[0])[2].partition(coverage.MARKERS[1])[0]
    rows = [line.strip("| ").split(" | ") for line in shown.splitlines() if " | 95 %" in line]
    rare = [row for row in rows if "unless rare failures differ" in row[3] and "fail in a tenth" in row[0]]
    assert 1 <= len(rare) < 5
    rows = [row for row in rows if row not in rare]
    simulations = int(shown.split()[0].replace(",", ""))
    assert simulations >= 1000
    least = 0.95 - 2 * np.sqrt(0.95 * 0.05 / simulations)
    assert rows
    for row in rows:
        assert float(row[4]) >= least, row
        assert float(row[5]) >= least, row


def test_new_tables_replace_old_ones_between_the_markers(coverage: ModuleType) -> None:
    page = f"before\n{coverage.MARKERS[0]}\nold\n{coverage.MARKERS[1]}\nafter\n"
    assert coverage.between_markers(page, "new") == page.replace("old", "new")


def test_a_wrong_set_would_fail_the_simulation(coverage: ModuleType) -> None:
    setting = next(own for own in coverage.SETTINGS if "copy" in own.name)
    best, worst = coverage.truth(setting)
    assert best.tolist() == [1, 3, 4, 1]
    assert worst.tolist() == [2, 3, 4, 2]
    values = np.array([[0.9, 0.5]]) + 0.01 * stream(0, "t", 0).normal(size=(30, 2))
    assert coverage.parametric_sets(values, 200, stream(0, "t", 1)).T.tolist() == [[1, 1], [2, 2]]
