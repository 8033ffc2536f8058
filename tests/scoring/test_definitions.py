"""Score tables say which definition they are of, and a ranking by other rules is refused, with what differs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner, Result

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.findings import Severity, UsageError
from medpodium.scoring import definitions, table

RULES = """
schema: 1
name: tiny
title: Tiny
tasks:
  it:
    kind: segmentation
    files: {reference: "{case}.mha", prediction: "{case}.mha"}
    structures: {a: {label: 1}, b: {label: 2}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}, nsd: {kind: nsd, tolerance_mm: 2}}
recipes: {means: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, {rank: {}}]}}
ranking: {it: means}
"""
OTHER = RULES.replace("tolerance_mm: 2", "tolerance_mm: 1")


def _medpodium(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Score two teams by the definition in ``rules.yaml``; ``other.yaml`` says another tolerance."""
    root = tmp_path_factory.mktemp("tiny")
    rng = np.random.default_rng(0)
    for name, shift in (("references", 0), ("aurora", 1), ("borealis", 2)):
        (root / name).mkdir()
        for case in ("one", "two", "three"):
            labels = np.zeros((12, 12, 12), np.uint8)
            labels[3 : 7 + shift, 3:8, 3:8] = 1
            labels[3:7, 8:10, 3 + int(rng.integers(2)) : 8] = 2
            SimpleITK.WriteImage(SimpleITK.GetImageFromArray(labels), str(root / name / f"{case}.mha"))
    (root / "rules.yaml").write_text(RULES)
    (root / "other.yaml").write_text(OTHER)
    for out in ("scores.csv", "scores.parquet"):
        teams = ("--predictions", f"aurora={root / 'aurora'}", "--predictions", f"borealis={root / 'borealis'}")
        done = _medpodium(
            "score", root / "rules.yaml", "--references", root / "references", *teams, "--out", root / out
        )
        assert done.exit_code == 0, done.output
    return root


@pytest.fixture
def scores(folder: Path) -> pd.DataFrame:
    return table.read_scores(folder / "scores.csv")


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_every_row_says_its_definition_and_every_reader_reads_it(folder: Path, name: str, tmp_path: Path) -> None:
    path = folder / name
    plain = pd.read_csv(path) if name.endswith("csv") else pd.read_parquet(path)
    assert list(plain.columns[: len(table.COLUMNS) + 1]) == [*table.COLUMNS, "definition"]
    assert plain.groupby("metric")["definition"].nunique().to_dict() == {"dice": 1, "nsd": 1}
    assert plain["definition"].nunique() == 2
    again = table.read_scores(table.write_scores(table.read_scores(path), tmp_path / name))
    pd.testing.assert_frame_equal(again, table.read_scores(path))
    assert table.group_columns(again) == []


@pytest.mark.parametrize("name", ["scores.csv", "scores.parquet"])
def test_other_rules_are_refused_with_what_differs(folder: Path, name: str) -> None:
    assert _medpodium("rank", folder / "rules.yaml", folder / name, "--bootstrap", 0).exit_code == 0
    done = _medpodium("rank", folder / "other.yaml", folder / name, "--bootstrap", 0)
    assert done.exit_code == 2
    text = " ".join(done.output.split())
    assert "metric nsd" in text
    assert "tolerance_mm 2.0 -> 1.0" in text
    assert "metric dice" not in text
    assert "--accept-other-rules" in text


def test_without_the_file_beside_it_both_digests_are_named(folder: Path, tmp_path: Path) -> None:
    alone = tmp_path / "scores.csv"
    alone.write_bytes((folder / "scores.csv").read_bytes())
    marked = set(pd.read_csv(alone).query("metric == 'nsd'")["definition"])
    with pytest.raises(UsageError) as caught:
        definitions.check(
            registry.load(folder / "other.yaml"), table.read_scores(alone), definitions.read_beside(alone)
        )
    (finding,) = caught.value.findings
    assert marked.pop() in finding.cause
    assert "tiny/1 says d-" in finding.cause
    assert finding.severity is Severity.ERROR
    assert caught.value.exit_code == 2


def test_accepted_rules_are_a_warning(folder: Path, tmp_path: Path) -> None:
    words = ("rank", folder / "other.yaml", folder / "scores.csv", "--bootstrap", 0, "--json", "--accept-other-rules")
    done = _medpodium(*words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["findings"]
    assert [(one["code"], one["severity"]) for one in found] == [("scores-of-other-rules", "warning")]
    assert "2.0 -> 1.0" in found[0]["cause"]


def test_a_report_of_other_rules_is_refused_or_says_so(folder: Path, tmp_path: Path) -> None:
    words = ("report", folder / "other.yaml", folder / "scores.csv", "--bootstrap", 0, "--formats", "markdown")
    refused = _medpodium(*words, "--out", tmp_path / "no")
    assert refused.exit_code == 2
    assert "2.0 -> 1.0" in " ".join(refused.output.split())
    assert not (tmp_path / "no").exists()
    done = _medpodium(*words, "--out", tmp_path / "yes", "--accept-other-rules")
    assert done.exit_code == 0, done.output
    pages = "".join(path.read_text(encoding="utf-8") for path in (tmp_path / "yes").rglob("*.md"))
    assert "scores-of-other-rules" in pages
    assert "--accept-other-rules" in json.loads((tmp_path / "yes" / "manifest.json").read_text())["settings"]["command"]
    verified = _medpodium("verify", tmp_path / "yes")
    assert verified.exit_code == 0, verified.output


def test_tables_that_do_not_say_are_taken_with_a_note(folder: Path, scores: pd.DataFrame) -> None:
    other = registry.load(folder / "other.yaml")
    old = scores.drop(columns="definition")  # as version 0.1.0 wrote it
    assert table.group_columns(table.normalise(old, "old")) == []
    (note,) = definitions.check(other, table.normalise(old, "old"))
    assert (note.severity, str(note.code)) == (Severity.NOTE, "scores-of-unknown-rules")
    assert f"{len(old)} of {len(old)}" in note.cause
    # a table put together from one that says and one that does not
    mixed = table.concatenate([scores[scores["metric"] == "dice"], old[old["metric"] == "nsd"]])
    (note,) = definitions.check(other, table.normalise(mixed, "mixed"))
    assert f"{(scores['metric'] == 'nsd').sum()} of {len(scores)}" in note.cause


def test_edits_in_a_spreadsheet_keep_the_digest(folder: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    edited = pd.read_csv(folder / "scores.csv").sort_values(["metric", "case"])[::-1]
    edited = edited[["submission", "definition", "metric", "case", "structure", "task", "value", "status"]]
    edited.to_csv(tmp_path / "edited.csv", index=False, encoding="utf-8-sig", sep=",")
    again = table.read_scores(tmp_path / "edited.csv")
    assert definitions.check(registry.load(folder / "rules.yaml"), again) == []
    with pytest.raises(UsageError, match="scores-of-other-rules"):
        definitions.check(registry.load(folder / "other.yaml"), again)


def test_only_what_is_ranked_counts(folder: Path, scores: pd.DataFrame, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(OTHER.replace("tolerance_mm: 1}", "tolerance_mm: 1, ranked: false}"))
    assert definitions.check(registry.load(path), scores) == []
    path.write_text(RULES.replace(", nsd: {kind: nsd, tolerance_mm: 2}", ""))
    assert definitions.check(registry.load(path), scores) == []


@pytest.mark.parametrize("content", ["", "[]", "{", '{"d-000000000000": {"metric": {"tolerance_mm": 9}}}'])
def test_a_file_beside_that_is_wrong_does_no_harm(content: str, tmp_path: Path) -> None:
    (tmp_path / "scores.definition.json").write_text(content)
    assert definitions.read_beside(tmp_path / "scores.csv") == {}


def test_what_stands_behind_a_digest_is_kept(folder: Path, scores: pd.DataFrame) -> None:
    known: Any = definitions.read_beside(folder / "scores.csv")
    assert set(known) == set(scores["definition"])
    assert sorted(facts["metric"]["kind"] for facts in known.values()) == ["dice", "nsd"]
