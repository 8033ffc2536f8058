"""Read checkpoints of nnU-Net v1 and v2 without running anything that they say.

A checkpoint is a pickle, and a pickle is a program. PyTorch reads one as plain data where every name in it is on a
list; the numbers of numpy that nnU-Net writes beside the weights are not on it, under the names of numpy 1
(``numpy.core``) least of all. Here these names lead to stand-ins that make plain numbers and arrays, and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medpodium.baselines.failures import BaselineCode, refuse

_KEYS = ("network_weights", "state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_KINDS = "?biufcSU"
"""Kinds of numpy's plain numbers and texts; objects and records are left out."""
_PICKLED_ARRAY = 1
"""Version that numpy writes into the state of an array."""


class _DType:
    """Type of a number, as ``numpy.dtype('f8', False, True)`` and its state describe it."""

    def __init__(self, code: str, *_: Any) -> None:
        kind = np.dtype(str(code))
        if kind.char not in "?" and kind.kind not in _KINDS:
            raise pickle.UnpicklingError(f"numpy values of the type {code!r}")
        self.kind = kind

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.kind = self.kind.newbyteorder(order)


class _Array:
    """An array in the making: numpy describes an empty one, and then its state."""

    def __init__(self) -> None:
        self.value: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        version, shape, kind, fortran, data = state
        if version != _PICKLED_ARRAY or not isinstance(kind, _DType) or not isinstance(data, bytes | str):
            raise pickle.UnpicklingError("a numpy array of objects")
        raw = data if isinstance(data, bytes) else data.encode("latin-1")
        self.value = _shaped(raw, kind, shape, "F" if fortran else "C")


def _scalar(kind: Any, data: Any = b"") -> Any:
    """Return a plain number for ``numpy.core.multiarray.scalar(type, bytes)``."""
    if not isinstance(kind, _DType) or not isinstance(data, bytes | str):
        raise pickle.UnpicklingError("a numpy value that is no number")
    raw = data if isinstance(data, bytes) else data.encode("latin-1")
    return np.frombuffer(raw, kind.kind, count=1)[0].item()


def _no_bytes(*given: Any) -> bytes:
    """Return the content of an array without elements, as old pickles say it: ``bytes()``."""
    if given:
        raise pickle.UnpicklingError("a call of bytes")
    return b""


def _shaped(raw: bytes, kind: _DType, shape: Any, order: Any) -> Any:
    values = np.frombuffer(raw, kind.kind) if raw else np.empty(0, kind.kind)  # numpy reads no empty buffer
    return values.reshape(shape, order=order).copy()


def _reconstruct(*_: Any) -> _Array:
    return _Array()


class _NoArray:
    """Stands for ``numpy.ndarray``, which is only ever named, never made."""

    def __init__(self, *_: Any) -> None:
        raise pickle.UnpicklingError("a numpy array that does not describe itself")


def _names() -> list[Any]:
    """Return what may be named in a checkpoint besides PyTorch's own list."""
    import torch

    names: list[Any] = [torch.device, _DType, _Array, _NoArray, (_DType, "numpy.dtype"), (_NoArray, "numpy.ndarray")]
    for room in ("numpy.core", "numpy._core"):  # as numpy 1 and numpy 2 call it
        names += [(_scalar, f"{room}.multiarray.scalar"), (_reconstruct, f"{room}.multiarray._reconstruct")]
        names.append((_from_buffer, f"{room}.numeric._frombuffer"))
    names.append((_no_bytes, "builtins.bytes"))
    return names


def _from_buffer(data: Any, kind: Any, shape: Any, order: str) -> Any:
    """Return an array for ``numpy.core.numeric._frombuffer``, numpy's way from pickle protocol 5 on."""
    if not isinstance(kind, _DType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("a numpy array of objects")
    return _shaped(bytes(data), kind, shape, "F" if order == "F" else "C")


def read_content(path: Path, *, trust: bool = False) -> Any:
    """Read everything that a checkpoint holds, on the CPU.

    Parameters
    ----------
    path : Path
        File written by ``torch.save``, of any version.
    trust : bool
        Unpickle arbitrary objects, which can run code; only for files from a source you trust.

    Returns
    -------
    object
        Usually a dictionary; numbers of numpy are plain numbers.

    Raises
    ------
    UsageError
        If the file cannot be read, or holds objects and is not trusted.
    """
    import torch

    try:
        if trust:
            return torch.load(path, map_location="cpu", weights_only=False)
        with torch.serialization.safe_globals(_names()):
            return _plain(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        fix = "use --trust-checkpoint if you trust its source; reading such a file can run code"
        cause = f"holds objects besides weights ({_reason(error)})"
        raise refuse(BaselineCode.CHECKPOINT_OBJECTS, path, cause, fix) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"cannot be read: {_reason(error)}"
        raise refuse(BaselineCode.CHECKPOINT, path, cause, "give a checkpoint of nnU-Net v1 or v2") from None


def _reason(error: BaseException) -> str:
    """Return what is wrong in a line: the name that is not on the list, where PyTorch wraps it in advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), None)
    return (told or next(iter(lines), type(error).__name__))[:200]


def _plain(value: Any) -> Any:
    """Replace arrays in the making by what they have become, all the way down."""
    if isinstance(value, _Array):
        return value.value
    if type(value) in (list, tuple):
        return type(value)(_plain(item) for item in value)
    if type(value) is dict:
        return {key: _plain(item) for key, item in value.items()}
    return value


def weights_of(content: Any, path: Path) -> dict[str, Any]:
    """Return the network's weights in what a checkpoint holds: of nnU-Net v2, of v1, or a plain state dictionary.

    Raises
    ------
    UsageError
        If there are none.
    """
    weights = next((content[key] for key in _KEYS if isinstance(content, Mapping) and key in content), content)
    if not isinstance(weights, Mapping) or not weights or not all(hasattr(item, "shape") for item in weights.values()):
        fix = "give a checkpoint of nnU-Net v1 (state_dict) or v2 (network_weights)"
        raise refuse(BaselineCode.CHECKPOINT, path, "holds no network weights", fix)
    return {_bare(str(key)): value for key, value in weights.items()}


def read_checkpoint(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read the weights of a checkpoint; see :func:`read_content` and :func:`weights_of`.

    Returns
    -------
    dict of str to torch.Tensor
        Names without the prefixes of parallel and compiled networks.
    """
    return weights_of(read_content(path, trust=trust), path)


def _bare(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
