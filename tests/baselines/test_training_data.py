"""From a challenge's training folder to nnU-Net's layout, and what is refused before anything takes long."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK

from medpodium.baselines.nnunet import dataset, training_data
from medpodium.baselines.nnunet.prediction import prediction_cases
from medpodium.baselines.nnunet.scheme import make_scheme
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import MedpodiumError, UsageError, has_errors

METRICS: dict[str, Any] = {
    "metrics": {"dice": {"kind": "dice"}},
    "empty": {"both": 1.0, "reference": 0, "prediction": 0},
}


def make_task(structures: dict[str, Any], **more: Any) -> SegmentationTask:
    return SegmentationTask.model_validate({"structures": structures, **METRICS, **more})


LABELS = make_task({"liver": {"label": 5}, "tumour": {"label": 14}}, files={"images": {"ct": "{case}_0000.nii.gz"}})


def save(path: Path, voxels: np.ndarray, spacing: float = 2.0) -> None:
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetSpacing((spacing,) * 3)
    image.SetOrigin((-10.0, 5.0, 30.0))
    path.parent.mkdir(parents=True, exist_ok=True)
    SimpleITK.WriteImage(image, str(path))


def volume(label: int = 5, other: int = 14) -> np.ndarray:
    found = np.zeros((6, 8, 10), np.uint8)
    found[1:4, 1:4, 1:4] = label
    found[4:, 5:, 5:] = other
    return found


def make_folder(root: Path, cases: int = 5, **labels: int) -> tuple[Path, Path]:
    rng = np.random.default_rng(0)
    for number in range(cases):
        save(root / "images" / f"c{number}_0000.nii.gz", rng.integers(-1000, 500, (6, 8, 10)).astype(np.int16))
        save(root / "labels" / f"c{number}.nii.gz", volume(**labels))
    return root / "images", root / "labels"


def convert(root: Path, task: SegmentationTask = LABELS, **options: Any) -> tuple[Path, dataset.Written]:
    layout = training_data.layout_of(task, None, {}, None)
    ignore = bool(options.get("partial") or options.get("infer_partial"))
    cases, findings = training_data.find_cases(task, layout, root / "images", root / "labels")
    assert not has_errors(findings)
    folder = root / "raw" / "Dataset500_Test"
    kinds = dict.fromkeys(layout.images, "ct")
    written = dataset.write_dataset(folder, task, cases, make_scheme(task, ignore=ignore), kinds, {}, **options)
    return folder, written


def read(path: Path) -> np.ndarray:
    return SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))


def test_labels_become_consecutive_and_images_are_linked(tmp_path: Path) -> None:
    make_folder(tmp_path)
    folder, written = convert(tmp_path)
    content = json.loads((folder / "dataset.json").read_text())
    assert content["labels"] == {"background": 0, "liver": 1, "tumour": 2}
    assert content["channel_names"] == {"0": "CT"}
    assert content["numTraining"] == 5
    image = folder / "imagesTr" / "c0_0000.nii.gz"
    assert image.read_bytes() == (tmp_path / "images" / "c0_0000.nii.gz").read_bytes()
    assert written.linked == 5
    original = read(tmp_path / "labels" / "c0.nii.gz")
    assert np.array_equal(read(folder / "labelsTr" / "c0.nii.gz"), np.select([original == 5, original == 14], [1, 2]))
    # back again, value for value
    assert np.array_equal(make_scheme(LABELS).backward()[read(folder / "labelsTr" / "c0.nii.gz")], original)


def test_consecutive_labels_stay_as_they_are(tmp_path: Path) -> None:
    task = make_task({"a": {"label": 1}, "b": {"label": 2}}, files={"images": {"ct": "{case}_0000.nii.gz"}})
    make_folder(tmp_path, label=1, other=2)
    folder, written = convert(tmp_path, task)
    assert written.linked == 10
    assert written.converted == 0
    assert (folder / "labelsTr" / "c3.nii.gz").exists()


def test_partial_labels_hide_the_background(tmp_path: Path) -> None:
    """A label that is absent from a partly labelled scan is unknown there, not background."""
    make_folder(tmp_path)
    folder, _ = convert(tmp_path, partial={"c0": frozenset(["liver"])})
    partly, fully = (read(folder / "labelsTr" / f"c{number}.nii.gz") for number in (0, 1))
    assert json.loads((folder / "dataset.json").read_text())["labels"]["ignore"] == 3
    assert set(np.unique(partly)) == {1, 2, 3}
    assert set(np.unique(fully)) == {0, 1, 2}
    assert np.array_equal(partly == 3, fully == 0)


def test_a_file_per_structure(tmp_path: Path) -> None:
    task = make_task(
        {"liver": {"label": 1, "file": "liv"}, "kidney": {"label": 2}},
        files={"reference": "{case}/segmentations/{structure}.nii.gz", "images": {"ct": "{case}/ct.nii.gz"}},
    )
    for number in range(5):
        case = tmp_path / f"case{number}"
        save(case / "ct.nii.gz", np.full((6, 8, 10), -700, np.int16))
        save(case / "segmentations" / "liv.nii.gz", (volume() == 5).astype(np.uint8))
        save(case / "segmentations" / "kidney.nii.gz", (volume() > 0).astype(np.uint8))
    layout = training_data.layout_of(task, None, {}, None)
    cases, findings = training_data.find_cases(task, layout, tmp_path, tmp_path)
    assert not findings
    assert not training_data.check_complete(task, layout, cases, partial=False)
    written = dataset.write_dataset(tmp_path / "raw", task, cases, make_scheme(task), {"ct": "ct"}, {})
    # the later structure wins where both are marked, and that is said
    assert set(np.unique(read(tmp_path / "raw" / "labelsTr" / "case0.nii.gz"))) == {0, 2}
    assert "27 voxels belong to several structures" in written.findings[0].cause
    (tmp_path / "case1" / "segmentations" / "kidney.nii.gz").unlink()
    cases, _ = training_data.find_cases(task, layout, tmp_path, tmp_path)
    (found,) = training_data.check_complete(task, layout, cases, partial=False)
    assert "case1: lacks the label file of kidney" in str(found)


def test_missing_channels(tmp_path: Path) -> None:
    task = make_task(
        {"a": {"label": 5}, "b": {"label": 14}}, files={"images": {"t1": "{case}_t1.nii.gz", "t2": "{case}_t2.nii.gz"}}
    )
    for number in range(3):
        save(tmp_path / "images" / f"c{number}_t1.nii.gz", np.ones((6, 8, 10), np.float32))
        if number:
            save(tmp_path / "images" / f"c{number}_t2.nii.gz", np.ones((6, 8, 10), np.float32))
        save(tmp_path / "labels" / f"c{number}.nii.gz", volume())
    layout = training_data.layout_of(task, None, {}, None)
    folders = (tmp_path / "images", tmp_path / "labels")
    _, findings = training_data.find_cases(task, layout, *folders)
    assert "c0: lacks the channel t2; add the file, or choose --missing-channel drop or zero" in str(findings[0])
    cases, findings = training_data.find_cases(task, layout, *folders, "drop")
    assert [case.name for case in cases] == ["c1", "c2"]
    cases, _ = training_data.find_cases(task, layout, *folders, "zero")
    kinds = {"t1": "z-score", "t2": "z-score"}
    dataset.write_dataset(tmp_path / "raw", task, cases, make_scheme(task), kinds, {})
    assert not read(tmp_path / "raw" / "imagesTr" / "c0_0001.nii.gz").any()
    assert read(tmp_path / "raw" / "imagesTr" / "c1_0001.nii.gz").all()
    assert not training_data.check_geometry(cases)
    # a model that was trained so is given zeros again, any other refuses the case
    found = training_data.find_images(layout, folders[0])
    (_, files, _), *_ = prediction_cases(found, ["t1", "t2"], tmp_path, zeros=True)
    assert not read(Path(files[1])).any()
    with pytest.raises(UsageError, match="c0: lacks the channel t2"):
        prediction_cases(found, ["t1", "t2"], tmp_path)


def test_unions_become_regions_that_can_be_read_back() -> None:
    """Whole tumour = core and oedema, core = necrosis and enhancing; only the last has a label of its own."""
    tumour = make_task({"whole": {"union": [1, 2, 4]}, "core": {"union": [1, 4]}, "enhancing": {"label": 4}})
    scheme = make_scheme(tumour)
    assert scheme.labels == {"background": 0, "whole": [1, 2, 3], "core": [1, 3], "enhancing": [3]}
    # painted in order, every label comes out as itself
    assert scheme.class_order == (2, 1, 3)
    assert scheme.values == {0: 0, 1: 1, 2: 2, 4: 3}
    kidneys = make_task({"left": {"label": 1}, "right": {"label": 2}, "kidneys": {"union": [1, 2]}})
    assert make_scheme(kidneys).labels == {"background": 0, "left": 1, "right": 2}
    crossing = make_task({"a": {"union": [1, 2]}, "b": {"union": [2, 3]}})
    with pytest.raises(UsageError, match="structures a and b share labels"):
        make_scheme(crossing)
    assert make_scheme(crossing, regions="never").labels == {"background": 0, "label_1": 1, "label_2": 2, "label_3": 3}


def test_bad_data_are_named(tmp_path: Path) -> None:
    images, labels = make_folder(tmp_path)
    layout = training_data.layout_of(LABELS, None, {}, None)

    def cases() -> list[training_data.TrainingCase]:
        return training_data.find_cases(LABELS, layout, images, labels)[0]

    # a grid of its own
    save(labels / "c1.nii.gz", volume(), spacing=2.5)
    (found,) = training_data.check_geometry(cases())
    assert "c1: c1.nii.gz: not on the grid of c1_0000.nii.gz" in str(found)
    # a value that is no label
    save(labels / "c1.nii.gz", volume(other=9))
    _, written = convert(tmp_path)
    assert "training-label-unknown: c1: holds the label 9" in str(written.findings[0])
    # a structure nobody has
    for number in range(5):
        save(labels / f"c{number}.nii.gz", volume(other=0))
    _, written = convert(tmp_path)
    assert "tumour: label 14 occurs in none of the 5 training cases" in str(written.findings[0])
    # labels missing altogether
    (labels / "c2.nii.gz").unlink()
    _, findings = training_data.find_cases(LABELS, layout, images, labels)
    assert "1 of 5 cases have no label file (first c2)" in str(findings[0])
    (found,) = training_data.check_folds(4, [0])
    assert "4 training cases cannot be split into 5 folds; give at least 5 cases, or --folds all" in str(found)
    assert not training_data.check_folds(4, ["all"])
    with pytest.raises(UsageError, match="no file fits"):
        training_data.find_images(layout, labels)
    with pytest.raises(UsageError, match="training-folder-absent"):
        training_data.find_images(layout, tmp_path / "nowhere")


def test_a_ct_that_is_declared_otherwise_is_warned_about(tmp_path: Path, tiny_challenge: Any) -> None:
    """A published Touchstone baseline declared its CT channel nonCT by mistake."""
    make_folder(tmp_path, 1)
    case = training_data.TrainingCase("c0", {"ct": tmp_path / "images" / "c0_0000.nii.gz"})
    (found,) = training_data.check_normalisation(tiny_challenge, {"ct": "z-score"}, case)
    assert "channel ct is normalised by z-score, but the challenge declares CT" in found.cause
    assert not training_data.check_normalisation(tiny_challenge, {"ct": "ct"}, case)
    unnamed = training_data.TrainingCase("c0", {"image": tmp_path / "images" / "c0_0000.nii.gz"})
    other = tiny_challenge.model_copy(update={"modality": ["CT", "MR"]})
    (found,) = training_data.check_normalisation(other, {"image": "z-score"}, unnamed)
    assert "holds Hounsfield units" in found.cause
    save(tmp_path / "mr.nii.gz", np.full((4, 4, 4), 300, np.int16))
    mr = training_data.TrainingCase("c0", {"ct": tmp_path / "mr.nii.gz"})
    (found,) = training_data.check_normalisation(other, {"ct": "ct"}, mr)
    assert "has no value below -500" in found.cause


def test_names_that_nnunet_would_take_for_a_normalisation() -> None:
    assert dataset.channel_names({"ct": "ct", "CT": "z-score", "t1": "z-score", "pet": "none"}) == {
        "0": "CT", "1": "CT_zscore", "2": "t1", "3": "noNorm",
    }  # fmt: skip


def test_somebody_elses_data_set_is_never_replaced(tmp_path: Path) -> None:
    make_folder(tmp_path)
    convert(tmp_path)
    convert(tmp_path)  # our own may be
    (tmp_path / "raw" / "Dataset500_Test" / dataset.RECORD).unlink()
    with pytest.raises(MedpodiumError, match="dataset-exists"):
        convert(tmp_path)
    assert dataset.dataset_name(tmp_path / "raw", "other") == "Dataset501_Other"
    with pytest.raises(UsageError, match="number 500 is Dataset500_Test"):
        dataset.dataset_name(tmp_path / "raw", "other", 500)


def test_partial_table(tmp_path: Path) -> None:
    table = tmp_path / "annotated.csv"
    table.write_text("case,annotated\nc0,liver\nc1,liver;tumour\n")
    assert training_data.read_partial(table, LABELS)["c1"] == {"liver", "tumour"}
    table.write_text("case,annotated\nc0,spleen\n")
    with pytest.raises(UsageError, match="no structure 'spleen'"):
        training_data.read_partial(table, LABELS)


def test_cases_that_the_challenge_calls_partly_labelled_teach_no_background(tmp_path: Path) -> None:
    """What is not scored in a case, because nobody labelled it there, is no background to a network either."""
    task = make_task(
        {"liver": {"label": 5}, "tumour": {"label": 14}, "both": {"union": [5, 14]}},
        files={"images": {"ct": "{case}_0000.nii.gz"}}, labelled_structures={"c1": ["liver"], "elsewhere": ["liver"]},
    )  # fmt: skip
    images, labels = make_folder(tmp_path)
    layout = training_data.layout_of(task, None, {}, None)
    cases, _ = training_data.find_cases(task, layout, images, labels)
    assert training_data.partly_labelled(task, cases, None) == {"c1": {"liver"}}
    table = tmp_path / "annotated.csv"
    table.write_text("case,annotated\nc0,tumour\nc1,liver;tumour\n", encoding="utf-8")
    partial = training_data.partly_labelled(task, cases, table)
    assert partial == {"c0": {"tumour"}, "c1": {"liver", "tumour"}}
    folder, _ = convert(tmp_path, LABELS, partial=training_data.partly_labelled(task, cases, None))
    assert set(np.unique(read(folder / "labelsTr" / "c0.nii.gz"))) == {0, 1, 2}
    assert set(np.unique(read(folder / "labelsTr" / "c1.nii.gz"))) == {1, 2, 3}  # 3 is nnU-Net's ignore label


def test_ignored_regions_of_the_task_become_nnunets_ignore_label() -> None:
    """Nothing is learned there, and the value is the highest one, as nnU-Net wants it."""
    rules = {
        "structures": {"a": {"label": 2}},
        "ignore_labels": [1, 9],
        "empty": {"both": 1, "reference": 0, "prediction": 0},
    }
    scheme = make_scheme(SegmentationTask.model_validate({**rules, "metrics": {"dice": {"kind": "dice"}}}))
    assert scheme.labels == {"background": 0, "a": 1, "ignore": 2}
    assert scheme.values == {0: 0, 1: 2, 2: 1, 9: 2}
    assert not scheme.identical
