"""How the hot loops are compiled: once per machine, without the parts of a compiled function that nobody calls.

Numba gives every function a wrapper for Python callers and one for C callers; for small functions those take longer
to compile than the function itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# numba's type stubs do not know the options that leave out wrappers
_KERNEL: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}
_PART: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, and keep it on disk.

    The compiled code lies beside the source, or in the user's cache folder where that is read-only
    (``NUMBA_CACHE_DIR`` names another place). Where neither can be written, every process compiles anew. What is
    kept holds the :data:`part` functions it calls, too.
    """
    try:
        return njit(cache=True, **_KERNEL)(function)
    except RuntimeError:  # "no locator available": nowhere to keep it
        return njit(**_KERNEL)(function)


part: Any = njit(**_PART)
"""Compile a function that only compiled functions call."""
