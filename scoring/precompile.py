"""Compile the loops of scoring and ranking while the package is built, by using them on made-up masks and scores.

What is compiled follows from what the functions hand to each other, so there is no list of loops and types to keep.
Only NumPy, SciPy, Numba, pydantic and psutil are needed: what a build asks for (``.ci/backend.py``).
"""

from __future__ import annotations

import gzip
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.uint8]

_SHAPE_ZYX = (20, 48, 48)
_SPACING_ZYX = (2.0, 1.0, 1.0)
_STRUCTURES: Mapping[str, int | list[int]] = {"one": 1, "two": 2, "both": [1, 2]}
_SURFACES: Mapping[str, Mapping[str, Any]] = {
    "dice": {"kind": "dice"},
    "nsd": {"kind": "nsd", "tolerance_mm": 1.0},
    "hd": {"kind": "hd", "worst": "diagonal"},
    "hd95": {"kind": "hd_percentile", "worst": "diagonal"},
    "assd": {"kind": "assd", "worst": "diagonal"},
}
_BORDERS: Mapping[str, Mapping[str, Any]] = {
    "nsd": {"kind": "nsd", "tolerance_mm": 1.0, "definition": "border-voxel"},
    "hd95": {"kind": "hd_percentile", "worst": "diagonal", "definition": "pooled"},
    "assd": {"kind": "assd", "worst": "diagonal", "definition": "border-voxel"},
}
_LESIONS: Mapping[str, Mapping[str, Any]] = {
    "found": {"kind": "lesion_f1"},
    "dice": {"kind": "lesion_dice"},
    "euler": {"kind": "euler_error"},
}
_APART: Mapping[str, Mapping[str, Any]] = {
    "hd95": {"kind": "lesion_hd_percentile", "missed": 10.0, "invented": 10.0},
}


def fill(folder: Path, seconds: float) -> None:
    """Compile everything in a process for each part, and put it into a folder, which is made when all is done.

    Parameters
    ----------
    folder : Path
        Where the package looks (:data:`medpodium.scoring.measures.compiled.kept.READY`).
    seconds : float
        How long it may take.

    Raises
    ------
    RuntimeError
        If a part fails or takes too long; nothing is put anywhere then.
    """
    from medpodium.challenges.sources import python_command
    from medpodium.scoring.measures.compiled.kept import make_ready

    with tempfile.TemporaryDirectory() as kept:
        own = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
        own |= {"NUMBA_CACHE_DIR": kept, "PYTHONDONTWRITEBYTECODE": "1"}
        running = [subprocess.Popen(python_command(__spec__.name, part), env=own) for part in _PARTS]
        until = time.monotonic() + seconds
        try:
            for one in running:
                if one.wait(max(until - time.monotonic(), 0.0)):
                    raise RuntimeError(f"ended with exit code {one.returncode}")
        except subprocess.TimeoutExpired as error:
            raise RuntimeError(f"not done after {seconds:g} s") from error
        finally:
            for one in running:
                one.kill()
                one.wait()
        make_ready(Path(kept), folder)


def _mask(shift: int = 0) -> Mask:
    made = np.zeros(_SHAPE_ZYX, np.uint8)
    made[4:12, 8 + shift : 30 + shift, 8:30] = 1
    made[8:16, 24:40, 24 + shift : 40 + shift] = 2
    return made


def _dusty() -> Mask:
    made = _mask()
    made[np.random.default_rng(0).random(_SHAPE_ZYX) < 0.02] = 1
    return made


def _measure(metrics: Mapping[str, Mapping[str, Any]], *predictions: Mask) -> None:
    from medpodium.scoring.measuring.reference import Reference

    reference = Reference(_mask(), metrics, spacing=_SPACING_ZYX, structures=_STRUCTURES)
    for prediction in predictions:
        reference.measure(prediction)


def _surfaces() -> None:
    _measure(_SURFACES, _mask(1), _dusty())


def _borders() -> None:
    _measure(_BORDERS, _mask(1), _dusty())


def _lesions() -> None:
    _measure(_LESIONS, _mask(1), _dusty())


def _lesions_apart() -> None:
    _measure(_APART, _mask(1), _dusty())


def _files() -> None:
    """Read masks as ``score`` does: one after the other into the same memory, and whatever labels they have."""
    from medpodium.scoring.masks.labels import labels_in
    from medpodium.scoring.masks.reader import open_mask
    from medpodium.scoring.masks.sparse import KeptMemory

    memory = KeptMemory()
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "mask.nii.gz"
        path.write_bytes(gzip.compress(_nifti(_mask()), 1))
        for _ in range(2):
            with open_mask(path) as reader:
                labels_in(reader.read(memory).array)


def _nifti(mask: Mask) -> bytes:
    """Return a mask as a NIfTI-1 file."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *mask.shape[::-1], 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # uint8
    struct.pack_into("<9f", header, 76, 1, *_SPACING_ZYX[::-1], 0, 0, 0, 0, 352)
    struct.pack_into("<h", header, 254, 1)  # the rows below say where voxels lie
    struct.pack_into("<12f", header, 280, *(np.eye(3, 4) * np.array(_SPACING_ZYX[::-1])[:, None]).ravel())
    header[344:348] = b"n+1\0"
    return bytes(header) + mask.tobytes()


def _ranks() -> None:
    from medpodium.scoring.evidence.units import tally
    from medpodium.scoring.ranking.exact import Quantiles
    from medpodium.scoring.ranking.significance import PairedTests

    chance = np.random.default_rng(0)
    values = chance.random((12, 3))
    weights = tally(chance.integers(0, 12, (4, 12)), 12)
    Quantiles(values)(weights, 0.5)
    PairedTests(values, higher_better=True).p_values(weights)


_PARTS: Mapping[str, tuple[Callable[[], None], ...]] = {
    "surfaces": (_surfaces, _lesions_apart),
    "others": (_files, _ranks, _lesions, _borders),
}
"""What is compiled at the same time; the other part begins with what no other needs, and finds the rest kept already.

Each function is compiled for one set of types. (Two processes that add different ones to what is kept of a function
may lose one.)
"""


def main() -> None:
    """Compile one part, or with ``FOLDER SECONDS`` all of it into a folder."""
    if len(sys.argv) > 2:
        fill(Path(sys.argv[1]), float(sys.argv[2]))
    else:
        for step in _PARTS[sys.argv[1]]:
            step()


if __name__ == "__main__":
    main()
