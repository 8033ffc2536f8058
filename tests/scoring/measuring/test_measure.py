"""Two masks in one line: every way to hand them over gives the engine's own numbers, and mistakes are named."""

from __future__ import annotations

import math
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

import medpodium
from medpodium.findings import UsageError
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import CaseJob
from medpodium.scoring.measuring.request import Request, kinds, make_task, task_facts

SPACING = (2.5, 0.75, 1.25)  # NIfTI stores float32, which holds these exactly
ALL = ("dice", "nsd", "hd95", "hd", "assd", "masd", "iou", "tp_volume", "euler_error", "lesion_f1")


def pair(seed: int = 0, shape: tuple[int, int, int] = (12, 20, 24)) -> tuple[Any, Any]:
    """Boxes with rough faces, a second structure, and specks."""
    rng = np.random.default_rng(seed)
    masks = []
    for shift in (0, 1):
        mask = np.zeros(shape, np.uint8)
        mask[2:9, 4 + shift : 14, 5 : 18 + shift] = 1
        mask[10, 2:5, 2 : 6 + shift] = 2
        mask[(rng.random(shape) < 0.02) & (mask == 0)] = 1
        masks.append(mask)
    return masks[0], masks[1]


def written(mask: Any, path: Path) -> Path:
    image: Any = SimpleITK.GetImageFromArray(mask)
    image.SetSpacing(SPACING[::-1])
    image.SetOrigin((-10.0, 5.0, 30.0))
    SimpleITK.WriteImage(image, str(path))
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("masks")
    reference, prediction = pair()
    return written(reference, folder / "r.nii.gz"), written(prediction, folder / "p.nii.gz")


def numbers(measured: medpodium.Measured) -> list[tuple[str, str, float, str]]:  # type: ignore[name-defined]
    return [(one.structure, one.metric, one.value, one.status) for one in measured.values]


def test_cubes_by_hand() -> None:
    reference, prediction = np.zeros((2, 12, 20, 20), bool)
    reference[2:10, 5:15, 5:15] = True
    prediction[2:10, 7:17, 5:15] = True
    got = medpodium.measure(reference, prediction, ("dice", "iou", "hd", "tp_volume"), spacing=(3, 2, 1))
    assert got.dict() == {"label 1": {"dice": 0.8, "iou": 2 / 3, "hd": 4.0, "tp_volume": 8 * 8 * 10 * 6 / 1000}}
    assert got["label 1", "dice"] == got.mean("dice") == 0.8
    assert got.frame()["unit"].tolist() == ["", "", "mm", "ml"]


def test_plane_by_hand() -> None:
    reference, prediction = np.zeros((2, 20, 30), np.int64)
    reference[5:15, 5:15] = 1
    prediction[5:15, 8:18] = 1
    got = medpodium.measure(reference, prediction, ("dice", "hd", "tp_volume"), spacing=(2, 1))
    assert got.dict()["label 1"] == {"dice": 0.7, "hd": 3.0, "tp_volume": 140.0}
    assert got.metrics["tp_volume"].unit_name == "mm²"
    assert "shape (y, x) = (20, 30), spacing (2, 1) mm" in str(got)


def test_numbers_are_those_of_score(files: tuple[Path, Path]) -> None:
    """The very functions that ``medpodium score`` calls, so the very bits."""
    reference, prediction = files
    labels = {"organ": 1, "rest": 2, "both": [1, 2]}
    task = make_task(task_facts(Request(ALL, labels), labels))
    job = CaseJob("case", reference, {"team": prediction}, task)
    rows = {(row.structure, row.metric): (row.value, row.status) for row in of(task).score_case(job).rows}
    got = medpodium.measure(reference, prediction, ALL, structures=labels)
    assert {(one.structure, one.metric): (one.value, one.status) for one in got.values} == rows
    assert all(status == "ok" and math.isfinite(value) for value, status in rows.values())


def test_every_way_to_hand_over_masks(files: tuple[Path, Path]) -> None:
    reference, prediction = pair()
    expected = numbers(medpodium.measure(reference, prediction, ALL, spacing=SPACING))
    assert len(expected) == 2 * len(ALL)
    images = [SimpleITK.ReadImage(str(path)) for path in files]
    ways: list[tuple[Any, Any, dict[str, Any]]] = [
        (*files, {}),
        (*map(str, files), {}),
        (*images, {}),
        (files[0], images[1], {}),
        (reference.astype(np.float64), prediction.astype(np.int64), {"spacing": list(SPACING)}),
        (reference.astype(">u2"), np.asfortranarray(prediction), {"spacing": SPACING}),
        (files[0], prediction, {}),
        (reference, files[1], {}),
        (reference, images[1], {}),
    ]
    for first, second, more in ways:
        assert numbers(medpodium.measure(first, second, ALL, **more)) == expected


def test_images_of_nibabel(files: tuple[Path, Path]) -> None:
    nibabel: Any = pytest.importorskip("nibabel")
    images = [nibabel.load(path) for path in files]
    expected = numbers(medpodium.measure(*files, ALL))
    assert numbers(medpodium.measure(*images, ALL)) == expected
    made = [nibabel.MGHImage(np.asarray(one.dataobj, np.uint8), one.affine) for one in images]
    assert [one[2] for one in numbers(medpodium.measure(*made, ALL))] == pytest.approx([one[2] for one in expected])
    with pytest.raises(medpodium.MedpodiumError, match="axes are swapped"):
        medpodium.measure(images[0], np.asarray(images[1].dataobj))  # x, y, z


class Tensor:
    """What a tensor on a graphics card looks like from outside: no array protocol until it was moved."""

    def __init__(self, values: Any) -> None:
        self.values, self.dtype = values, values.dtype

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Any:
        return self.values


class Exported:
    """An array of a library that speaks DLPack only."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __dlpack__(self, **more: Any) -> Any:
        return self.values.__dlpack__(**more)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


@pytest.mark.parametrize("wrapped", [Tensor, Exported])
def test_tensors(wrapped: type[Any]) -> None:
    reference, prediction = pair()
    expected = numbers(medpodium.measure(reference, prediction, spacing=SPACING))
    assert numbers(medpodium.measure(wrapped(reference), wrapped(prediction), spacing=SPACING)) == expected


def test_tensors_of_torch() -> None:
    torch: Any = pytest.importorskip("torch")
    reference, prediction = (torch.from_numpy(mask) for mask in pair())
    expected = numbers(medpodium.measure(*pair(), spacing=SPACING))
    assert numbers(medpodium.measure(reference, prediction.float().requires_grad_(), spacing=SPACING)) == expected
    with pytest.raises(medpodium.MedpodiumError, match=r"bfloat16.*labels as uint8"):
        medpodium.measure(reference, prediction.to(torch.bfloat16), spacing=SPACING)


def test_channels_are_what_they_are_said_to_be() -> None:
    labels = pair()
    hot = [np.stack([mask == label for label in range(3)]) for mask in labels]
    named = {"organ": 1, "rest": 2}
    expected = numbers(medpodium.measure(*labels, ALL, spacing=SPACING, structures=named))
    ways: list[tuple[Any, Any, dict[str, Any]]] = [
        (*hot, {"channel_axis": 0, "structures": named}),
        (*hot, {"channel_axis": 0, "structures": [None, "organ", "rest"]}),
        (*(np.moveaxis(one, 0, -1) for one in hot), {"channel_axis": -1, "structures": named}),
        (*(one[1:] for one in hot), {"channel_axis": 0, "structures": ["organ", "rest"]}),
        (labels[0], hot[1], {"channel_axis": 0, "structures": named}),
    ]
    for first, second, more in ways:
        assert numbers(medpodium.measure(first, second, ALL, spacing=SPACING, **more)) == expected
    assert medpodium.measure(*hot, ["dice"], channel_axis=0).structures == ("channel 0", "channel 1", "channel 2")


def test_channels_may_overlap() -> None:
    reference, prediction = (np.stack([mask > 0, mask == 2]) for mask in pair())
    got = medpodium.measure(
        reference, prediction, ("dice", "hd95"), channel_axis=0, structures=["all", "core"], spacing=1
    )
    for at, name in enumerate(("all", "core")):
        own = medpodium.measure(reference[at], prediction[at], ("dice", "hd95"), spacing=1)
        assert got[name] == own["label 1"]


def test_what_only_one_mask_holds() -> None:
    reference, prediction = pair()
    reference[reference == 2] = 0
    prediction[prediction == 1] = 0
    got = medpodium.measure(reference, prediction, ("dice", "hd95", "fp_volume"), spacing=(1, 1, 1))
    diagonal = math.sqrt(12**2 + 20**2 + 24**2)
    assert numbers(got)[:2] == [("label 1", "dice", 0.0, "penalised"), ("label 1", "hd95", diagonal, "penalised")]
    assert numbers(got)[3:5] == [
        ("label 2", "dice", 0.0, "empty-reference"),
        ("label 2", "hd95", diagonal, "empty-reference"),
    ]
    assert got["label 2", "fp_volume"] == np.count_nonzero(prediction == 2) / 1000
    neither = medpodium.measure(reference, prediction, ["dice"], structures={"liver": 7})
    assert (neither.values[0].status, math.isnan(neither.values[0].value)) == ("skipped", True)


def test_lesions_need_no_more_than_their_name() -> None:
    reference, prediction = np.zeros((2, 20, 30, 30), np.uint8)
    reference[4:9, 7:12, 5:12] = reference[12:16, 18:24, 18:24] = 1
    prediction[4:9, 7:12, 6:13] = 1
    own = medpodium.measure(
        reference, prediction, spacing=1, metrics=["lesion_dice", "lesion_nsd", "fn_component_volume"]
    )
    assert own["label 1"] == pytest.approx({"lesion_dice": 3 / 7, "lesion_nsd": 0.5, "fn_component_volume": 0.144})
    nothing = medpodium.measure(reference, prediction, spacing=1, metrics=["lesion_dice"], structures={"none": 2})
    assert np.isnan(nothing["none", "lesion_dice"])
    with pytest.raises(UsageError, match="no number of one pair of masks"):
        medpodium.measure(reference, prediction, spacing=1, metrics=["presence_f1"])


def test_parameters_are_those_of_a_challenge_file() -> None:
    reference, prediction = pair()
    asked: Any = {
        "nsd1": {"kind": "nsd", "tolerance_mm": 1},
        "medpy": {"kind": "hd_percentile", "definition": "pooled"},
        "hd90": "hd90",
        "dice": {"kind": "dice", "decimals": 2},
    }
    got = medpodium.measure(reference, prediction, asked, spacing=SPACING)
    assert "nsd1: surfel-area, tolerance 1 mm; medpy: pooled, 95 %" in str(got)
    plain = medpodium.measure(
        reference, prediction, ("dice", "nsd"), spacing=SPACING, tolerance_mm={"label 1": 1, "label 2": 4}
    )
    assert got["label 1", "nsd1"] == plain["label 1", "nsd"]
    assert got["label 1", "dice"] == round(plain["label 1", "dice"], 2)
    other = medpodium.measure(reference, prediction, ["hd95"], spacing=SPACING, definitions={"hd95": "pooled"})
    assert other["label 1", "hd95"] == got["label 1", "medpy"]
    assert set(kinds()) >= {"dice", "nsd", "hd_percentile", "assd", "panoptic_quality"}


WRONG: list[tuple[str, Any]] = [
    (
        r"missing: reference \(uint8 array of shape \(12, 20, 24\)\).*nsd, hd95, assd need.*spacing=\(z, y, x\)",
        {},
    ),
    (r"2 values \(1.0, 1.0\), the masks have 3 axes", {"spacing": (1, 1)}),
    (r"is \(1.0, 0.0, 1.0\); each has to be above 0", {"spacing": (1, 0, 1)}),
    (r"no metric 'dcie' \(did you mean 'dice'\?\)", {"metrics": ["dcie"], "spacing": 1}),
    (r"metrics.hd95.definition.*given: 'poled'", {"definitions": {"hd95": "poled"}, "spacing": 1}),
    (r"a definition for 'nsd', which is not measured", {"metrics": ["dice"], "definitions": {"nsd": "border-voxel"}}),
    (r"structures.label 2: has no tolerance_mm", {"tolerance_mm": {"label 1": 1}, "spacing": 1}),
    (r"label 1 is already 'a'", {"metrics": ["dice"], "structures": {"a": 1, "b": 1}}),
    (r"the label of 'a' is 1.5", {"metrics": ["dice"], "structures": {"a": 1.5}}),
    (r"has no axis 4 for channels", {"metrics": ["dice"], "channel_axis": 4}),
    (r"channel 10: holds the value 2, a one-hot mask holds 0 and 1", {"metrics": ["dice"], "channel_axis": 0}),
]


@pytest.mark.parametrize(("told", "request_"), WRONG, ids=[told[:24] for told, _ in WRONG])
def test_mistakes_are_named(told: str, request_: dict[str, Any]) -> None:
    with pytest.raises(medpodium.MedpodiumError, match=told):
        medpodium.measure(*pair(), **request_)


def test_masks_that_are_none(files: tuple[Path, Path]) -> None:
    reference, prediction = pair()
    half = prediction.astype(np.float32)
    half[1, 2, 3] = 0.5
    for told, first, second, more in (
        (
            r"prediction \(float32 array of shape \(12, 20, 24\)\): voxel \(x, y, z\) = \(3, 2, 1\) has value 0.5",
            reference,
            half,
            {},
        ),
        (r"z 11 instead of 12", reference, prediction[1:], {}),
        (r"4 axes of space.*channel_axis=0", reference[None], prediction[None], {}),
        (r"is a builtins.object; give a path", reference, object(), {}),
        (r"values of the type complex", reference.astype(complex), prediction, {}),
        (r"states its own: \(z, y, x\) = \(2.5, 0.75, 1.25\)", files[0], prediction, {"spacing": 1}),
        (r"no such file", files[0], "nowhere.nii.gz", {}),
        (r"neither mask holds a voxel", reference * 0, prediction * 0, {}),
    ):
        with pytest.raises(medpodium.MedpodiumError, match=told):
            medpodium.measure(first, second, **(more or ({} if first is files[0] else {"spacing": 1})))


def test_other_grid_is_refused_by_name(files: tuple[Path, Path]) -> None:
    moved = SimpleITK.ReadImage(str(files[1]))
    moved.SetSpacing((1.25, 0.75, 3.0))
    with pytest.raises(medpodium.MedpodiumError, match=r"geometry-spacing-differs.*z differs"):
        medpodium.measure(files[0], moved)


def test_reference_is_kept_as_it_was() -> None:
    mask, prediction = pair()
    reference = medpodium.Reference(mask, spacing=SPACING)
    before = numbers(reference.measure(prediction))
    mask[:] = 0
    assert numbers(reference.measure(prediction)) == before
    assert reference.structures == ("label 1", "label 2")


def test_threads_give_the_same_numbers() -> None:
    mask, _ = pair()
    predictions = [pair(seed)[1] for seed in range(16)]
    predictions[3][0, 0, 0] = 9
    alone = [numbers(medpodium.measure(mask, one, ALL, spacing=SPACING)) for one in predictions]
    reference = medpodium.Reference(mask, ALL, spacing=SPACING)
    with ThreadPoolExecutor(8) as pool:
        assert [numbers(one) for one in pool.map(reference.measure, predictions)] == alone


def test_many_pairs(files: tuple[Path, Path], tmp_path: Path) -> None:
    cut = tmp_path / "cut.nii.gz"
    cut.write_bytes(files[1].read_bytes()[:200])
    pairs = {"good": files, "again": files[::-1], "cut": (files[0], cut), "lost": (tmp_path / "no.nii.gz", files[1])}
    seen: list[tuple[int, int]] = []
    got = medpodium.measure_many(pairs, workers=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(got) == ["good", "again", "cut"]
    assert list(got.failed) == ["lost"]
    assert numbers(got["good"]) == numbers(medpodium.measure(*files))
    assert {one.status for one in got["cut"].values} == {"failed:data-truncated"}
    assert got["cut"]["label 1", "dice"] == 0
    assert "error: cut:" in str(got)
    assert "error: lost:" in str(got)
    assert got.frame().groupby("case", sort=False).size().to_dict() == {"good": 8, "again": 8, "cut": 8}
    assert list(medpodium.measure_many([files, files], workers=1)) == ["0", "1"]


def test_prints_well(files: tuple[Path, Path]) -> None:
    got = medpodium.measure(*files, structures={"<b>": 1, "none": 9})
    lines = str(got).splitlines()
    assert lines[0].split() == ["structure", "dice", "nsd", "hd95", "(mm)", "assd", "(mm)"]
    assert "– neither mask holds it" in lines
    assert "shape (z, y, x) = (12, 20, 24), spacing (2.5, 0.75, 1.25) mm" in lines
    assert "<b>" not in got._repr_html_()
    assert "&lt;b&gt;" in got._repr_html_()
    with pytest.raises(KeyError, match=r"no structure .nome.*did you mean .none"):
        got["nome"]


def test_importing_the_package_loads_nothing() -> None:
    code = "import sys, medpodium; print(sorted({'numpy', 'click', 'torch', 'pandas'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_one_line_of_python(files: tuple[Path, Path]) -> None:
    code = f"import medpodium; print(medpodium.measure({str(files[0])!r}, {str(files[1])!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == str(medpodium.measure(*files))


def test_many_predictions_say_how_many_could_not_be_used() -> None:
    cube = np.zeros((6, 6, 6), np.uint8)
    cube[1:4, 1:4, 1:4] = 1
    pairs = {"good": (cube, cube), "other shape": (cube, cube[:3])}
    many = medpodium.measure_many(pairs, ["dice"], spacing=1)
    assert repr(many).splitlines()[0] == "<Measurements: 2 cases, 1 with the worst values>"
    assert many["other shape"].mean("dice") == 0
