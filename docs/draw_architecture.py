"""Draw the rooms of the package, their floors and their arrows from the imports in the code: docs/architecture.svg.

Run ``python docs/draw_architecture.py`` after moving a module. A test draws the picture again and compares.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

PACKAGE = "medpodium"
TARGET = Path(__file__).with_name("architecture.svg")
LEFT_OUT = {"setup", "tests", "benchmarks", "docs"}
"""What lies beside the package's rooms and is no part of what is installed."""

WIDTH, MARGIN, GAP = 1200, 20, 24
BOX, FLOOR, HEAD, FOOT = 28, 62, 46, 16
"""Heights in pixels: a box, a floor with its arrows, a room's head and foot."""
STREET = 52
"""Distance between bands of rooms."""
CORRIDOR = 90
"""Free width beside a band that an arrow passes."""
PASSING = "passing "
"""Start of the name of an arrow's place on a floor that it passes."""
Edges = dict[str, set[str]]


@dataclass(frozen=True)
class Spot:
    """A rectangle of the picture: left, top, width and height in pixels."""

    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        """Horizontal middle."""
        return self.x + self.width / 2


def imports(graph: grimp.ImportGraph, parent: str) -> Edges:
    """Return which direct children of a package import which others, all that is below them counted."""
    children = sorted(graph.find_children(parent))
    if parent == PACKAGE:
        children = [name for name in children if name.rsplit(".", 1)[1] not in LEFT_OUT]
    inside = {name: {name, *graph.find_descendants(name)} for name in children}
    owner = {module: name for name, modules in inside.items() for module in modules}
    found: Edges = {name: set() for name in children}
    for name, modules in inside.items():
        for module in modules:
            found[name] |= {owner[one] for one in graph.find_modules_directly_imported_by(module) if one in owner}
        found[name].discard(name)
    return found


def reachable(edges: Edges, start: str) -> set[str]:
    """Return everything that can be reached by one arrow or more."""
    seen: set[str] = set()
    pending = list(edges[start])
    while pending:
        name = pending.pop()
        if name not in seen:
            seen.add(name)
            pending += edges[name]
    return seen


def without_circles(edges: Edges) -> tuple[Edges, set[tuple[str, str]]]:
    """Return the arrows of no circle, and those of one; of a pair in a circle the later name counts as below."""
    reach = {name: reachable(edges, name) for name in edges}
    back = {(one, other) for one in edges for other in edges[one] if one in reach[other] and other < one}
    return {name: {other for other in own if (name, other) not in back} for name, own in edges.items()}, back


def reduced(edges: Edges) -> Edges:
    """Return the arrows that no chain of other arrows stands for already."""
    reach = {name: reachable(edges, name) for name in edges}
    return {name: {one for one in own if not any(one in reach[other] for other in own)} for name, own in edges.items()}


def floors(edges: Edges) -> list[list[str]]:
    """Return the names floor by floor, ground floor first: each stands just above the highest thing it imports."""
    height: dict[str, int] = {}

    def climb(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((climb(other) for other in edges[name]), default=-1)
        return height[name]

    for name in edges:
        climb(name)
    used = {other for own in edges.values() for other in own}
    top = max(height.values())
    # What imports nothing here and is imported by nothing here loads others by name: it stands on top.
    height |= {name: top for name, own in edges.items() if not own and name not in used}
    return [[name for name in sorted(edges) if height[name] == level] for level in range(top + 1)]


def bands(edges: Edges) -> list[list[str]]:
    """Return the rooms band by band, top first: each stands just below the lowest room that imports it."""
    upside: Edges = {name: {other for other in edges if name in edges[other]} for name in edges}
    return floors(upside)


def short(name: str) -> str:
    """Return the last part of a dotted name."""
    return name.rsplit(".", 1)[-1]


def width_of(text: str, size: float = 13) -> float:
    """Estimate the width of a text in pixels."""
    return len(text) * size * 0.56


def box_width(name: str, graph: grimp.ImportGraph) -> float:
    """Return the width of the box of a module or folder, or of an arrow that passes a floor."""
    if name.startswith(PASSING):
        return 6.0
    return max(64.0, width_of(short(name) + ("/" if graph.find_children(name) else "")) + 24)


def row(names: list[str], graph: grimp.ImportGraph) -> float:
    """Return the width of boxes side by side."""
    return sum(box_width(name, graph) + GAP for name in names) - GAP


def arranged(edges: Edges) -> tuple[list[list[str]], list[list[str]]]:
    """Return floors from top to bottom, each ordered from left to right, and the way of every arrow.

    Where an arrow passes a floor, it has a place of its own there, so that no box hides it.
    """
    levels = [list(names) for names in reversed(floors(edges))]
    at = {name: number for number, names in enumerate(levels) for name in names}
    ways = []
    for one, others in reduced(edges).items():
        for other in sorted(others):
            passed = [f"{PASSING}{short(one)} {short(other)} {floor}" for floor in range(at[one] + 1, at[other])]
            for floor, name in enumerate(passed, start=at[one] + 1):
                levels[floor].append(name)
            ways.append([one, *passed, other])
    near: dict[str, set[str]] = {}
    for way in ways:
        for one, other in pairwise(way):
            near.setdefault(one, set()).add(other)
            near.setdefault(other, set()).add(one)
    place = {name: (number + 0.5) / len(names) for names in levels for number, name in enumerate(sorted(names))}
    for turn in range(6):  # to and fro: each box goes where its neighbours of the floor before are
        order = range(len(levels)) if turn % 2 == 0 else range(len(levels) - 1, -1, -1)
        for floor in order:
            before = set(levels[floor - 1 if turn % 2 == 0 else (floor + 1) % len(levels)])
            key = {}
            for name in levels[floor]:
                own = [place[other] for other in near.get(name, set()) & before]
                key[name] = round(sum(own) / len(own), 6) if own else place[name]
            levels[floor].sort(key=lambda name: (key[name], name))
            place |= {name: (number + 0.5) / len(levels[floor]) for number, name in enumerate(levels[floor])}
    return levels, ways


def about(name: str) -> str:
    """Return the first line of a room's docstring."""
    path = Path(__file__).resolve().parents[1] / Path(*name.split(".")[1:])
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return source.read_text(encoding="utf-8").split('"""')[1].split("\n")[0].strip().replace("`", "")


class Picture:
    """Collects the parts of the drawing; arrows lie below boxes."""

    def __init__(self, graph: grimp.ImportGraph) -> None:
        self.graph = graph
        self.rooms: list[str] = []
        self.arrows: list[str] = []
        self.boxes: list[str] = []

    def arrow(self, heads: list[tuple[float, float]], kind: str, height: float = BOX) -> None:
        """Draw an arrow from the foot of a box to the head of another, upright at each box and place it passes.

        Parameters
        ----------
        heads : list of (float, float)
            Middle of the upper edge of each of them.
        height : float
            Their height.
        """
        x, y = heads[0][0], heads[0][1] + height
        path = f"M{x:.0f},{y:.0f}"
        for number, (across, down) in enumerate(heads[1:], start=2):
            bend = max(10.0, (down - y) * 0.5)
            last = number == len(heads)
            path += f" C{x:.0f},{y + bend:.0f} {across:.0f},{down - bend:.0f} {across:.0f},{down - 2 * last:.0f}"
            path += "" if last else f" V{down + height:.0f}"
            x, y = across, down + height
        self.arrows.append(f'<path class="{kind}" d="{path}" marker-end="url(#{kind})"/>')

    def box(self, name: str, spot: Spot) -> None:
        """Draw a module, or a folder with its slash."""
        folder = bool(self.graph.find_children(name))
        text = short(name) + ("/" if folder else "")
        kind = "folder" if folder else "module"
        place = f'x="{spot.x:.0f}" y="{spot.y:.0f}" width="{spot.width:.0f}" height="{spot.height:.0f}"'
        self.boxes.append(f'<rect class="{kind}" {place} rx="4"/>')
        self.boxes.append(f'<text x="{spot.middle:.0f}" y="{spot.y + 18.5:.0f}" class="name">{escape(text)}</text>')

    def frame(self, name: str, spot: Spot) -> None:
        """Draw the walls of a room, its name and what it is for."""
        place = f'x="{spot.x:.0f}" y="{spot.y:.0f}" width="{spot.width:.0f}" height="{spot.height:.0f}"'
        self.rooms.append(f'<rect class="room" {place} rx="8"/>')
        folder = bool(self.graph.find_children(name))
        left, top = spot.x + 14, spot.y + 24
        self.boxes.append(
            f'<text x="{left:.0f}" y="{top:.0f}" class="title">{short(name)}{"/" if folder else ".py"}</text>'
        )
        words = escape(about(name))
        start = left + width_of(short(name) + ("/" if folder else ".py"), 17) + 16
        self.boxes.append(f'<text x="{start:.0f}" y="{top:.0f}" class="about">{words}</text>')

    def inside(self, name: str, spot: Spot) -> None:
        """Draw what is in a room, floor by floor."""
        edges, back = without_circles(imports(self.graph, name))
        levels, ways = arranged(edges)
        places: dict[str, Spot] = {}
        for number, names in enumerate(levels):
            left = spot.x + (spot.width - row(names, self.graph)) / 2
            for one in names:
                width = box_width(one, self.graph)
                places[one] = Spot(left, spot.y + HEAD + number * FLOOR, width, BOX)
                left += width + GAP
        for way in ways:
            self.arrow([(places[one].middle, places[one].y) for one in way], "inner")
        for one, other in sorted(back):
            self.arrow([(places[one].middle, places[one].y), (places[other].middle, places[other].y)], "wrong")
        for one, place in places.items():
            if one in edges:
                self.box(one, place)

    def text(self, height: float) -> str:
        """Return the whole drawing."""
        colours = {"inner": "#8a97a8", "outer": "#1f4e79", "named": "#1f4e79", "wrong": "#c0392b"}
        marks = "".join(
            f'<marker id="{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>\n'
            for kind, colour in colours.items()
        )
        style = (
            "text{font-family:system-ui,Helvetica,Arial,sans-serif;fill:#1b2733}"
            ".name{font-size:13px;text-anchor:middle}.title{font-size:17px;font-weight:700}.about{font-size:13px;fill:#51606f}"
            ".room{fill:#f4f7fa;stroke:#b9c6d3}.folder{fill:#d8e6f3;stroke:#5b86b0}.module{fill:#fff;stroke:#9fb0c0}"
            "path{fill:none}marker path{stroke:none}.inner{stroke:#8a97a8;stroke-width:1.2}"
            ".outer{stroke:#1f4e79;stroke-width:2.4}.named{stroke:#1f4e79;stroke-width:1.6;stroke-dasharray:5 4}"
            ".wrong{stroke:#c0392b;stroke-width:2.4}"
        ).replace("path{fill:none}", "path[class]{fill:none}")
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" '
            f'height="{height:.0f}" role="img" aria-labelledby="title desc">\n<title id="title">The rooms of {PACKAGE}'
            '</title>\n<desc id="desc">Boxes are folders (blue) and modules (white); an arrow says that one imports '
            "the other, directly or through what is in between. Every arrow points down.</desc>\n"
        )
        parts = [*self.rooms, *self.arrows, *self.boxes]
        ground = f'<rect width="{WIDTH}" height="{height:.0f}" fill="#fff"/>\n'
        return f"{head}<style>{style}</style>\n<defs>{marks}</defs>\n{ground}" + "\n".join(parts) + "\n</svg>\n"


def named_rooms() -> set[str]:
    """Return the rooms whose verbs the command line loads by name."""
    from medpodium.cli import _VERBS

    return {f"{PACKAGE}.{home.partition('.')[0]}" for home, _ in _VERBS.values()}


def room_size(graph: grimp.ImportGraph, name: str) -> tuple[float, float]:
    """Return width and height of a room."""
    head = width_of(short(name) + "/", 17) + width_of(about(name)) + 50
    if not graph.find_children(name):
        return head, 38.0
    levels, _ = arranged(without_circles(imports(graph, name))[0])
    return max(head, *(row(names, graph) + 40 for names in levels)), HEAD + FLOOR * (len(levels) - 1) + BOX + FOOT


def draw() -> str:
    """Return the picture as SVG."""
    graph = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    edges, back = without_circles(imports(graph, PACKAGE))
    command = f"{PACKAGE}.cli"
    named = named_rooms()
    shown = reduced({**edges, command: edges[command] | named})
    levels = bands(shown)
    level_of = {name: number for number, names in enumerate(levels) for name in names}
    picture, spots, top = Picture(graph), {}, float(MARGIN)
    for number, names in enumerate(levels):
        passed = any(level_of[one] < number < level_of[other] for one in shown for other in shown[one])
        left = MARGIN + (CORRIDOR if passed else 0.0)
        sizes = {name: room_size(graph, name) for name in names}
        spare = WIDTH - MARGIN - left - sum(size[0] for size in sizes.values()) - GAP * (len(names) - 1)
        height = max(size[1] for size in sizes.values())
        for name in sorted(names, key=lambda one: (one not in _skipping(shown, level_of), one)):
            width = sizes[name][0] + spare / len(names)
            spots[name] = Spot(left, top, width, height)
            left += width + GAP
        top += height + STREET
    for name, spot in spots.items():
        picture.frame(name, spot)
        if graph.find_children(name):
            picture.inside(name, spot)
    for one, others in shown.items():
        for other in sorted(others):
            _between(picture, spots, (one, other), "named" if one == command and other in named else "outer")
    for one, other in sorted(back):
        _between(picture, spots, (one, other), "wrong")
    return picture.text(top - STREET + MARGIN)


def _skipping(shown: Edges, level_of: dict[str, int]) -> set[str]:
    """Return the rooms with an arrow that passes a band: they stand on the left, above the corridor."""
    return {one for one, others in shown.items() for other in others if level_of[other] > level_of[one] + 1}


def _between(picture: Picture, spots: dict[str, Spot], edge: tuple[str, str], kind: str) -> None:
    one, other = spots[edge[0]], spots[edge[1]]
    low, high = max(one.x, other.x), min(one.x + one.width, other.x + other.width)
    if kind == "wrong":  # back up, on the right
        x = other.x + other.width - CORRIDOR / 2
        picture.arrows.append(
            f'<path class="wrong" d="M{x:.0f},{one.y:.0f} V{other.y + other.height + 2:.0f}" marker-end="url(#wrong)"/>'
        )
        return
    passes = any(one.y + one.height < spot.y and spot.y + spot.height < other.y for spot in spots.values())
    if passes:
        start = end = MARGIN + CORRIDOR / 2
    elif low < high:
        start = end = (low + high) / 2
    else:
        start, end = one.middle, other.middle
    picture.arrow([(start, one.y), (end, other.y)], kind, one.height)


if __name__ == "__main__":
    TARGET.write_text(draw(), encoding="utf-8", newline="\n")
    sys.stdout.write(f"{TARGET}\n")
