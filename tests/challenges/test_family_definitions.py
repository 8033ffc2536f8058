"""The built-in families of masks: every edition and variant resolves, passes lint, and says what it does not know."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.challenges import lint, registry
from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import SegmentationTask

FAMILIES = ("feta", "flare-pancancer", "liqa", "stunet-transfer", "topcow", "touchstone")
EDITIONS = {
    "flare-pancancer": ["2022", "2023", "2024-task1", "2024-task2"],
    "touchstone": ["1.0"],
    "feta": ["2021", "2022", "2024"],
    "liqa": ["2024", "2025", "2026"],
    "stunet-transfer": ["2024"],
    "topcow": ["2024"],
}


def test_all_are_built_in() -> None:
    assert set(FAMILIES) <= set(registry.names())
    assert registry.load("care-liver").name == "liqa"
    assert registry.load("segbook").name == "stunet-transfer"


@pytest.mark.parametrize("name", FAMILIES)
def test_lint_passes_without_a_single_finding(name: str) -> None:
    source, _ = registry.locate(name)
    assert source.editions == EDITIONS[name]
    assert lint.lint_source(source) == []


@pytest.mark.parametrize("name", FAMILIES)
def test_readme_lists_every_unconfirmed_fact(name: str) -> None:
    source, _ = registry.locate(name)
    text = (source.path.parent / "README.md").read_text(encoding="utf-8")
    count = 0
    for edition in source.editions:
        for path, _, why in registry.resolve(source, edition).unconfirmed_list():
            assert f"`{path}`" in text, path
            assert why.replace("|", "/") in text, (path, why)
            count += 1
    assert count > 0


@pytest.mark.parametrize(
    ("reference", "path", "value"),
    [
        ("flare-pancancer/2023", "tasks.segmentation.metrics.gpu_memory_area.free", 4096.0),
        ("touchstone", "tasks.segmentation.metrics.nsd.tolerance_mm", 1.0),
        ("feta/2024", "tasks.segmentation.metrics.hd95.worst", "diagonal"),
        ("liqa/2025", "tasks.lifs-contrast.problems.cirrhosis.threshold", 0.5),
        ("liqa/2026", "containers.lifs.limits.time", "4 h"),
    ],
)
def test_numbers_without_primary_source_are_unconfirmed(reference: str, path: str, value: object) -> None:
    facts = {where: what for where, what, _ in registry.load(reference).unconfirmed_list()}
    assert facts[path] == value


def test_15_seconds_of_flare_2023_are_unconfirmed() -> None:
    challenge = registry.load("flare-pancancer/2023")
    reasons = {path: why for path, _, why in challenge.unconfirmed_list()}
    (path,) = [path for path, why in reasons.items() if why.startswith("15 s")]
    assert path.startswith("recipes.flare23.steps")


@pytest.mark.parametrize("name", FAMILIES)
def test_show_prints_unconfirmed_facts(name: str) -> None:
    from medpodium.challenges.commands import show

    result = CliRunner().invoke(show, [name])
    assert result.exit_code == 0, result.output
    assert "unconfirmed" in result.output.lower()


def test_flare_22_penalties_are_the_published_ones() -> None:
    metrics = registry.load("flare-pancancer/2022").tasks["segmentation"].metrics
    assert metrics["gpu_memory_area"].missing == 3600 * (1024 * 10 - 2048) == 29_491_200
    assert metrics["running_time"].missing == 3600
    assert metrics["cpu_area"].missing == 3600 * 100
    assert metrics["gpu_memory_area"].free == 2048
    assert metrics["running_time"].unconfirmed is None
    (weights,) = [
        step.weights
        for step in registry.load("flare-pancancer/2022").recipes["flare22"].steps
        if getattr(step, "weights", None)
    ]
    assert weights == {"gpu_memory_area": 0.5, "cpu_area": 0.5}


def test_flare_labels_and_tolerances(shared: Path) -> None:
    table = pd.read_csv(shared / "data/published/flare23_labels_tolerances.csv")
    for edition, column in (("2022", "in_flare22"), ("2023", None), ("2024-task2", "in_flare24_task2_task3")):
        task = registry.load(f"flare-pancancer/{edition}").tasks["segmentation"]
        assert isinstance(task, SegmentationTask)
        rows = table if column is None else table[table[column] == 1]
        assert {item.label: item.tolerance_mm for item in task.structures.values()} == dict(
            zip(rows["id"], rows["nsd_tolerance_mm"], strict=True)
        )
        cropped = {item.label for item in task.structures.values() if item.crop != "none"}
        assert cropped == set(rows.loc[rows["z_crop_to_gt_extent"] == 1, "id"])
        organs = {item.label for item in task.structures.values() if item.role == "organ"}
        assert organs == set(rows.loc[rows["in_organ_mean"] == 1, "id"])
    single = registry.load("flare-pancancer/2024-task1").tasks["segmentation"]
    assert isinstance(single, SegmentationTask)
    assert {name: (item.label, item.tolerance_mm) for name, item in single.structures.items()} == {"lesion": (1, 2)}
    assert single.unknown_labels == "worst"


def test_flare_editions_rank_the_right_metrics() -> None:
    expected = {
        "2022": {"organ_dice", "organ_nsd", "running_time", "gpu_memory_area", "cpu_area"},
        "2023": {"organ_dice", "organ_nsd", "lesion_dice", "lesion_nsd", "running_time", "gpu_memory_area"},
        "2024-task1": {"lesion_dice", "lesion_nsd", "running_time", "gpu_memory_area"},
        "2024-task2": {"organ_dice", "organ_nsd", "running_time"},
    }
    for edition, metrics in expected.items():
        _, recipe = registry.load(f"flare-pancancer/{edition}").recipe_for("segmentation")
        assert set(recipe.steps[0].keep["metric"]) == metrics


def test_flare_variants_differ_only_in_what_is_documented() -> None:
    source, _ = registry.locate("flare-pancancer")
    documented = {"crop", "decimals", "gate", "missing", "check"}
    for edition in source.editions:
        base = registry.resolve(source, edition).model_dump(mode="json")
        other = registry.resolve(source, edition, "as-published").model_dump(mode="json")
        assert {path[-1] for path in _differences(base, other)} <= documented | {"variant"}
    gates = [
        registry.load(f"flare-pancancer/2023@{variant}").tasks["segmentation"].metrics["organ_nsd"].gate
        for variant in ("corrected", "as-published", "as-published-2023")
    ]
    assert [gate and gate.below for gate in gates] == [None, 0.2, 0.1]


def _differences(left: object, right: object, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if isinstance(left, dict) and isinstance(right, dict):
        return [
            item for key in {*left, *right} for item in _differences(left.get(key), right.get(key), (*path, str(key)))
        ]
    return [] if left == right else [path]


def test_flare_container_is_the_published_one() -> None:
    protocol = registry.load("flare-pancancer/2023").protocol_for("segmentation")
    assert protocol is not None
    assert protocol.per == "case"
    assert protocol.command == ("/bin/bash", "-c", "sh predict.sh")
    ((mount, file),) = protocol.input_files
    assert (mount.path, file.target) == ("/workspace/inputs", "{case}_0000.nii.gz")
    assert protocol.output_mount.path == "/workspace/outputs"
    assert protocol.outputs[0].stored == "{case}.nii.gz"


def test_touchstone_labels(shared: Path) -> None:
    table = pd.read_csv(shared / "data/published/touchstone_labels.csv").iloc[1:]
    task = registry.load("touchstone").tasks["segmentation"]
    assert isinstance(task, SegmentationTask)
    assert {name: item.label for name, item in task.structures.items()} == dict(
        zip(table["name_csv_column"], table["id_abdomenatlas_nnunet"], strict=True)
    )
    assert task.empty is not None
    assert (task.empty.both, task.empty.reference, task.empty.prediction) == ("skip", "skip", "worst")


def test_touchstone_tolerance_is_a_named_choice() -> None:
    source, _ = registry.locate("touchstone")
    default = registry.resolve(source).tasks["segmentation"].metrics["nsd"]
    chosen = {
        name: registry.resolve(source, None, name).tasks["segmentation"].metrics["nsd"] for name in source.variants
    }
    assert chosen["nsd-1mm-border-voxel"] == default
    assert {(item.tolerance_mm, item.definition) for item in chosen.values()} == {
        (1.0, "border-voxel"), (1.0, "surfel-area"), (2.0, "surfel-area"), (3.0, "surfel-area"),
    }  # fmt: skip
    assert all("tolerance_mm" in (item.unconfirmed or {}) for item in chosen.values())


def test_feta_sites_and_domains(shared: Path) -> None:
    table = pd.read_csv(shared / "data/published/feta_splits.csv")
    for edition in EDITIONS["feta"]:
        rows = table[(table["edition"] == f"FeTA{edition}") & (table["split"] == "test")]
        groups = registry.load(f"feta/{edition}").groups
        assert set(groups["site"].levels or []) == set(rows["site"])
        domains = {(site, domain) for domain, sites in (groups["domain"].map or {}).items() for site in sites}
        assert domains == set(zip(rows["site"], rows["domain"], strict=True))
    task = registry.load("feta/2024").tasks["segmentation"]
    assert [item.label for item in task.structures.values()] == [1, 2, 3, 4, 5, 6, 7]
    assert list(task.metrics) == ["dice", "hd95", "vs", "euler_error"]
    assert list(registry.load("feta/2022").tasks["segmentation"].metrics) == ["dice", "hd95", "vs"]


def test_liqa_centres_domains_and_tasks(shared: Path) -> None:
    table = pd.read_csv(shared / "data/published/care_liver_splits.csv")
    tests = table[table["split"] == "test"]
    for edition in EDITIONS["liqa"]:
        groups = registry.load(f"liqa/{edition}").groups
        rows = tests[tests["edition"].str.startswith(f"CARE{edition}")]
        for group, column in (("domain", "domain"), ("vendor", "vendor")):
            own = {(center, level) for level, centers in (groups[group].map or {}).items() for center in centers}
            levels = rows[column].str.lower() if group == "domain" else rows[column]
            assert own == set(zip(rows["center"], levels, strict=True))
    later = registry.load("liqa/2026").tasks
    assert set(later) == {"liseg-ged4", "liseg-t1", "liseg-t2", "liseg-dwi", "lifs-contrast", "lifs-noncontrast"}
    assert set(registry.load("liqa/2024").tasks) == {"liseg-ged4", "lifs-contrast"}
    assert later["liseg-t2"].metrics["hd"].kind == "hd"
    staging = registry.load("liqa/2025").tasks["lifs-noncontrast"]
    assert isinstance(staging, ClassificationTask)
    assert staging.pool_by == "domain"
    protocol = registry.load("liqa/2026").protocol_for("lifs-contrast")
    assert protocol is not None
    assert protocol.per == "set"


def test_transfer_suite_carries_parameters_and_flops() -> None:
    baselines = registry.load("stunet-transfer").baselines
    published = {
        name: (item.published.parameters_millions, item.published.teraflops) for name, item in baselines.items()
    }
    assert published["stunet-small"] == (14.6, 0.13)
    assert published["stunet-base"] == (58.26, 0.51)
    assert published["stunet-large"] == (440.30, 3.81)
    assert published["stunet-huge"] == (1457.33, 12.60)
