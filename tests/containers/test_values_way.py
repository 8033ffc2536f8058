"""A campaign in which images measure hidden cases, one visible at a time, from init to report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main

pytestmark = [pytest.mark.docker, pytest.mark.slow]

LENGTHS = {"c1": 21.5, "c2": 30.0, "c3": 25.25}
TASK = {
    "kind": "values",
    "unit": "mm",
    "files": {"reference": "references.csv", "prediction": "{case}.json"},
    "metrics": {"error": {"kind": "absolute_error", "worst": 100}, "mae": {"kind": "mae", "worst": 100}},
}
KNOWS = (
    'test $(ls /input | wc -l) = 1 || exit 7; v=$(grep -o "[0-9.]*" /input/*.json | tail -1); '
    'printf \'{"value": %s}\' "$v" > /output/answer.json'
)
ALWAYS = "printf '{\"value\": 25}' > /output/answer.json"


def run(*words: object) -> None:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code in (0, 1), done.output


def test_images_measure_hidden_cases_from_init_to_report(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    data = json.loads(json.dumps(tiny.CHALLENGE))
    data["tasks"] = {"biometry": TASK}
    data["recipes"]["mean"]["steps"] = [
        {"select": {"metric": "error"}}, {"mean": ["structure", "case", "metric"]}, {"rank": {}}
    ]  # fmt: skip
    data["ranking"] = {"biometry": "mean"}
    protocol = data["containers"]["default"]
    protocol["mounts"][0]["files"] = [{"source": "{case}.json", "target": "picture.json"}]
    protocol["outputs"] = [{"name": "answer.json", "kind": "json", "stored_as": "{case}.json"}]
    (tmp_path / "biometry.json").write_text(json.dumps(data), encoding="utf-8")
    for folder in ("pictures", "truth"):
        (tmp_path / folder).mkdir()
    for name, length in LENGTHS.items():
        (tmp_path / "pictures" / f"{name}.json").write_text(json.dumps({"length": length}), encoding="utf-8")
    table = "case,value\n" + "".join(f"{name},{length}\n" for name, length in LENGTHS.items())
    (tmp_path / "truth" / "references.csv").write_text(table, encoding="utf-8")
    tiny.archive(tmp_path / "knows.tar.gz", KNOWS)
    tiny.archive(tmp_path / "always.tar.gz", ALWAYS)
    root = tmp_path / "campaign"
    places = "--cases", tmp_path / "pictures", "--references", tmp_path / "truth"
    run("init", tmp_path / "biometry.json", root, *places)
    for team in ("knows", "always"):
        run("submit", root, tmp_path / f"{team}.tar.gz", "--team", team)
    run("run", root)
    run("score", root)
    run("rank", root, "--out", tmp_path / "board.csv")
    run("report", root, "--bootstrap", 20, "--formats", "markdown", "--out", tmp_path / "report")
    board = pd.read_csv(tmp_path / "board.csv").set_index("submission")
    assert board["value"].to_dict() == pytest.approx({"knows": 0.0, "always": (3.5 + 5 + 0.25) / 3})
    assert (tmp_path / "report" / "report.md").is_file()
