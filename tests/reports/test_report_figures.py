"""Figures stay readable from three to forty submissions; pictures show the right slice the right way round."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medpodium.reports.figures import across, beyond, cost, curves, groups, layout, observed, raw, stability, survival
from medpodium.reports.figures.palette import MUTED_SCHEME, OTHERS, STYLE, look
from medpodium.reports.formats.draw import draw, inline_svg
from medpodium.reports.model import gallery
from medpodium.reports.model.document import Plot
from medpodium.reports.model.illustrate.raw import place_counts
from medpodium.reports.model.results import case_places


def _values(teams: int) -> pd.DataFrame:
    random = np.random.default_rng(0)
    names = [f"Team {at} with a rather long name" for at in range(teams)]
    return pd.DataFrame(0.9 - 0.01 * np.arange(teams) + random.normal(0, 0.05, (20, teams)), columns=names)


def _plots(teams: int) -> dict[str, Plot]:
    values = _values(teams)
    names = list(values.columns)
    colours = look(names)
    places = case_places(values, "higher")
    ranks = pd.Series(np.arange(1.0, teams + 1), index=names)
    sets = pd.DataFrame(
        {"rank": ranks, "set_low": ranks.clip(lower=2) - 1, "set_high": ranks.clip(upper=teams - 1) + 1}
    )
    matrix = pd.DataFrame(np.triu(np.ones((teams, teams)), 1).astype(bool), index=names, columns=names)
    return {
        "dots": Plot(
            raw.dot_box,
            {
                "values": values,
                "measured": values.notna(),
                "order": names,
                "look": colours,
                "axis": "Dice",
                "bounds": None,
                "better": "higher",
            },
        ),
        "heat": Plot(raw.ranking_heatmap, {"counts": place_counts(places, teams), "order": names}),
        "sets": Plot(beyond.confidence_sets, {"sets": sets, "order": names, "look": colours}),
        "map": Plot(
            stability.significance_map,
            {"matrix": matrix, "ranks": ranks, "order": names, "alpha": 0.05, "adjust": "holm"},
        ),
    }


@pytest.mark.parametrize("teams", [3, 40])
def test_row_labels_do_not_overlap_and_figures_fit_a_page(teams: int) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for name, plot in _plots(teams).items():
        with matplotlib.rc_context(STYLE):
            figure = plot.function(**plot.arguments)
            renderer = FigureCanvasAgg(figure).get_renderer()
            axes = figure.axes[0]
            boxes = [text.get_window_extent(renderer) for text in axes.get_yticklabels() if text.get_text()]
            size = figure.get_tightbbox(renderer)
        assert len(boxes) == teams
        spots = sorted((box.y0, box.y1) for box in boxes)
        assert all(low[1] <= high[0] + 1.0 for low, high in pairwise(spots)), name
        assert size.height < 9.9, name
        assert size.width < 9.2, name


def test_forty_submissions_have_forty_looks() -> None:
    names = [f"t{at}" for at in range(40)]
    made = look(names)
    assert len({(made.colour(name), made.marker(name)) for name in names}) == 40


@pytest.mark.parametrize("teams", [3, 60, 120])
def test_every_submission_has_a_colour_of_its_own(teams: int) -> None:
    """A page finds submissions by their colours, and nothing else may have one of them."""
    colours = list(look([f"t{at}" for at in range(teams)]).colours.values())
    assert len(set(colours)) == teams
    assert not set(colours) & set(OTHERS)
    assert colours[:3] == list(MUTED_SCHEME[:3])


def _legends(figure: Any) -> list[str]:
    found = [*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend())]
    return [text.get_text() for legend in found for text in legend.get_texts()]


def test_a_name_that_begins_with_an_underscore_stands_in_every_legend() -> None:
    """Touchstone's _MedFormer; matplotlib leaves such labels out where it collects them itself."""
    names = ["_first", "second"]
    looks = look(names)
    cases = pd.DataFrame({"_first": [0.9, 0.8], "second": [0.7, 0.9]})
    ends = np.array([0.0, 1.0])
    line = pd.concat(
        [pd.DataFrame({"submission": name, "x": ends, "y": ends, "low": ends, "high": ends}) for name in names]
    )
    area = line.rename(columns={"x": "time", "y": "auc"})
    level = pd.DataFrame(
        {"submission": np.repeat(names, 2), "level": ["low", "high"] * 2}
        | {name: 0.5 for part in ("right", "shift") for name in (part, f"{part}_low", f"{part}_high")}
    )
    cells = pd.DataFrame(
        {"level": ["_a", "_a", "b", "b"], "submission": names * 2, "cases": 5, "mean": 0.5, "lower": 0.4, "upper": 0.6}
    )
    counts = pd.DataFrame({"_lost": [1, 2]}, index=names)
    assert _legends(across.profiles(cases, names, looks, "Dice", "higher")) == names
    assert _legends(curves.both_curves(line, line, names, looks, 0.5)) == names
    assert _legends(curves.along(level, ["low", "high"], names, looks, "level")) == names
    assert _legends(survival.areas(area, names, looks, "months")) == names
    assert _legends(groups.subgroups(cells, names, "Dice", "higher")) == ["_a (n = 5)", "b (n = 5)"]
    assert _legends(raw.failures(counts, names)) == ["_lost"]


def test_answers_that_nobody_gave_have_no_colour() -> None:
    counts = pd.DataFrame(
        {"submission": "a", "truth": ["A", "A", "B", "B"], "answer": ["A", "B"] * 2, "n": [3, 0, 0, 4]}
    )
    (mesh,) = observed.confusions(counts, ["a"]).axes[0].collections
    assert np.ma.getmaskarray(np.ma.masked_invalid(mesh.get_array())).ravel().tolist() == [False, True, True, False]


@pytest.mark.parametrize(("teams", "memory"), [(3, True), (3, False), (20, True), (60, True), (60, False)])
def test_numbers_of_discs_can_be_read_and_do_not_touch(teams: int, memory: bool) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [f"team {at}" for at in range(teams)]
    random = np.random.default_rng(2)
    points = pd.DataFrame({"cost": random.uniform(1, 90, teams), "accuracy": random.random(teams)}, index=names)
    if memory:
        points["memory"] = random.uniform(10, 9000, teams)
    with matplotlib.rc_context(STYLE):
        figure = cost.accuracy_cost(points, names, look(names), ("Time (s)", "Dice"), "higher")
        renderer = FigureCanvasAgg(figure).get_renderer()
        size = figure.get_tightbbox(renderer)
        numbers = [text for text in figure.axes[0].texts if text.get_text().isdigit()]
        boxes = [text.get_window_extent(renderer) for text in numbers]
        listed = list(figure.axes[1].texts)
    assert len(numbers) >= min(teams, 20) * 0.7
    assert min(text.get_fontsize() for text in (*numbers, *listed)) >= 7
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[:at])
    assert len(listed) == teams
    assert size.height < layout.TALLEST + 0.3


def _simulated(colour: str, matrix: np.ndarray) -> np.ndarray:
    linear = (np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255) ** 2.2
    return np.clip(matrix @ linear, 0, 1) ** (1 / 2.2) * 255


def test_the_first_colours_differ_under_colour_blindness() -> None:
    # Viénot, Brettel and Mollon 1999: dichromat simulation in linear RGB.
    protan = np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]])
    deutan = np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]])
    colours = list(look([f"t{at}" for at in range(8)]).colours.values())
    for matrix in (np.eye(3), protan, deutan):
        seen = [_simulated(colour, matrix) for colour in colours]
        gaps = [np.abs(one - two).max() for at, one in enumerate(seen) for two in seen[:at]]
        assert min(gaps) > 20


def test_the_same_plot_gives_the_same_bytes() -> None:
    plot = _plots(3)["dots"]
    first, second = draw(plot, ("svg", "pdf", "png")), draw(plot, ("svg", "pdf", "png"))
    assert first == second


def test_two_figures_on_a_page_share_no_id() -> None:
    plots = _plots(3)
    one, two = (inline_svg(draw(plot, ("svg",))["svg"], name) for name, plot in list(plots.items())[:2])
    import re

    ids = [set(re.findall(r'\bid="([^"]+)"', text)) for text in (one, two)]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_names_are_shortened_but_stay_different() -> None:
    long = ["x" * 40 + "a" + "y" * 40, "x" * 40 + "b" + "y" * 40]
    short = layout.labels(long)
    assert len(set(short)) == 2
    assert layout.label("a\u202eb\nc") == "ab c"
    assert layout.label("\u200b") == "(no name)"


def test_places_after_the_last_as_challenger_counts() -> None:
    values = pd.DataFrame([[0.5, 0.9, 0.5, np.nan, np.nan]], columns=list("abcde"))
    assert case_places(values, "higher").iloc[0].tolist() == [2, 1, 2, 3, 3]
    assert sorted(case_places(values, "higher", "random").iloc[0]) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(("low", "high"), [(10.0, 480.0), (2_078.0, 3_709_089.0), (0.02, 9e6), (4_000.0, 90_000.0)])
def test_costs_of_several_decades_have_labels_that_do_not_touch(low: float, high: float) -> None:
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = ["one", "two", "three"]
    points = pd.DataFrame({"cost": [low, 2 * low, high], "accuracy": [0.9, 0.7, 0.8]}, index=names)
    with matplotlib.rc_context(STYLE):
        figure = cost.accuracy_cost(points, names, look(names), ("memory", "Dice"), "higher")
        renderer = FigureCanvasAgg(figure).get_renderer()
        shown = [text for text in figure.axes[0].get_xticklabels() if text.get_text()]
        boxes = [text.get_window_extent(renderer) for text in shown]
    assert len(shown) >= 2
    assert all("e" not in text.get_text() for text in shown)
    assert all(left.x1 + 2 <= right.x0 for left, right in pairwise(boxes))


@pytest.mark.parametrize(("costs", "scale"), [((4131.5, 5125.0, 6372.6), "linear"), ((0.02, 0.03, 0.5), "log")])
def test_the_range_of_costs_decides_the_axis_and_not_their_size(costs: tuple[float, ...], scale: str) -> None:
    names = ["one", "two", "three"]
    points = pd.DataFrame({"cost": costs, "accuracy": [0.9, 0.7, 0.8]}, index=names)
    figure = cost.accuracy_cost(points, names, look(names), ("memory", "Dice"), "higher")
    assert figure.axes[0].get_xscale() == scale


def test_case_difficulty_shows_what_was_measured() -> None:
    summary = pd.DataFrame({"case": ["a", "b"], "q25": [1.0, 2.0], "median": [2.0, 3.0], "q75": [3e7, 4.0]})
    axes = raw.case_difficulty(summary.assign(best=1.0), "s", (1.0, 5.0)).axes[0]
    assert axes.get_ylim() == pytest.approx((0.8, 5.2))


def test_pareto_front_and_cliques() -> None:
    assert cost.pareto(np.array([1.0, 2, 3, 4]), np.array([0.5, 0.4, 0.9, 0.9])).tolist() == [0, 2]
    assert beyond.cliques(np.array([1.0, 1.5, 2.4, 4.0]), 1.0) == [(0, 1), (1, 2)]


def _save(path: Path, array: np.ndarray, orientation: str) -> None:
    import SimpleITK

    image = SimpleITK.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing((1.0, 2.0, 3.0))
    SimpleITK.WriteImage(SimpleITK.DICOMOrient(image, orientation), str(path))


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "LAS", "PIR", "ASL"])
def test_a_slice_shows_the_same_whatever_the_files_orientation(tmp_path: Path, orientation: str) -> None:
    from medpodium.scoring.masks.reader import read_mask

    truth = np.zeros((5, 7, 9), dtype=np.uint8)  # z to the head, y to the back, x to the left
    truth[3, 1:3, 6:9] = 1
    _save(tmp_path / "m.nii.gz", truth, orientation)
    mask = read_mask(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(gallery.to_lps(mask.array, mask.geometry), truth)
    np.testing.assert_allclose(gallery.lps_spacing(mask.geometry), (3.0, 2.0, 1.0), rtol=1e-6)


def test_the_slice_with_the_most_disagreement_is_shown() -> None:
    reference = np.zeros((4, 8, 8), dtype=bool)
    reference[1, 2:6, 2:6] = True
    reference[2, 3:5, 3:5] = True
    assert gallery.best_slice(reference, reference) == 1
    wrong = reference.copy()
    wrong[3] = True
    assert gallery.best_slice(reference, wrong) == 3
    png = gallery.draw_slice(None, reference, wrong, (1.0, 1.0, 1.0), None)
    from PIL import Image

    with Image.open(io.BytesIO(png)) as image:
        assert image.size == (286, 286)
        assert image.convert("RGB").getpixel((2, 2)) == (0, 0, 0)
