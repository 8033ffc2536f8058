"""Read pickles as plain data: whatever they name besides numbers and arrays of numpy is refused, and nothing is called.

A pickle is a program. Here numpy's names, under which numbers and arrays are kept by numpy 1 and by numpy 2, lead to
stand-ins that make plain numbers and arrays, and nothing else.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

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


def no_bytes(*given: Any) -> bytes:
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


def _from_buffer(data: Any, kind: Any, shape: Any, order: str) -> Any:
    """Return an array for ``numpy.core.numeric._frombuffer``, numpy's way from pickle protocol 5 on."""
    if not isinstance(kind, _DType) or not isinstance(data, bytes | bytearray):
        raise pickle.UnpicklingError("a numpy array of objects")
    return _shaped(bytes(data), kind, shape, "F" if order == "F" else "C")


def _encode(text: str, code: str) -> bytes:
    """Return the bytes of an array as Python 2 and pickle protocol 2 say them: ``_codecs.encode(text, "latin1")``."""
    if code != "latin1":
        raise pickle.UnpicklingError(f"text in {code}")
    return str(text).encode("latin-1")


def numpy_names() -> dict[tuple[str, str], Any]:
    """Return what stands for numpy's names in a pickle, of numpy 1 and of numpy 2."""
    found: dict[tuple[str, str], Any] = {("numpy", "dtype"): _DType, ("numpy", "ndarray"): _NoArray}
    for room in ("numpy.core", "numpy._core"):
        found |= {(f"{room}.multiarray", "scalar"): _scalar, (f"{room}.multiarray", "_reconstruct"): _reconstruct}
        found[f"{room}.numeric", "_frombuffer"] = _from_buffer
    return found


def stand_ins() -> list[Any]:
    """Return the stand-ins themselves, which a pickle may have made."""
    return [_DType, _Array, _NoArray]


def read_plain(path: Path, more: Mapping[tuple[str, str], Any] | None = None) -> Any:
    """Read a pickle of plain data: numbers, texts, lists, dictionaries, arrays of numbers.

    Parameters
    ----------
    path : Path
        File of ``pickle.dump``.
    more : mapping of (str, str) to object, optional
        What other names, by module and name, are taken for.

    Raises
    ------
    pickle.UnpicklingError
        If it names anything else, of which nothing is looked up or called.
    """
    known = numpy_names() | {("collections", "OrderedDict"): OrderedDict, ("builtins", "bytes"): no_bytes}
    known |= {("_codecs", "encode"): _encode} | dict(more or {})

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if (module, name) not in known:
                raise pickle.UnpicklingError(f"the name {module}.{name}")
            return known[module, name]

    with path.open("rb") as stream:
        return plain(Reader(stream).load())


def plain(value: Any) -> Any:
    """Replace arrays in the making by what they have become, all the way down."""
    if isinstance(value, _Array):
        return value.value
    if type(value) in (list, tuple):
        return type(value)(plain(item) for item in value)
    if type(value) in (dict, OrderedDict):
        return {key: plain(item) for key, item in value.items()}
    return value
