"""A container of our own: what the engine is asked with before a submission is blamed or trusted.

Its image holds one program that writes down what it is allowed and waits to be killed. Where the engine runs it under a
profile and refuses a submission under the same profile, the submission's image is at fault; where it refuses both, the
machine is. What it writes down holds for any engine and runtime: it is asked from inside, not of the engine.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from medpodium.containers.sandbox.assembly import Assembly, At
from medpodium.containers.sandbox.engine import remove
from medpodium.containers.sandbox.profile import LABEL, Sandbox

PROGRAM = "/medpodium-wait"
OUTPUT = "/medpodium-report"
"""Where a folder is mounted that the program is to write its report to."""
_OPEN_FOLDER = "medpodium-open"
"""A folder of the image in which anybody may make files, unless the root is read-only."""
REPORT = "report"
_OPEN, _WRITE, _PAUSE, _GETRLIMIT, _GETUID, _CAPGET, _STATFS, _PRCTL = 2, 1, 34, 97, 102, 125, 137, 157
_SOCKET, _CLONE3 = 41, 435
_VSOCK, _STREAM = 40, 1
_NEW_FILE = 0o101
_FSIZE, _NOFILE, _CORE = 1, 7, 4
_NO_NEW_PRIVS, _SECCOMP = 39, 21
_WORDS = 48
_MARK = 0x6D6564706F646975


@dataclass(frozen=True)
class Report:
    """What a program sees of its limits from inside the container.

    Parameters
    ----------
    file, open_files, core : float
        Hard limits; infinite without one.
    no_new_privileges : bool
        Whether a set-user-id program gains nothing.
    filtered : bool
        Whether a seccomp filter is in force (a runtime with its own kernel needs none, and says no).
    capabilities : int
        Mask of the effective and permitted capabilities.
    root_is_writable : bool
        Whether a file can be made in a folder of the image.
    user : int
        Its user, as it sees it.
    scratch, shm : float
        Bytes that ``/tmp`` and ``/dev/shm`` hold; NaN where the file system does not say.
    reaches_host : bool
        Whether a socket can be made that leads to the machine hosting a virtual machine.
    threads : bool
        Whether the C library can start threads: clone3 works, or is said not to be there.
    """

    file: float
    open_files: float
    core: float
    no_new_privileges: bool
    filtered: bool
    capabilities: int
    root_is_writable: bool
    user: int
    scratch: float
    shm: float
    reaches_host: bool
    threads: bool


@cache
def program() -> bytes:
    """Return the program: it writes its report, if there is where to, and waits for a signal."""
    made = Assembly()
    word = [made.room(8 * index) for index in range(_WORDS)]
    for place, what in ((0, _FSIZE), (2, _NOFILE), (4, _CORE)):
        made.call(_GETRLIMIT, what, word[place])
    made.call(_PRCTL, _NO_NEW_PRIVS, 0, 0, 0, 0, keep=word[6])
    made.call(_PRCTL, _SECCOMP, 0, 0, 0, 0, keep=word[7])
    made.call(_OPEN, f"/{_OPEN_FOLDER}/x".encode(), _NEW_FILE, 0o600, keep=word[8])
    made.call(_GETUID, keep=word[9])
    made.call(_CAPGET, struct.pack("<IiQ", 0x20080522, 0, 0), word[10])
    made.call(_STATFS, b"/tmp", word[13])
    made.call(_STATFS, b"/dev/shm", word[28])
    made.call(_SOCKET, _VSOCK, _STREAM, 0, keep=word[43])
    made.call(_CLONE3, 0, 0, keep=word[44])
    made.call(_OPEN, f"{OUTPUT}/{REPORT}".encode(), _NEW_FILE, 0o600, keep=word[46])
    made.call(_WRITE, At(word[46]), word[0], 8 * 46)
    made.call(_WRITE, At(word[46]), struct.pack("<Q", _MARK), 8)
    wait = made.here()
    made.call(_PAUSE)
    made.back(wait)
    return made.program()


def read(raw: bytes) -> Report | None:
    """Return what the program has written, or nothing while it is incomplete."""
    if len(raw) != 8 * 47 or struct.unpack_from("<Q", raw, 8 * 46)[0] != _MARK:
        return None
    word = struct.unpack_from("<46q", raw)
    plain = struct.unpack_from("<46Q", raw)

    def limit(index: int) -> float:
        return float("inf") if plain[index] == 2**64 - 1 else float(plain[index])

    def size(index: int) -> float:
        return float(word[index + 1] * word[index + 2]) if word[index] and word[index + 2] else float("nan")

    effective, permitted, _, high, permitted_high, _ = struct.unpack_from("<6I", raw, 8 * 10)
    return Report(
        file=limit(1),
        open_files=limit(3),
        core=limit(5),
        no_new_privileges=word[6] == 1,
        filtered=word[7] == 2,
        capabilities=effective | permitted | (high | permitted_high) << 32,
        root_is_writable=word[8] >= 0,
        user=plain[9] & 0xFFFFFFFF,
        scratch=size(13),
        shm=size(28),
        reaches_host=word[43] >= 0,
        threads=word[44] != -1,
    )


def _tar(files: dict[str, tuple[bytes, int]], folders: tuple[str, ...] = ()) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in folders:
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(info)
        for name, (data, mode) in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), mode
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


@cache
def archive() -> tuple[str, bytes]:
    """Return (image id, archive as ``docker save`` writes it) of the image; the same bytes everywhere."""
    layer = _tar({PROGRAM.lstrip("/"): (program(), 0o755)}, (_OPEN_FOLDER,))
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
