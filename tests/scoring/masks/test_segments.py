"""Files that name their segments: what 3D Slicer and DICOM allow, and where their voxels lie on another grid."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from itertools import permutations
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.scoring.kinds.segmentation.measures import Volume
from medpodium.scoring.kinds.segmentation.volumes import read_volume
from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.geometry import DEFAULT_TOLERANCE, geometry_from_affine
from medpodium.scoring.masks.header import Segment
from medpodium.scoring.masks.named import holds_nothing, match_segments, read_labelled
from medpodium.scoring.masks.reader import open_mask, read_geometry, read_mask
from medpodium.scoring.masks.segments import dicom
from medpodium.scoring.masks.segments.placing import around, placement

NAMES = ["liver", "tumour"]


def _files() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "medpodium_tests_segment_files", Path(__file__).with_name("segment_files.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules.setdefault(spec.name, importlib.util.module_from_spec(spec))
    spec.loader.exec_module(module)
    return module


files = _files()


def task(**other: Any) -> SegmentationTask:
    structures: Mapping[str, Any] = other.pop("structures", {"liver": {"label": 1}, "tumour": {"label": 2}})
    empty = {"both": 1, "reference": 0, "prediction": 0}
    patterns = {"reference": "{case}.nii.gz", "prediction": "{case}.nii.gz"}
    own = {"structures": structures, "metrics": {"dice": {"kind": "dice"}}, "empty": empty, "files": patterns}
    return SegmentationTask.model_validate(own | other)


def held(volume: Volume, rules: SegmentationTask) -> dict[str, npt.NDArray[np.uint8]]:
    return {name: volume.binary(rules, name) for name in rules.structures}


@settings(max_examples=60, deadline=None)
@given(
    order=st.sampled_from(list(permutations(range(3)))),
    reverse=st.tuples(*[st.booleans()] * 3),
    low=st.tuples(*[st.integers(0, 2)] * 3),
    size=st.tuples(*[st.integers(1, 3)] * 3),
    tilt=st.sampled_from([0.0, 20.0]),
)
def test_voxels_of_a_part_stored_otherwise_come_back(
    order: tuple[int, ...], reverse: tuple[bool, ...], low: tuple[int, ...], size: tuple[int, ...], tilt: float
) -> None:
    """A box of a volume, its axes permuted and flipped, is put back where it was, by positions in space alone."""
    affine = files.grid(tilt=tilt)
    shape = (5, 6, 7)  # z, y, x
    grid = geometry_from_affine(shape, affine)
    whole = np.random.default_rng(0).integers(1, 200, shape).astype(np.uint8)
    box = tuple(slice(first, first + count) for first, count in zip(low, size, strict=True))  # x, y, z
    part = whole.T[box].transpose(order)
    stored = part[tuple(slice(None, None, -1) if flip else slice(None) for flip in reverse)]
    own = np.eye(4)
    first = np.array(low, float)
    for new, old in enumerate(order):
        own[:3, new] = affine[:3, old] * (-1 if reverse[new] else 1)
        if reverse[new]:
            first[old] += size[old] - 1
    own[:3, 3] = (affine @ [*first, 1])[:3]
    place = placement(grid, geometry_from_affine(stored.shape[::-1], own), DEFAULT_TOLERANCE)
    assert place is not None
    assert place.inside(grid)
    expected = np.zeros_like(whole)
    expected.T[box] = whole.T[box]
    assert (place.put(np.ascontiguousarray(stored.T), grid) == expected).all()


@pytest.mark.parametrize(
    "change",
    [
        lambda affine: affine @ np.diag([1, 1, 1.02, 1]),
        lambda affine: affine + np.array([[0, 0, 0, 0.3], *[[0.0] * 4] * 3]),
        lambda affine: files.grid(tilt=3),
    ],
)
def test_no_place_for_voxels_between_voxels(change: Any) -> None:
    grid = geometry_from_affine((5, 6, 7), files.grid())
    assert placement(grid, geometry_from_affine((3, 6, 7), change(files.grid())), DEFAULT_TOLERANCE) is None


def test_the_grid_around_two_is_bounded() -> None:
    """Ten slices a kilometre away from the reference would need gigabytes of nothing between them."""
    grid = geometry_from_affine((10, 512, 512), files.grid())
    near, far = (geometry_from_affine((10, 512, 512), files.grid(origin=(-90, 40, z))) for z in (17 - 100, 17 + 1e6))
    place = placement(grid, near, DEFAULT_TOLERANCE)
    assert place is not None
    both = around(grid, place)
    assert both is not None
    assert both[0].start == (0, 0, 0)
    assert both[1].shape_zyx == (50, 512, 512)
    place = placement(grid, far, DEFAULT_TOLERANCE)
    assert place is not None
    assert around(grid, place) is None


def segment(name: str, layer: int = 0, label: int = 1, *meanings: str) -> Segment:
    return Segment(name, layer, label, meanings)


def test_names_are_matched_exactly_then_loosely_then_by_meaning() -> None:
    wanted = {"liver": ["liver"], "kidney_left": ["kidney_left", "Left kidney"], "Liver": ["Liver"]}
    segments = [segment("Liver"), segment("left-KIDNEY"), segment("S3", 0, 3, "Left Kidney"), segment("spleen", 0, 4)]
    found = match_segments(segments, wanted, "f")
    assert [one.name for one in found.structures["Liver"]] == ["Liver"]
    assert "liver" not in found.structures
    assert [one.name for one in found.structures["kidney_left"]] == ["left-KIDNEY", "S3"]
    assert [one.name for one in found.strangers] == ["spleen"]
    causes = " ".join(one.cause for one in found.findings)
    assert "'left-KIDNEY' for 'kidney_left'" in causes
    assert "joined" in causes


def test_what_two_structures_may_mean_means_none() -> None:
    found = match_segments([segment("LIVER")], {"liver": ["liver"], "Liver": ["Liver"]}, "f")
    assert [one.name for one in found.strangers] == ["LIVER"]


@pytest.fixture(name="drawn")
def _drawn() -> dict[str, npt.NDArray[np.bool_]]:
    return files.blobs(5, NAMES, (10, 24, 26))


def test_old_files_without_layers_and_values(drawn: dict[str, Any], tmp_path: Path) -> None:
    """Before it wrote layers and values, Slicer gave every segment a component of its own, marked 1."""
    import nrrd

    path = tmp_path / "a.seg.nrrd"
    files.write_slicer(path, drawn, files.grid(), layers=True)
    data, header = nrrd.read(str(path))
    for key in [key for key in header if key.endswith(("_Layer", "_LabelValue"))]:
        del header[key]
    nrrd.write(str(path), data, header)
    volume = read_volume(path, task())
    for name, array in held(volume, task()).items():
        assert (array == drawn[name]).all()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"Segment0_Layer": "7"}, MaskCode.HEADER_INVALID),
        ({"Segment0_LabelValue": "one"}, MaskCode.HEADER_INVALID),
        ({"Segment0_LabelValue": "1", "Segment1_LabelValue": "1"}, MaskCode.HEADER_INVALID),
        ({"Segmentation_SourceRepresentation": "Fractional labelmap"}, MaskCode.PROBABILITY_MAP),
    ],
)
def test_headers_that_contradict_are_refused(
    fields: dict[str, str], code: MaskCode, drawn: dict[str, Any], tmp_path: Path
) -> None:
    files.write_slicer(tmp_path / "a.seg.nrrd", files.apart(drawn), files.grid(), layers=False, fields=fields)
    with pytest.raises(MaskError) as caught:
        read_volume(tmp_path / "a.seg.nrrd", task())
    assert caught.value.findings[0].code is code


def test_a_template_without_segments_is_empty(drawn: dict[str, Any], tmp_path: Path) -> None:
    """Slicer saves "no image" as a single voxel, whose place means nothing."""
    nothing = {name: np.zeros((1, 1, 1), bool) for name in drawn}
    files.write_slicer(tmp_path / "a.seg.nrrd", nothing, files.grid(origin=(0, 0, 0)), layers=False)
    like = geometry_from_affine((10, 24, 26), files.grid())
    volume = read_volume(tmp_path / "a.seg.nrrd", task(), like=like)
    assert volume.geometry == like
    assert holds_nothing(tmp_path / "a.seg.nrrd")
    with pytest.raises(MaskError, match="single voxel"):
        read_volume(tmp_path / "a.seg.nrrd", task())


@pytest.mark.parametrize("overlap", [False, True])
def test_ignored_and_extra_labels_go_by_value_in_slicers_files(
    overlap: bool, drawn: dict[str, Any], tmp_path: Path
) -> None:
    """The schema knows them by number only; the region counts where structures overlap, too."""
    rules = task(ignore_labels=[9], extra_labels=[8])
    edge = np.zeros((10, 24, 26), bool)
    edge[:, :, 20:] = True
    other = np.zeros_like(edge)
    other[0] = True
    drawn = drawn if overlap else files.apart(drawn)
    parts = drawn | {"unsure": edge if overlap else edge & ~np.any([*drawn.values()], axis=0), "table": other}
    values = {"liver": 3, "tumour": 4, "unsure": 9, "table": 8}
    files.write_slicer(tmp_path / "a.seg.nrrd", parts, files.grid(), layers=overlap, values=values)
    volume = read_volume(tmp_path / "a.seg.nrrd", rules)
    assert volume.strangers == ""
    assert (volume.labels is None) is overlap
    if overlap:
        assert (volume.marked([9]) == edge).all()
        for name, array in held(volume, rules).items():
            assert (array == drawn[name]).all()


def test_a_union_may_be_a_segment(drawn: dict[str, Any], tmp_path: Path) -> None:
    rules = task(structures={"left": {"label": 1}, "right": {"label": 2}, "both lungs": {"union": [1, 2]}})
    files.write_slicer(tmp_path / "a.seg.nrrd", {"both lungs": drawn["liver"]}, files.grid(), layers=False)
    found = held(read_volume(tmp_path / "a.seg.nrrd", rules), rules)
    assert (found["both lungs"] == drawn["liver"]).all()
    assert not found["left"].any()


def test_a_label_map_is_wanted(drawn: dict[str, Any], tmp_path: Path) -> None:
    """Who asks for numbers is not given the ones that Slicer made up."""
    path = tmp_path / "a.seg.nrrd"
    files.write_slicer(path, files.apart(drawn), files.grid(), layers=False, values={"liver": 2, "tumour": 1})
    with pytest.raises(MaskError) as caught:
        read_mask(path)
    assert caught.value.findings[0].code is MaskCode.SEGMENTS_NAMED
    assert (read_labelled(path, {"liver": 1}).array == files.apart(drawn)["liver"]).all()


def test_frames_in_any_order_and_with_gaps(drawn: dict[str, Any], tmp_path: Path) -> None:
    parts = {name: mask.copy() for name, mask in drawn.items()}
    for mask in parts.values():
        mask[5] = False
    seg = files.dicom_seg(parts, files.grid(tilt=20))
    count = int(seg.NumberOfFrames)
    order = np.random.default_rng(3).permutation(count)
    voxels = seg.Rows * seg.Columns
    bits = np.unpackbits(np.frombuffer(seg.PixelData, np.uint8), bitorder="little")[: count * voxels].reshape(count, -1)
    seg.PixelData = np.packbits(bits[order].ravel(), bitorder="little").tobytes()
    seg.PixelData += b"\0" * (len(seg.PixelData) % 2)
    seg.PerFrameFunctionalGroupsSequence = [seg.PerFrameFunctionalGroupsSequence[int(one)] for one in order]
    seg.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    like = geometry_from_affine((10, 24, 26), files.grid(tilt=20))
    volume = read_volume(tmp_path / "a.dcm", task(), like=like)
    for name, array in held(volume, task()).items():
        assert (array == parts[name]).all()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_highdicom_reads_the_same(kind: str, drawn: dict[str, Any], tmp_path: Path) -> None:
    import highdicom

    parts = files.apart(drawn)
    files.write_dicom(tmp_path / "a.dcm", parts, files.grid(tilt=20), kind)
    theirs = highdicom.seg.segread(tmp_path / "a.dcm").get_volume(combine_segments=True)
    grid = read_geometry(tmp_path / "a.dcm")
    index = theirs.affine[:3, [2, 1, 0]]  # highdicom's axes are slices, rows, columns
    flipped = np.dot(index[:, 2], grid.affine_lps[:3, 2]) < 0
    array = theirs.array[::-1] if flipped else theirs.array
    assert (read_labelled(tmp_path / "a.dcm", {"liver": 1, "tumour": 2}).array == array).all()
    assert np.allclose(index[:, :2], grid.affine_lps[:3, :2])


@pytest.mark.parametrize("cut", [200, 3000, 6000])
def test_truncated_dicom_is_refused(cut: int, drawn: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    files.write_dicom(path, drawn, files.grid())
    path.write_bytes(path.read_bytes()[:-cut] if cut > 200 else path.read_bytes()[:cut])
    with pytest.raises(MaskError):
        read_volume(path, task())


def test_damaged_dicom_never_raises_anything_else(tmp_path: Path) -> None:
    files.write_dicom(tmp_path / "good.dcm", files.blobs(5, NAMES, (6, 16, 16)), files.grid())
    good = (tmp_path / "good.dcm").read_bytes()
    path = tmp_path / "a.dcm"
    random = np.random.default_rng(1)
    refused = 0
    for _ in range(150):
        broken = bytearray(good)
        for place in random.integers(132, len(good), random.integers(1, 6)):
            broken[place] = random.integers(256)
        path.write_bytes(bytes(broken))
        try:
            read_volume(path, task())
        except MaskError:
            refused += 1
    assert refused > 10


def test_the_extra_is_named_where_it_is_missing(
    drawn: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files.write_dicom(tmp_path / "a.dcm", drawn, files.grid())
    monkeypatch.setattr(dicom, "find_spec", lambda name: None)
    with pytest.raises(dicom.DicomMissingError, match=r"medpodium\[dicom\]"), open_mask(tmp_path / "a.dcm"):
        pass


def test_reading_other_formats_needs_no_dicom_library() -> None:
    import subprocess

    code = "import sys, medpodium.scoring.kinds.segmentation.kind; sys.exit('pydicom' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_gallery_draws_both_on_one_grid(drawn: dict[str, Any], tmp_path: Path) -> None:
    """A reference without its empty slices, and a prediction beyond them."""
    from types import SimpleNamespace

    from medpodium.reports.model.gallery import Reader, Sources

    patterns = {"reference": "{case}.dcm", "prediction": "{case}.seg.nrrd"}
    rules = task(files=patterns)
    files.write_dicom(tmp_path / "ref/p1.dcm", drawn, files.grid())
    moved = {name: np.roll(mask, 3, axis=0) for name, mask in drawn.items()}
    files.write_slicer(tmp_path / "a/p1.seg.nrrd", moved, files.grid(), layers=True, cropped=True)
    asked: Any = SimpleNamespace(task=rules, challenge=SimpleNamespace(modality=None))
    reader = Reader(asked, Sources(tmp_path / "ref", {"a": tmp_path / "a"}))
    assert reader.picture("a", "liver", "p1").startswith(b"\x89PNG")
