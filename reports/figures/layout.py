"""Sizes and labels that keep a figure readable with three submissions and with forty."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 7.0
"""Width of a full figure in inches: the text width of a page."""
TALLEST = 8.6
"""Largest height in inches that still fits a page with its caption."""
LABEL_LENGTH = 26
STAYS = "stays."
"""Begins the id of marks that do not step back where a reader chooses cases: they are of all of them."""


def rows_height(rows: int, margin: float = 0.9, each: float = 0.24) -> float:
    """Return the height in inches of a figure with one row per submission."""
    return min(TALLEST, margin + each * max(rows, 3))


def row_font(rows: int, height: float) -> float:
    """Return the font size in points at which the labels of that many rows do not touch."""
    return max(4.5, min(8.5, 72 * (height - 0.8) / max(rows, 1) * 0.72))


def label(name: str, length: int = LABEL_LENGTH) -> str:
    """Shorten a name in its middle; control characters become spaces, bidirectional marks vanish."""
    clean = "".join(
        " " if unicodedata.category(char) in ("Cc", "Zl", "Zp") else char
        for char in name
        if unicodedata.category(char) not in ("Cf", "Cs", "Co", "Cn")
    ).strip()
    if len(clean) <= length:
        return clean or "(no name)"
    keep = length - 1
    return f"{clean[: (keep + 1) // 2]}…{clean[-(keep // 2) :]}"


def labels(names: Sequence[str], length: int = LABEL_LENGTH) -> list[str]:
    """Shorten names so that no two of them look the same."""
    short = [label(name, length) for name in names]
    seen: dict[str, int] = {}
    for at, text in enumerate(short):
        seen[text] = seen.get(text, 0) + 1
        if short.count(text) > 1:
            short[at] = f"{text} ({seen[text]})"
    return short


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure that belongs to no window system."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


def single(width: float, height: float) -> tuple[Figure, Axes]:
    """Return a figure with one panel."""
    figure = new_figure(width, height)
    return figure, figure.add_subplot()


def grid(
    panels: int, columns: int, width: float, each_height: float, *, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure with that many panels in rows of ``columns``, surplus places left empty."""
    columns = min(columns, panels)
    rows = -(-panels // columns)
    figure = new_figure(width, rows * each_height)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel().tolist()
    for surplus in axes[panels:]:
        surplus.set_axis_off()
    return figure, axes[:panels]


def colour_scale(figure: Figure, picture: Any, axes: Any, name: str) -> None:
    """Put a slim colour scale beside a panel; its 256 shades are one small picture, not 256 paths."""
    from matplotlib.ticker import MaxNLocator

    bar = figure.colorbar(picture, ax=axes, pad=0.02, aspect=30, fraction=0.04)
    bar.set_label(name)
    bar.outline.set_visible(False)
    if name in ("rank", "cases"):
        bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if name == "rank":
        bar.ax.invert_yaxis()  # rank 1 on top
    if bar.solids is not None:
        bar.solids.set_rasterized(True)


def records(frame: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of a table as named tuples."""
    yield from frame.itertuples()


def name_rows(axes: Axes, names: Sequence[str], size: float | None = None) -> None:
    """Put one submission on each row, the first on top."""
    axes.set_yticks(range(len(names)), labels(names), fontsize=size)
    axes.set_ylim(len(names) - 0.4, -0.6)


def rank_ticks(highest: int, most: int = 12) -> list[int]:
    """Return the ranks to print on an axis: all of them, or 1 and every fifth (or tenth, where few fit)."""
    step = 5 if highest <= 4 * most else 10
    return list(range(1, highest + 1)) if highest <= most else [1, *range(step, highest + 1, step)]
