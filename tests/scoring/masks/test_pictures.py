"""PNG and TIFF label maps: what is stored is the label, and what cannot be a label map is refused by name."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import SimpleITK
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medpodium.scoring.masks.codes import MaskCode, MaskError
from medpodium.scoring.masks.inflate import ReadLimits
from medpodium.scoring.masks.reader import read_geometry, read_mask

LABELS = np.random.default_rng(0).integers(0, 200, (30, 41)).astype(np.uint8)


GREY: Any = {"photometric": "minisblack"}


def png(width: int, height: int, bits: int, colour: int, rows: bytes, interlaced: int = 0) -> bytes:
    """Write a PNG file by its definition: signature, header, rows, end."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    ends = chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + ends


def packed(labels: npt.NDArray[np.uint8], bits: int) -> bytes:
    """Return the rows of a PNG file, samples of so many bits, each row led by its filter (none)."""
    rows = b""
    for row in labels:
        text = "".join(format(int(value), f"0{bits}b") for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    return rows


@pytest.mark.parametrize("colour", [0, 3])
@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_png_labels_are_what_is_stored(tmp_path: Path, bits: int, colour: int) -> None:
    """Grey is not stretched to 0..255, and a palette's index is the label."""
    labels = (LABELS.astype(int) % 2**bits).astype(np.uint8)
    data = png(41, 30, bits, colour, packed(labels, bits))
    if colour == 3:
        palette = bytes(np.random.default_rng(1).integers(0, 255, 3 * 2**bits).astype(np.uint8))
        chunk = struct.pack(">I", len(palette)) + b"PLTE" + palette + struct.pack(">I", zlib.crc32(b"PLTE" + palette))
        data = data[:33] + chunk + data[33:]
    (tmp_path / "m.png").write_bytes(data)
    mask = read_mask(tmp_path / "m.png")
    np.testing.assert_array_equal(mask.array, labels[None])
    assert mask.geometry.planar
    assert not mask.geometry.spaced


def test_png_of_16_bits_and_interlaced(tmp_path: Path) -> None:
    wide = LABELS.astype(np.uint16) * 300
    Image.fromarray(wide).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "wide.png").array[0], wide)
    # Seven passes, each a coarse picture of its own (Adam7).
    passes = [LABELS[::8, ::8], LABELS[::8, 4::8], LABELS[4::8, ::4], LABELS[::4, 2::4], LABELS[2::4, ::2]]
    passes += [LABELS[::2, 1::2], LABELS[1::2]]
    rows = b"".join(packed(part, 8) for part in passes)
    (tmp_path / "interlaced.png").write_bytes(png(41, 30, 8, 0, rows, interlaced=1))
    np.testing.assert_array_equal(read_mask(tmp_path / "interlaced.png").array[0], LABELS)
    (tmp_path / "interlaced.png").write_bytes(png(41, 30, 8, 0, rows[:-1], interlaced=1))
    with pytest.raises(MaskError, match="bytes of rows"):
        read_mask(tmp_path / "interlaced.png")
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(LABELS), str(tmp_path / "itk.png"))
    np.testing.assert_array_equal(read_mask(tmp_path / "itk.png").array[0], LABELS)


@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, bool, np.int16, np.int32, np.float32])
def test_tiff_labels_are_what_tifffile_stored(
    tmp_path: Path, kind: Any, compression: str | None, photometric: str
) -> None:
    """Also where 0 is shown white: Pillow turns those around."""
    labels = (LABELS > 100 if kind is bool else LABELS).astype(kind)
    tifffile.imwrite(tmp_path / "m.tif", labels, compression=compression, photometric=photometric)
    if photometric == "miniswhite" and kind in (np.int16, np.int32):
        with pytest.raises(MaskError, match="of a kind that Pillow does not read"):
            read_mask(tmp_path / "m.tif")
        return
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif").array[0], labels)


def test_tiff_in_tiles_bytes_and_sizes(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "tiles.tiff", LABELS, tile=(16, 16))
    tifffile.imwrite(tmp_path / "order.tiff", LABELS, byteorder=">")
    tifffile.imwrite(tmp_path / "large.tiff", LABELS, bigtiff=True)
    Image.fromarray(LABELS).save(tmp_path / "lzw.tiff", compression="tiff_lzw")
    for path in tmp_path.iterdir():
        np.testing.assert_array_equal(read_mask(path).array[0], LABELS)


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


REFUSED: list[tuple[str, MaskCode, Callable[[Path], Any]]] = [
    ("rgb.png", MaskCode.TYPE_COLOUR, lambda path: Image.fromarray(np.stack([LABELS] * 3, -1)).save(path)),
    ("rgba.png", MaskCode.TYPE_COLOUR, lambda path: Image.fromarray(np.stack([LABELS] * 4, -1)).save(path)),
    ("alpha.png", MaskCode.TYPE_COLOUR, lambda path: Image.fromarray(LABELS).convert("LA").save(path)),
    ("rgb.tif", MaskCode.TYPE_COLOUR, lambda path: tifffile.imwrite(path, np.stack([LABELS] * 3, -1))),
    (
        "pages.tif",
        MaskCode.PAGES,
        lambda path: tifffile.imwrite(path, np.stack([LABELS] * 5), photometric="minisblack"),
    ),
    (
        "frames.png",
        MaskCode.PAGES,
        lambda path: Image.fromarray(LABELS).save(path, save_all=True, append_images=[Image.fromarray(255 - LABELS)]),
    ),
    ("jpeg.tif", MaskCode.LOSSY, lambda path: Image.fromarray(LABELS).save(path, compression="jpeg")),
    (
        "turned.tif",
        MaskCode.ENCODING_UNSUPPORTED,
        lambda path: tifffile.imwrite(path, LABELS, extratags=[(274, 3, 1, 6, True)]),
    ),
    ("jpeg.png", MaskCode.FORMAT_MISMATCH, lambda path: Image.fromarray(LABELS).save(path, format="JPEG")),
    ("tiff.png", MaskCode.FORMAT_MISMATCH, lambda path: Image.fromarray(LABELS).save(path, format="TIFF")),
    ("text.tif", MaskCode.FORMAT_MISMATCH, lambda path: _write(path, b"hello")),
    ("cut.png", MaskCode.DATA_TRUNCATED, lambda path: _write(path, png(41, 30, 8, 0, packed(LABELS, 8))[:400])),
    ("short.png", MaskCode.HEADER_TRUNCATED, lambda path: _write(path, png(41, 30, 8, 0, b"")[:20])),
    ("few.png", MaskCode.DATA_TRUNCATED, lambda path: _write(path, png(41, 300, 8, 0, packed(LABELS, 8)))),
    ("bomb.png", MaskCode.SHAPE_TOO_LARGE, lambda path: _write(path, png(60000, 60000, 8, 0, b"\0"))),
    ("large.png", MaskCode.SHAPE_TOO_LARGE, lambda path: _write(path, png(20000, 20000, 8, 0, b"\0"))),
    ("none.png", MaskCode.SHAPE_INVALID, lambda path: _write(path, png(0, 20, 8, 0, b"\0"))),
    ("negative.tif", MaskCode.VALUE_NEGATIVE, lambda path: tifffile.imwrite(path, LABELS.astype(np.int16) - 5)),
    ("fractions.tif", MaskCode.VALUE_NOT_INTEGRAL, lambda path: tifffile.imwrite(path, LABELS.astype(np.float32) / 7)),
]


@pytest.mark.parametrize(("name", "code", "write"), REFUSED, ids=[case[0] for case in REFUSED])
def test_what_is_no_label_map_is_refused_by_name(
    tmp_path: Path, name: str, code: MaskCode, write: Callable[[Path], Any]
) -> None:
    write(tmp_path / name)
    with pytest.raises(MaskError) as caught:
        read_mask(tmp_path / name)
    assert caught.value.findings[0].code is code
    assert name in caught.value.findings[0].where


def test_a_colour_image_still_has_a_shape(tmp_path: Path) -> None:
    """Inputs of a challenge are photographs: their grid is asked for, never their labels."""
    Image.fromarray(np.stack([LABELS] * 3, -1)).save(tmp_path / "photograph.png")
    assert read_geometry(tmp_path / "photograph.png").shape_zyx == (1, 30, 41)


def test_limits_hold_before_anything_is_decoded(tmp_path: Path) -> None:
    Image.fromarray(LABELS).save(tmp_path / "m.tif")
    with pytest.raises(MaskError, match="the limit is 1000"):
        read_mask(tmp_path / "m.tif", limits=ReadLimits(max_voxels=1000))


def test_a_tiff_with_too_few_strips_is_cut_off(tmp_path: Path) -> None:
    """Pillow gives background for rows that are not there."""
    tifffile.imwrite(tmp_path / "m.tif", LABELS, rowsperstrip=5)
    with tifffile.TiffFile(tmp_path / "m.tif") as file:
        place = file.pages[0].tags["ImageLength"].valueoffset
    content = bytearray((tmp_path / "m.tif").read_bytes())
    content[place : place + 2] = (60).to_bytes(2, "little")
    (tmp_path / "m.tif").write_bytes(content)
    with pytest.raises(MaskError, match="6 of the 12 strips"):
        read_mask(tmp_path / "m.tif")


def test_a_damaged_png_is_never_read(tmp_path: Path) -> None:
    """Every byte of every part has a checksum, which Pillow does not look at for pixels."""
    content = png(41, 30, 8, 0, packed(LABELS, 8))
    for place in range(50, len(content) - 16, 7):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        (tmp_path / "m.png").write_bytes(damaged)
        with pytest.raises(MaskError):
            read_mask(tmp_path / "m.png")


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(["m.png", "m.tif", "lzw.tif"]), st.data())
def test_damage_is_a_finding_or_a_label_map_never_a_crash(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    Image.fromarray(LABELS).save(folder / name, **({"compression": "tiff_lzw"} if name == "lzw.tif" else {}))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        array = read_mask(folder / name, limits=ReadLimits(max_voxels=1 << 24)).array
    except MaskError:
        return
    assert array.ndim == 3
