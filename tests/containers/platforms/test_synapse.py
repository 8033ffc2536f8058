"""Synapse's validate.py and score.py: one word on stdout, the convention's keys in results.json, our scores."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from medpodium.containers.platforms.synapse import scorer as synapse_scorer
from medpodium.scoring import table


@pytest.fixture
def scripts(tiny: Any, run: Any, tmp_path: Path) -> Path:
    out = tmp_path / "synapse"
    run("export", "synapse", tiny.rules, "--references", tiny.references, "--cases", tiny.cases, "--out", out)
    return out


def _zip(folder: Path, out: Path) -> Path:
    with zipfile.ZipFile(out, "w") as file:
        for path in folder.iterdir():
            file.write(path, path.name)
    return out


def _call(script: Any, capsys: Any, *arguments: object) -> tuple[str, dict[str, Any]]:
    script([str(argument) for argument in arguments])
    path = Path(str(arguments[arguments.index("-o") + 1]))
    return capsys.readouterr().out, json.loads(path.read_text(encoding="utf-8"))


def test_scripts_as_the_platform_calls_them(scripts: Path, tiny: Any, same: Any, tmp_path: Path) -> None:
    predictions = _zip(tiny.predictions, tmp_path / "predictions.zip")
    results = tmp_path / "results.json"
    common = ["-p", predictions, "-g", scripts / "groundtruth", "-t", "1", "-o", results]
    words = []
    for script in ("validate.py", "score.py"):
        command = [sys.executable, "-I", scripts / script, *common]
        words.append(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout)
    assert words == ["VALIDATED\n", "SCORED\n"]
    found = json.loads(results.read_text(encoding="utf-8"))
    assert found["validation_status"] == "VALIDATED"
    assert "case_04" in found["validation_errors"]
    assert found["score_status"] == "SCORED"
    assert len(found["score_errors"]) <= 500
    assert isinstance(found["dice"], float)
    assert all(not isinstance(value, (dict, list)) for value in found.values())
    assert same(table.read_scores(tmp_path / "score_table.csv"), tiny.score(tmp_path / "expected.csv"))


def test_nothing_fits(scripts: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "other.txt").write_text("x", encoding="utf-8")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "x.txt").write_text("x", encoding="utf-8")
    given = ("-g", scripts / "groundtruth", "-o", tmp_path / "results.json")
    word, found = _call(synapse_scorer.validate, capsys, "-p", _zip(tmp_path / "files", tmp_path / "a.zip"), *given)
    assert word == "INVALID\n"
    assert "{case}" in found["validation_errors"]
    word, found = _call(synapse_scorer.score, capsys, "-p", tmp_path / "a.zip", *given)
    assert word == "INVALID\n"
    assert found["score_status"] == "INVALID"
    assert found["validation_status"] == "INVALID"


@pytest.mark.parametrize("content", [b"", b"no archive"])
def test_unreadable_archive(scripts: Path, tmp_path: Path, capsys: Any, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    given = ("-p", tmp_path / "a.zip", "-g", scripts / "groundtruth", "-o", tmp_path / "results.json")
    word, found = _call(synapse_scorer.validate, capsys, *given)
    assert word == "INVALID\n"
    assert "cannot be unpacked" in found["validation_errors"]


def test_error_of_the_step_before(scripts: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "predictions_INVALID.txt").write_text("out of memory " * 100, encoding="utf-8")
    given = ("-p", tmp_path / "predictions_INVALID.txt", "-g", scripts / "groundtruth", "-o", tmp_path / "results.json")
    word, found = _call(synapse_scorer.validate, capsys, *given)
    assert word == "INVALID\n"
    assert found["validation_errors"].startswith("out of memory")
    assert len(found["validation_errors"]) == 500


def test_unknown_task(scripts: Path, tiny: Any, tmp_path: Path, capsys: Any) -> None:
    given = ("-p", tiny.predictions, "-g", scripts / "groundtruth", "-t", 2, "-o", tmp_path / "results.json")
    word, _ = _call(synapse_scorer.validate, capsys, *given)
    assert word == "INVALID\n"
