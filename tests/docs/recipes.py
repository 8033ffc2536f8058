"""Follow a recipe of docs/architecture.md: a copy of the package, the page's blocks applied to it, verbs run in it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import medpodium

PACKAGE = Path(medpodium.__file__).resolve().parent
PAGE = PACKAGE / "docs" / "architecture.md"
PYTHON = [sys.executable]
"""What is started for a verb; tests put a Python here that starts at once."""
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"# (?P<file>[\w./]+\.\w+)(?:, (?P<how>new|at the end|below: .+|instead of: .+))?")
_SKIPPED = shutil.ignore_patterns("tests", "docs", "benchmarks", ".*", "__pycache__", "build", "*.egg-info")


def blocks(heading: str) -> Iterator[tuple[str, str]]:
    """Yield language and text of the fenced blocks of one section of the page."""
    (section,) = re.findall(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", PAGE.read_text("utf-8"), re.M | re.S)
    for match in _BLOCK.finditer(section):
        yield match[1], match[2]


def copy_package(folder: Path) -> Path:
    """Copy what is installed of the package below a folder."""
    house = folder / "medpodium"
    shutil.copytree(PACKAGE, house, ignore=_SKIPPED)
    return house


def apply(house: Path, text: str) -> str:
    """Do what the first line of a block says with its rest; return the file."""
    first, _, rest = text.partition("\n")
    place = _PLACE.fullmatch(first)
    assert place is not None, f"a block of the page does not say where it goes: {first!r}"
    path, how = house / place["file"], place["how"] or "new"
    if how == "new":
        assert not path.exists(), f"{place['file']} is there already"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(rest, encoding="utf-8")
        return place["file"]
    old = path.read_text(encoding="utf-8")
    if how == "at the end":
        new = f"{old}\n\n{rest}"
    else:
        what, _, line = how.partition(": ")
        found = [own for own in old.splitlines(keepends=True) if own.strip() == line]
        assert len(found) == 1, f"{place['file']} has {len(found)} lines {line!r}"
        new = old.replace(found[0], found[0] + rest if what == "below" else rest)
    path.write_text(new, encoding="utf-8")
    return place["file"]


def changed(house: Path) -> set[str]:
    """Return the files that differ between the copy and the package, or are in one of them only."""
    mine, theirs = ({_name(path, root): path for path in _files(root)} for root in (house, PACKAGE))
    same = {name for name in mine.keys() & theirs.keys() if mine[name].read_bytes() == theirs[name].read_bytes()}
    return (mine.keys() | theirs.keys()) - same


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _files(root: Path) -> list[Path]:
    found = []
    for folder, inner, names in os.walk(root):
        skipped = _SKIPPED(folder, [*inner, *names])
        inner[:] = [name for name in inner if name not in skipped]
        found += [Path(folder) / name for name in names if name not in skipped]
    return found


def environment(house: Path) -> dict[str, str]:
    """Return the environment in which the copy is the package."""
    return {**os.environ, "PYTHONPATH": str(house.parent), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}


def run(house: Path, folder: Path, *words: object, code: int = 0) -> str:
    """Run the copy's command line in a folder and return everything it printed."""
    done = subprocess.run(
        [*PYTHON, "-m", "medpodium.cli", *map(str, words)],
        cwd=folder,
        env=environment(house),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    printed = done.stdout + done.stderr
    assert done.returncode == code, f"{shlex.join(map(str, words))}: exit code {done.returncode}\n{printed}"
    return printed


def run_line(house: Path, folder: Path, line: str) -> str:
    """Run a line of a console block, which may say its exit code."""
    command, _, comment = line.removeprefix("$ ").partition("   # exit code ")
    program, *words = shlex.split(command)
    assert program == "medpodium", line
    return run(house, folder, *words, code=int(comment or 0))
