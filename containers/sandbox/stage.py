"""What a container gets to see: copies of one case under pseudonyms, metadata files, and an empty output folder."""

from __future__ import annotations

import csv
import errno
import hashlib
import hmac
import io
import json
import os
import random
import shutil
import stat
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.challenges.campaign.cases import Case, Manifest
from medpodium.challenges.campaign.ledger import disk_full
from medpodium.challenges.naming.patterns import format_name, parse_name
from medpodium.challenges.schema.protocol import ContainerProtocol, MetadataFile, Mount, parse_bytes, parse_count
from medpodium.containers.failures import EngineCode, Retry, finding
from medpodium.containers.sandbox import bounds
from medpodium.containers.sandbox.bounds import Bounded
from medpodium.containers.sandbox.outputs import Outputs
from medpodium.containers.sandbox.profile import Bind

_CHUNK = 1 << 20
_MARGIN = 64 << 20
_MAX_OPEN = 100


@dataclass(frozen=True)
class Stage:
    """The folders of one run.

    Parameters
    ----------
    root : Path
        Everything below it belongs to this run and is removed afterwards.
    outputs : Outputs
        The empty folder the container writes to, and how what it writes is bounded.
    binds : tuple of Bind
        What is mounted where.
    names : dict of str to str
        Real case name to the name the container sees.
    """

    root: Path
    outputs: Outputs
    binds: tuple[Bind, ...]
    names: dict[str, str]

    @property
    def output(self) -> Path:
        """The folder the container writes to."""
        return self.outputs.folder


def pseudonyms(protocol: ContainerProtocol, cases: Iterable[Case], secret: str, digest: str) -> dict[str, str]:
    """Return the name each case has inside the container; the real one where the protocol gives no pattern.

    A keyed hash over the submission's digest makes names that differ between submissions, so that nothing learnt about
    a name helps a later entry, and that stay the same when a run is resumed.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    for case in sorted(cases, key=lambda one: one.id):
        text, name = f"{digest}\n{case.id}", case.id
        while protocol.pseudonym is not None:
            code = hmac.new(secret.encode(), text.encode(), hashlib.sha256).digest()
            fresh = {"token": code.hex()[:8], "uuid": str(uuid.UUID(bytes=code[:16], version=4))}
            name = format_name(protocol.pseudonym, {**case.values, **fresh})
            if name not in taken:  # among many cases two short tokens can be the same
                break
            text += "\nagain"
        taken.add(name)
        found[case.id] = name
    return found


def case_order(names: list[str], protocol: ContainerProtocol, secret: str, digest: str) -> list[str]:
    """Return the order the cases run in: random per submission, the same again when a run is resumed."""
    ordered = sorted(names)
    if protocol.random_order:
        random.Random(f"{secret}\n{digest}").shuffle(ordered)  # noqa: S311 - an order, no secret
    return ordered


def prepare(
    root: Path,
    protocol: ContainerProtocol,
    manifest: Manifest,
    cases: list[Case],
    names: dict[str, str],
    user: str,
    cascades: Mapping[str, Cascade] | None = None,
    *,
    bounded: bool = False,
) -> Stage:
    """Copy the inputs of these cases into a new folder and make the output folder.

    Copies, not links: a container cannot change the organizer's files even through a hole in the mount, and the
    mount table inside shows no real path or case name. Each copy is hashed on the way and compared with the manifest.

    Parameters
    ----------
    root : Path
        New folder for this run.
    protocol, manifest, cases, names
        What to stage and what to call it.
    user : str
        ``uid:gid`` that owns the output folder.
    cascades : mapping of str to Cascade
        Task to the same team's collected predictions.
    bounded : bool
        Put the outputs into a file system of fixed size (see :mod:`medpodium.containers.sandbox.bounds`).

    Raises
    ------
    Retry
        When an input differs from the manifest, or the outputs' file system cannot be made.
    InfrastructureError
        When the disk is too full for the inputs and the outputs the limits promise.
    """
    if not has_room(root.parent, protocol, cases):
        needed = _needed(protocol, cases) / 2**20
        text = f"a run needs {needed:.0f} MiB for its inputs and the outputs the limits allow"
        raise disk_full(root.parent, text)
    limits = protocol.limits
    size, entries = parse_bytes(limits.output), int(parse_count(limits.output_files))
    space: Bounded | None = None
    try:
        root.mkdir(parents=True)
        binds = []
        for index, mount in enumerate(protocol.mounts):
            folder = root / f"m{index}"
            folder.mkdir()
            if mount.kind == "input":
                _inputs(folder, mount, manifest, cases, names)
            elif mount.kind == "cascade":
                _cascade(folder, (cascades or {}).get(mount.task or ""), cases, names)
            elif bounded:
                space = bounds.mount(folder, size=size, entries=entries, user=user)
            writable = mount.kind == "output" or mount.writable
            permit(folder, user, writable=writable)
            binds.append(Bind(str(folder.resolve()), mount.path, writable))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise disk_full(root.parent, error) from None
        raise
    output = root / f"m{protocol.mounts.index(protocol.output_mount)}"
    return Stage(root, Outputs(output, size, entries, space), tuple(binds), names)


def has_room(folder: Path, protocol: ContainerProtocol, cases: list[Case]) -> bool:
    """Return whether a disk holds the inputs of a run and the outputs that its limits promise."""
    return shutil.disk_usage(folder).free >= _needed(protocol, cases)


def _needed(protocol: ContainerProtocol, cases: list[Case]) -> float:
    inputs = sum(file.bytes for case in cases for file in case.inputs.values())
    return parse_bytes(protocol.limits.output) + _MARGIN + inputs


def _inputs(folder: Path, mount: Mount, manifest: Manifest, cases: list[Case], names: dict[str, str]) -> None:
    for case in cases:
        values = {**case.values, "case": names[case.id]}
        for rule in mount.files:
            file = case.inputs.get(rule.source)
            if file is None:
                continue
            target = folder / format_name(rule.target, values)
            target.parent.mkdir(parents=True, exist_ok=True)
            if _copy(Path(manifest.cases_dir) / file.path, target) != file.sha256:
                text = f"{file.path} is not what it was when the campaign was made"
                raise Retry(finding(EngineCode.INPUT_CHANGED, case.id, text))
    for meta in mount.metadata:
        _metadata(folder, meta, mount, cases, names)


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while chunk := reader.read(_CHUNK):
            digest.update(chunk)
            writer.write(chunk)
    return digest.hexdigest()


def _metadata(folder: Path, meta: MetadataFile, mount: Mount, cases: list[Case], names: dict[str, str]) -> None:
    rows = [_values(mount, case, names[case.id]) for case in cases]
    if meta.columns is not None:
        text = io.StringIO()
        table = csv.writer(text, delimiter=meta.separator, lineterminator="\n")
        table.writerow(meta.columns)
        table.writerows([[_fill(pattern, row) for pattern in meta.columns.values()] for row in rows])
        _write(folder / format_name(meta.target, {}), text.getvalue())
        return
    for row in rows:
        document = json.dumps(_document(meta.content, row), indent=2, ensure_ascii=False)
        _write(folder / _fill(meta.target, row), document)


def _values(mount: Mount, case: Case, name: str) -> dict[str, str]:
    missing = [rule.role or rule.source for rule in mount.files if rule.optional and rule.source not in case.inputs]
    groups = {key.lower().replace(" ", "_"): value for key, value in case.groups.items()}
    return {**groups, **case.values, "case": name, "missing": ", ".join(missing)}


def _fill(pattern: str, values: Mapping[str, str]) -> str:
    return format_name(pattern, {**dict.fromkeys(_placeholders(pattern), ""), **values})


def _placeholders(pattern: str) -> list[str]:
    return [part.partition("}")[0] for part in pattern.split("{")[1:]]


def _document(node: Any, values: Mapping[str, str]) -> Any:
    if isinstance(node, dict):
        return {key: _document(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [_document(value, values) for value in node]
    if not isinstance(node, str):
        return node
    text = _fill(node, values)
    if node.startswith("{") and node.endswith("}") and node.count("{") == 1:
        try:
            return float(text) if "." in text else int(text)
        except ValueError:
            return text
    return text


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@dataclass(frozen=True)
class Cascade:
    """What a team's earlier task left, as the ledger noted it.

    Parameters
    ----------
    folder : Path
        The folder of the collected predictions.
    patterns : tuple of str
        What their names were made by.
    files : dict of str to (list of (str, str))
        Relative path and SHA-256 of every file, by case; those of all cases together under the empty name.
    """

    folder: Path
    patterns: tuple[str, ...]
    files: Mapping[str, list[tuple[str, str]]]


def _cascade(folder: Path, given: Cascade | None, cases: list[Case], names: dict[str, str]) -> None:
    if given is None:
        return
    for case in cases:
        for path, digest in given.files.get(case.id, []):
            _earlier(
                folder / _renamed(path, given.patterns, case, names[case.id]), given.folder / path, digest, case.id
            )
    for path, digest in given.files.get("", []):
        _earlier(folder / path, given.folder / path, digest, "all cases")


def _earlier(target: Path, source: Path, digest: str, where: str) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not source.is_file() or _copy(source, target) != digest:
        text = f"{source.name}, a prediction of the task before, is not what was collected"
        raise Retry(finding(EngineCode.PREDICTION_CHANGED, where, text))


def _renamed(path: str, patterns: tuple[str, ...], case: Case, name: str) -> str:
    """Return a collected file's name with the case's name in the container, wherever the pattern has the case."""
    for pattern in patterns:
        for values in parse_name(pattern, path, {"case": [case.id], **{k: [v] for k, v in case.values.items()}}):
            return format_name(pattern, {**values, "case": name})
    return path


def permit(folder: Path, user: str, *, writable: bool) -> None:
    """Let the container's user, and nobody who need not, read or write a staged folder."""
    uid, gid = (int(part) for part in user.split(":"))
    for path in (folder, *folder.rglob("*")):
        if writable:
            path.chmod(0o700 if path.is_dir() else 0o600)
            if hasattr(os, "chown") and os.getuid() == 0:
                os.chown(path, uid, gid)
        else:
            path.chmod(0o755 if path.is_dir() else 0o444)


def remove(root: Path) -> None:
    """Remove a run's folder, whatever a container left in it: deep trees, odd names, folders without permission.

    Walks by file descriptors and never follows a link, so that nothing outside can be touched and no path is too long.
    """
    if not root.exists() and not root.is_symlink():
        return
    bounds.unmount_below(root)
    stack = [os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)]
    names: list[str] = []
    moved = 0
    try:
        while stack:
            top = stack[-1]
            inner = _empty(top)
            if inner is None:
                os.close(stack.pop())
                if stack:
                    os.rmdir(names.pop(), dir_fd=stack[-1])
            elif len(stack) > _MAX_OPEN:
                # Deeper than descriptors may be open: hang the rest of the branch to the root, and come back to it.
                moved += 1
                os.rename(inner, f"\n{moved}", src_dir_fd=top, dst_dir_fd=stack[0])
            else:
                names.append(inner)
                stack.append(_enter(inner, top))
    finally:
        for descriptor in stack:
            os.close(descriptor)
    root.rmdir()


def _empty(folder: int) -> str | None:
    """Delete the files of a folder; return the name of a sub-folder to empty first, if there is one."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                return entry.name
            try:
                os.unlink(entry.name, dir_fd=folder)
            except PermissionError:
                os.fchmod(folder, stat.S_IRWXU)
                os.unlink(entry.name, dir_fd=folder)
    return None


def _enter(name: str, parent: int) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        descriptor = os.open(name, flags, dir_fd=parent)
    except PermissionError:
        os.chmod(name, stat.S_IRWXU, dir_fd=parent)
        descriptor = os.open(name, flags, dir_fd=parent)
    if os.getuid() != 0:
        os.fchmod(descriptor, stat.S_IRWXU)
    return descriptor
