"""Numba's runtime, which every loop is linked with, compiled once instead of in every process.

Numba keeps what it compiles of others, but compiles these few functions of its own at each start: a tenth of what a
small case takes, and 25 MB of memory for a compiler that has nothing else to do where all loops are kept.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.core.runtime import nrtdynmod
from numba.core.runtime.nrt import rtsys

_DIGEST = hashlib.sha256().digest_size


def file_name(context: Any) -> str:
    """Return the name of the file that holds the runtime for this processor, Python and Numba."""
    own = (numba.__version__, sys.version, context.codegen().magic_tuple())
    return f"runtime_{hashlib.sha256(repr(own).encode()).hexdigest()[:32]}.nrt"


@global_compiler_lock  # type: ignore[untyped-decorator]
def begin(context: Any, kept: list[Path], keep: Path | None) -> None:
    """Have the runtime there; call it before anything is linked, which would end the process without it.

    Parameters
    ----------
    context : numba.core.cpu.CPUContext
        What it is for.
    kept : list of Path
        Files that may hold it, the first of which that does is used.
    keep : Path, optional
        Where to keep it, if it had to be compiled.
    """
    for path in kept:
        with suppress(Exception):  # whatever is wrong there, compiling is right
            state = _read(path)
            _initialize(context, lambda own, state=state: own.codegen().unserialize_library(state))
            return
    _initialize(context, _compiled)
    if keep is not None:
        with suppress(OSError, ValueError):  # Numba keeps nothing of one that it made itself before
            _write(keep, rtsys.library.serialize_using_object_code())


def _initialize(context: Any, make: Any) -> None:
    """Let Numba initialize its runtime, unless it is, with a library from elsewhere."""
    before = nrtdynmod.compile_nrt_functions
    nrtdynmod.compile_nrt_functions = make
    try:
        rtsys.initialize(context)
    finally:
        nrtdynmod.compile_nrt_functions = before


def _compiled(context: Any) -> Any:
    """Compile it as Numba does, so that its machine code can be had afterwards."""
    module, library = nrtdynmod.create_nrt_module(context)  # type: ignore[no-untyped-call]
    library.enable_object_caching()
    library.add_ir_module(module)
    library.finalize()
    library.get_pointer_to_function("NRT_incref")  # or there is no machine code yet
    return library


def _read(path: Path) -> Any:
    """Read what was kept; ``ValueError`` if it is not as it was written, as damaged machine code would crash."""
    content = path.read_bytes()
    if hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
        raise ValueError(str(path))
    return pickle.loads(content[_DIGEST:])  # noqa: S301 - trusted as Numba's files beside it are, which are pickles


def _write(path: Path, state: Any) -> None:
    content = pickle.dumps(state)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(hashlib.sha256(content).digest() + content)
    os.replace(file.name, path)  # noqa: PTH105 - at once: other processes may be reading
