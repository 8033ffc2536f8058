"""What a run has written so far, and whether that is too much: the kernel is asked, or else the files are counted."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from medpodium.containers.failures import RunCode, finding
from medpodium.containers.sandbox import monitor
from medpodium.containers.sandbox.bounds import Bounded
from medpodium.findings import Finding

_RESERVE = 64 << 20
"""Bytes of the host's disk that no watched run may use up, whoever seems to have written them."""


@dataclass(frozen=True)
class Outputs:
    """The output folder of one run.

    Parameters
    ----------
    folder : Path
        As the host sees it.
    bytes, entries : int
        Limits: bytes on disk, files and folders.
    bounded : Bounded, optional
        The file system of fixed size it lies in; without one it is only watched.
    """

    folder: Path
    bytes: int
    entries: int
    bounded: Bounded | None = None

    def problem(self, where: str, group: monitor.Cgroup | None) -> Finding | None:
        """Return which limit a running container exceeds, files counted that were deleted while open."""
        if self.bounded is not None:
            return self._judge(*self.bounded.used(), where)
        found = self.final_problem(where)
        if found is None and group is not None:
            written = monitor.deleted_bytes(group.pids(), self.folder)
            usage = monitor.folder_usage(self.folder, max_bytes=self.bytes, max_entries=self.entries)
            return self._judge(written + usage.bytes, usage.entries, where)
        return found

    def host_is_full(self) -> bool:
        """Return whether a run that is only watched, or somebody else, has all but filled the host's disk."""
        return self.bounded is None and shutil.disk_usage(self.folder).free < _RESERVE

    def final_problem(self, where: str) -> Finding | None:
        """Return which limit the files exceed that lie in the folder now."""
        usage = monitor.folder_usage(self.folder, max_bytes=self.bytes, max_entries=self.entries)
        if usage.too_deep:
            return finding(RunCode.TOO_MANY_FILES, where, "nested folders too deep")
        return self._judge(usage.bytes, usage.entries, where)

    def _judge(self, written: int, entries: int, where: str) -> Finding | None:
        if written > self.bytes:
            return finding(RunCode.OUTPUT_TOO_LARGE, where, f"wrote more than {self.bytes} bytes")
        if entries > self.entries:
            return finding(RunCode.TOO_MANY_FILES, where, f"made more than {self.entries} files and folders")
        return None
