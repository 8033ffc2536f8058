"""Make a small base image from this machine: its Python, the shared libraries of that, and a site-packages folder."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SHELL = ("bash", "sh", "chmod", "env", "cat", "ls")
SKIP = re.compile(r"(^|/)(tests?|test_data|include|share/doc)(/|$)|\.(a|h|hpp|cuh|pyi)$")
"""Compiled modules stay: without them every start of the container compiles thousands of files again."""


def libraries(files: Iterable[Path]) -> set[Path]:
    """Return the shared libraries outside Python's own folders that files are linked to."""
    found: set[Path] = set()
    for path in files:
        answer = subprocess.run(["ldd", str(path)], capture_output=True, text=True, check=False).stdout
        for target in re.findall(r"(/\S+) \(0x", answer):
            found.add(Path(target))
    return found


def _entries(site: Path) -> Iterator[tuple[Path, str]]:
    """Yield (source, name in the image)."""
    python = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    binary = Path(os.path.realpath(sys.executable))
    yield binary, "usr/local/bin/python3"
    library = python / "lib" / version
    for path in sorted(library.rglob("*")):
        name = path.relative_to(library).as_posix()
        if path.is_file() and not name.startswith("site-packages/") and not SKIP.search(name):
            yield path, f"usr/local/lib/{version}/{name}"
    for path in sorted(site.rglob("*")):
        name = path.relative_to(site).as_posix()
        # pandas and torch keep modules called 'test', so only their own test data are left out
        if path.is_file() and not re.search(r"\.(a|h|hpp|cuh)$", name):
            yield path, f"usr/local/lib/{version}/site-packages/{name}"
    tools = [Path(found) for found in map(shutil.which, SHELL) if found]
    for tool in tools:
        yield tool, f"bin/{tool.name}"
    linked = [binary, *tools, *(library / "lib-dynload").glob("*.so"), *python.glob("lib/libpython*.so*")]
    linked += [path for path in site.rglob("*.so*") if path.is_file()]
    own = (str(site), str(python))
    for path in sorted(libraries(linked)):
        if not str(path).startswith(own[0]):
            yield path, str(path).lstrip("/") if not str(path).startswith(own[1]) else f"usr/lib/{path.name}"


def build(client: Any, site: Path, name: str) -> None:
    """Import the base image into the engine."""
    from threading import Thread

    reader, writer = os.pipe()

    def fill() -> None:
        with os.fdopen(writer, "wb") as sink, tarfile.open(fileobj=sink, mode="w|") as archive:
            for folder in ("tmp", "bin", "lib64", "usr", "usr/local", "etc"):
                info = tarfile.TarInfo(folder)
                info.type, info.mode = tarfile.DIRTYPE, 0o1777 if folder == "tmp" else 0o755
                archive.addfile(info)
            users = b"root:x:0:0::/tmp:/bin/sh\n"
            info = tarfile.TarInfo("etc/passwd")
            info.size = len(users)
            archive.addfile(info, io.BytesIO(users))
            for source, target in _entries(site):
                real = Path(os.path.realpath(source))
                info = tarfile.TarInfo(target)
                info.size, info.mode = real.stat().st_size, 0o755 if os.access(real, os.X_OK) else 0o644
                with real.open("rb") as stream:
                    archive.addfile(info, stream)

    thread = Thread(target=fill)
    thread.start()
    repository, _, tag = name.partition(":")
    with os.fdopen(reader, "rb") as stream:
        client.api.import_image_from_stream(
            stream, repository=repository, tag=tag or "latest", changes=["ENV PATH=/usr/local/bin:/bin"]
        )
    thread.join()
