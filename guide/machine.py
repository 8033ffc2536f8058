"""What this machine has: each look says what it found, what fails without it, and how to get it."""

from __future__ import annotations

import locale
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import cache_from_source
from pathlib import Path

from medpodium.findings import InfrastructureError, Severity

_FREE_DISK = 5e9
_FREE_MEMORY = 2e9
_LEAST_PYTHON = (3, 10)


@dataclass(frozen=True)
class Look:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
        What it is.
    found : str
        What there is, one line.
    state : Severity
        ``note``: it works; ``warning``: only what ``needed_for`` names does not; ``error``: nothing can be trusted.
    needed_for, fix : str
        What will not work, and what to do.
    """

    name: str
    found: str
    state: Severity
    needed_for: str
    fix: str


def examine() -> list[Look]:
    """Look at everything; a look that fails says so and stops nothing."""
    looks: list[Look] = []
    for look in _LOOKS:
        try:
            looks += look()
        except Exception as error:
            text = f"{type(error).__name__}: {error}".split("\n")[0][:200]
            looks.append(Look(look.__name__.strip("_"), text, Severity.WARNING, "unknown", "report this line"))
    return looks


def _state(works: bool, otherwise: Severity = Severity.WARNING) -> Severity:
    return Severity.NOTE if works else otherwise


def _python() -> Iterator[Look]:
    found = f"{platform.python_version()}, {platform.system()} {platform.machine()}, {os.cpu_count()} CPUs"
    works = sys.version_info >= _LEAST_PYTHON
    yield Look("Python", found, _state(works, Severity.ERROR), "everything", "install Python 3.10 or newer")
    encoding = locale.getpreferredencoding(False)
    fix = "set LANG=C.UTF-8 (or PYTHONUTF8=1)"
    works = encoding.lower().replace("-", "") == "utf8"
    yield Look(
        "text encoding", encoding, _state(works), "names with accents or Chinese characters on the terminal", fix
    )


def _packages() -> Iterator[Look]:
    from packaging.requirements import Requirement

    wrong, number = [], 0
    for text in requires("medpodium") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        number += 1
        try:
            there = version(wanted.name)
        except PackageNotFoundError:
            wrong.append(f"{wanted.name} is not installed")
            continue
        if not wanted.specifier.contains(there, prereleases=True):
            wrong.append(f"{wanted.name} {there}, needs {wanted.specifier}")
    found = "; ".join(wrong) or f"medpodium {version('medpodium')} and the {number} packages it needs"
    yield Look("packages", found, _state(not wrong, Severity.ERROR), "everything", "pip install --upgrade medpodium")


def _memory() -> Iterator[Look]:
    import psutil

    free, total = psutil.virtual_memory().available, psutil.virtual_memory().total
    found = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    fix = "stop other programs, or give 'score --workers 1'"
    yield Look("memory", found, _state(free >= _FREE_MEMORY), "large volumes", fix)


def _disk() -> Iterator[Look]:
    for name, folder in (("this folder", Path.cwd()), ("temporary folder", Path(tempfile.gettempdir()))):
        free = shutil.disk_usage(folder).free
        works = free >= _FREE_DISK and os.access(folder, os.W_OK)
        found = f"{free / 1e9:.1f} GB free in {folder}" + ("" if os.access(folder, os.W_OK) else ", not writable")
        fix = "free some space, or work elsewhere" if name == "this folder" else "free some space, or set TMPDIR"
        yield Look(name, found, _state(works), "campaigns, whose images and predictions are large", fix)


def _compiled() -> Iterator[Look]:
    from medpodium.scoring.measures import kernels
    from medpodium.scoring.measures.compiled.kept import READY, cache_folder, is_ready

    folder, ready = cache_folder(), is_ready(kernels.row_extents)
    found = f"kept in {folder}" if folder else "cannot be kept anywhere"
    fix = "make ~/.cache writable, or set NUMBA_CACHE_DIR to a folder that is"
    if ready:
        found = f"came with the package; whatever else is needed: {found}"
    elif READY.is_dir():
        found += "; what came with the package is for another processor, Python or Numba"
    yield Look("compiled code", found, _state(ready or folder is not None), "speed: every start compiles again", fix)


def _bytecode() -> Iterator[Look]:
    """Python keeps modules compiled beside their source, unless it is told not to or may not write there."""
    package = Path(__file__).parents[1]
    kept = Path(cache_from_source(__file__)).is_file()
    found = "compiled and kept" if kept else "compiled anew at every start"
    if not kept and sys.dont_write_bytecode:
        found += " (PYTHONDONTWRITEBYTECODE is set)"
    fix = f"unset PYTHONDONTWRITEBYTECODE, or once: python -m compileall -q {package}"
    yield Look("Python modules", found, _state(kept), "speed: a second or more of every start", fix)


def _engine() -> Iterator[Look]:
    from medpodium.containers.sandbox import bounds, engine

    needed = "'run', 'check image' and everything else with containers"
    try:
        client = engine.connect(timeout=10)
    except InfrastructureError as error:
        told = error.findings[0]
        yield Look("container engine", told.cause, Severity.WARNING, needed, told.fix)
        return
    about = engine.describe(client)
    found = f"{about['engine']} on {about['system']}, {about['runtime']}, cgroups version {about['cgroup']}"
    yield Look("container engine", found, Severity.NOTE, needed, "")
    for told in engine.preflight(client):
        yield Look(told.where, told.cause, Severity.WARNING, "safety against hostile images", told.fix)
    works = bounds.available()
    found = "outputs get a file system of their own" if works else "no root, no loop devices or no mkfs.ext4"
    fix = "run as root on a machine with loop devices and e2fsprogs"
    yield Look(
        "bounded outputs", found, _state(works), "the kernel's limit on what an image writes (watched instead)", fix
    )


def _gpu() -> Iterator[Look]:
    from medpodium.containers.sandbox import gpu

    found = gpu.find(64)
    fix = "install an NVIDIA driver where submissions or baselines need one"
    yield Look(
        "GPU", found.status, _state(bool(found.handles)), "challenges whose limits give GPUs, training baselines", fix
    )


def _fonts() -> Iterator[Look]:
    from medpodium.reports.formats.glyphs import family_of

    lacking = [name for name, char in (("Chinese", "\u4e2d"), ("Arabic", "\u0639")) if not family_of(char)]
    found = f"none with {' or '.join(lacking)} characters" if lacking else "Chinese and Arabic characters among others"
    fix = "install Noto fonts (Debian: apt install fonts-noto-core fonts-noto-cjk)"
    yield Look("fonts", found, _state(not lacking), "such names in figures, which are then told by code", fix)


def _extras() -> Iterator[Look]:
    from importlib.util import find_spec

    for extra, modules, needed in (
        ("baselines", ("torch", "nnunetv2"), "'baseline' (nnU-Net, STU-Net)"),
        ("dicom", ("pydicom", "highdicom"), "DICOM segmentations"),
        ("scale", ("dask", "distributed"), "scoring on several machines"),
    ):
        lacking = [name for name in modules if find_spec(name) is None]
        found = f"{', '.join(lacking)} not installed" if lacking else "installed"
        yield Look(f"extra {extra}", found, _state(not lacking), needed, f"pip install 'medpodium[{extra}]'")


_LOOKS: tuple[Callable[[], Iterator[Look]], ...] = (
    _python,
    _packages,
    _memory,
    _disk,
    _compiled,
    _bytecode,
    _engine,
    _gpu,
    _fonts,
    _extras,
)
