"""Colours and typography of every figure: one colour per submission, safe for colour-blind readers.

The ten base colours are Paul Tol's *muted* scheme (personal.sron.nl/~pault, "Colour schemes", 2021), told apart
under protanopia, deuteranopia and tritanopia. More than ten submissions reuse them lighter or darker and with
another marker; every figure names submissions in words, so colour never carries the meaning alone.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INK = "#1d2733"
"""Text and axes. The HTML writer turns these four into CSS variables, so that figures follow dark mode."""
PAPER = "#fefefe"
RULE = "#d9dee3"
MUTED = "#6a7682"

MUTED_SCHEME = (
    "#332288", "#cc6677", "#117733", "#ddaa33", "#88ccee", "#882255", "#44aa99", "#999933", "#aa4499", "#5b7fb5",
)  # fmt: skip
MARKERS = ("o", "s", "^", "D")
BETTER, WORSE, NEUTRAL = "#2166ac", "#b2182b", "#a7b0b8"
SEQUENTIAL = "cividis"
"""Colour map of all heat maps; perceptually uniform with and without colour vision deficiency."""


def _beside(colour: str) -> str:
    """Return a colour that nobody can tell from another one, but a page can: it finds submissions by their colours."""
    number = int(colour[1:], 16)
    return f"#{number + 1 if number % 256 < 255 else number - 255:06x}"


OTHERS = tuple(map(_beside, MUTED_SCHEME))
"""The scheme for what is no submission: levels of a group, reasons, classes."""


@dataclass(frozen=True)
class Look:
    """Colour and marker of every submission, consistent across figures.

    Parameters
    ----------
    colours, markers : mapping of str to str
        By submission.
    """

    colours: Mapping[str, str]
    markers: Mapping[str, str]

    def colour(self, submission: str) -> str:
        """Return a submission's colour; grey for one that is not ranked."""
        return self.colours.get(submission, NEUTRAL)

    def marker(self, submission: str) -> str:
        """Return a submission's marker."""
        return self.markers.get(submission, "o")


def look(submissions: Sequence[str]) -> Look:
    """Give each submission, best first, its colour and marker."""
    colours: dict[str, str] = {}
    markers = {}
    taken = set(OTHERS)
    for index, name in enumerate(submissions):
        turn = index // len(MUTED_SCHEME)
        colour = _shade(MUTED_SCHEME[index % len(MUTED_SCHEME)], turn)
        while colour in taken:
            colour = _beside(colour)
        taken.add(colour)
        colours[name] = colour
        markers[name] = MARKERS[turn % len(MARKERS)]
    return Look(colours, markers)


def _shade(colour: str, turn: int) -> str:
    if turn == 0:
        return colour
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, light, saturation = colorsys.rgb_to_hls(red, green, blue)
    light = (0.5 * light + 0.42, 0.62 * light, 0.3 * light + 0.58)[(turn - 1) % 3]
    mixed = colorsys.hls_to_rgb(hue, min(light, 0.85), saturation * (0.9, 1.0, 0.6)[(turn - 1) % 3])
    return "#" + "".join(f"{round(255 * part):02x}" for part in mixed)


STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 8.5,
    "text.parse_math": False,  # a dollar sign in a team's name is a dollar sign
    "text.color": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8.5,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.0,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.2,
    "patch.linewidth": 0.7,
    "svg.fonttype": "none",
    "svg.hashsalt": "medpodium",
    "svg.image_inline": True,
    "path.simplify": True,
    "pdf.fonttype": 42,
    "figure.dpi": 100,
}
"""Settings every figure is drawn and written with; fixed salts and no dates make its bytes repeatable."""
