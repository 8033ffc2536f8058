"""Two cases can never share a file: not while they are collected, not when one is run again, not from task to task."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from medpodium.cli import main


def medpodium(*words: str | Path) -> tuple[int, dict[str, Any]]:
    """Run a verb with ``--json``; return its exit code and what it printed."""
    done = CliRunner().invoke(main, [*map(str, words), "--json"])
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    start = done.stdout.find("{")
    return done.exit_code, json.loads(done.stdout[start:]) if start >= 0 else {}


def layout(tiny: Any, folder: Path, structures: list[str], names: list[str], **protocol: Any) -> tuple[Path, ...]:
    """Write a challenge with one file per structure, and cases of these names; return file, images, references."""
    data = json.loads(json.dumps(tiny.CHALLENGE))
    data["tasks"]["segmentation"] |= {
        "structures": {name: {"label": number} for number, name in enumerate(structures, start=1)},
        "files": {"reference": "{case}/{structure}.nii.gz", "prediction": "{case}_{structure}.nii.gz"},
    }
    stored = {"name": "{case}_{structure}.nii.gz", "stored_as": "{case}_{structure}.nii.gz"}
    data["containers"]["default"] |= {"outputs": [stored], **protocol}
    file, images, references = folder / "challenge.yaml", folder / "images", folder / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(data))
    images.mkdir()
    for number, name in enumerate(names):
        (references / name).mkdir(parents=True)
        (images / f"{name}_0000.nii.gz").write_bytes(tiny.nifti(tiny.mask(number)))
        for label, structure in enumerate(structures, start=1):
            own = (tiny.mask(number) == label).astype("uint8")
            (references / name / f"{structure}.nii.gz").write_bytes(tiny.nifti(own))
    return file, images, references


def test_cases_that_can_share_a_file_are_refused(tiny: Any, tmp_path: Path) -> None:
    """p1 with structure 2_liver is p1_2 with structure liver: 0.1.0 made a campaign of them."""
    file, images, references = layout(tiny, tmp_path, ["liver", "2_liver"], ["p1", "p1_2"])
    code, said = medpodium("init", file, tmp_path / "campaign", "--cases", images, "--references", references)
    assert code == 1
    assert not (tmp_path / "campaign").exists()
    text = json.dumps(said["findings"])
    assert "p1_2" in text
    assert "case-name-ambiguous" in text


@pytest.mark.docker
@pytest.mark.parametrize("per", ["case", "set"])
def test_similar_names_do_not_touch_each_other(tiny: Any, docker_engine: Any, tmp_path: Path, per: str) -> None:
    """0.1.0: running p1 deleted what p1_2 had left (or took it for its own); three done, none failed, files gone."""
    names, structures = ["p1", "p1_2", "p1_2_3"], ["liver", "spleen"]
    file, images, references = layout(tiny, tmp_path, structures, names, per=per)
    root = tmp_path / "campaign"
    code, said = medpodium("init", file, root, "--cases", images, "--references", references)
    assert code == 0, said
    loop = (
        "for f in /input/*_0000.nii.gz; do b=${f##*/}; b=${b%_0000.nii.gz}; "
        'for s in liver spleen; do cp "$f" "/output/${b}_$s.nii.gz"; done; done'
    )
    assert medpodium("submit", root, tiny.archive(tmp_path / "t.tar", loop), "--team", "team")[0] == 0
    assert medpodium("run", root)[0] == 0
    row = medpodium("status", root)[1]["submissions"][0]
    assert (row["failed"], row["pending"]) == (0, 0)
    found = {path.name: path.read_bytes() for path in (root / "predictions").rglob("*.nii.gz")}
    assert set(found) == {f"{name}_{structure}.nii.gz" for name in names for structure in structures}
    assert len({data for name, data in found.items() if "liver" in name}) == len(names), "each case its own mask"
    tiny.clean(docker_engine)


PIECES = st.lists(st.sampled_from(["a", "_", "/", "{x}", "*"]), min_size=1, max_size=6).map("".join)
ALPHABET = ["", *"a_/"]
EVERY = sorted(
    {a + b + c + d + e for a in ALPHABET for b in ALPHABET for c in ALPHABET for d in ALPHABET for e in ALPHABET}
)


@settings(max_examples=150, deadline=None)
@given(PIECES, PIECES)
def test_overlap_of_patterns_is_that_of_the_names_they_take(one: str, other: str) -> None:
    """Against brute force: every name of up to five characters, matched by regular expressions."""
    from medpodium.challenges.naming.sharing import names, overlap

    def regex(pattern: str) -> re.Pattern[str]:
        return re.compile(pattern.replace("{x}", "[^/]+").replace("*", "[^/]*"))

    both = any(regex(one).fullmatch(name) and regex(other).fullmatch(name) for name in EVERY)
    said = overlap(names(one, {})[0], names(other, {})[0])
    shortest = len(one.replace("{x}", "x").replace("*", "")), len(other.replace("{x}", "x").replace("*", ""))
    if both or sum(shortest) <= 5:
        assert said == both
