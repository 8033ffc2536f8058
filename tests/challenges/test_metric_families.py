"""Every kind of metric takes its own parameters, refuses everybody else's, and the JSON schema says the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges import registry
from medpodium.challenges.registry import DefinitionCode
from medpodium.challenges.schema.definition import Challenge, SegmentationTask
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.metrics.spec import MetricSpec
from medpodium.challenges.schema.tabular import TableTask
from medpodium.findings import UsageError
from medpodium.scoring.exchange.platforms import payload

PAGE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
CODE = re.compile(r"`(\w+)`")


def _promised() -> tuple[frozenset[str], dict[str, frozenset[str]], dict[str, set[str]]]:
    """Return what the page says every metric takes, what each takes besides, and which metrics each kind takes."""
    section = PAGE.read_text(encoding="utf-8").partition("## What a metric takes")[2].partition("\n## ")[0]
    common, _, table = section.partition("|")
    own, tasks = {}, {}
    for line in table.splitlines()[2:]:
        if not line.startswith("|"):
            break
        metrics, besides, kind = (cell.strip() for cell in line.strip("|").split("|"))
        own |= dict.fromkeys(CODE.findall(metrics), frozenset(CODE.findall(besides.partition("(")[0])))
        tasks[kind] = tasks.get(kind, set()) | set(CODE.findall(metrics))
    return frozenset(CODE.findall(common.partition(". ")[0])), own, tasks


COMMON, OWN, TASKS = _promised()
VALUES: dict[str, Any] = {
    "structures": ["liver"],
    "empty": {"both": 0, "reference": 0, "prediction": 0},
    "gate": {"metric": "m", "below": 0.5},
    "definition": "border-voxel",
    "tolerance_mm": 2,
    "percentile": 99,
    "edge": "ignore",
    "distances": "voxels",
    "cap": 90,
    "width": 3,
    "objects": "components",
    "matching": "hungarian",
    "threshold": 0.25,
    "thresholds": [0.5, 0.75],
    "connectivity": 6,
    "lesions": {"connectivity": 6},
    "size": {"from_ml": 1},
    "missed": 5,
    "invented": 7,
    "all_missed": 9,
    "free": 3,
    "problem": "late",
    "specificity": 0.9,
    "bins": 5,
    "binning": "mass",
    "edges": [{"structure": "liver", "touches": "liver"}],
    "compared": ["liver"],
    "left_right": [["liver", "liver"]],
}

NEEDED: dict[str, dict[str, Any]] = {
    "nsd": {"tolerance_mm": 1},
    "boundary_iou": {"width": 2},
    "lesion_nsd": {"tolerance_mm": 1},
    "sensitivity_at_specificity": {"problem": "early", "specificity": 0.8},
    "lesion_hd_percentile": {"missed": 374, "invented": 374},
    "variant_accuracy": {"edges": [{"structure": "liver"}]},
    "topology_match": {"edges": [{"structure": "liver"}], "compared": ["liver"]},
}
DEFINITIONS = {
    "hd_percentile": "pooled",
    "lesion_hd_percentile": "pooled",
    "boundary_iou": "distance",
    "cldice": "zhang-1984",
}


def _challenge(metric: dict[str, Any], kind: str = "table") -> str:
    own = {
        "segmentation": "structures: {liver: {label: 1}}\n    empty: {both: skip, reference: skip, prediction: skip}",
        "classification": "classes: [a, b]\n    problems: {late: {positive: [b]}}",
        "table": "structures: {liver: null}",
    }[kind]
    return f"""
schema: 1
name: one
title: One metric
tasks:
  t:
    kind: {kind}
    {own}
    metrics:
      m: {metric}
recipes: {{r: {{steps: [{{mean: [case, structure, metric]}}, rank]}}}}
ranking: {{t: r}}
""".replace("'", '"')


def _load(folder: Path, text: str) -> Challenge:
    path = folder / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return registry.load(path)


def _refused(folder: Path, text: str) -> str:
    with pytest.raises(UsageError) as caught:
        _load(folder, text)
    for finding in caught.value.findings:
        assert finding.code is DefinitionCode.INVALID_FIELD
        assert finding.where.rpartition(":")[2].isdigit()
    return "\n".join(finding.cause for finding in caught.value.findings)


def _smallest(kind: str) -> dict[str, Any]:
    """Return the least a metric of the kind must say: a penalty, and what it cannot do without."""
    return {"kind": kind, "missing": 1, **NEEDED.get(kind, {})}


def test_page_names_every_metric_and_the_tasks_that_take_it() -> None:
    assert set(TableTask.metric_kinds()) == set(OWN)
    for kind in ("segmentation", "classification"):
        assert set(KINDS[kind].model.metric_kinds()) == TASKS[kind]


@pytest.mark.parametrize("kind", OWN)
def test_takes_its_own_parameters(tmp_path: Path, kind: str) -> None:
    own = {name: VALUES[name] for name in OWN[kind]}
    if "definition" in own:
        own["definition"] = DEFINITIONS.get(kind, own["definition"])
    spec = _load(tmp_path, _challenge(_smallest(kind) | own)).tasks["t"].metrics["m"]
    for name, value in own.items():
        found = getattr(spec, name)
        found = list(found) if isinstance(found, tuple) else found
        if name in ("edges", "left_right"):
            found = [one.model_dump(exclude_unset=True) if hasattr(one, "model_dump") else list(one) for one in found]
        assert (found.model_dump(exclude_unset=True) if hasattr(found, "model_dump") else found) == value, name


@pytest.mark.parametrize("kind", OWN)
def test_refuses_the_parameters_of_others(tmp_path: Path, kind: str) -> None:
    for name in sorted(VALUES.keys() - OWN[kind]):
        cause = _refused(tmp_path, _challenge(_smallest(kind) | {name: VALUES[name]}))
        head, _, listed = cause.partition("; it takes: ")
        assert head == f"tasks.t.metrics.m.{name}: {kind} takes no {name}", cause
        assert set(listed.split(", ")) == OWN[kind] | COMMON


@pytest.mark.parametrize("kind", OWN)
def test_definition_holds_only_what_the_metric_takes(tmp_path: Path, kind: str) -> None:
    dumped = _load(tmp_path, _challenge(_smallest(kind))).model_dump(mode="json")["tasks"]["t"]["metrics"]["m"]
    assert set(dumped) == {"kind", "unconfirmed", *COMMON, *OWN[kind]}


@pytest.mark.parametrize("task", ["segmentation", "classification", "table"])
def test_json_schema_says_exactly_what_a_metric_takes(task: str) -> None:
    schema = Challenge.model_json_schema()
    definitions = schema["$defs"]
    model = definitions[KINDS[task].model.__name__]
    (metrics,) = model["properties"]["metrics"]["patternProperties"].values()
    mapping = metrics["discriminator"]["mapping"]
    assert set(mapping) == set(KINDS[task].model.metric_kinds())
    for kind, reference in mapping.items():
        family = definitions[reference.rpartition("/")[2]]
        assert family["additionalProperties"] is False
        assert set(family["properties"]) == {"kind", "unconfirmed", *COMMON, *OWN[kind]}
        assert set(family["required"]) == {"kind", *NEEDED.get(kind, ())}
        assert kind in family["properties"]["kind"].get("enum", [family["properties"]["kind"].get("const")])


def test_json_schema_names_every_kind_of_task() -> None:
    (tasks,) = Challenge.model_json_schema()["properties"]["tasks"]["patternProperties"].values()
    assert {one["$ref"].rpartition("/")[2] for one in tasks["oneOf"]} == {
        "SegmentationTask",
        "AnswersTask",
        "SurvivalTask",
        "ValuesTask",
        "ClassificationTask",
        "LabelsTask",
        "TableTask",
    }


@pytest.mark.parametrize(
    ("task", "metric", "cause"),
    [
        ("segmentation", {"kind": "auc"}, "'auc' is no metric of a segmentation task"),
        ("segmentation", {"kind": "imported", "missing": 0}, "'imported' is no metric of a segmentation task"),
        ("classification", {"kind": "dice"}, "'dice' is no metric of a classification task; it takes: accuracy, auc"),
        ("classification", {"kind": "acuracy"}, "did you mean 'accuracy'?"),
        ("segmentation", {"kind": ["dice"]}, "is no metric of a segmentation task"),
        ("segmentation", {}, "a metric needs a kind; a segmentation task takes: dice"),
        ("segmentation", {"kind": "nsd"}, "m.tolerance_mm: nsd needs tolerance_mm (a number in mm, or"),
        ("segmentation", {"kind": "nsd", "tolerance_mm": 0}, "greater than 0"),
        ("segmentation", {"kind": "nsd", "tolerance": 1, "tolerance_mm": 1}, "did you mean 'tolerance_mm'?"),
        ("segmentation", {"kind": "hd_percentile", "worst": 1, "definition": "surfel-area"}, "m.definition: "),
        ("segmentation", {"kind": "hd"}, "hd is unbounded: say what"),
        ("segmentation", {"kind": "dice", "gate": {"metric": "m"}}, "m.gate.below: "),
        ("segmentation", {"kind": "running_time", "worst": "diagonal"}, "m.worst: "),
        ("table", {"kind": "imported"}, "imported is unbounded"),
    ],
)
def test_wrong_metric_is_named_with_what_it_takes(
    tmp_path: Path, task: str, metric: dict[str, Any], cause: str
) -> None:
    assert cause in _refused(tmp_path, _challenge(metric, task))


def test_several_faults_of_one_metric_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        _load(tmp_path, _challenge({"kind": "dice", "tolerance_mm": 1, "percentile": 95, "decimals": 99}))
    causes = " ".join(finding.cause for finding in caught.value.findings)
    assert len(caught.value.findings) == 3
    assert "takes no tolerance_mm" in causes
    assert "takes no percentile" in causes
    assert "m.decimals: " in causes


def test_braces_in_a_challenge_file_do_not_break_the_message(tmp_path: Path) -> None:
    assert "{x}" in _refused(tmp_path, _challenge({"kind": "{x}"}))


def test_family_must_know_exactly_the_kinds_it_allows() -> None:
    with pytest.raises(TypeError, match="known are"):
        type("Odd", (MetricSpec,), {"known": {"odd": None}, "__annotations__": {"known": "ClassVar[object]"}})


@pytest.mark.parametrize(
    ("metric", "name", "shown", "parameters"),
    [
        ({"kind": "dice"}, "Dice similarity coefficient", "Dice similarity coefficient", ""),
        ({"kind": "hd_percentile", "worst": 9, "percentile": 99.5}, "HD99.5", "HD99.5 (mm)", "99.5 %"),
        ({"kind": "hd", "worst": 9, "title": "HD"}, "HD", "HD (mm)", "surfel-area"),
        (
            {"kind": "fp_volume", "worst": 9, "unit": "cm³"},
            "False positive volume (voxel-wise)",
            "False positive volume (voxel-wise) (cm³)",
            "",
        ),
        ({"kind": "nsd", "tolerance_mm": 2, "decimals": 4}, "Normalised surface distance", None, "tolerance 2 mm"),
        ({"kind": "gpu_memory_area", "worst": 9, "free": 2048}, None, None, "free up to 2048 MB, taken off the curve"),
        ({"kind": "running_time", "worst": 9, "free": 15}, "Running time", "Running time (s)", "free up to 15 s"),
    ],
)
def test_printed_name_unit_and_parameters(
    tmp_path: Path, metric: dict[str, Any], name: str | None, shown: str | None, parameters: str
) -> None:
    task = _load(tmp_path, _challenge(metric, "segmentation")).tasks["t"]
    assert isinstance(task, SegmentationTask)
    spec = task.metrics["m"]
    assert name is None or spec.name == name == task.metric_name("m")
    assert shown is None or spec.with_unit() == shown
    assert parameters in ", ".join(spec.parameters())


def test_metrics_of_one_name_are_told_apart_wherever_they_are_printed(tmp_path: Path) -> None:
    text = _challenge({"kind": "dice"}, "segmentation").replace(
        "    metrics:\n", "    metrics:\n      n: {kind: dice}\n"
    )
    challenge = _load(tmp_path, text)
    dice = "Dice similarity coefficient"
    assert [challenge.tasks["t"].metric_name(key) for key in ("m", "n")] == [f"{dice} (m)", f"{dice} (n)"]
    titles = [column.title for column in payload.columns(challenge, "t")]
    assert titles == [f"{dice} (n) (mean)", f"{dice} (m) (mean)", f"{dice} (n): liver", f"{dice} (m): liver"]


def test_tolerance_comes_off_where_it_was_measured(tmp_path: Path) -> None:
    def load(metric: dict[str, Any]) -> MetricSpec:
        return _load(tmp_path, _challenge(metric, "segmentation")).tasks["t"].metrics["m"]

    time = load({"kind": "running_time", "worst": 9, "free": 15})
    assert [time.above_free(value) for value in (10.0, 15.0, 20.0)] == [0.0, 0.0, 5.0]
    # an area arrives with the tolerance already taken off its curve
    assert load({"kind": "gpu_memory_area", "worst": 9, "free": 15}).above_free(20.0) == 20.0
    assert load({"kind": "dice"}).above_free(0.25) == 0.25
