"""Every rule of the challenge file is broken once, and named with file, line and fix."""

from __future__ import annotations

import copy
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from medpodium.challenges import registry
from medpodium.challenges.lint import LintCode, lint_source
from medpodium.challenges.registry import DefinitionCode
from medpodium.findings import Finding, UsageError

GOOD = """
schema: 1
name: example
title: Example
groups:
  centre: {levels: [a, b]}
  domain: {derived_from: centre, map: {seen: [a], unseen: [b]}}
tasks:
  seg:
    empty: {both: 1, reference: 0, prediction: 0}
    groups: [centre]
    container: main
    structures:
      liver: {label: 1, role: organ, tolerance_mm: 5}
      kidney: {union: [2, 3], role: organ, tolerance_mm: 3}
      lesion: {label: 4, role: lesion}
    metrics:
      dice: {kind: dice}
      nsd: {kind: nsd, tolerance_mm: structure, structures: [organ], gate: {metric: dice, below: 0.2}}
      hd95: {kind: hd_percentile, worst: diagonal, empty: {both: best, reference: worst, prediction: worst}}
      time: {kind: running_time, missing: 3600}
  stage:
    kind: classification
    classes: [S1, S2]
    pool_by: domain
    problems:
      late: {positive: [S2]}
    metrics:
      auc: {kind: auc, problem: late}
recipes:
  main:
    steps:
      - select: {metric: [dice, nsd]}
      - mean: {over: structure, groups: {organ: [liver, kidney]}}
      - rank: {within: [case, metric, structure]}
      - mean: {over: [case, structure, metric], weights: {dice: 0.5}}
      - rank
  pooled:
    steps:
      - mean: {over: case, by: domain}
      - mean: [structure, metric, domain]
      - rank
ranking: {seg: main, stage: pooled}
debatable:
  seg: {recipes: [main], metrics: [[dice]]}
containers:
  main:
    per: case
    mounts:
      - {path: /input, kind: input, files: [{source: "{case}.nii.gz", target: "{case}.nii.gz"}]}
      - {path: /output, kind: output}
    outputs: [{name: "{case}.nii.gz"}]
    limits: {time: 60 min, memory: 4 GiB}
"""


def _lint(folder: Path, data: Any) -> list[Finding]:
    text = StringIO()
    YAML().dump(data, text)
    path = folder / "challenge with spaces é.yaml"
    path.write_text(text.getvalue(), encoding="utf-8")
    return lint_source(registry.read(path))


def _good() -> Any:
    return copy.deepcopy(YAML().load(GOOD))


def test_good_file_has_no_finding(tmp_path: Path) -> None:
    assert _lint(tmp_path, _good()) == []


def _set(*path: str | int, value: Any) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for key in path[:-1]:
            data = data[key]
        data[path[-1]] = value

    return change


ANSWERS = {"kind": "answers", "options": ["A", "B"], "metrics": {"f1": {"kind": "token_f1"}}}

SEG = ("tasks", "seg")
STEPS = ("recipes", "main", "steps")
BROKEN: list[tuple[str, LintCode, Callable[[Any], None]]] = [
    ("label used twice", LintCode.LABEL_TWICE, _set(*SEG, "structures", "lesion", "label", value=1)),
    ("union repeats", LintCode.LABEL_TWICE, _set(*SEG, "structures", "kidney", "union", value=[2, 2])),
    ("unknown structure", LintCode.STRUCTURE_UNKNOWN, _set(*SEG, "metrics", "nsd", "structures", value=["spleen"])),
    ("no tolerance", LintCode.TOLERANCE_MISSING, _set(*SEG, "metrics", "nsd", "structures", value=["lesion"])),
    (
        "task policy needs a worst value",
        LintCode.WORST_UNKNOWN,
        lambda data: (
            data["tasks"]["seg"].__setitem__("empty", {"both": "worst", "reference": "worst", "prediction": "worst"}),
            data["tasks"]["seg"]["metrics"].__setitem__("hd", {"kind": "hd", "missing": 100}),
        ),
    ),
    ("penalty is the best value", LintCode.PENALTY_REWARDS, _set(*SEG, "metrics", "dice", "missing", value=1)),
    (
        "penalty is declared to be the best value",
        LintCode.REWARD_DECLARED,
        _set(*SEG, "metrics", "hd95", "empty", value={"both": 0, "reference": 0, "prediction": 0}),
    ),
    (
        "whoever labels everything wins",
        LintCode.LAZY_WINS,
        lambda data: data["tasks"]["stage"]["metrics"]["auc"].__setitem__("kind", "sensitivity"),
    ),
    ("unknown gate", LintCode.GATE_UNKNOWN, _set(*SEG, "metrics", "nsd", "gate", "metric", value="dize")),
    ("pattern without case", LintCode.PATTERN, _set(*SEG, "files", value={"prediction": "mask.nii.gz"})),
    ("unknown placeholder", LintCode.PATTERN, _set(*SEG, "files", value={"prediction": "{case}_{organ}.nii.gz"})),
    ("pattern nobody reads", LintCode.UNREADABLE, _set(*SEG, "files", value={"prediction": "{case}.jpg"})),
    ("pixel size of what is no picture", LintCode.PLANE, _set(*SEG, "geometry", value={"spacing_mm": 0.5})),
    ("pattern leaves folder", LintCode.PATTERN, _set(*SEG, "files", value={"prediction": "../{case}.nii.gz"})),
    ("unknown group", LintCode.GROUP_UNKNOWN, _set(*SEG, "groups", value=["vendor"])),
    ("derived from nowhere", LintCode.GROUP_UNKNOWN, _set("groups", "domain", "derived_from", value="site")),
    ("unknown level", LintCode.GROUP_LEVEL_UNKNOWN, _set("groups", "domain", "map", value={"seen": ["c"]})),
    ("unknown recipe", LintCode.RECIPE_UNKNOWN, _set("ranking", "seg", value="nain")),
    ("unused recipe", LintCode.RECIPE_UNUSED, _set("recipes", "other", value={"steps": ["rank"]})),
    ("unknown dimension", LintCode.DIMENSION_UNKNOWN, _set(*STEPS, 2, value={"rank": {"within": ["patient"]}})),
    (
        "dimension gone",
        LintCode.DIMENSION_GONE,
        _set(*STEPS, 3, value={"mean": ["case", "structure", "metric", "domain"]}),
    ),
    ("dimension left", LintCode.DIMENSION_LEFT, _set(*STEPS, 3, value={"mean": ["case", "structure"]})),
    ("unknown label", LintCode.LABEL_UNKNOWN, _set(*STEPS, 0, value={"select": {"metric": ["dyce"]}})),
    ("unknown weight", LintCode.LABEL_UNKNOWN, _set(*STEPS, 3, "mean", "weights", value={"dyce": 1})),
    ("unknown task", LintCode.TASK_UNKNOWN, _set("ranking", "sag", value="main")),
    ("unranked task", LintCode.TASK_UNRANKED, lambda data: data["ranking"].pop("stage")),
    ("unknown class", LintCode.CLASS_UNKNOWN, _set("tasks", "stage", "problems", "late", "positive", value=["S9"])),
    ("unknown problem", LintCode.PROBLEM_UNKNOWN, _set("tasks", "stage", "metrics", "auc", "problem", value="early")),
    ("unknown container", LintCode.CONTAINER_UNKNOWN, _set(*SEG, "container", value="other")),
    ("margin of everything", LintCode.MARGIN, _set(*SEG, "metrics", "dice", "margin", value=1)),
    ("unknown debatable metric", LintCode.METRIC_UNKNOWN, _set("debatable", "seg", "metrics", value=[["hd"]])),
    (
        "metric without its problem",
        LintCode.PROBLEM_UNKNOWN,
        lambda data: data["tasks"]["stage"]["metrics"]["auc"].pop("problem"),
    ),
    ("metric of another form", LintCode.METRIC_UNFIT, _set("tasks", "stage", value=ANSWERS)),
]


@pytest.mark.parametrize(("code", "change"), [case[1:] for case in BROKEN], ids=[case[0] for case in BROKEN])
def test_broken_rule_is_named(tmp_path: Path, code: LintCode, change: Callable[[Any], None]) -> None:
    data = _good()
    change(data)
    findings = _lint(tmp_path, data)
    assert code in {finding.code for finding in findings}, findings
    finding = next(finding for finding in findings if finding.code is code)
    assert "challenge with spaces é.yaml:" in finding.where
    assert finding.fix


def test_every_rule_is_broken_once() -> None:
    assert {code for _, code, _ in BROKEN} == set(LintCode)


SCHEMA_BROKEN: list[tuple[str, Callable[[Any], None], str]] = [
    ("unknown metric", _set(*SEG, "metrics", "dice", "kind", value="dicee"), "did you mean 'dice'?"),
    (
        "unknown definition",
        _set(*SEG, "metrics", "nsd", "definition", value="voxels"),
        "'surfel-area' or 'border-voxel'",
    ),
    (
        "nsd without tolerance",
        lambda data: data["tasks"]["seg"]["metrics"]["nsd"].pop("tolerance_mm"),
        "needs tolerance_mm",
    ),
    ("unbounded worst", _set(*SEG, "metrics", "time", value={"kind": "running_time"}), "say what 'worst' is"),
    ("no empty policy", lambda data: data["tasks"]["seg"].pop("empty"), "has no empty policy"),
    (
        "unknown field",
        _set(*SEG, "metrics", "dice", "tolerence", value=1),
        "dice takes no tolerence; it takes: structures, empty, gate",
    ),
    (
        "metric of another kind of task",
        _set(*SEG, "metrics", "auc", value={"kind": "auc"}),
        "no metric of a segmentation",
    ),
    ("unknown step", _set(*STEPS, 2, value={"rnk": {}}), "did you mean 'rank'?"),
    ("recipe without rank", lambda data: data["recipes"]["main"]["steps"].pop(), "must be a rank"),
    ("limit without unit", _set("containers", "main", "limits", "memory", value="4"), "has no unit"),
    ("limit with wrong unit", _set("containers", "main", "limits", "time", value="60 minutes"), "unknown unit"),
    ("structure without label", _set(*SEG, "structures", "liver", value={"role": "organ"}), "either 'label: N'"),
    ("label out of range", _set(*SEG, "structures", "liver", "label", value=0), "greater than or equal to 1"),
    (
        "unknown kind of task",
        _set(*SEG, "kind", value="detection"),
        "segmentation, classification, labels, answers, values, survival, table",
    ),
    (
        "compute where nothing can be",
        _set(*SEG, "metrics", "dice", "empty", value={"both": "compute", "reference": 0, "prediction": 0}),
        "no value for empty masks",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [case[1:] for case in SCHEMA_BROKEN], ids=[case[0] for case in SCHEMA_BROKEN]
)
def test_broken_schema_names_field_and_line(tmp_path: Path, change: Callable[[Any], None], message: str) -> None:
    data = _good()
    change(data)
    findings = [finding for finding in _lint(tmp_path, data) if finding.code is DefinitionCode.INVALID_FIELD]
    assert len(findings) == 1, findings
    assert message in findings[0].cause
    assert findings[0].where.rpartition(":")[2].isdigit()


def test_line_points_at_the_field(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("kind: dice}", "kind: dicee}"), encoding="utf-8")
    (finding,) = lint_source(registry.read(path))
    line = int(finding.where.rpartition(":")[2])
    assert "dicee" in path.read_text(encoding="utf-8").splitlines()[line - 1]


@pytest.mark.parametrize("name", ["flare-pancancer", "touchstone", "feta", "liqa", "stunet-transfer"])
def test_built_in_challenges_pass(name: str) -> None:
    source, _ = registry.locate(name)
    assert lint_source(source) == []


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("schema: 1\nname: [", DefinitionCode.NOT_YAML),
        ("- a\n- b\n", DefinitionCode.NOT_YAML),
        ("schema: 1\nschema: 1\n", DefinitionCode.NOT_YAML),
        ("x" * 2_000_001, DefinitionCode.UNREADABLE),
    ],
    ids=["broken", "no mapping", "key twice", "too large"],
)
def test_file_that_is_no_definition(tmp_path: Path, text: str, code: DefinitionCode) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        registry.load(path)
    assert caught.value.findings[0].code is code


def test_reserved_names_are_the_columns_of_the_tables() -> None:
    from medpodium.challenges.naming.names import RESERVED
    from medpodium.scoring import observations, table

    assert set(RESERVED) == {
        *table.COLUMNS,
        table.DEFINITION,
        table.PUBLISHED_RANK,
        table.JUDGED_BY,
        *observations.COLUMNS,
    }


@pytest.mark.parametrize("name", ["value", "definition", "truth"])
def test_a_group_named_like_a_column_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(GOOD.replace("groups:\n  centre", f"groups:\n  {name}: {{levels: [x]}}\n  centre", 1), "utf-8")
    with pytest.raises(UsageError, match=f"group '{name}' is named like a column of the score table"):
        registry.load(path)
