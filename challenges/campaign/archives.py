"""A campaign as one file, and back: everything it is made of, listed with hashes, verified on the way out and in.

The file is a tar (gzip with the ending ``.gz`` or ``.tgz``). Its first member lists every other one with its size and
SHA-256. Where the hidden data go along, they lie in ``data/`` of the campaign, and the submitted images in ``images/``.
"""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import secrets
import shutil
import sqlite3
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import IO, Any, Literal

from medpodium.challenges.campaign import durable, manifests
from medpodium.challenges.campaign.cases import CaseFile, Manifest, sha256_of
from medpodium.challenges.campaign.folder import Campaign
from medpodium.challenges.sources import package_version
from medpodium.findings import Code, Finding, InfrastructureError, UsageError

LISTING = "medpodium-archive.json"
_CHUNK = 1 << 20
_MOST = 20
_LEDGER = "ledger.sqlite"
_PASSING = ("lock.sqlite", f"{_LEDGER}-wal", f"{_LEDGER}-shm", f"{_LEDGER}-journal", manifests.DRAFT)
"""Files of a campaign that mean nothing without the process that uses them."""


class ArchiveCode(Code):
    """What can be wrong with an archived or moved campaign."""

    EXISTS = "archive-target-exists"
    """Something stands where a campaign would be moved, archived or restored to."""
    UNREADABLE = "archive-unreadable"
    CHANGED = "archive-file-changed"
    MISSING = "archive-file-missing"
    UNKNOWN = "archive-file-unknown"
    """An archive holds a file that its list does not name.

    Restore from a copy nobody has changed.
    """
    DATA = "campaign-data-not-found"


def write(campaign: Campaign, target: Path, *, data: bool, images: bool) -> dict[str, Any]:
    """Write a campaign into one file; it appears complete or not at all.

    Parameters
    ----------
    campaign : Campaign
        Locked by the caller, so that nothing changes meanwhile.
    target : Path
        New file: ``.tar``, ``.tar.gz`` or ``.tgz``.
    data, images : bool
        Whether the hidden cases and references, and the archives of the submitted images, go along.

    Returns
    -------
    dict
        The listing.
    """
    if target.exists():
        raise UsageError(Finding(ArchiveCode.EXISTS, str(target), "exists", "choose a new name"))
    mode: Literal["w", "w:gz"] = "w:gz" if target.name.endswith((".gz", ".tgz")) else "w"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    ledger = part.with_name(f"{part.name}.ledger")
    try:
        _copy_ledger(campaign, ledger)
        sources: dict[str, Path | bytes] = {_LEDGER: ledger, **_own(campaign.root)}
        if data:
            sources |= _data(campaign)
        if images:
            sources |= _images(campaign)
        files = {name: _facts(source) for name, source in sources.items()}
        listing: dict[str, Any] = {"campaign": campaign.root.resolve().name, "medpodium": package_version()}
        listing |= {"challenge": campaign.challenge.reference, "data": data, "images": images, "files": files}
        with part.open("xb") as stream:
            with tarfile.open(fileobj=stream, mode=mode, format=tarfile.PAX_FORMAT) as tar:
                _add(tar, LISTING, json.dumps(listing, indent=1, ensure_ascii=False).encode(), None)
                for name, source in sources.items():
                    _add(tar, name, source, files[name])
            stream.flush()
            os.fsync(stream.fileno())
        part.rename(target)
        durable.settle([target.parent])
    finally:
        part.unlink(missing_ok=True)
        ledger.unlink(missing_ok=True)
    campaign.ledger.event("archive", str(target), files=len(files), data=data, images=images)
    return listing


def _copy_ledger(campaign: Campaign, target: Path) -> None:
    """Copy the ledger as it is at one moment, without its write-ahead log."""
    with closing(sqlite3.connect(target)) as copy:
        campaign.ledger.db.backup(copy)
        copy.execute("PRAGMA journal_mode=DELETE")


def _own(root: Path) -> dict[str, Path]:
    found = {}
    for folder, inner, names in os.walk(root):
        if Path(folder) == root:
            inner[:] = [name for name in inner if name != "work"]
        inner.sort()
        for name in sorted(names):
            path = Path(folder) / name
            relative = path.relative_to(root).as_posix()
            if relative not in (_LEDGER, *_PASSING) and not name.endswith(".part") and not path.is_symlink():
                found[relative] = path
    return found


def _data(campaign: Campaign) -> dict[str, Path | bytes]:
    """Return the files of the cases and references below ``data/``, and the list of cases that says so."""
    manifest = campaign.manifest
    sources: dict[str, Path | bytes] = {}
    for name, (place, files) in _hidden(manifest).items():
        _compare(place, files, "restore it; hidden data are archived as they were hashed, or not at all")
        sources |= {f"data/{name}/{file.path}": place / file.path for file in files}
    root = campaign.root.resolve()
    truth = str(root / "data" / "references") if manifest.references_dir else ""
    inside = replace(manifest, cases_dir=str(root / "data" / "cases"), references_dir=truth)
    return {**sources, manifests.NAME: manifests.dump(inside, root).encode()}


def _hidden(manifest: Manifest) -> dict[str, tuple[Path, list[CaseFile]]]:
    """Return the folders of hidden data and what has to be in them: ``cases``, and ``references`` where there are."""
    cases = [file for case in manifest.cases for file in case.inputs.values()]
    truth = [*manifest.references, *(file for case in manifest.cases for file in case.references)]
    found = {"cases": (Path(manifest.cases_dir), cases)}
    return found | ({"references": (Path(manifest.references_dir), truth)} if manifest.references_dir else {})


def _compare(place: Path, files: Iterable[CaseFile], fix: str) -> None:
    """Name every file that is not what was hashed."""
    problems = []
    for file in files:
        try:
            cause = "" if sha256_of(place / file.path)[0] == file.sha256 else "is not what was hashed"
        except OSError as error:
            cause = f"cannot be read ({error.strerror or error})"
        if cause:
            problems.append(Finding(ArchiveCode.DATA, str(place / file.path), cause, fix))
    if problems:
        raise InfrastructureError(*problems[:_MOST])


def _images(campaign: Campaign) -> dict[str, Path]:
    """Return the archives of submitted images that are there; an image that was local has none."""
    archives = [one.detail.get("image", {}).get("archive") for one in campaign.submissions()]
    return {f"images/{Path(name).name}": Path(name) for name in archives if name and Path(name).is_file()}


def _facts(source: Path | bytes) -> dict[str, Any]:
    if isinstance(source, bytes):
        return {"sha256": hashlib.sha256(source).hexdigest(), "bytes": len(source)}
    try:
        sha256, size = sha256_of(source)
    except OSError as error:
        fix = "restore it; what a campaign is made of is archived whole or not at all"
        cause = f"cannot be read ({error.strerror or error})"
        raise InfrastructureError(Finding(ArchiveCode.MISSING, str(source), cause, fix)) from None
    return {"sha256": sha256, "bytes": size}


def _add(tar: tarfile.TarFile, name: str, source: Path | bytes, facts: Mapping[str, Any] | None) -> None:
    info = tarfile.TarInfo(name)
    info.mode = 0o600
    if isinstance(source, bytes):
        info.size = len(source)
        tar.addfile(info, io.BytesIO(source))
        return
    assert facts is not None  # noqa: S101 - every file is listed before it is packed
    with source.open("rb") as stream:
        reader = _Hashing(stream)
        info.size = int(facts["bytes"])
        tar.addfile(info, reader)
        if reader.digest.hexdigest() != facts["sha256"] or stream.read(1):
            fix = "stop whatever writes to it, and archive again"
            problem = Finding(ArchiveCode.CHANGED, str(source), "changed while it was archived", fix)
            raise InfrastructureError(problem)


class _Hashing(io.RawIOBase):
    """A stream that hashes what is read of it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self.digest.update(data)
        return data


def restore(archive: Path, target: Path) -> dict[str, Any]:
    """Unpack an archived campaign into a new folder, verified: it appears whole or not at all.

    Raises
    ------
    InfrastructureError
        Naming every file that is changed, missing or not listed.
    UsageError
        If the target exists, or the file is no archive of a campaign.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UsageError(Finding(ArchiveCode.EXISTS, str(target), "exists", "choose a new folder"))
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    part.mkdir(mode=0o700)
    try:
        listing = _unpack(archive, part)
        for name in ("predictions", "runs", "work"):
            (part / name).mkdir(mode=0o700, exist_ok=True)
        durable.settle([part])
        if target.exists():
            target.rmdir()
        part.rename(target)
        durable.settle([target.parent])
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return listing


def _unpack(archive: Path, folder: Path) -> dict[str, Any]:
    problems: list[Finding] = []
    seen: set[str] = set()
    listing: dict[str, Any] | None = None
    try:
        with tarfile.open(archive, mode="r:*") as tar:
            for member in tar:
                if listing is None:
                    listing = _listing(archive, tar, member)
                    continue
                facts = listing["files"].get(member.name)
                if facts is None or member.name in seen or not member.isfile() or not _inside(member.name):
                    cause = "is not listed as a file of this campaign"
                    problems.append(_problem(ArchiveCode.UNKNOWN, member.name, cause))
                    continue
                seen.add(member.name)
                stream = tar.extractfile(member)
                assert stream is not None  # noqa: S101 - a regular file
                found = _write(stream, folder / member.name)
                if found != (facts["sha256"], facts["bytes"]):
                    problems.append(_problem(ArchiveCode.CHANGED, member.name, "is not what was archived"))
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        problems.append(_problem(ArchiveCode.UNREADABLE, str(archive), f"is damaged or cut off ({error})"))
    if listing is None:
        fix = "give a file that 'medpodium campaign archive' wrote"
        raise UsageError(Finding(ArchiveCode.UNREADABLE, str(archive), "is no archive of a campaign", fix))
    lost = [name for name in listing["files"] if name not in seen]
    problems += [_problem(ArchiveCode.MISSING, name, "is listed, but not in the archive") for name in lost]
    if problems:
        more = [_problem(ArchiveCode.CHANGED, "...", f"and {len(problems) - _MOST} more")] * (len(problems) > _MOST)
        raise InfrastructureError(*problems[:_MOST], *more)
    return listing


def _problem(code: ArchiveCode, where: str, cause: str) -> Finding:
    return Finding(code, where, cause, "take another copy of the archive; nothing was restored")


def _listing(archive: Path, tar: tarfile.TarFile, member: tarfile.TarInfo) -> dict[str, Any]:
    stream = tar.extractfile(member) if member.name == LISTING and member.isfile() else None
    found = json.loads(stream.read()) if stream is not None else None
    if not isinstance(found, dict) or not isinstance(found.get("files"), dict):
        raise ValueError(f"the first file of {archive.name} is no listing")
    return found


def _inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in path.parts[0]


def _write(stream: IO[bytes], target: Path) -> tuple[str, int]:
    target.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with target.open("xb") as out:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
            out.write(chunk)
        out.flush()
        os.fsync(out.fileno())
    return digest.hexdigest(), size


def move(root: Path, target: Path) -> None:
    """Move a campaign's folder; on another disk it is copied, compared and only then removed.

    Raises
    ------
    InfrastructureError
        Naming a file whose copy differs.
    """
    if target.exists():
        raise UsageError(Finding(ArchiveCode.EXISTS, str(target), "exists", "choose a new folder"))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        root.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        durable.settle([target.parent, root.parent])
        return
    part = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        shutil.copytree(root, part, ignore=lambda folder, _: {"work"} if Path(folder) == root else set())
        (part / "work").mkdir(mode=0o700)
        for name, path in _own(root).items():
            if sha256_of(part / name) != sha256_of(path):
                fix = "look at the disk, and move again; the campaign is where it was"
                raise InfrastructureError(Finding(ArchiveCode.CHANGED, name, "was copied wrongly", fix))
        part.rename(target)
        durable.settle([target.parent])
    finally:
        shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(root)


def relocated(campaign: Campaign, cases: Path | None, references: Path | None) -> None:
    """Say where a campaign's data are now; every file there is compared with its hash, and named where it differs."""
    manifest = campaign.manifest
    places: dict[str, Any] = {}
    for name, place in (("cases", cases), ("references", references)):
        if place is not None:
            _, files = _hidden(manifest).get(name, (place, []))
            _compare(place, files, "give the folder that holds exactly the campaign's files")
            places[f"{name}_dir"] = str(place.resolve())
    manifests.change(campaign, replace(manifest, **places), "move", str(campaign.root.resolve()), **places)


def unreachable(campaign: Campaign) -> Iterator[Finding]:
    """Yield a finding for every folder of hidden data that is not where the campaign knows it."""
    for option, place in (("--cases", campaign.manifest.cases_dir), ("--references", campaign.manifest.references_dir)):
        if place and not Path(place).is_dir():
            fix = f"medpodium campaign move CAMPAIGN {option} DIR says where it is now"
            yield Finding(ArchiveCode.DATA, place, "the folder is not there", fix)
