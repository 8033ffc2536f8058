"""The outputs of a run in a file system of their own: a file of fixed size, mounted, so that the kernel is the limit.

What is written is counted by that file system, and by nothing else: files that were deleted while open, many links to
one file, holes and folders. It needs root and loop devices; where they are missing the outputs are watched instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from medpodium.containers.failures import EngineCode, Retry, finding

SLACK = 8 << 20
"""Bytes beyond the limit that the file system holds, so that passing the limit is seen, not only a full disk."""
_SPARE_INODES = 64
_INODE_BYTES = 256
_SECONDS = 60.0
_UNMOUNT_SECONDS = 10.0


@dataclass(frozen=True)
class Bounded:
    """A mounted file system of fixed size.

    Parameters
    ----------
    folder : Path
        Where it is mounted.
    blocks, inodes : int
        Bytes and inodes in use while it was still empty.
    """

    folder: Path
    blocks: int
    inodes: int

    def used(self) -> tuple[int, int]:
        """Return (bytes, files and folders) in use beyond the empty file system; deleted but open files count."""
        state = os.statvfs(self.folder)
        return _bytes_used(state) - self.blocks, state.f_files - state.f_ffree - self.inodes


def _bytes_used(state: os.statvfs_result) -> int:
    return (state.f_blocks - state.f_bfree) * state.f_frsize


def available() -> bool:
    """Return whether this process may mount and has what it needs; :func:`mount` may still fail."""
    tools = all(shutil.which(name, path=_path()) for name in ("mkfs.ext4", "mount", "umount"))
    return hasattr(os, "getuid") and os.getuid() == 0 and tools and Path("/dev/loop-control").exists()


def _path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/bin:/bin"


def _call(*words: str) -> str:
    """Run a program; return what it complained of, or nothing."""
    program = shutil.which(words[0], path=_path()) or words[0]
    try:
        done = subprocess.run(
            [program, *words[1:]],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{words[0]}: {error}"
    return "" if done.returncode == 0 else f"{words[0]}: {done.stderr.strip()[-200:] or done.returncode}"


_ENDING = ".medpodium-ext4"
"""How the files are called that hold a run's outputs; nobody else's mount is ever touched."""
_MOST_KEPT = 4 << 20
_HELD: dict[Path, int] = {}
"""Descriptors by which this process holds the files of its mounts: the system lets go of them when it dies."""


def _format(image: Path, inodes: int, user: str) -> None:
    options = f"nodiscard,lazy_itable_init=1,root_owner={user}"
    problem = _call(
        "mkfs.ext4", "-q", "-F", "-b", "4096", "-I", str(_INODE_BYTES), "-m", "0", "-N", str(inodes),
        "-O", "^has_journal,^resize_inode", "-E", options, str(image),
    )  # fmt: skip
    if problem:
        raise Retry(finding(EngineCode.MOUNT, str(image), problem))


@lru_cache(maxsize=8)
def _empty(size: int, inodes: int, user: str) -> tuple[tuple[int, bytes], ...] | None:
    """Return what an empty file system consists of, by place, so that making one is writing a few pages.

    Returns
    -------
    tuple of (int, bytes), or None
        Nothing where it is too much to be kept.

    Raises
    ------
    Retry
        When the system does not make one.
    """
    with tempfile.TemporaryDirectory(prefix="medpodium-") as folder:
        image = Path(folder) / "empty"
        with image.open("xb") as file:
            file.truncate(size)
        _format(image, inodes, user)
        parts: list[tuple[int, bytes]] = []
        total = place = 0
        with image.open("rb") as file:
            while total <= _MOST_KEPT:
                try:
                    place = os.lseek(file.fileno(), place, os.SEEK_DATA)
                except OSError:  # no data beyond
                    return tuple(parts)
                end = os.lseek(file.fileno(), place, os.SEEK_HOLE)
                parts.append((place, os.pread(file.fileno(), min(end - place, _MOST_KEPT), place)))
                total, place = total + end - place, end
    return None


def _hold(descriptor: int) -> bool:
    """Lock a file until it is closed, or this process dies; return whether nobody else has."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def mount(folder: Path, *, size: int, entries: int, user: str) -> Bounded:
    """Mount a new file system on an empty folder.

    Parameters
    ----------
    folder : Path
        An empty folder; the file that holds the file system lies beside it.
    size, entries : int
        Bytes, and files and folders, that have to fit.
    user : str
        ``uid:gid`` that owns it.

    Raises
    ------
    Retry
        When the system does not mount it.
    """
    image = folder.with_name(folder.name + _ENDING)
    inodes = entries + _SPARE_INODES
    # Every file may waste the rest of its last block, and a folder takes a block of its own.
    whole = -(-(size + SLACK + inodes * _INODE_BYTES + size // 64) // 4096) * 4096
    parts = _empty(whole, inodes, user)
    descriptor = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    _hold(descriptor)
    _HELD[folder.resolve()] = descriptor
    os.truncate(descriptor, whole)
    for place, data in parts or ():
        os.pwrite(descriptor, data, place)
    if parts is None:
        _format(image, inodes, user)
    # Nothing of it has to survive a power cut, so that nothing waits for the disk.
    problem = _call("mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noatime,nobarrier", str(image), str(folder))
    if problem:
        raise Retry(finding(EngineCode.MOUNT, str(folder), problem))
    (folder / "lost+found").rmdir()
    state = os.statvfs(folder)
    return Bounded(folder, _bytes_used(state), state.f_files - state.f_ffree)


def _mounts() -> list[tuple[Path, str]]:
    """Return every mount point with its source, in the order of mounting."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in table:
        left, _, right = line.partition(" - ")
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), left.split(" ")[4])
        found.append((Path(point), right.split(" ")[1]))
    return found


def mounted_below(root: Path) -> list[Path]:
    """Return the mount points at or below a folder, deepest first."""
    top = root.resolve()
    return [point for point, _ in reversed(_mounts()) if point == top or top in point.parents]


def unmount_below(root: Path) -> None:
    """Unmount everything at or below a folder.

    Raises
    ------
    Retry
        When something stays mounted.
    """
    for point in mounted_below(root):
        _unmount(point)


def _unmount(point: Path) -> None:
    deadline = time.monotonic() + _UNMOUNT_SECONDS
    while problem := _call("umount", str(point)):
        if point not in mounted_below(point):  # somebody else was faster
            break
        if time.monotonic() > deadline:
            raise Retry(finding(EngineCode.MOUNT, str(point), problem))
        time.sleep(0.02)
    if (descriptor := _HELD.pop(point, None)) is not None:
        os.close(descriptor)


def unmount_orphans() -> list[Path]:
    """Unmount the outputs of runs whose processes are dead, wherever they lie; returns which.

    A process that is killed unmounts nothing, and its leash may be killed with it. What a living process has mounted is
    held by it, and left alone.
    """
    found = []
    for point, source in reversed(_mounts()):
        name = _held_in(source)
        if name is None or not _is_orphan(name):
            continue
        with suppress(Retry):
            _unmount(point)
            found.append(point)
    return found


def _held_in(source: str) -> str | None:
    """Return the file of a loop device if it is one of ours, as the system names it."""
    device = source.removeprefix("/dev/")
    if not re.fullmatch(r"loop\d+", device):
        return None
    try:
        name = Path(f"/sys/block/{device}/loop/backing_file").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return None
    return name.rstrip("\n") if name.rstrip("\n").removesuffix(_DELETED).endswith(_ENDING) else None


_DELETED = " (deleted)"


def _is_orphan(name: str) -> bool:
    if name.endswith(_DELETED):
        return True  # whoever removes a run's folder unmounts it before
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        return isinstance(error, FileNotFoundError)
    try:
        return _hold(descriptor)
    finally:
        os.close(descriptor)
