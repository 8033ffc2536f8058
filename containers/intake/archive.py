"""Read a ``docker save`` archive of a stranger: checked from end to end as a stream, nothing ever unpacked to disk."""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from medpodium.containers.failures import printable
from medpodium.containers.intake.layout import LayoutError, image_of
from medpodium.containers.intake.streams import ERRORS_FROM, unpacked
from medpodium.findings import Code, Finding, MedpodiumError, UsageError

_CHUNK = 1 << 20
_SMALL = 1 << 20
_MAX_KEPT = 64 << 20
_MAX_MEMBERS = 2_000  # docker save writes about four per layer
_MAX_HEADER = 1 << 20
_SLACK = 256 << 20


class ArchiveCode(Code):
    """What can be wrong with an archive of an image."""

    UNREADABLE = "archive-unreadable"
    BOMB = "archive-too-large"
    TOO_MANY = "archive-too-many-files"
    TRAVERSAL = "archive-path"
    SPECIAL = "archive-special-file"
    DUPLICATE = "archive-duplicate-name"
    NO_MANIFEST = "archive-no-manifest"
    """The archive is no image: neither docker save nor the OCI layout wrote it.

    Write it with docker save IMAGE -o FILE, or as an OCI layout, and do not pack it again.
    """
    MANY_IMAGES = "archive-many-images"
    """The archive holds more than one image, or none for linux/amd64.

    Save one image, built for linux/amd64: docker build --platform linux/amd64, then docker save of its tag alone.
    """
    LAYERS = "image-layers"
    TAMPERED = "archive-layer-hash"
    CONFIG = "archive-config"


@dataclass(frozen=True)
class Archive:
    """What an archive holds.

    Parameters
    ----------
    path : Path
        The archive.
    sha256 : str
        Of the archive file.
    digest : str
        ``sha256:...`` of the image's configuration: the image id.
    config : dict
        The image's configuration.
    tags : tuple of str
        Repository tags inside the archive. They are never given to the engine.
    layers : tuple of str
        Members that hold the layers, bottom first.
    config_name : str
        Member that holds the configuration.
    bytes : int
        Size of the unpacked layers.
    sizes : dict of str to int
        Unpacked size of each of these members.
    """

    path: Path
    sha256: str
    digest: str
    config: dict[str, Any]
    tags: tuple[str, ...]
    layers: tuple[str, ...]
    config_name: str
    bytes: int
    sizes: dict[str, int]

    @property
    def diff_ids(self) -> list[str]:
        """Hashes of the unpacked layers."""
        return [str(one) for one in (self.config.get("rootfs") or {}).get("diff_ids") or []]


def refuse(code: Code, path: Path, cause: str, fix: str) -> UsageError:
    """Return the error about an archive that cannot be taken (exit code 2)."""
    return UsageError(Finding(code, path.name, printable(cause), fix))


class _Counted:
    """A stream that hashes what is read from the file and refuses to expand beyond a cap."""

    def __init__(self, stream: Any, limit: int, path: Path) -> None:
        self._stream, self._limit, self._path, self.total = stream, limit, path, 0

    def read(self, size: int = -1) -> bytes:
        data: bytes = self._stream.read(size if size >= 0 else _CHUNK)
        self.total += len(data)
        if self.total > self._limit:
            text = f"expands to more than {self._limit} bytes"
            raise refuse(ArchiveCode.BOMB, self._path, text, "make the image smaller (slim base, no caches, no data)")
        return data


class _Member(tarfile.TarInfo):
    """A tar header whose extended parts cannot ask for more memory than a name needs."""

    def _guard(self) -> None:
        if self.size > _MAX_HEADER:
            raise tarfile.HeaderError(f"extended header of {self.size} bytes")

    def _proc_pax(self, tar: tarfile.TarFile) -> Any:
        self._guard()
        return super()._proc_pax(tar)  # type: ignore[misc]

    def _proc_gnulong(self, tar: tarfile.TarFile) -> Any:
        self._guard()
        return super()._proc_gnulong(tar)  # type: ignore[misc]


@contextmanager
def _plain(path: Path, limit: int) -> Iterator[_Counted]:
    """Open an archive as a plain tar stream; compression is recognised by content, not by name."""
    try:
        with path.open("rb") as file:
            yield _Counted(unpacked(file), limit, path)
    except MedpodiumError:
        raise
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, MemoryError) as error:
        fix = "save it again with: docker save IMAGE | gzip > team.tar.gz"
        raise refuse(ArchiveCode.UNREADABLE, path, f"{type(error).__name__}: {error}", fix) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ERRORS_FROM:
            raise
        raise refuse(ArchiveCode.UNREADABLE, path, str(error), "save and compress it again") from None


@dataclass
class _Contents:
    small: dict[str, bytes] = field(default_factory=dict)
    hashes: dict[str, tuple[str, int]] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)


def inspect(path: Path, *, max_bytes: int, max_layers: int) -> Archive:
    """Check an archive from end to end.

    Parameters
    ----------
    path : Path
        ``.tar``, ``.tar.gz`` or ``.tar.zst`` written by ``docker save``, or an archive of the OCI image layout.
        Layers may be compressed.
    max_bytes, max_layers : int
        Limits of the unpacked image.

    Raises
    ------
    UsageError
        With the reason: no tar, a bomb, a path that leaves the archive, several images, layers that do not match
        their hashes, ...
    """
    if not path.is_file():
        raise refuse(ArchiveCode.UNREADABLE, path, "no such file", "check the path of the archive")
    with _plain(path, max_bytes * 2 + _SLACK) as stream:
        contents = _scan(stream, path, max_bytes)
    document = _manifest(contents, path)
    names = [_resolve(str(name), contents, path) for name in document.get("Layers") or []]
    config_name = _resolve(str(document.get("Config")), contents, path)
    raw = contents.small.get(config_name)
    config = _json(raw, path, "the image's configuration") if raw is not None else None
    if not isinstance(config, dict) or raw is None:
        raise refuse(ArchiveCode.CONFIG, path, "has no readable image configuration", "save the image again")
    diff_ids = [str(one) for one in (config.get("rootfs") or {}).get("diff_ids") or []]
    if not names or len(names) != len(diff_ids) or len(names) > max_layers:
        text = f"has {len(names)} layers ({len(diff_ids)} in its configuration), allowed {max_layers}"
        raise refuse(ArchiveCode.LAYERS, path, text, "merge layers: docker build --squash, or one RUN per purpose")
    for name, expected in zip(names, diff_ids, strict=True):
        if f"sha256:{contents.hashes[name][0]}" != expected:
            text = f"layer {name} is not what the configuration says"
            raise refuse(ArchiveCode.TAMPERED, path, text, "save the image again; the archive is damaged")
    size = sum(contents.hashes[name][1] for name in names)
    if size > max_bytes:
        text = f"the image unpacks to {size} bytes, allowed {max_bytes}"
        raise refuse(ArchiveCode.BOMB, path, text, "make the image smaller (slim base, no caches, no data)")
    from medpodium.challenges.campaign.cases import sha256_of

    digest = "sha256:" + hashlib.sha256(raw).hexdigest()
    tags = tuple(str(tag) for tag in document.get("RepoTags") or [])
    sizes = {name: contents.hashes[name][1] for name in {*names, config_name}}
    return Archive(path, sha256_of(path)[0], digest, config, tags, tuple(names), config_name, size, sizes)


def _scan(stream: _Counted, path: Path, max_bytes: int) -> _Contents:
    contents, kept = _Contents(), 0
    with tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar:  # type: ignore[call-overload]
        for number, member in enumerate(tar):
            if number >= _MAX_MEMBERS:
                text = f"holds more than {_MAX_MEMBERS} files"
                raise refuse(ArchiveCode.TOO_MANY, path, text, "submit the output of docker save as it is")
            name = _safe(member.name, path)
            if member.isdir():
                continue
            if name in contents.hashes or name in contents.links:
                raise refuse(ArchiveCode.DUPLICATE, path, f"holds {name!r} twice", "save the image again")
            if member.issym() or member.islnk():
                base = posixpath.dirname(name) if member.issym() else ""
                contents.links[name] = _safe(posixpath.normpath(posixpath.join(base, member.linkname)), path)
                continue
            source = tar.extractfile(member) if member.isreg() else None
            if source is None:
                raise refuse(ArchiveCode.SPECIAL, path, f"{name!r} is no regular file", "submit docker save's output")
            contents.hashes[name], head = _hash(source, path, max_bytes)
            if member.size <= _SMALL and kept + member.size <= _MAX_KEPT:
                contents.small[name], kept = head, kept + member.size
    return contents


def _safe(name: str, path: Path) -> str:
    clean = posixpath.normpath(name)
    if name.startswith("/") or clean.startswith("..") or "\0" in name or "\\" in name:
        text = f"holds the path {name!r}, which leaves the archive"
        raise refuse(ArchiveCode.TRAVERSAL, path, text, "submit the output of docker save as it is")
    return clean


def _hash(source: IO[bytes], path: Path, max_bytes: int) -> tuple[tuple[str, int], bytes]:
    """Return (SHA-256 and size of the member, unpacked if it is compressed) and its first bytes."""
    digest, size, head = hashlib.sha256(), 0, b""
    reader = unpacked(source)
    while data := reader.read(_CHUNK):
        if len(head) < _SMALL:
            head += data[: _SMALL - len(head)]
        digest.update(data)
        size += len(data)
        if size > max_bytes:
            text = f"a layer unpacks to more than {max_bytes} bytes"
            raise refuse(ArchiveCode.BOMB, path, text, "make the image smaller (slim base, no caches, no data)")
    return (digest.hexdigest(), size), head


def _manifest(contents: _Contents, path: Path) -> dict[str, Any]:
    try:
        return image_of(contents.small)
    except LayoutError as error:
        known = {"none": ArchiveCode.NO_MANIFEST, "many": ArchiveCode.MANY_IMAGES}
        raise refuse(known.get(error.kind, ArchiveCode.CONFIG), path, error.cause, error.fix) from None


def _json(raw: bytes, path: Path, what: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise refuse(ArchiveCode.CONFIG, path, f"{what} is no JSON", "save the image again") from None


def _resolve(name: str, contents: _Contents, path: Path) -> str:
    clean = _safe(name, path)
    for _ in range(40):
        if clean not in contents.links:
            break
        clean = contents.links[clean]
    if clean not in contents.hashes:
        raise refuse(ArchiveCode.CONFIG, path, f"names {name!r}, which is not in it", "save the image again")
    return clean


def normalised(archive: Archive, tag: str, *, max_bytes: int) -> Iterator[bytes]:
    """Yield a new archive for the engine: this configuration, these layers, one tag of ours, nothing else.

    A tag inside the submission could otherwise move ``python:latest`` or another team's name. Layers are handed over
    unpacked: engines differ in the compressions they read.
    """
    layers = {name: f"{index:03d}/layer.tar" for index, name in enumerate(dict.fromkeys(archive.layers))}
    wanted = layers | {archive.config_name: f"{archive.digest.partition(':')[2]}.json"}
    manifest: list[dict[str, Any]] = [{"Config": wanted[archive.config_name], "RepoTags": [tag]}]
    manifest[0]["Layers"] = [layers[name] for name in archive.layers]
    text = json.dumps(manifest).encode()
    yield from _tar_member("manifest.json", len(text), io.BytesIO(text))
    with (
        _plain(archive.path, max_bytes * 2 + _SLACK) as stream,
        tarfile.open(fileobj=stream, mode="r|", tarinfo=_Member) as tar,  # type: ignore[call-overload]
    ):
        for member in tar:
            name = posixpath.normpath(member.name)
            source = tar.extractfile(member) if name in wanted and member.isreg() else None
            if source is not None:
                yield from _tar_member(wanted[name], archive.sizes[name], unpacked(source))
    yield bytes(1024)


def _tar_member(name: str, size: int, source: Any) -> Iterator[bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    yield info.tobuf(tarfile.GNU_FORMAT)
    left = size  # the file may have changed since it was checked; the engine still gets a whole archive
    while left and (chunk := source.read(min(left, _CHUNK))):
        left -= len(chunk)
        yield chunk
    while left:
        left -= (gap := min(left, _CHUNK))
        yield bytes(gap)
    if size % 512:
        yield bytes(512 - size % 512)
