"""The page 'your own challenge in ten minutes' does what it says: every block is written or run, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import medpodium

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "own-challenge.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> list[tuple[str, str]]:
    return [(match[1], match[2]) for match in BLOCK.finditer(PAGE.read_text(encoding="utf-8"))]


def write(folder: Path, text: str) -> None:
    """Write a file block: its first line names the file, and whether to append."""
    first, _, rest = text.partition("\n")
    name = first.removeprefix("# ")
    if name.startswith("append to "):
        with (folder / name.removeprefix("append to ")).open("a", encoding="utf-8") as file:
            file.write("\n" + rest)
        return
    assert re.fullmatch(r"[\w.-]+", name), f"a block of the page does not name its file: {first!r}"
    (folder / name).write_text(rest, encoding="utf-8")


def run(python: list[str], folder: Path, line: str) -> subprocess.CompletedProcess[str]:
    command, _, comment = line.removeprefix("$ ").partition("   # exit code ")
    words = shlex.split(command)
    program = {"python": python, "medpodium": [*python, "-m", "medpodium.cli"]}[words[0]]
    package = str(Path(medpodium.__file__).resolve().parent)
    search = [part for part in (os.environ.get("PYTHONPATH", ""),) if part]
    done = subprocess.run(
        [*program, *words[1:]],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(search), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    expected = int(comment or 0)
    assert done.returncode == expected, f"{command} ({package})\n{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def followed(warm: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Follow the page from top to bottom in an empty folder; return it and what each command printed."""
    folder = tmp_path_factory.mktemp("own")
    printed = {}
    for kind, text in blocks():
        if kind == "console":
            for line in text.strip().split("\n"):
                assert line.startswith("$ "), line
                done = run(warm.python("tables"), folder, line)
                printed[line.removeprefix("$ ").partition("   #")[0]] = done.stdout + done.stderr
        else:
            write(folder, text)
    return folder, printed


def test_page_has_every_step() -> None:
    lines = "\n".join(text for kind, text in blocks() if kind == "console")
    for verb in ("lint", "show", "check predictions", "score", "rank", "report"):
        assert f"medpodium {verb} " in lines


def test_missing_case_is_penalised_as_the_page_says(followed: tuple[Path, dict[str, str]]) -> None:
    scores = pd.read_csv(followed[0] / "scores.csv")
    missing = scores[(scores["submission"] == "borealis") & (scores["case"] == "case_03")]
    assert len(missing) == 6
    assert (missing["status"] == "missing").all()
    assert (missing[missing["metric"] != "hd95"]["value"] == 0).all()
    diagonal = ((48 * 1.0) ** 2 + (48 * 1.0) ** 2 + (32 * 2.5) ** 2) ** 0.5
    assert missing[missing["metric"] == "hd95"]["value"].tolist() == pytest.approx([diagonal] * 2, rel=0.05)
    assert set(scores["centre"]) == {"north", "south"}


def test_leaderboard_is_as_the_page_says(followed: tuple[Path, dict[str, str]]) -> None:
    board = pd.read_csv(followed[0] / "leaderboard.csv").sort_values("rank")
    assert board["submission"].tolist() == ["aurora", "borealis"]


def test_show_and_report_name_the_unconfirmed_value(followed: tuple[Path, dict[str, str]]) -> None:
    folder, printed = followed
    assert "ask the radiologists" in printed["medpodium show liver-lesions.yaml"]
    page = (folder / "report" / "index.html").read_text(encoding="utf-8")
    assert "ask the radiologists" in page
    assert "borealis" in page


def test_next_edition_has_no_hd95_and_the_variant_is_stricter(followed: tuple[Path, dict[str, str]]) -> None:
    folder, printed = followed
    assert "second edition" in printed["medpodium show liver-lesions.yaml:2027"]
    later = pd.read_csv(folder / "scores-2027.csv")
    first = pd.read_csv(folder / "scores.csv")
    assert set(later["metric"]) == {"dice", "nsd"}
    key = ["submission", "case", "structure", "metric"]
    both = later.merge(first, on=key, suffixes=("", "_first"))
    lesion = both[(both["structure"] == "lesion") & (both["metric"] == "nsd")]
    assert (lesion["value"] <= lesion["value_first"]).all()
    assert (lesion["value"] < lesion["value_first"]).any()
    assert (both[both["structure"] == "liver"]["value"] == both[both["structure"] == "liver"]["value_first"]).all()
