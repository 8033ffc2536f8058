"""The Codabench bundle: its files, and its scoring program run in the platform's folder layout."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from medpodium.challenges.sources import hash_of, source_hash
from medpodium.containers.platforms.codabench import export as codabench
from medpodium.findings import UsageError
from medpodium.scoring import table
from medpodium.scoring.exchange.platforms import foreign
from medpodium.scoring.exchange.platforms.unpack import unpack


@pytest.fixture
def bundle(tiny: Any, run: Any, tmp_path: Path) -> Path:
    out = tmp_path / "bundle.zip"
    arguments = ("export", "codabench", tiny.rules, "--references", tiny.references, "--cases", tiny.cases)
    run(*arguments, "--out", out, "--start", "2026-01-01", "--minutes", "30")
    folder = tmp_path / "bundle"
    unpack(out, folder)
    return folder


def test_competition_yaml(bundle: Path) -> None:
    rules = YAML(typ="safe").load((bundle / "competition.yaml").read_text(encoding="utf-8"))
    assert rules["version"] == 2
    for name in ("title", "image", "terms", "docker_image", "pages", "phases", "tasks", "leaderboards"):
        assert rules[name]
    files = [rules["image"], rules["terms"], *(page["file"] for page in rules["pages"])]
    for task in rules["tasks"]:
        files += [task["scoring_program"], task["reference_data"]]
    for name in files:
        # the platform refuses empty pages
        assert (bundle / name).stat().st_size > 0
    assert rules["phases"][0]["tasks"] == [rules["tasks"][0]["index"]]
    assert rules["phases"][0]["execution_time_limit"] == 1800
    board = rules["leaderboards"][0]
    assert board["submission_rule"] == "Force_Last"
    assert [column["index"] for column in board["columns"]] == list(range(len(board["columns"])))
    sorting = {column["key"]: column["sorting"] for column in board["columns"]}
    assert sorting["dice"] == "desc"
    assert sorting["hd95"] == "asc"
    assert "nsd__right_kidney" in sorting
    with zipfile.ZipFile(bundle / "scoring_program.zip") as file:
        assert "command:" in file.read("metadata.yaml").decode()


def test_the_bundle_names_the_sources_it_was_made_from_and_its_program_has_the_same(
    bundle: Path, tmp_path: Path
) -> None:
    unpack(bundle / "scoring_program.zip", tmp_path / "program")
    unpack(bundle / "reference_data.zip", tmp_path / "ref")
    about = json.loads(next((tmp_path / "ref").rglob("bundle.json")).read_text(encoding="utf-8"))
    assert about["sources"] == hash_of(tmp_path / "program" / "medpodium") == source_hash()


def test_scoring_program_in_the_platforms_layout(bundle: Path, tiny: Any, run: Any, same: Any, tmp_path: Path) -> None:
    app = tmp_path / "app"
    unpack(bundle / "scoring_program.zip", app / "program")
    unpack(bundle / "reference_data.zip", app / "input" / "ref")
    result = app / "input" / "res" / "my predictions"
    result.mkdir(parents=True)
    for path in tiny.predictions.iterdir():
        (result / path.name).write_bytes(path.read_bytes())
    (app / "input" / "res" / "metadata").write_text("the platform's own\n", encoding="utf-8")
    (app / "output").mkdir()
    command = [sys.executable, "-I", str(app / "program" / "score.py"), str(app / "input"), str(app / "output")]
    # Isolated, so that the program's own copy of the package is used and no other.
    subprocess.run(command, check=True, cwd=app / "program")
    scores = json.loads((app / "output" / "scores.json").read_text(encoding="utf-8"))
    columns = YAML(typ="safe").load((bundle / "competition.yaml").read_text(encoding="utf-8"))["leaderboards"][0][
        "columns"
    ]
    assert set(scores) == {column["key"] for column in columns}
    assert all(isinstance(value, float) for value in scores.values())
    assert "metadata" not in {path.name for path in (app / "output").iterdir()}
    expected = tiny.score(tmp_path / "expected.csv")
    assert same(table.read_scores(app / "output" / "score_table.csv"), expected)
    run("import", "codabench", app / "output", "--out", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    packed = tmp_path / "scoring_output.zip"
    codabench.pack(app / "output", packed)
    assert same(foreign.codabench(packed), expected)
    (app / "output" / "score_table.csv").unlink()
    means = foreign.codabench(app / "output", "aurora")
    found = {(row.metric, row.structure): row.value for row in means.itertuples()}
    assert found["nsd", "right_kidney"] == scores["nsd__right_kidney"]
    assert set(means["submission"]) == {"aurora"}
    assert set(means["case"]) == {""}


def test_participants_text_is_escaped(bundle: Path, tmp_path: Path) -> None:
    from medpodium.containers.platforms.codabench.scorer import details
    from medpodium.findings import Finding
    from medpodium.scoring.exchange.codes import PlatformCode

    page = details([Finding(PlatformCode.LAYOUT, "<script>.mha", "<b>", "&")], {})
    assert "<script>" not in page
    assert "<b>" not in page


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("a", encoding="utf-8")
    codabench.pack(tmp_path / "in", tmp_path / "1.zip")
    codabench.pack(tmp_path / "in", tmp_path / "2.zip")
    assert (tmp_path / "1.zip").read_bytes() == (tmp_path / "2.zip").read_bytes()


@pytest.mark.parametrize("name", ["../evil.txt", "/etc/evil.txt", "a/../../evil.txt", "..\\evil.txt", "C:\\evil.txt"])
def test_archives_cannot_write_elsewhere(tmp_path: Path, name: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as file:
        file.writestr(name, "evil")
    with pytest.raises(UsageError, match=r"leads out of the archive"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_archives_within_limits_and_without_links(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("zeros.mha", bytes(10_000_000))
    with pytest.raises(UsageError, match=r"expands to more than"):
        unpack(tmp_path / "bomb.zip", tmp_path / "a", max_bytes=1_000_000)
    with zipfile.ZipFile(tmp_path / "many.zip", "w") as file:
        for number in range(20):
            file.writestr(f"{number}", "")
    with pytest.raises(UsageError, match=r"more than 10 files"):
        unpack(tmp_path / "many.zip", tmp_path / "b", max_files=10)
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as file:
        entry = zipfile.ZipInfo("case.mha")
        entry.external_attr = 0o120777 << 16
        file.writestr(entry, "/etc/passwd")
    with pytest.raises(UsageError, match=r"link or device"):
        unpack(tmp_path / "link.zip", tmp_path / "c")
    (tmp_path / "no.zip").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(UsageError, match=r"cannot be unpacked"):
        unpack(tmp_path / "no.zip", tmp_path / "d")


def test_the_program_asks_for_the_libraries_of_its_metrics() -> None:
    from medpodium.challenges import registry
    from medpodium.containers.platforms import bundle

    vessels = bundle.imports(registry.load("topcow").tasks["mra"]).split(", ")
    assert "skimage" in vessels  # clDice thins with it
    assert "skimage" not in bundle.imports(registry.load("isles").tasks["segmentation"]).split(", ")
    assert any(line.startswith("scikit-image==") for line in bundle.requirements())
