"""A container of our own that does nothing: what the engine is asked with before a submission is blamed or trusted.

Its image holds one program of 132 bytes that waits to be killed. Where the engine runs it under a profile and refuses a
submission under the same profile, the submission's image is at fault; where it refuses both, the machine is.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from medpodium.containers.sandbox.engine import remove
from medpodium.containers.sandbox.profile import LABEL, Sandbox

PROGRAM = "/wait"
_BASE = 0x400000
_CODE = bytes.fromhex("b822000000 0f05 ebf7")
"""``mov eax, 34`` (pause), ``syscall``, and back: x86-64, the only platform a submission may have."""


def program() -> bytes:
    """Return a static ELF program for Linux on x86-64 that waits for a signal."""
    head, segment = 64, 56
    size = head + segment + len(_CODE)
    ident = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    start = _BASE + head + segment
    elf = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, start, head, 0, 0, head, segment, 1, 0, 0, 0)
    return elf + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 4096) + _CODE


def _tar(files: dict[str, tuple[bytes, int]]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@cache
def archive() -> tuple[str, bytes]:
    """Return (image id, archive as ``docker save`` writes it) of the image; the same bytes everywhere."""
    layer = _tar({PROGRAM.lstrip("/"): (program(), 0o755)})
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {"Entrypoint": [PROGRAM]},
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(layer).hexdigest()]},
        "history": [{"created": "2024-01-01T00:00:00Z"}],
    }
    raw = json.dumps(document, sort_keys=True).encode()
    digest = hashlib.sha256(raw).hexdigest()
    manifest = [{"Config": f"{digest}.json", "RepoTags": [f"medpodium-control:{digest[:12]}"], "Layers": ["layer.tar"]}]
    names = {"manifest.json": json.dumps(manifest).encode(), f"{digest}.json": raw, "layer.tar": layer}
    return f"sha256:{digest}", _tar({name: (data, 0o644) for name, data in names.items()})


def _image(client: Any) -> str:
    """Return what the engine calls the image, loading it where it is absent."""
    import docker

    digest, data = archive()
    for name in (digest, f"medpodium-control:{digest.partition(':')[2][:12]}"):
        try:
            return str(client.images.get(name).id)
        except docker.errors.ImageNotFound:
            continue
    return str(client.images.load(data)[0].id)


@contextmanager
def created(client: Any, box: Sandbox, labels: dict[str, str] | None = None) -> Iterator[Any]:
    """Create, not start, a container of our own under a submission's profile, for the length of a block.

    Raises
    ------
    docker.errors.APIError
        Where the engine refuses even this one.
    """
    plain = replace(box, image=_image(client), command=None, entrypoint=(PROGRAM,), workdir="/", covered=(), env=())
    container = client.containers.create(**plain.docker_arguments(), labels={LABEL: "run", **(labels or {})})
    try:
        yield container
    finally:
        remove(container)
