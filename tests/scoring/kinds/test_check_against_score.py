"""What ``check`` calls an error is what ``score`` penalises, for every option and every way to break a prediction."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK
from hypothesis import example, given, settings
from hypothesis import strategies as st

from medpodium.challenges import registry
from medpodium.findings import Severity
from medpodium.scoring import table
from medpodium.scoring.kinds.engine import check_task, score_task

RULES = """
schema: 1
name: mine
title: Mine
tasks:
  t:
    kind: segmentation
    structures: {{a: {{label: 1}}, b: {{label: 2}}, both: {{union: [1, 2]}}}}
    unknown_labels: {unknown}
    geometry: {{check: {grid}}}
    {more}
    empty: {{both: 1, reference: 0, prediction: 0}}
    metrics:
      dice: {{kind: dice, missing: 0, failed: 0}}
recipes: {{main: {{steps: [{{mean: [case, structure, metric]}}, rank]}}}}
ranking: {{t: main}}
"""
PER_STRUCTURE = 'files: {reference: "{case}/{structure}.nii.gz", prediction: "{case}/{structure}.nii.gz"}'
MORE = {"plain": "", "ignore": "ignore_labels: [4]", "partial": "labelled_structures: {c: [a]}", "files": PER_STRUCTURE}
WAYS = (
    "good", "absent", "no-bytes", "cut-off", "no-image", "smaller", "transposed", "spacing", "spacing-a-little",
    "origin", "flipped", "label-9", "label-300", "label-4", "label-9-in-4", "fractions", "negative", "stack",
    "all-zero",
    "renamed",
)  # fmt: skip


def truth() -> npt.NDArray[np.uint8]:
    labels = np.zeros((6, 10, 12), np.uint8)
    labels[1:4, 2:6, 2:7] = 1
    labels[2:5, 6:9, 3:8] = 2
    return labels


def save(labels: npt.NDArray[np.generic], path: Path, way: str = "good") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = labels
    if way.startswith("label-"):
        voxels = labels.astype(np.uint16)
        at = (0, 9, 0) if way.endswith("-in-4") else (0, 0, 0)
        voxels[at] = int(way.split("-")[1])
    voxels = {
        "smaller": labels[:-1],
        "transposed": np.ascontiguousarray(labels.T),
        "fractions": labels * np.float32(0.7),
        "negative": -labels.astype(np.int16),
        "stack": np.stack([labels, labels]),
        "all-zero": labels * 0,
    }.get(way, voxels)
    image = SimpleITK.GetImageFromArray(voxels, isVector=False)
    size = {"spacing": 1.5, "spacing-a-little": 1.0005}.get(way, 1.0)
    image.SetSpacing((size, 1.0, 2.0, 1.0)[: image.GetDimension()])
    image.SetOrigin(({"origin": 7.0}.get(way, 0.0), 0.0, 0.0, 0.0)[: image.GetDimension()])
    if way == "flipped":
        image.SetDirection((-1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    SimpleITK.WriteImage(image, str(path))
    whole = path.read_bytes()
    if way in ("no-bytes", "cut-off", "no-image"):
        path.write_bytes({"no-bytes": b"", "cut-off": whole[:-30], "no-image": b"hello" * 99}[way])
    if way in ("absent", "renamed"):
        path.rename(path.with_name("C.nii.gz")) if way == "renamed" else path.unlink()


def write(folder: Path, layout: str, way: str = "good", structure: str = "a") -> None:
    labels = truth()
    if layout == "files":
        for name, label in (("a", 1), ("b", 2)):
            save(
                (labels == label).astype(np.uint8),
                folder / "c" / f"{name}.nii.gz",
                way if name == structure else "good",
            )
        return
    if layout == "ignore" and folder.name == "ref":
        labels[0, 9, :3] = 4
    save(labels, folder / "c.nii.gz", way)


@settings(max_examples=60, deadline=None)
@given(
    way=st.sampled_from(WAYS),
    layout=st.sampled_from(sorted(MORE)),
    unknown=st.sampled_from(["fail", "ignore", "worst"]),
    grid=st.sampled_from(["full", "shape"]),
    structure=st.sampled_from(["a", "b"]),
)
@example(way="label-9", layout="plain", unknown="ignore", grid="full", structure="a")
@example(way="label-300", layout="plain", unknown="ignore", grid="full", structure="a")
@example(way="spacing", layout="plain", unknown="fail", grid="shape", structure="a")
@example(way="spacing", layout="files", unknown="fail", grid="shape", structure="b")
@example(way="absent", layout="files", unknown="fail", grid="full", structure="b")
@example(way="label-9-in-4", layout="ignore", unknown="fail", grid="full", structure="a")
def test_check_and_score_agree(way: str, layout: str, unknown: str, grid: str, structure: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "c.yaml").write_text(RULES.format(unknown=unknown, grid=grid, more=MORE[layout]), encoding="utf-8")
        (folder / "team").mkdir()
        write(folder / "ref", layout)
        write(folder / "team", layout, way, structure)
        challenge = registry.load(folder / "c.yaml")
        checked = check_task(challenge, "t", folder / "ref", folder / "team")
        result = score_task(challenge, "t", folder / "ref", {"team": folder / "team"}, workers=1)
        assert not result.unscored
        said = [finding for finding in checked if finding.severity is Severity.ERROR]
        found = [finding for finding in result.findings["team"] if finding.severity is Severity.ERROR]
        # Both name the same file for the same reason; check says a little more about labels that others would wrap.
        reasons = [{str(one.code).replace("label-wraps", "label-unknown") for one in some} for some in (said, found)]
        assert reasons[0] == reasons[1], (said, found)
        statuses = dict(zip(result.scores["structure"], result.scores["status"], strict=True))
        lost = {name for name, status in statuses.items() if status == table.MISSING or status.startswith("failed:")}
        if unknown == "worst" and said and not lost:
            assert set(statuses.values()) <= {table.PENALISED, table.UNLABELLED}
        else:
            assert bool(said) == bool(lost)
        if layout == "files" and said:
            assert lost == {structure, "both"}
        if layout == "partial":
            assert {name for name, status in statuses.items() if status == table.UNLABELLED} == {"b", "both"}


def test_every_way_breaks_something_or_nothing_in_the_strictest_task() -> None:
    """The ways above are not all of one kind: some are errors, some are fine, and the loop would see both."""
    errors = {}
    for way in WAYS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "c.yaml").write_text(RULES.format(unknown="fail", grid="full", more=""), encoding="utf-8")
            (folder / "team").mkdir()
            write(folder / "ref", "plain")
            write(folder / "team", "plain", way)
            found = check_task(registry.load(folder / "c.yaml"), "t", folder / "ref", folder / "team")
            errors[way] = any(finding.severity is Severity.ERROR for finding in found)
    assert {way for way, wrong in errors.items() if not wrong} == {"good", "spacing-a-little", "all-zero"}
