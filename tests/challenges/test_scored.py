"""The digest of what a score depends on: changes with that, and with nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from medpodium.challenges import registry, scored
from medpodium.challenges.schema.definition import Challenge

RULES = """
schema: 1
name: small
title: Small
groups: {site: {}}
tasks:
  organs:
    kind: segmentation
    title: Organs
    files: {reference: "{case}.nii.gz", prediction: "{case}.nii.gz"}
    structures:
      liver: {label: 1, title: Liver, role: organ, tolerance_mm: 5}
      kidneys: {union: [2, 3], role: organ, tolerance_mm: 3}
      tumour: {label: 4, role: lesion, tolerance_mm: 2}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics:
      dice: {kind: dice, structures: [organ]}
      nsd: {kind: nsd, tolerance_mm: 2}
      own: {kind: nsd, tolerance_mm: structure}
      hd95: {kind: hd_percentile, worst: diagonal, gate: {metric: dice, below: 0.2, value: 400}}
      running_time: {kind: running_time, free: 15, missing: 3600}
  lesions:
    kind: segmentation
    structures: {tumour: {label: 4}}
    empty: {both: skip, reference: worst, prediction: worst}
    metrics: {dice: {kind: dice}}
recipes: {means: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, {rank: {}}]}}
ranking: {organs: means, lesions: means}
"""
ALL = ("organs/dice", "organs/nsd", "organs/own", "organs/hd95", "organs/running_time", "lesions/dice")
OF_MASKS = ALL[:4]


def _digests(folder: Path, rules: str) -> dict[str, str]:
    path = folder / "rules.yaml"
    path.write_text(rules, encoding="utf-8")
    return _all(registry.load(path))


def _all(challenge: Challenge) -> dict[str, str]:
    return {
        f"{task}/{metric}": scored.digest(scored.facts(challenge, task, metric))
        for task, own in challenge.tasks.items()
        for metric in own.metrics
    }


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ("tolerance_mm: 2}\n      own", "tolerance_mm: 1}\n      own", ["organs/nsd"]),
        ("tolerance_mm: 2}\n      own", "tolerance_mm: 2.0}\n      own", []),
        ("tolerance_mm: 5", "tolerance_mm: 4", ["organs/own"]),
        ("{label: 1,", "{label: 7,", OF_MASKS),
        ("[2, 3]", "[2]", OF_MASKS),
        ("role: lesion", "role: organ", ["organs/dice", "organs/hd95"]),
        ("structures: [organ]", "structures: [liver, kidneys]", []),
        ("structures: [organ]", "structures: [liver]", ["organs/dice", "organs/hd95"]),
        ("below: 0.2", "below: 0.3", ["organs/hd95"]),
        ("{kind: dice, structures", "{kind: iou, structures", ["organs/dice", "organs/hd95"]),
        ("kind: hd_percentile,", "kind: hd_percentile, percentile: 99,", ["organs/hd95"]),
        ("kind: hd_percentile,", "kind: hd_percentile, definition: pooled,", ["organs/hd95"]),
        # what is the default anyway
        ("kind: hd_percentile,", "kind: hd_percentile, definition: directed-max-area-weighted,", []),
        ("free: 15", "free: 10", ["organs/running_time"]),
        ("missing: 3600", "missing: 60", ["organs/running_time"]),
        ("role: lesion", "role: lesion, crop: reference-z", OF_MASKS),
        ("    title: Organs", "    unknown_labels: worst", OF_MASKS),
        ("    title: Organs", "    geometry: {check: shape}", OF_MASKS),
        # the four-cell policy counts for the metrics it is in force for
        ("{both: skip", "{both: 1", OF_MASKS),
        ('reference: "{case}.nii.gz"', 'reference: "{case}_second.nii.gz"', OF_MASKS),
        # what is told, ranked or run otherwise leaves every score what it is
        ('prediction: "{case}.nii.gz"', 'prediction: "{case}_prediction.nii.gz"', []),
        ("title: Small", "title: Large", []),
        ("title: Organs", "title: Abdomen", []),
        ("title: Liver", "title: Hepar", []),
        ("{kind: dice, structures", "{kind: dice, title: Overlap, ranked: false, structures", []),
        ("{mean: metric}", "{sum: metric}", []),
        ("name: small", "name: other", []),
        ("      tumour:", "      skin: {label: 9}\n      tumour:", OF_MASKS),
    ],
)  # fmt: skip
def test_only_what_a_score_depends_on_counts(tmp_path: Path, before: str, after: str, changed: list[str]) -> None:
    assert RULES.count(before) >= 1
    first, second = _digests(tmp_path, RULES), _digests(tmp_path, RULES.replace(before, after, 1))
    assert tuple(first) == ALL
    assert [name for name in ALL if first[name] != second[name]] == list(changed)


def test_pools_and_the_problem_count_for_classification() -> None:
    known = registry.load("liqa")
    task = next(name for name, own in known.tasks.items() if own.kind == "classification")
    own = known.tasks[task]
    name, metric = next((name, metric) for name, metric in own.metrics.items() if getattr(metric, "problem", None))
    before = scored.facts(known, task, name)

    def with_task(**changes: object) -> list[str]:
        changed = known.model_copy(update={"tasks": {**known.tasks, task: own.model_copy(update=changes)}})
        return scored.differences(before, scored.facts(changed, task, name))

    problem = own.problems[metric.problem].model_copy(update={"threshold": 0.25})
    assert with_task(problems={**own.problems, metric.problem: problem}) == [
        f"problems.{metric.problem}.threshold unset -> 0.25"
    ]
    assert with_task(title="Another") == []
    group = known.groups[own.pool_by]
    changed = known.model_copy(
        update={"groups": {**known.groups, own.pool_by: group.model_copy(update={"map": {"all": ["A"]}})}}
    )
    assert scored.facts(changed, task, name) != before


def test_differences_name_fields_and_values(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    facts = []
    for text in (RULES, RULES.replace("tolerance_mm: 2}\n      own", "tolerance_mm: 1}\n      own")):
        path.write_text(text, encoding="utf-8")
        facts.append(scored.facts(registry.load(path), "organs", "nsd"))
    assert scored.differences(*facts) == ["tolerance_mm 2.0 -> 1.0"]
    assert scored.differences(facts[0], facts[0]) == []


def test_the_digest_is_the_same_in_every_process(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(RULES, encoding="utf-8")
    code = (
        "import sys; from medpodium.challenges import registry; from medpodium.challenges import scored\n"
        "loaded = registry.load(sys.argv[1])\n"
        "print([scored.digest(scored.facts(loaded, task, metric)) for task in loaded.tasks "
        "for metric in loaded.tasks[task].metrics])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "rules.yaml")],
            env=os.environ | {"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(said) == 1


def test_the_order_of_what_is_written_does_not_count(tmp_path: Path) -> None:
    first = _digests(tmp_path, RULES)
    turned = RULES.replace(
        "{label: 1, title: Liver, role: organ, tolerance_mm: 5}", "{tolerance_mm: 5, role: organ, label: 1}"
    )
    assert turned != RULES
    assert _digests(tmp_path, turned) == first


def test_no_digest_of_a_built_in_challenge_reads_as_a_number() -> None:
    for name in registry.names():
        source, _ = registry.locate(name)
        for edition in source.editions or [""]:
            for digest in _all(registry.load(f"{name}/{edition}" if edition else name)).values():
                assert digest.startswith("d-")
                assert len(digest) == 14
