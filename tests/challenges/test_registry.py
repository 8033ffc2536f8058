"""Finding challenges by name, edition and path; overrides of editions and variants."""

from __future__ import annotations

from pathlib import Path

import pytest

from medpodium.challenges import registry
from medpodium.challenges.registry import DefinitionCode
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import UsageError

BASE = """
schema: 1
name: mine
title: Mine
default_edition: "2024"
tasks:
  seg:
    empty: {both: 1, reference: 0, prediction: 0}
    structures:
      liver: {label: 1, tolerance_mm: 5}
      spleen: {label: 2, tolerance_mm: 3}
    metrics:
      dice: {kind: dice}
      nsd: {kind: nsd, tolerance_mm: structure, unconfirmed: {tolerance_mm: nobody says}}
recipes:
  mean: {steps: [{mean: [case, structure, metric]}, rank]}
ranking: {seg: mean}
editions:
  "2024": {}
  "2025":
    tasks: {seg: {structures: {spleen: null, lesion: {label: 9, tolerance_mm: 2}}}}
variants:
  as-published:
    tasks: {seg: {metrics: {dice: {decimals: 4}}}}
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mein Wettbewerb.yaml"
    path.write_text(BASE, encoding="utf-8")
    return path


def _task(reference: str | Path, variant: str | None = None) -> SegmentationTask:
    task = registry.load(reference, variant=variant).tasks["seg"]
    assert isinstance(task, SegmentationTask)
    return task


def test_path_edition_and_variant(mine: Path) -> None:
    assert list(_task(mine).structures) == ["liver", "spleen"]
    assert list(_task(f"{mine}:2025").structures) == ["liver", "lesion"]
    assert _task(mine).metrics["dice"].decimals is None
    assert _task(f"{mine}@as-published").metrics["dice"].decimals == 4
    assert _task(mine, variant="as-published").metrics["dice"].decimals == 4


def test_digest_follows_the_rules_not_the_place(mine: Path, tmp_path: Path) -> None:
    other = tmp_path / "elsewhere.yaml"
    other.write_text("# a comment\n" + BASE, encoding="utf-8")
    assert registry.load(mine).digest == registry.load(other).digest
    assert registry.load(mine).digest != registry.load(f"{mine}:2025").digest


def test_unconfirmed_facts_are_listed(mine: Path) -> None:
    assert registry.load(mine).unconfirmed_list() == [
        ("tasks.seg.metrics.nsd.tolerance_mm", "structure", "nobody says")
    ]


@pytest.mark.parametrize(
    ("reference", "code", "hint"),
    [
        ("flare-pancancr", DefinitionCode.UNKNOWN_CHALLENGE, "did you mean flare-pancancer?"),
        ("nothing-like-it", DefinitionCode.UNKNOWN_CHALLENGE, "path of your own YAML"),
        ("feta/1999", DefinitionCode.UNKNOWN_EDITION, "2022"),
        ("flare-pancancer@as-printed", DefinitionCode.UNKNOWN_VARIANT, "as-published"),
        ("nowhere/my.yaml", DefinitionCode.UNREADABLE, "path"),
    ],
)
def test_unknown_reference(reference: str, code: DefinitionCode, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        registry.load(reference)
    (finding,) = caught.value.findings
    assert finding.code is code
    assert hint in finding.fix


def test_alias() -> None:
    assert registry.load("care-liver").name == "liqa"
