"""Reading only what holds something: the same voxels, rows, warnings and refusals as reading everything carefully."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medpodium.findings import Finding
from medpodium.scoring.masks import inflate, sparse
from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.reader import read_mask

QUICK = inflate._reader


def volume(draw: st.DrawFn, widest: int = 70) -> np.ndarray:
    """Draw a mostly empty label map (z, y, x), as masks are."""
    shape = [draw(st.integers(1, n)) for n in (5, 6, widest)]
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    labels = rng.integers(0, draw(st.sampled_from([3, 255, 400])), shape)
    return np.where(rng.random(shape) < draw(st.sampled_from([0.0, 0.01, 0.2, 1.0])), labels, 0).astype(np.uint16)


@st.composite
def volumes(draw: st.DrawFn) -> np.ndarray:
    """Draw label maps."""
    return volume(draw)


def assert_rows(labels: np.ndarray, rows: sparse.Rows | None) -> None:
    """Compare the extents of rows with what numpy says; short rows have none."""
    if labels.shape[2] < 32:
        assert rows is None
        return
    assert rows is not None
    for place in np.ndindex(*labels.shape[:2]):
        held = np.flatnonzero(labels[place])
        expected = (held[0], held[-1] + 1) if held.size else (0, 0)
        assert (rows[0][place], rows[1][place]) == expected


@settings(max_examples=60, deadline=None)
@given(volumes(), st.data())
def test_pieces_of_any_size_make_the_volume(labels: np.ndarray, data: st.DataObject) -> None:
    filled = sparse.SparseVolume(labels.shape)
    flat, start = labels.ravel(), 0
    while start < flat.size:
        size = data.draw(st.integers(1, flat.size - start))
        piece = flat[start : start + size]
        filled.add(piece.astype(np.uint16 if piece.max() > 255 else np.uint8))
        start += size
    assert np.array_equal(filled.array, labels)
    assert filled.array.dtype == (np.uint16 if labels.max() > 255 else np.uint8)
    assert_rows(labels, filled.rows)


@settings(max_examples=30, deadline=None)
@given(volumes(), st.sampled_from(["u1", "i2", ">u2", "f4", "f8"]), st.sampled_from(["nii", "nii.gz"]))
def test_files_of_any_type_are_read_as_nibabel_reads_them(
    tmp_path_factory: pytest.TempPathFactory, labels: np.ndarray, kind: str, ending: str
) -> None:
    if kind == "u1":
        labels = labels % 256
    path = tmp_path_factory.mktemp("m") / f"m.{ending}"
    image = nib.Nifti1Image(labels.T.astype(kind), np.eye(4), dtype=np.dtype(kind))
    nib.save(image, path)
    mask = read_mask(path)
    assert np.array_equal(mask.array, np.asanyarray(nib.load(path).dataobj).T)
    assert_rows(mask.array, mask.rows)


def test_a_large_volume_takes_memory_only_for_what_it_holds(tmp_path: Path) -> None:
    """100 MB of background with one small structure: far less memory than voxels."""
    statm = Path("/proc/self/statm")
    if not statm.is_file():
        pytest.skip("the memory of a process is read from /proc")
    header = nib.Nifti1Image(np.zeros((1, 1, 1), np.uint8), np.eye(4)).header
    header.set_data_shape((500, 500, 400))
    header.set_data_dtype(np.uint8)
    header["vox_offset"] = 352
    path = tmp_path / "m.nii.gz"
    pack = zlib.compressobj(1, zlib.DEFLATED, 31)
    slices = bytearray(250_000)
    with path.open("wb") as file:
        file.write(pack.compress(header.binaryblock + bytes(4)))
        for z in range(400):
            slices[125_250] = z % 2
            file.write(pack.compress(bytes(slices)))
        file.write(pack.flush())
    read_mask(path)
    before = int(statm.read_text().split()[1])
    mask = read_mask(path)
    after = int(statm.read_text().split()[1])
    assert (after - before) * 4096 < 10_000_000
    assert mask.rows is not None
    assert np.flatnonzero(mask.rows[1].sum(axis=1)).tolist() == list(range(1, 400, 2))
    assert mask.array[1::2, 250, 250].all()


def seen(path: Path) -> tuple[object, ...]:
    """Return all that reading a file gives: voxels and warnings, or what is refused."""
    try:
        mask = read_mask(path)
    except MaskError as error:
        return tuple(error.findings)
    return mask.array.tobytes(), mask.array.shape, mask.findings


DAMAGED = {MaskCode.DATA_CORRUPT, MaskCode.DATA_TRUNCATED, MaskCode.FORMAT_MISMATCH, MaskCode.HEADER_INVALID}


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """Draw a gzip file as people and faulty disks write them: members, padding, rubbish, cuts, flipped bits."""
    raw = nib.Nifti1Image(volume(draw).astype(np.uint8).T, np.eye(4)).to_bytes()
    raw = raw[: len(raw) - draw(st.sampled_from([0, 0, 0, 1, 50]))] + bytes(draw(st.sampled_from([0, 0, 0, 1, 5000])))
    step = draw(st.sampled_from([len(raw), 100, 353]))
    packed = b"".join(gzip.compress(raw[at : at + step], mtime=0) for at in range(0, len(raw), step))
    packed += draw(st.sampled_from([b"", b"", bytes(1), bytes(600), b"\x1f", b"\x1f\x8b", b"rubbish", bytes(3) + b"x"]))
    if draw(st.booleans()):
        packed = packed[: len(packed) - draw(st.integers(0, min(40, len(packed) - 20)))]
    data = bytearray(packed)
    for _ in range(draw(st.integers(0, 1))):
        data[draw(st.integers(0, len(data) - 1))] ^= 1 << draw(st.integers(0, 7))
    return bytes(data)


@pytest.mark.skipif(QUICK is None, reason="there is no quick reader on this machine")
@settings(max_examples=250, deadline=None)
@given(data=spoiled())
def test_the_quick_way_accepts_and_refuses_what_the_careful_one_does(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    path = tmp_path_factory.mktemp("m") / "m.nii.gz"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        quick = seen(path)
        patch.setattr(inflate, "_reader", None)
        careful = seen(path)
    if careful[:1] and isinstance(careful[0], Finding) and careful[0].code in DAMAGED:
        # libraries differ in how much they hand out before they see damage, and so in what is seen of it first
        assert all(isinstance(one, Finding) for one in quick)
    else:
        assert quick == careful


def test_a_wrong_checksum_is_refused_by_name(tmp_path: Path) -> None:
    """Bytes 4 to 8 from the end hold the checksum: the voxels are whole and not what was written."""
    path = tmp_path / "m.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((40, 40, 40), np.uint8), np.eye(4)), path)
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(MaskError, match="mask-data-corrupt"):
        read_mask(path)


@settings(max_examples=60, deadline=None)
@given(st.lists(volumes(), min_size=2, max_size=5), st.data())
def test_memory_that_is_kept_shows_nothing_of_the_mask_before(masks: list[np.ndarray], data: st.DataObject) -> None:
    """Masks of any shape and type one after the other, some of them cut off in the middle."""
    memory = sparse.KeptMemory()
    for labels in masks:
        filled = sparse.SparseVolume(labels.shape, memory)
        cut = data.draw(st.integers(0, labels.size))
        for part in (labels.ravel()[:cut], labels.ravel()[cut : None if data.draw(st.booleans()) else cut]):
            if part.size:
                filled.add(part.astype(np.uint16 if part.max() > 255 else np.uint8))
            if data.draw(st.booleans()):
                break
        expected = np.zeros(labels.size, np.uint16)
        expected[: filled._filled] = labels.ravel()[: filled._filled]
        assert np.array_equal(filled.array.ravel(), expected)
