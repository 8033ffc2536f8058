"""Loops are compiled once per machine and release, without the parts of a function that nobody calls.

Numba gives every function a wrapper for Python callers and one for C callers; for small functions those take longer
to compile than the function itself.

What is compiled is kept in the user's cache folder, never in the package: files that an installer did not write it
does not remove either, and what it leaves behind hides the next installation. :func:`cache_folder` says where.
There it is found by what its source says, not by where the source lies: a second environment, a copy on a worker or in
a container, and an installation anew use what the first one compiled.

A package that was built on the machine brings its code compiled (:data:`READY`, :mod:`medpodium.scoring.precompile`),
which is looked at first. Nothing is ever written there but by the build, and whatever does not fit, because the
processor, Python, Numba or a source is another one or a file was damaged, is compiled as it would be without. Both
places hold pickles, which can do what code can: the package's folder is trusted as its modules are, lying beside them.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Any

import numba
from numba import njit
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from medpodium.challenges.sources import hash_of, package_version
from medpodium.scoring.measures.compiled import runtime

# numba's type stubs do not know the options that leave out wrappers
_KERNEL: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True}
_PART: dict[str, Any] = {"nogil": True, "no_cfunc_wrapper": True, "no_cpython_wrapper": True}
_PACKAGE = Path(__file__).resolve().parents[3]
READY = Path(__file__).resolve().parents[1] / "ready"
"""Where a package brings its code compiled; there is no such folder in a clone."""
_SUMS = "SHA256SUMS"
_HASHED = ("scoring/measures",)
_KEPT = 3
_DAY_S = 86_400.0
_config: Any = numba.config  # its stubs do not know CACHE_DIR
deciding = RLock()
"""Held while one is made: Numba's settings are those of the whole process."""


def compiled_kernel(function: Callable[..., Any]) -> Any:
    """Compile a function that Python calls, and keep it on disk where that can be done."""
    folder = cache_folder()
    place = READY if folder is None else folder
    with _numba_keeps_in(place):
        try:
            compiled = njit(cache=True, **_KERNEL)(function)
        except RuntimeError:  # "no locator available"
            compiled = None
    # Numba falls back to the source's own folder, without a word, where it may not write to the one it is given.
    if compiled is None or not Path(compiled.stats.cache_path).is_relative_to(place):
        return njit(**_KERNEL)(function)
    compiled._cache.__class__ = _AtOnce
    if folder is None:
        compiled._cache.disable()  # keeps nothing; what is ready is found all the same
    return compiled


class _AtOnce(FunctionCache):
    """What was compiled with the package, or compiled and kept, loaded without the compiler.

    Before numba looks into its cache it fills the tables of all that it could compile, which takes longer than all
    kernels of a case take to load; machine code needs the runtime only. The tables are filled where something is not
    there yet.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return what is ready or kept for a signature; ``None`` where it has to be compiled."""
        found = self._load_ready(sig, target_context)
        if found is not None:
            return found
        begin_runtime(target_context)
        with self._guard_against_spurious_io_errors():
            found = self._load_overload(sig, target_context)  # type: ignore[no-untyped-call]
            if found is not None:
                return found
        return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]

    def _load_ready(self, sig: Any, target_context: Any) -> Any:
        try:
            data = self.ready.load(self._index_key(sig, target_context.codegen()))  # type: ignore[no-untyped-call]
            if data is None:
                return None
            begin_runtime(target_context)
            return self._impl.rebuild(target_context, data)
        except Exception:  # whatever is wrong there, compiling is right
            return None

    @property
    def ready(self) -> _Whole:
        """What the package brings of this function."""
        locator = self._impl.locator
        folder = READY / Path(locator.get_cache_path()).name
        return _Whole(str(folder), self._impl.filename_base, locator.get_source_stamp())  # type: ignore[no-untyped-call]


@functools.cache
def begin_runtime(context: Any) -> None:
    """Have Numba's runtime there, from what the package brings or what was kept, or compiled and kept."""
    folder, ready = cache_folder(), READY / runtime.file_name(context)
    own = None if folder is None else folder / ready.name
    runtime.begin(context, [*([ready] if _is_whole(ready) else []), *([own] if own else [])], own)


class _Whole(IndexDataCacheFile):
    """Files that are read only as they were written: damaged machine code would not raise, but crash or be wrong."""

    def _load_index(self) -> Any:
        return super()._load_index() if _is_whole(Path(self._index_path)) else {}  # type: ignore[no-untyped-call]

    def _load_data(self, name: str) -> Any:
        path = self._data_path(name)  # type: ignore[no-untyped-call]
        return super()._load_data(name) if _is_whole(Path(path)) else None  # type: ignore[no-untyped-call]


def _is_whole(path: Path) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == _sums()[path.relative_to(READY).as_posix()]
    except (OSError, KeyError):
        return False


@functools.cache
def _sums() -> dict[str, str]:
    try:
        lines = (READY / _SUMS).read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return {}
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def make_ready(kept: Path, folder: Path) -> None:
    """Put what was compiled and kept into a package that is being built.

    Parameters
    ----------
    kept : Path
        What ``NUMBA_CACHE_DIR`` was.
    folder : Path
        The package's :data:`READY`; what was there before is replaced.
    """
    files = [path for ending in ("*.nrt", "*.nb[ic]") for path in sorted(kept.rglob(ending)) if path.is_file()]
    if not files:
        raise RuntimeError("nothing was compiled")
    shutil.rmtree(folder, ignore_errors=True)
    sums = []
    for path in files:
        name = path.relative_to(kept).as_posix()
        content = path.read_bytes()
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        sums.append(f"{hashlib.sha256(content).hexdigest()}  {name}\n")
    # without it nothing of the folder is used, so it comes last
    (folder / _SUMS).write_text("".join(sums), encoding="ascii", newline="\n")


def is_ready(function: Any) -> bool:
    """Return whether the package brings a :func:`kernel` compiled for this processor, Python and Numba."""
    cache = function._cache
    if not isinstance(cache, _AtOnce):
        return False
    own = cpu_target.target_context.codegen().magic_tuple()
    return any(key[1] == own for key in cache.ready._load_index())


compiled_part: Any = njit(**_PART)
"""Compile a function that only compiled functions call."""
compiled_instruction: Any = intrinsic
"""Make a function that writes instructions of its own callable in compiled functions."""


def type_of(made: Any) -> Any:
    """Return the type that Numba gives a compiled function that others call."""
    context = cpu_target.typing_context
    context.refresh()  # it knows instructions that were there when it last looked
    return context.resolve_value_type(made)


@functools.cache
def cache_folder() -> Path | None:
    """Return where compiled code is kept, made where it was not there; ``None`` where nothing can be written.

    ``NUMBA_CACHE_DIR`` names the place. Without it, it is ``medpodium/numba/<version>-<hash of the sources>`` in the
    user's cache folder (``~/.cache`` or ``XDG_CACHE_HOME`` on Linux), so that releases and clones never meet. Folders
    that nobody used for a day are removed, but for the newest ones.
    """
    if _config.CACHE_DIR:
        chosen = Path(_config.CACHE_DIR).absolute()
        return chosen if _writable(chosen) else None
    try:
        import platformdirs
    except ImportError:  # in a scorer on another platform, whose container is thrown away after each run anyway
        return None
    root = Path(platformdirs.user_cache_dir("medpodium", appauthor=False)) / "numba"
    folder = (root / f"{package_version()}-{_sources()[:16]}").absolute()
    if not _writable(folder):
        return None
    _remove_old(root, folder)
    return folder


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        os.utime(folder)  # when it was last used
    except OSError:
        return False
    return True


def _remove_old(root: Path, own: Path) -> None:
    """Remove the folders of other sources, but for the newest and for those in use: used within the last day."""
    with suppress(OSError):  # another process may be doing the same
        used = {path: path.stat().st_mtime for path in root.iterdir() if path.is_dir() and path != own}
        newest = sorted(used, key=lambda path: used[path], reverse=True)
        for path in newest[_KEPT:]:
            if used[path] < time.time() - _DAY_S:
                shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _numba_keeps_in(folder: Path) -> Iterator[None]:
    """Let numba decide for this folder; functions of other packages in the same process keep their own place."""
    with deciding:
        own = {"CACHE_DIR": str(folder), "CACHE_LOCATOR_CLASSES": f"{__name__}.{BySource.__name__}"}
        # numba knows no other locators than its own before 0.61, and finds what it kept by the source's path then
        before = {name: getattr(_config, name, "") for name in own}
        try:
            for name, value in own.items():
                setattr(_config, name, value)
            yield
        finally:
            for name, value in before.items():
                setattr(_config, name, value)


class BySource:
    """Where numba keeps a function: in a folder named by the content of the sources it is compiled from.

    This is numba's protocol of a cache locator (``NUMBA_CACHE_LOCATOR_CLASSES``). Numba itself tells processors,
    types of arguments and versions of Python apart.

    Parameters
    ----------
    function : callable
        What is compiled.
    path : str
        The file that holds it.
    """

    def __init__(self, function: Callable[..., Any], path: str) -> None:
        own = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        parts = (numba.__version__, function.__module__, _sources(), own)
        self._py_file = path  # numba names it in warnings
        self._stamp = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        self._name = str(function.__code__.co_firstlineno)
        self._folder = Path(_config.CACHE_DIR) / f"{Path(path).parent.name}_{self._stamp[:32]}"

    @classmethod
    def from_function(cls, function: Callable[..., Any], path: str) -> BySource | None:
        """Return the place of a function; ``None`` where nothing can be written there or its source is no file."""
        try:
            found = cls(function, path)
            found.ensure_cache_path()
        except OSError:
            return None
        return found

    def ensure_cache_path(self) -> None:
        """Make the folder; ``OSError`` where nothing can be written into it, or for what is ready, where it is not."""
        if self._folder.is_relative_to(READY):
            (READY / _SUMS).stat()
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._folder):
            pass

    def get_cache_path(self) -> str:
        """Return the folder."""
        return str(self._folder)

    def get_source_stamp(self) -> str:
        """Return what changes with the sources."""
        return self._stamp

    def get_disambiguator(self) -> str:
        """Return what tells functions of one name in one file apart."""
        return self._name


@functools.cache
def _sources() -> str:
    return hash_of(_PACKAGE, _HASHED)
