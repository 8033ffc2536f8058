"""Make a base image of what a packaged baseline reads when it runs on this machine, and of nothing else.

The libraries of a machine with PyTorch's CUDA build take more than seven gigabytes; a run on the CPU reads a fifth of
them. The program is run once here and watched; its modules go into the image with their compiled forms, since a
container with a read-only file system would otherwise compile thousands of modules at every start.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import source_from_cache
from pathlib import Path

from medpodium.baselines.portable.lazily import PYTORCH

PACKAGES = "opt/packages"
SHELL = ("bash", "sh")
STANDARD = Path(os.__file__).parent
NOT_STANDARD = {"site-packages", "dist-packages", "test", "idlelib", "ensurepip"}
COMPILERS = {"triton", "cuda"}
"""Packages that PyTorch asks for and does without: they make and start GPU code, and weigh half a gigabyte."""
WATCH = """
import json, runpy, sys
seen = set()
sys.addaudithook(lambda event, given: seen.add(given[0]) if event in ("open", "ctypes.dlopen") else None)
try:
    runpy.run_path(sys.argv[1], run_name="__main__")
except SystemExit as end:
    if end.code:
        raise
for module in list(sys.modules.values()):
    spec = getattr(module, "__spec__", None)
    seen |= {getattr(spec, "origin", None), getattr(spec, "cached", None)}
with open(sys.argv[2], "w") as stream:
    json.dump([name for name in seen if isinstance(name, str)], stream)
"""
LAZY = b"import os, sys\nsys.setdlopenflags(os.RTLD_LAZY)\n"
"""Look functions up when they are called, so that the stand-ins for CUDA's libraries need not have any."""


def watch(program: Path, notes: Path) -> list[Path]:
    """Run a packaged baseline here; return the files that it read, and its modules in source and compiled."""
    hidden = ("nnUNet", "PYTHON")  # nothing of these is there in an image
    clean = {key: value for key, value in os.environ.items() if not key.startswith(hidden)}
    command = [sys.executable, "-c", WATCH, str(program), str(notes)]
    answer = subprocess.run(command, capture_output=True, text=True, env=clean, check=False)
    assert answer.returncode == 0, answer.stderr
    seen = set(json.loads(notes.read_text()))
    # a module that is read from its compiled form needs its source beside it
    seen |= {source_from_cache(name) for name in seen if name.endswith(".pyc")}
    return sorted(path for path in map(Path, seen) if path.is_absolute() and path.is_file())


def libraries(files: Iterable[Path]) -> list[Path]:
    """Return the shared libraries that files are linked to, directly or through others."""
    answer = subprocess.run(["ldd", *map(str, files)], capture_output=True, text=True, check=False).stdout
    return sorted({Path(os.path.normpath(found)) for found in re.findall(r"(/\S+) \(0x", answer)})


def layout(read: Iterable[Path], *, stand_ins: bool) -> Iterator[tuple[Path, str]]:
    """Yield every file of the image and its name there.

    With ``stand_ins``, CUDA's libraries, which PyTorch is linked to and which the CPU never calls, are replaced by a
    tiny library of PyTorch's own: two gigabytes less. Only the runtime library is asked, for the number of GPUs.
    """
    site = Path(sysconfig.get_path("purelib"))
    python = Path(os.path.realpath(sys.executable))
    tools = [Path(found) for found in map(shutil.which, SHELL) if found]
    own = [path for path in read if path.is_relative_to(site) and path.relative_to(site).parts[0] not in COMPILERS]
    standard = [
        path
        for path in STANDARD.rglob("*")
        if path.is_file() and path.suffix != ".a" and path.relative_to(STANDARD).parts[0] not in NOT_STANDARD
    ]
    yield python, "usr/local/bin/python3"
    yield from ((tool, f"bin/{tool.name}") for tool in tools)
    yield from ((path, f"usr/local/lib/{STANDARD.name}/{path.relative_to(STANDARD)}") for path in standard)
    if any(path.is_relative_to(site / "torch") for path in own):
        own += site.glob("torch/bin/torch_shm_manager")  # PyTorch refuses to start without it
    linked = libraries([python, *tools, *(path for path in [*own, *standard] if path.suffix == ".so")])
    for path in dict.fromkeys([*own, *linked]):
        if path.is_relative_to(site):
            name = path.relative_to(site).as_posix()
            useless = stand_ins and name.startswith("nvidia/") and not path.name.startswith("libcudart")
            yield site / "torch/lib/libtorch_global_deps.so" if useless else path, f"{PACKAGES}/{name}"
        else:
            # where the linker looks by itself, also for the libraries of a Python in a folder of its own
            usual = path.parts[1] in ("lib", "lib64") or path.is_relative_to("/usr/lib")
            yield path, path.as_posix().lstrip("/") if usual else f"usr/lib/{path.name}"


def send(name: str, files: Iterable[tuple[Path, str]]) -> None:
    """Have the engine import files as an image."""
    changes = ("ENV PATH=/usr/local/bin:/bin", f"ENV PYTHONPATH=/{PACKAGES}")
    command = ["docker", "import", *(word for change in changes for word in ("--change", change)), "-", name]
    written = {"etc/passwd": b"root:x:0:0::/tmp:/bin/sh\n", f"{PACKAGES}/sitecustomize.py": LAZY}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as engine:
        assert engine.stdin is not None
        with tarfile.open(fileobj=engine.stdin, mode="w|", bufsize=1 << 20) as archive:
            folder = tarfile.TarInfo("tmp")
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777
            archive.addfile(folder)
            for target, content in written.items():
                info = tarfile.TarInfo(target)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for source, target in files:
                info = tarfile.TarInfo(target)
                facts = source.stat()
                # Python takes a compiled module only beside a source of the size and time that it was made from
                info.size, info.mode, info.mtime = facts.st_size, facts.st_mode & 0o777, int(facts.st_mtime)
                with source.open("rb") as stream:
                    archive.addfile(info, stream)
    assert engine.returncode == 0


def build(name: str, read: Sequence[Path]) -> None:
    """Import the base image for a packaged program that read these files when it was run here."""
    send(name, layout(read, stand_ins=True))
    if not any("torch" in path.parts for path in read):
        return
    put_off = (
        f"import sys, types; sys.modules.update({{n: types.ModuleType(n) for n in {list(PYTORCH)}}}); import torch"
    )
    check = ["docker", "run", "--rm", "--network", "none", name, "python3", "-c", put_off]
    if subprocess.run(check, capture_output=True, check=False).returncode != 0:
        # a PyTorch that looks CUDA's functions up beforehand: slower, and larger by two gigabytes
        subprocess.run(["docker", "rmi", name], capture_output=True, check=True)
        send(name, layout(read, stand_ins=False))
