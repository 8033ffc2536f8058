"""The outputs of a run in a file system of their own: a file of fixed size, mounted, so that the kernel is the limit.

What is written is counted by that file system, and by nothing else: files that were deleted while open, many links to
one file, holes and folders. It needs root and loop devices; where they are missing the outputs are watched instead.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
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
    image = folder.with_name(folder.name + ".ext4")
    inodes = entries + _SPARE_INODES
    # Every file may waste the rest of its last block, and a folder takes a block of its own.
    whole = size + SLACK + inodes * _INODE_BYTES + size // 64
    with image.open("xb") as file:
        file.truncate(-(-whole // 4096) * 4096)
    options = f"nodiscard,lazy_itable_init=1,root_owner={user}"
    problem = _call(
        "mkfs.ext4", "-q", "-F", "-b", "4096", "-I", str(_INODE_BYTES), "-m", "0", "-N", str(inodes),
        "-O", "^has_journal,^resize_inode", "-E", options, str(image),
    )  # fmt: skip
    problem = problem or _call("mount", "-t", "ext4", "-o", "loop,nosuid,nodev,noatime", str(image), str(folder))
    if problem:
        raise Retry(finding(EngineCode.MOUNT, str(folder), problem))
    (folder / "lost+found").rmdir()
    state = os.statvfs(folder)
    return Bounded(folder, _bytes_used(state), state.f_files - state.f_ffree)


def mounted_below(root: Path) -> list[Path]:
    """Return the mount points at or below a folder, deepest first."""
    try:
        table = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    top = str(root.resolve())
    points = [re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), line.split(" ")[4]) for line in table]
    return [Path(point) for point in reversed(points) if point == top or point.startswith(top.rstrip("/") + "/")]


def unmount_below(root: Path) -> None:
    """Unmount everything at or below a folder.

    Raises
    ------
    Retry
        When something stays mounted.
    """
    for point in mounted_below(root):
        deadline = time.monotonic() + _UNMOUNT_SECONDS
        while problem := _call("umount", str(point)):
            if time.monotonic() > deadline:
                raise Retry(finding(EngineCode.MOUNT, str(point), problem))
            time.sleep(0.05)
