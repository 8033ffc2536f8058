"""The table of kinds: it agrees with its models, and one more entry is all that a new kind needs in this room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import medpodium
from medpodium.challenges import registry
from medpodium.challenges.lint import LintCode, lint_source
from medpodium.challenges.schema.kinds import KINDS
from medpodium.cli import main

PACKAGE = Path(medpodium.__file__).resolve().parent


@pytest.mark.parametrize("name", KINDS)
def test_entry_agrees_with_its_model(name: str) -> None:
    assert KINDS[name].model.kind_name() == name
    assert ("{case}" in KINDS[name].files.prediction) == (KINDS[name].layout == "files")


def test_what_the_kinds_take() -> None:
    assert KINDS["segmentation"].scopes == {"structure", "case", "pooled"}  # instances are pooled
    assert KINDS["classification"].scopes == {"pooled", "case"}
    assert {name for name, kind in KINDS.items() if kind.pooled} == {
        *("classification", "labels", "answers", "values", "survival", "segmentation")
    }
    assert {name for name, kind in KINDS.items() if not kind.computed} == {"table"}


TABLE = """
schema: 1
name: values
title: Values of somebody else
tasks:
  t: {{kind: table, metrics: {{{metrics}}}{structures}}}
recipes: {{r: {{steps: [{steps}, rank]}}}}
ranking: {{t: r}}
"""
ONE = "m: {kind: imported, missing: skip}"
TWO = "m: {kind: imported, missing: skip}, n: {kind: imported, missing: skip}"


@pytest.mark.parametrize(
    ("metrics", "structures", "steps", "left"),
    [
        (ONE, "", "mean: case", None),
        (ONE, "", "mean: [case, structure, metric]", None),
        (ONE, "", "mean: [case, structure]", None),
        (TWO, "", "mean: case", "metric"),
        (TWO, "", "mean: [case, metric]", None),
        (ONE, ", structures: {a: null, b: null}", "mean: case", "structure"),
        (ONE, ", structures: {a: null, b: null}", "mean: [case, structure]", None),
        (ONE, ", structures: {a: null}", "mean: case", None),
        # named once, the dimension stays until a step collapses it
        (ONE, "", "{rank: {within: [case, structure]}}, {mean: case}", "structure"),
        (ONE, "", "{select: {metric: m}}, {mean: case}", "metric"),
    ],
)
def test_recipe_needs_no_step_for_what_is_not_there(
    tmp_path: Path, metrics: str, structures: str, steps: str, left: str | None
) -> None:
    path = tmp_path / "c.yaml"
    steps = steps if steps.startswith("{") else f"{{{steps}}}"
    path.write_text(TABLE.format(metrics=metrics, structures=structures, steps=steps), encoding="utf-8")
    found = lint_source(registry.read(path))
    assert [finding.code for finding in found] == ([LintCode.DIMENSION_LEFT] if left else []), found
    assert all(f"'t': {left} still there" in finding.cause for finding in found)
    # what lint says is what ranking does
    parts = ["a", "b"] if "b: null" in structures else ["a"] if structures else [""]
    rows = [
        f"values,1,t,{team},{case},{part},{metric},{value},ok"
        for team, value in (("x", 1), ("y", 2))
        for case in ("c1", "c2")
        for part in parts
        for metric in ("m", "n")[: metrics.count("kind")]
    ]
    head = "challenge,edition,task,submission,case,structure,metric,value,status"
    (tmp_path / "s.csv").write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    done = CliRunner().invoke(main, ["rank", str(path), str(tmp_path / "s.csv"), "--out", str(tmp_path / "l.csv")])
    assert (done.exit_code == 0) == (left is None), done.output


TOY = '''

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from medpodium.challenges.schema.base import ByKind, Name
from medpodium.challenges.schema.metrics.spec import MetricKind, MetricSpec
from medpodium.challenges.schema.task import Files, TableFiles, TaskModel


class CountError(MetricSpec):
    """How far a count is off."""

    known: ClassVar[dict[str, MetricKind]] = {
        "count_error": MetricKind("Count error", "case", "lower", "cells", 0.0, None, "abs(P - R)"),
    }
    kind: Literal["count_error"]


class ExactCount(MetricSpec):
    """Share of exact counts."""

    known: ClassVar[dict[str, MetricKind]] = {
        "exact_count": MetricKind("Exact counts", "pooled", "higher", "", 1.0, 0.0, "share of cases with P = R"),
    }
    kind: Literal["exact_count"]
    slack: int = Field(default=0, ge=0)

    def parameters(self) -> list[str]:
        return [f"slack {self.slack}", *super().parameters()]


class CountsTask(TaskModel):
    """One whole number per case."""

    kind: Literal["counts"]
    files: Files = TableFiles()
    metrics: dict[Name, Annotated[CountError | ExactCount, ByKind()]] = Field(min_length=1)
    column: str = "count"

    def details(self) -> list:
        return [f"the count stands in the column {self.column}"]


KINDS["counts"] = TaskKind("kinds:CountsTask", layout="table", words=Words(case="image", cases="images"))
'''
CELLS = """
schema: 1
name: cells
title: Counting cells
groups: {site: {levels: [a, b]}}
tasks:
  counting:
    kind: counts
    groups: [site]
    metrics:
      error: {kind: count_error, worst: 100}
      exact: {kind: exact_count, slack: 1}
recipes:
  main: {steps: [{mean: case}, {rank: {within: metric}}, {mean: metric}, rank]}
ranking: {counting: main}
"""


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copy the package and append one kind to its table; nothing else is touched."""
    folder = tmp_path_factory.mktemp("house")
    skipped = shutil.ignore_patterns("tests", "docs", "benchmarks", ".*", "__pycache__", "build", "*.egg-info")
    shutil.copytree(PACKAGE, folder / "medpodium", ignore=skipped)
    with (folder / "medpodium" / "challenges" / "schema" / "kinds.py").open("a", encoding="utf-8") as table:
        table.write(TOY)
    return folder


def _run(house: Path, *words: str, text: str = CELLS) -> subprocess.CompletedProcess[str]:
    (house / "cells.yaml").write_text(text, encoding="utf-8")
    return subprocess.run(
        [sys.executable, *words],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def test_new_kind_is_shown(house: Path) -> None:
    done = _run(house, "-m", "medpodium.cli", "show", "cells.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("(counts)", "Count error (cells)", "lower is better", "slack 1", "stands in the column count"):
        assert text in done.stdout, text


def test_new_kind_is_in_the_digest_and_the_json_schema(house: Path) -> None:
    done = _run(house, "-m", "medpodium.cli", "show", "cells.yaml", "--json")
    task = json.loads(done.stdout)["definition"]["tasks"]["counting"]
    assert task["column"] == "count"
    assert task["metrics"]["exact"]["slack"] == 1
    assert "slack" not in task["metrics"]["error"]
    program = "from medpodium.challenges.schema.definition import Challenge as C; import json; "
    schema = json.loads(_run(house, "-c", program + "print(json.dumps(C.model_json_schema()))").stdout)
    assert "slack" in schema["$defs"]["ExactCount"]["properties"]


FAULTS: list[tuple[str, str, str | None]] = [
    ("worst: 100", "worst: 100, slack: 1", "count_error takes no slack; it takes: title"),
    ("kind: exact_count", "kind: exact_counts", "no metric of a counts task (did you mean 'exact_count'?)"),
    ("kind: exact_count, slack: 1", "kind: dice", "'dice' is no metric of a counts task; it takes: count_error"),
    (", worst: 100", "", "count_error is unbounded"),
    (
        "kind: counts",
        "kind: count",
        "'counts'?); use one of segmentation, classification, labels, answers, values, survival, table, counts",
    ),
    ("groups: [site]", "groups: [vendor]", "group 'vendor' is not declared"),
    ("{mean: case}", "{mean: [case, structure]}", None),
    ("{mean: metric}", "{select: {metric: [exact]}}", "metric still there at the last rank"),
    ("groups: [site]", "files: {prediction: /counts.csv}", "leaves its folder"),
]


def test_faults_of_a_new_kind_are_named(house: Path) -> None:
    """Each of its own; its sound file and every built-in challenge beside it have none."""
    for number, (old, new, _) in enumerate(FAULTS):
        assert old in CELLS
        (house / f"fault{number}.yaml").write_text(CELLS.replace(old, new), encoding="utf-8")
    files = [f"fault{number}.yaml" for number in range(len(FAULTS))]
    done = _run(house, "-m", "medpodium.cli", "lint", "cells.yaml", *files, *registry.names(), "--json")
    found = json.loads(done.stdout)["findings"]
    assert all(one["where"].startswith("fault") for one in found), found
    for file, (_, _, cause) in zip(files, FAULTS, strict=True):
        causes = [one["cause"] for one in found if one["where"].startswith(file)]
        assert len(causes) == (0 if cause is None else 1), causes
        assert all(cause in one for one in causes if cause is not None), causes
