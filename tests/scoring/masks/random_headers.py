"""Random mask files that their formats allow: what is common, what is rare, and what contradicts itself.

Every maker takes a random generator and returns a file's name and content. Voxels are labels 0 to 9.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import numpy as np

Rng = np.random.Generator
Matrix = np.ndarray[Any, Any]
_STEPS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 5.0, 0.9765625, 0.703125)


def _likely(rng: Rng, chance: float) -> bool:
    return bool(rng.random() < chance)


def _pick(rng: Rng, *choices: Any) -> Any:
    return choices[int(rng.integers(len(choices)))]


def _spacing(rng: Rng, count: int) -> Matrix:
    plain = _likely(rng, 0.8)
    return np.array([_pick(rng, *_STEPS) if plain else round(rng.uniform(0.3, 6), 6) for _ in range(count)])


def _turn(rng: Rng) -> Matrix:
    """Return a matrix of unit columns: axes of the patient in any order and sign, turned, or turned and mirrored."""
    kind = _pick(rng, "as they are", "signs", "order", "turned", "turned", "turned about an axis")
    if kind == "turned":
        matrix = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    elif kind == "turned about an axis":
        angle = np.radians(_pick(rng, 31, 90, 180, 10.5, -45, float(rng.uniform(-180, 180))))
        matrix = np.eye(3)
        i, j = _pick(rng, (0, 1), (1, 2), (0, 2))
        matrix[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    else:
        matrix = np.eye(3)[:, rng.permutation(3)] if kind == "order" else np.eye(3)
        if kind != "as they are":
            matrix = matrix * rng.choice([-1.0, 1.0], 3)
    return matrix


def _sheared(rng: Rng, turn: Matrix) -> Matrix:
    """Tilt the third axis, as a tilted gantry does."""
    angle = np.radians(rng.uniform(2, 30))
    tilted = turn.copy()
    tilted[:, 2] = turn[:, 2] * np.cos(angle) + turn[:, 1] * np.sin(angle)
    return tilted


def _sizes(rng: Rng, dims: int) -> tuple[int, ...]:
    sizes = [int(size) for size in rng.integers(2, 7, min(dims, 3))]
    if _likely(rng, 0.1):  # not the last one: SimpleITK calls that a plane, nibabel a volume
        sizes[rng.integers(2)] = 1
    return (*sizes, *(1,) * (dims - 3))


def _dims(rng: Rng) -> int:
    return int(_pick(rng, 3, 3, 3, 3, 3, 2, 4, 5))


def _labels(rng: Rng, sizes: tuple[int, ...]) -> Matrix:
    return rng.integers(0, 10, int(np.prod(sizes)))


def _quaternion(rotation: Matrix) -> Matrix:
    """Return (b, c, d) of a proper rotation; the largest of four roots is taken, as nifti1.h advises."""
    trace = np.array([np.trace(rotation), *np.diag(rotation)])
    k = int(trace.argmax())
    r = rotation
    if k == 0:
        a = np.sqrt(1 + trace[0]) / 2
        return np.array([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]]) / (4 * a)
    i, j, m = k - 1, k % 3, (k + 1) % 3
    q = np.zeros(3)
    q[i] = np.sqrt(max(1 + r[i, i] - r[j, j] - r[m, m], 0)) / 2
    q[j], q[m] = (r[j, i] + r[i, j]) / (4 * q[i]), (r[m, i] + r[i, m]) / (4 * q[i])
    a = (r[m, j] - r[j, m]) / (4 * q[i])
    return q if a >= 0 else -q


def nifti(rng: Rng) -> tuple[str, bytes]:
    """Write NIfTI-1 or -2 of either byte order, with qform and sform that agree, or do not, or are broken."""
    second, order = _likely(rng, 0.3), _pick(rng, "<", "<", ">")
    dims = _dims(rng)
    sizes = _sizes(rng, dims)
    step, turn = _spacing(rng, 3), _turn(rng)
    offset = np.round(rng.uniform(-300, 300, 3), int(rng.integers(0, 6)))
    handed = np.linalg.det(turn)
    quaternion = _quaternion(turn * [1, 1, np.sign(handed)])
    pixdim = np.array([1.0 if handed > 0 else -1.0, *step, *(1.0,) * 4])
    if handed > 0 and _likely(rng, 0.1):
        pixdim[0] = 0
    shape = _sheared(rng, turn) if _likely(rng, 0.12) else turn
    rows = np.column_stack([shape * step, offset])
    codes = [int(_pick(rng, 0, 1, 1, 2, 4)), int(_pick(rng, 0, 1, 1, 2, 3))]
    if _likely(rng, 0.1):  # another opinion about the spacing
        rows[:, rng.integers(3)] *= 1 + _pick(rng, 1e-4, 5e-3, 1 / 3, -0.25)
    if _likely(rng, 0.1):  # another opinion about the place
        rows[:, 3] += rng.uniform(-30, 30, 3)
    if _likely(rng, 0.06):
        rows = _pick(rng, rows * 0, rows * np.nan, np.where(np.arange(4) == 1, 0, rows))
    if _likely(rng, 0.06):
        quaternion = _pick(rng, quaternion * np.nan, np.array([0.9, 0.9, 0.1]), np.array([np.inf, 0, 0]))
    if _likely(rng, 0.06):
        pixdim[1 + rng.integers(3)] *= _pick(rng, -1, -1, 0, np.nan)
    elif _likely(rng, 0.03):
        pixdim[0] = _pick(rng, -2, 2, 0.5, np.nan)
    units = int(_pick(rng, 2, 2, 2, 2, 2, 10, 0, 1, 3, 4 << 3))
    kind, code = _pick(
        rng,
        ("u1", 2),
        ("i2", 4),
        ("i4", 8),
        ("f4", 16),
        ("f8", 64),
        ("i1", 256),
        ("u2", 512),
        ("u4", 768),
        ("i8", 1024),
    )
    slope, inter = _pick(rng, (1, 0), (1, 0), (1, 0), (0, 0), (0, 3), (np.nan, 0), (2, 0), (1, 1), (3, 2))
    dim = [dims, *sizes, *(1,) * (7 - dims)]
    extension = struct.pack(order + "2i", 32, 6) + b"hostile <b>".ljust(24) if _likely(rng, 0.1) else b""
    size = 540 if second else 348
    start = size + 4 + len(extension)
    head = bytearray(size)
    struct.pack_into(order + "i", head, 0, size)
    if second:
        head[4:12] = b"n+2\0\r\n\x1a\n"
        struct.pack_into(order + "2h", head, 12, code, 8 * np.dtype(kind).itemsize)
        struct.pack_into(order + "8q", head, 16, *dim)
        struct.pack_into(order + "8d", head, 104, *pixdim)
        struct.pack_into(order + "q2d", head, 168, start, slope, inter)
        struct.pack_into(order + "2i6d12d", head, 344, *codes, *quaternion, *offset, *rows.ravel())
        struct.pack_into(order + "i", head, 500, units)
    else:
        head[344:348] = b"n+1\0"
        struct.pack_into(order + "8h", head, 40, *dim)
        struct.pack_into(order + "2h", head, 70, code, 8 * np.dtype(kind).itemsize)
        struct.pack_into(order + "8f", head, 76, *pixdim)
        struct.pack_into(order + "3f", head, 108, start, slope, inter)
        head[123] = units
        struct.pack_into(order + "2h6f12f", head, 252, *codes, *quaternion, *offset, *rows.ravel())
    content = bytes(head) + (b"\1\0\0\0" + extension if extension else bytes(4))
    content += _labels(rng, sizes).astype(order + kind).tobytes()
    content += bytes(int(rng.integers(1, 4))) if _likely(rng, 0.05) else b""
    return ("case.nii.gz", gzip.compress(content, 1)) if _likely(rng, 0.3) else ("case.nii", content)


def _printed(values: Matrix, digits: int) -> str:
    return " ".join(f"{value:.{digits}g}" for value in np.ravel(values))


def metaimage(rng: Rng) -> tuple[str, bytes]:
    """Write MetaImage under any of its field names, with its data in the same file."""
    dims = _dims(rng)
    sizes = _sizes(rng, dims)
    digits = int(_pick(rng, 17, 17, 15, 9, 6, 4))
    turn = _turn(rng)
    turn = _sheared(rng, turn) if _likely(rng, 0.08) else turn
    if _likely(rng, 0.05):
        turn = turn * _pick(rng, 2.0, 0.5, np.array([1, 1, 0.7]))
    matrix, step, offset = np.eye(max(dims, 3)), _spacing(rng, max(dims, 3)), np.zeros(max(dims, 3))
    if dims == 2:
        angle = rng.uniform(-3, 3) if _likely(rng, 0.5) else 0.0
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    matrix[:3, :3] = turn.T
    offset[:3] = rng.uniform(-300, 300, 3)
    step[3:] = 1
    kind, name = _pick(
        rng, ("u1", "MET_UCHAR"), ("i2", "MET_SHORT"), ("u2", "MET_USHORT"), ("i4", "MET_INT"), ("f4", "MET_FLOAT"),
        ("f8", "MET_DOUBLE"), ("i1", "MET_CHAR"), ("u4", "MET_UINT"), ("i8", "MET_LONG_LONG"),
    )  # fmt: skip
    big = _likely(rng, 0.2)
    data = _labels(rng, sizes).astype((">" if big else "<") + kind).tobytes()
    zipped = _likely(rng, 0.4)
    fields = [("ObjectType", "Image"), ("NDims", str(dims)), ("BinaryData", "True")]
    middle = [
        (_pick(rng, "BinaryDataByteOrderMSB", "ElementByteOrderMSB"), str(big)),
        ("CompressedData", str(zipped)),
        (_pick(rng, "TransformMatrix", "Rotation", "Orientation"), _printed(matrix[:dims, :dims], digits)),
        (_pick(rng, "Offset", "Position", "Origin"), _printed(offset[:dims], digits)),
        ("DimSize", " ".join(map(str, sizes))),
    ]
    if not _likely(rng, 0.05):
        middle.append((_pick(rng, "ElementSpacing", "ElementSpacing", "ElementSize"), _printed(step[:dims], 9)))
    extra = [
        ("Comment", "a hostile = comment"), ("CenterOfRotation", _printed(rng.uniform(-9, 9, dims), 5)),
        ("AnatomicalOrientation", _pick(rng, "RAI", "LPS", "???")[:dims]), ("ElementMin", "0"),
        ("DistanceUnits", _pick(rng, "mm", "um", "cm")), ("Modality", "MET_MOD_CT"), ("ElementNumberOfChannels", "1"),
        ("ID", "7"),
    ]  # fmt: skip
    middle += [item for item in extra if _likely(rng, 0.12)]
    middle += [("CompressedDataSize", str(len(zlib.compress(data))))] if zipped and _likely(rng, 0.5) else []
    middle += [("HeaderSize", _pick(rng, "0", "-1"))] if not zipped and _likely(rng, 0.1) else []
    rng.shuffle(middle)
    fields += [*middle, ("ElementType", name), ("ElementDataFile", "LOCAL")]
    content = "".join(f"{key} = {value}\n" for key, value in fields).encode() + (
        zlib.compress(data) if zipped else data
    )
    if not zipped and ("HeaderSize", "-1") not in fields and _likely(rng, 0.05):
        content += bytes(3)
    if _likely(rng, 0.03):
        content = gzip.compress(content)
    return _pick(rng, "case.mha", "case.mha", "case.mhd"), content


def nrrd(rng: Rng) -> tuple[str, bytes]:
    """Write NRRD in any space, with units, centers, kinds, frames, and axes of one layer."""
    sizes = _sizes(rng, int(_pick(rng, 3, 3, 3, 3, 2)))
    planar = len(sizes) == 2
    step, turn = _spacing(rng, 3), np.eye(3) if planar else _turn(rng)
    turn = _sheared(rng, turn) if _likely(rng, 0.08) and not planar else turn
    digits = int(_pick(rng, 17, 17, 15, 9, 6))
    layer = "" if planar else _pick(rng, *[""] * 6, "first", "last", "time")
    axes = len(sizes)
    space = _pick(
        rng, "left-posterior-superior", "LPS", "left-posterior-superior", "right-anterior-superior", "RAS",
        "left-anterior-superior", "LAS", "scanner-xyz", "3D-right-handed", "3D-left-handed", "", "",
    )  # fmt: skip
    if planar or layer == "time":
        space = _pick(rng, "left-posterior-superior-time", "RAST", "scanner-xyz-time") if layer else ""
    vectors = ["(" + ",".join(_printed(column, digits).split()) + ")" for column in (turn * step).T[:axes, :axes]]
    vectors = [vector.replace(")", ",0)") for vector in vectors] if layer == "time" else vectors
    count = 4 if layer == "time" else axes
    kind, name = _pick(
        rng, ("u1", "unsigned char"), ("u1", "uint8"), ("i2", "short"), ("u2", "uint16"), ("i4", "int"),
        ("f4", "float"), ("f8", "double"), ("i1", "signed char"), ("i8", "int64"),
    )  # fmt: skip
    order = _pick(rng, "little", "little", "big")
    data = _labels(rng, sizes).astype((">" if order == "big" else "<") + kind).tobytes()
    where = {"first": ("none", "list", "1"), "last": ("none", "list", "1"), "time": ("(0,0,0,2)", "time", "1")}.get(
        layer
    )

    def along(values: list[str], one: int) -> str:
        extra = [where[one]] if where else []
        return " ".join([*extra, *values] if layer == "first" else [*values, *extra])

    fields = [("type", name), ("dimension", str(axes + bool(layer))), ("sizes", along([str(s) for s in sizes], 2))]
    directed = _likely(rng, 0.85)
    if directed:
        fields.append(("space", space) if space else ("space dimension", str(axes)))
        fields.append(("space directions", along(vectors, 0)))
        if _likely(rng, 0.9):
            fields.append(
                ("space origin", "(" + ",".join(_printed(rng.uniform(-300, 300, count), digits).split()) + ")")
            )
        if _likely(rng, 0.15):
            fields.append(("space units", " ".join([f'"{_pick(rng, "mm", "mm", "um", "m", "cm", "parsec")}"'] * count)))
        if _likely(rng, 0.15):
            fields.append(("measurement frame", " ".join(["(" + ",".join("0" * count) + ")"] * count)))
    elif _likely(rng, 0.75):
        steps = [f"{value:.9g}" for value in step[:axes]]
        fields.append(("spacings", along(steps, 0).replace(where[0] if where else "none", "nan")))
    elif _likely(rng, 0.5):
        fields.append(("axis mins", along(["0"] * axes, 0).replace(where[0] if where else "none", "nan")))
        fields.append(
            (
                "axis maxs",
                along([f"{v:g}" for v in step[:axes] * sizes], 0).replace(where[0] if where else "none", "nan"),
            )
        )
    if layer or _likely(rng, 0.5):
        fields.append(("kinds", along([_pick(rng, "domain", "space") if not layer else "domain"] * axes, 1)))
    if _likely(rng, 0.2):
        fields.append(
            (
                _pick(rng, "centers", "centerings"),
                along(["cell"] * axes, 0).replace(where[0] if where else "none", "???"),
            )
        )
    encoding = _pick(rng, "raw", "gzip", "gz")
    fields += [("endian", order), ("encoding", encoding)]
    if _likely(rng, 0.2):
        fields.append(("content", "hostile: content"))
    stored = data if encoding == "raw" else gzip.compress(data, 1)
    if encoding == "raw" and _likely(rng, 0.08):
        skip = _pick(rng, "-1", "5")
        fields.append(("byte skip", skip))
        stored = b"skip5" + stored
    elif encoding == "raw" and _likely(rng, 0.05):
        stored += bytes(3)
    lines = [f"{key}: {value}" for key, value in fields]
    # pairs of any kind; those that name segments make a file of another kind, which test_segments.py reads
    lines += ["Organ0_Name:=liver: left lobe", "# a comment"] if _likely(rng, 0.4) else []
    content = ("NRRD000" + _pick(rng, "4", "5") + "\n" + "\n".join(lines) + "\n\n").encode() + stored
    if _likely(rng, 0.03):
        content = gzip.compress(content)
    return _pick(rng, "case.nrrd", "case.seg.nrrd"), content
