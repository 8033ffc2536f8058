"""Archives of images as today's tools write them: layers that can be read in places, several frames, the OCI layout."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.findings import UsageError

SKIPPABLE = 0x184D2A50


def estargz(layer: bytes) -> bytes:
    """Return a layer as eStargz: a gzip member per chunk, where a reader can start; the footer is one more."""
    pieces = [layer[start : start + 700] for start in range(0, len(layer), 700)]
    return b"".join(gzip.compress(piece, mtime=0) for piece in [*pieces, b""])


def chunked(layer: bytes) -> bytes:
    """Return a layer as zstd:chunked: a frame per chunk, and its table of contents in frames without data."""
    pieces = [layer[start : start + 700] for start in range(0, len(layer), 700)]
    tail = b"".join(struct.pack("<II", SKIPPABLE + number, 40) + b"x" * 40 for number in (0, 15))
    return b"".join(zstandard.ZstdCompressor().compress(piece) for piece in pieces) + tail


def parallel(layer: bytes) -> bytes:
    """Return a layer as pzstd: before every frame one without data that holds its size."""
    frames = [zstandard.ZstdCompressor().compress(layer[:5000]), zstandard.ZstdCompressor().compress(layer[5000:])]
    return b"".join(struct.pack("<III", SKIPPABLE, 4, len(frame)) + frame for frame in frames)


def oci(tiny: Any, path: Path, blob: bytes, diff_id: str, *, more: int = 0, attested: bool = False) -> Path:
    """Write an OCI archive (as ``skopeo copy ... oci-archive:`` and ``docker buildx -o type=oci`` do)."""
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"User": "1000:1000", "Cmd": ["/run.sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    content: dict[str, bytes] = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}'}

    def put(data: bytes, kind: str) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        content[f"blobs/sha256/{digest}"] = data
        return {"mediaType": kind, "digest": f"sha256:{digest}", "size": len(data)}

    vendor = "application/vnd.oci.image"
    made = {"schemaVersion": 2, "config": put(json.dumps(config).encode(), f"{vendor}.config.v1+json")}
    made["layers"] = [put(blob, f"{vendor}.layer.v1.tar+gzip")]
    entries = [
        put(json.dumps({**made, "n": number}).encode(), f"{vendor}.manifest.v1+json") for number in range(1 + more)
    ]
    if attested:
        entries[0]["platform"] = {"os": "linux", "architecture": "amd64"}
        attestation = put(b'{"layers": []}', f"{vendor}.manifest.v1+json")
        entries.append({**attestation, "platform": {"os": "unknown", "architecture": "unknown"}})
        entries = [put(json.dumps({"manifests": entries}).encode(), f"{vendor}.index.v1+json")]
    content["index.json"] = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    return tiny.pack(path, content)


@pytest.mark.parametrize("make", [estargz, chunked, parallel], ids=["eStargz", "zstd:chunked", "pzstd"])
def test_layers_of_many_members_are_read_whole(tiny: Any, tmp_path: Path, make: Callable[[bytes], bytes]) -> None:
    """0.1.0 stopped at the end of the first member and called the archive damaged."""
    from medpodium.containers.intake import archive

    layer = tiny.layer(tiny.script(tiny.GOOD), busybox=False)
    diff_id = "sha256:" + hashlib.sha256(layer).hexdigest()
    for path in (
        tiny.archive(tmp_path / "saved.tar", layers=[layer], members={"0/layer.tar": make(layer)}),
        oci(tiny, tmp_path / "oci.tar", make(layer), diff_id),
        oci(tiny, tmp_path / "buildx.tar", make(layer), diff_id, attested=True),
        tiny.compress(tmp_path / "all.tar.zst", b""),
    ):
        if path.name == "all.tar.zst":
            path.write_bytes(parallel((tmp_path / "saved.tar").read_bytes()))
        found = archive.inspect(path, max_bytes=1 << 26, max_layers=8)
        assert found.diff_ids == [diff_id]
        assert found.bytes == len(layer)
        # what the engine gets is the layer itself, so that it does not matter what it can unpack
        handed = b"".join(archive.normalised(found, "t:1", max_bytes=1 << 26))
        assert layer in handed


def test_what_hides_behind_the_first_member_is_counted_and_checked(tiny: Any, tmp_path: Path) -> None:
    from medpodium.containers.intake import archive

    layer = tiny.layer(tiny.script(tiny.GOOD), busybox=False)
    bomb = estargz(layer) + gzip.compress(bytes(64 << 20))
    path = tiny.archive(tmp_path / "bomb.tar", layers=[layer], members={"0/layer.tar": bomb})
    with pytest.raises(UsageError, match="archive-too-large"):
        archive.inspect(path, max_bytes=16 << 20, max_layers=8)
    longer = zstandard.ZstdCompressor().compress(layer) + zstandard.ZstdCompressor().compress(b"more")
    path = tiny.archive(tmp_path / "longer.tar", layers=[layer], members={"0/layer.tar": longer})
    with pytest.raises(UsageError, match="archive-layer-hash"):
        archive.inspect(path, max_bytes=16 << 20, max_layers=8)
    whole = "sha256:" + hashlib.sha256(layer).hexdigest()
    with pytest.raises(UsageError, match="archive-many-images"):
        archive.inspect(oci(tiny, tmp_path / "two.tar", layer, whole, more=1), max_bytes=16 << 20, max_layers=8)


@pytest.mark.docker
def test_such_images_are_taken_and_run(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    rules = tiny.challenge(tmp_path)
    images, references = tiny.cases(tmp_path, 1)
    for number, make in enumerate((estargz, chunked)):
        layer = tiny.layer({**tiny.script(f"{tiny.GOOD}; : {number}")})
        path, diff_id = tmp_path / f"new{number}.tar", "sha256:" + hashlib.sha256(layer).hexdigest()
        if make is estargz:
            tiny.archive(path, layers=[layer], members={"0/layer.tar": make(layer)})
        else:
            oci(tiny, path, make(layer), diff_id)
        words = ["check", "image", rules, path, "--cases", images, "--references", references, "--team", f"new{number}"]
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
    tiny.clean(docker_engine, "medpodium/new0", "medpodium/new1")
