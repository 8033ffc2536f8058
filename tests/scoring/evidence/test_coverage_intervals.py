"""The benchmark of intervals runs, and its table in the documentation is the one it makes."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

HERE = Path(__file__).parents[3]
benchmark = SimpleNamespace(**runpy.run_path(str(HERE / "benchmarks" / "how_often" / "intervals.py")))


def _shown() -> list[str]:
    text = (HERE / "docs" / "statistics.md").read_text("utf-8")
    inside = text.partition(benchmark.MARKERS[0])[2].partition(benchmark.MARKERS[1])[0]
    assert inside.strip().startswith("1,000 data sets")
    return [line for line in inside.splitlines() if line.startswith("| ")][1:]


def test_the_documentation_shows_every_setting_once() -> None:
    rows = [row.split(" | ")[:3] for row in _shown()]
    assert rows == [[f"| {own.what}", own.scores, str(own.units)] for own in benchmark.SETTINGS]


def test_every_kind_of_setting_runs() -> None:
    kinds = {own.what: own for own in benchmark.SETTINGS if own.units == 20}
    for setting in kinds.values():
        found = benchmark.simulate(setting, 4, 1000, 1)
        assert 0 <= found.printed <= 1
        assert found.methods


def test_printed_intervals_of_the_documentation_hold_where_it_says_so() -> None:
    """Normal scores, medians, differences of shares and halves that fail: 0.95 less three Monte-Carlo errors."""
    for row in (line.strip("| ").split(" | ") for line in _shown()):
        if row[0] in ("median", "difference of shares") or row[1] in ("normal", "half failed"):
            assert float(row[4]) >= 0.95 - 3 * 0.0069, row
