"""Tiny images, made without an engine or a registry: one static busybox, one script, packed as docker save packs."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np

BUSYBOX = Path("/bin/busybox")
APPLETS = """
    sh cat cp ls mkdir rm ln mkfifo mknod dd sleep kill head tail yes chmod touch echo wc sha256sum cut env nc wget
    nslookup id seq tr od grep find mount hostname awk nproc true printf mv truncate date ps test sync nohup setsid
""".split()  # noqa: SIM905 - a list of 50 words reads better so

CHALLENGE: dict[str, Any] = {
    "schema": 1,
    "name": "tiny",
    "title": "Tiny challenge",
    "tasks": {
        "segmentation": {
            "structures": {"organ": {"label": 1}, "lesion": {"label": 2}},
            "empty": {"both": 1.0, "reference": 0.0, "prediction": 0.0},
            "metrics": {"dice": {"kind": "dice"}, "iou": {"kind": "iou"}},
        }
    },
    "recipes": {"mean": {"steps": [{"mean": ["structure", "case", "metric"]}, {"rank": {}}]}},
    "ranking": {"segmentation": "mean"},
    "containers": {
        "default": {
            "per": "case",
            "command": ["/run.sh"],
            "mounts": [
                {"path": "/input", "files": [{"source": "{case}_0000.nii.gz", "target": "{case}_0000.nii.gz"}]},
                {"path": "/output", "kind": "output"},
            ],
            "outputs": [{"name": "{case}.nii.gz"}],
            "limits": {
                "time": "20 s",
                "memory": "64 MiB",
                "cpus": "1",
                "pids": "64",
                "shm": "8 MiB",
                "scratch": "8 MiB",
                "output": "16 MiB",
                "output_files": "200",
                "file": "12 MiB",
                "open_files": "256",
                "log": "64 KiB",
                "image": "64 MiB",
                "layers": "8",
            },
        }
    },
}

GOOD = 'for f in /input/*_0000.nii.gz; do b=${f##*/}; cp "$f" "/output/${b%_0000.nii.gz}.nii.gz"; done'
"""The input of these tests is its own label map, so that copying it is a perfect method."""


def challenge(folder: Path, *, name: str = "challenge.yaml", **changes: Any) -> Path:
    """Write the tiny challenge; ``changes`` go into its container protocol, ``limits`` into the limits."""
    data = json.loads(json.dumps(CHALLENGE))
    protocol = data["containers"]["default"]
    protocol["limits"] |= changes.pop("limits", {})
    protocol |= changes
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data))  # JSON is YAML
    return path


def nifti(array: np.ndarray, spacing: tuple[float, ...] = (1.0, 1.0, 2.0), **fields: Any) -> bytes:
    """Return a NIfTI-1 file (gzip) of an array (z, y, x) with spacing (x, y, z) in mm; header fields for attacks."""
    codes = {"uint8": 2, "int16": 4, "int32": 8, "float32": 16, "float64": 64, "uint16": 512, "int64": 1024}
    z, y, x = fields.pop("dim", array.shape)
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, x, y, z, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, codes[array.dtype.name], 8 * array.itemsize)
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, fields.pop("slope", 1.0), 0)
    header[123] = 2
    header[148:228] = fields.pop("descrip", b"").ljust(80, b"\0")
    struct.pack_into("<2h", header, 252, 0, 1)
    origin = fields.pop("origin", (0.0, 0.0, 0.0))
    signs = fields.pop("signs", (1, 1, 1))
    for row in range(3):
        line = [0.0] * 4
        line[row], line[3] = spacing[row] * signs[row], origin[row]
        struct.pack_into("<4f", header, 280 + 16 * row, *line)
    header[344:348] = b"n+1\0"
    assert not fields, fields
    return gzip.compress(bytes(header) + array.tobytes(), 1, mtime=0)


def mask(seed: int = 0, shape: tuple[int, int, int] = (12, 24, 20)) -> np.ndarray:
    """Return a label map with an organ and a lesion."""
    rng = np.random.default_rng(seed)
    array = np.zeros(shape, np.uint8)
    low = rng.integers(1, 4, 3)
    array[low[0] : low[0] + 7, low[1] : low[1] + 14, low[2] : low[2] + 12] = 1
    array[low[0] + 2 : low[0] + 4, low[1] + 3 : low[1] + 6, low[2] + 3 : low[2] + 6] = 2
    return array


def cases(folder: Path, count: int = 2, prefix: str = "case") -> tuple[Path, Path]:
    """Write images and references of some cases; returns both folders."""
    images, references = folder / "images", folder / "labels"
    for path in (images, references):
        path.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        data = nifti(mask(index))
        (images / f"{prefix}{index + 1}_0000.nii.gz").write_bytes(data)
        (references / f"{prefix}{index + 1}.nii.gz").write_bytes(data)
    return images, references


def layer(
    files: dict[str, bytes], *, busybox: bool = True, links: dict[str, str] | None = None, folders: bool = True
) -> bytes:
    """Return a layer with busybox, its applets and some files (executable)."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name in ("bin", "tmp", "input", "output", "workspace") if folders else ():
            info = tarfile.TarInfo(name)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(info)
        content = {"bin/busybox": BUSYBOX.read_bytes()} if busybox else {}
        for name, data in {**content, **files}.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o755
            tar.addfile(info, io.BytesIO(data))
        for name, target in {
            **({f"bin/{one}": "busybox" for one in APPLETS} if busybox else {}),
            **(links or {}),
        }.items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return out.getvalue()


def script(text: str) -> dict[str, bytes]:
    """Return the files of a shell submission."""
    return {"run.sh": ("#!/bin/sh\n" + text + "\n").encode()}


def archive(
    path: Path,
    text: str = GOOD,
    *,
    files: dict[str, bytes] | None = None,
    config: dict[str, Any] | None = None,
    top: dict[str, Any] | None = None,
    layers: list[bytes] | None = None,
    members: dict[str, bytes] | None = None,
    manifest: Any = None,
    tag: str | None = None,
) -> Path:
    """Write an archive as docker save does: manifest, configuration, layers. Every part can be forged."""
    blobs = layers if layers is not None else [layer({**script(text), **(files or {})})]
    unpacked = [gzip.decompress(blob) if blob[:2] == b"\x1f\x8b" else blob for blob in blobs]
    diff_ids = ["sha256:" + hashlib.sha256(blob).hexdigest() for blob in unpacked]
    settings = {"Env": ["PATH=/bin"], "User": "1000:1000", "Cmd": ["/run.sh"], **(config or {})}
    image = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created": "2024-01-01T00:00:00Z"} for _ in blobs],
        **(top or {}),
    }
    raw = json.dumps(image).encode()
    digest = hashlib.sha256(raw).hexdigest()
    names = [f"{index}/layer.tar" for index in range(len(blobs))]
    entry = {"Config": f"{digest}.json", "RepoTags": [tag or f"{path.name.partition('.')[0]}:latest"], "Layers": names}
    content = {f"{digest}.json": raw, **dict(zip(names, blobs, strict=True))}
    content["manifest.json"] = json.dumps([entry] if manifest is None else manifest).encode()
    content |= members or {}
    return pack(path, content)


def pack(path: Path, content: dict[str, bytes]) -> Path:
    """Write a tar, compressed as its name says."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return compress(path, out.getvalue())


def compress(path: Path, data: bytes) -> Path:
    """Write bytes, compressed as the file's name says."""
    if path.name.endswith(".gz"):
        data = gzip.compress(data, 1, mtime=0)
    elif path.name.endswith(".zst"):
        import zstandard

        data = zstandard.ZstdCompressor(level=1).compress(data)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def campaign(folder: Path, *, count: int = 2, **changes: Any) -> Any:
    """Make and open a campaign of the tiny challenge with some cases."""
    from medpodium.challenges import registry
    from medpodium.challenges.campaign import cases as case_files
    from medpodium.challenges.campaign import folder as campaigns

    loaded = registry.load(challenge(folder, **changes))
    images, references = cases(folder, count)
    manifest, findings = case_files.build(loaded.containers["default"], images, references, ["{case}.nii.gz"])
    assert not findings, findings
    return campaigns.create(folder / "campaign", loaded, manifest)


def run(client: Any, campaign: Any, archives: dict[str, Path], **options: Any) -> None:
    """Submit archives and run everything that is pending."""
    from medpodium.containers import athome
    from medpodium.containers.run.runner import Options, Runner

    entries = [athome.submit(client, campaign, str(path), team, None)[0] for team, path in archives.items()]
    runner = Runner(client, campaign, Options(**options))
    with runner.session():
        runner.run(entries)


def tags(client: Any, *prefixes: str) -> list[str]:
    """Return the tags of the engine's images that start with one of these; other tests may remove images meanwhile."""
    found = [tag for image in client.api.images() for tag in image.get("RepoTags") or []]
    return [tag for tag in found if tag.startswith(prefixes)]


def clean(client: Any, *prefixes: str) -> None:
    """Remove images that intake loaded."""
    for tag in tags(client, *(prefixes or ("medpodium/",))):
        try:
            client.images.remove(tag, force=True)
        except Exception as error:
            if getattr(error, "status_code", None) not in (404, 409):
                raise


def free_tree(path: Path) -> None:
    """Remove a folder whatever is in it."""
    shutil.rmtree(path, ignore_errors=True)
