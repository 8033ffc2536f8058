"""What a container uses: CPU time and memory from its cgroup, its output folder's size, and curves over time."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medpodium.scoring.measures.curves import area

_MAX_DEPTH = 64
_PROC = Path("/proc")


@dataclass
class Sample:
    """One reading. Memory in bytes without reclaimable file cache, CPU time in s, graphics memory in bytes."""

    time: float
    memory: float
    cpu: float
    gpu_memory: float = float("nan")
    gpu_device: float = float("nan")


@dataclass
class Curve:
    """Readings of one run, in order of time."""

    samples: list[Sample] = field(default_factory=list)
    oom_kills: int = 0
    pids_refused: int = 0
    memory_high: float = float("nan")
    host_free: float = float("inf")

    def column(self, name: str) -> list[float]:
        """Return one quantity over time."""
        return [float(getattr(sample, name)) for sample in self.samples]

    def summary(self) -> dict[str, float]:
        """Return the measures of the run; a quantity without a reading is NaN, never 0.

        Returns
        -------
        dict
            ``cpu_time`` (s), ``peak_memory``, ``mean_memory``, ``peak_gpu_memory`` (MB, 10^6 bytes),
            ``gpu_memory_area`` (MB s, trapezoids over the true time stamps).
        """
        nan = float("nan")
        times, memory = self.column("time"), self.column("memory")
        gpu = [(time, value) for time, value in zip(times, self.column("gpu_memory"), strict=True) if value == value]
        return {
            "cpu_time": self.samples[-1].cpu if self.samples else nan,
            "peak_memory": max(memory, default=nan) / 1e6,
            "mean_memory": mean(times, memory) / 1e6,
            "peak_gpu_memory": max((value for _, value in gpu), default=nan) / 1e6,
            "gpu_memory_area": area([t for t, _ in gpu], [v / 1e6 for _, v in gpu]),
        }

    def write(self, path: Path) -> None:
        """Write the readings as Parquet."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = ("time", "memory", "cpu", "gpu_memory", "gpu_device")
        pq.write_table(pa.table({name: pa.array(self.column(name), pa.float64()) for name in names}), path)


def mean(times: Sequence[float], values: Sequence[float]) -> float:
    """Return the mean of a curve over time; NaN without a reading."""
    if not times:
        return float("nan")
    length = times[-1] - times[0]
    return area(times, values) / length if length > 0 else values[-1]


class Cgroup:
    """The control group of one container, version 1 or 2.

    Parameters
    ----------
    pid : int
        Process id of the container's first process, as the host sees it.
    container : str
        The container's id, which the path of its control group contains. A process that has ended is shown in the root
        group, and its number may belong to another process by now: a group without the id is never read.
    """

    def __init__(self, pid: int, container: str) -> None:
        self.folders = _folders(pid, container)
        self.version = 2 if "" in self.folders and "memory" not in self.folders else 1

    def _read(self, controller: str, name: str) -> str:
        folder = self.folders.get(controller, self.folders.get("")) if self.version == 1 else self.folders.get("")
        if folder is None:
            return ""
        try:
            return (folder / name).read_text()
        except OSError:
            return ""

    def _field(self, controller: str, name: str, key: str) -> float:
        for line in self._read(controller, name).splitlines():
            word, _, value = line.partition(" ")
            if word == key:
                return float(value)
        return float("nan")

    def memory(self) -> float:
        """Return used memory in bytes, without file cache that could be dropped; NaN if it cannot be read."""
        one = self.version == 1
        used = self._read("memory", "memory.usage_in_bytes" if one else "memory.current")
        cache = self._field("memory", "memory.stat", "total_inactive_file" if one else "inactive_file")
        if not used.strip():
            return float("nan")
        return max(0.0, float(used) - (cache if cache == cache else 0.0))

    def memory_high(self) -> float:
        """Return the kernel's high-water mark in bytes, file cache included."""
        text = self._read("memory", "memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")
        return float(text) if text.strip() else float("nan")

    def limits(self) -> tuple[float, float]:
        """Return the limits in force: bytes of memory, and processes; infinite without one, NaN if not readable."""
        one = self.version == 1
        words = (
            self._read("memory", "memory.limit_in_bytes" if one else "memory.max").strip(),
            self._read("pids", "pids.max").strip(),
        )
        memory, pids = map(_number, words)
        return memory, pids

    def cpus(self) -> float:
        """Return the processors that may be used; infinite without a limit, NaN if not readable."""
        if self.version == 1:
            quota, period = (self._read("cpu", f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
            quota = "max" if quota.startswith("-") else quota
        else:
            quota, _, period = self._read("cpu", "cpu.max").strip().partition(" ")
        return _number(quota) / _number(period)

    def swap(self) -> float:
        """Return the bytes of swap beyond the memory; infinite without a limit, NaN if not readable."""
        if self.version == 1:
            return _number(self._read("memory", "memory.memsw.limit_in_bytes").strip()) - self.limits()[0]
        return _number(self._read("memory", "memory.swap.max").strip())

    def cpu(self) -> float:
        """Return the CPU time of all processes so far, in s."""
        if self.version == 1:
            text = self._read("cpuacct", "cpuacct.usage")
            return float(text) / 1e9 if text.strip() else float("nan")
        return self._field("", "cpu.stat", "usage_usec") / 1e6

    def oom_kills(self) -> int:
        """Return how often the kernel killed a process of this container for its memory limit."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        value = self._field("memory", name, "oom_kill")
        return int(value) if value == value else 0

    def pids_refused(self) -> int:
        """Return how often a new process or thread was refused."""
        value = self._field("pids", "pids.events", "max")
        return int(value) if value == value else 0

    def pids(self) -> set[int]:
        """Return the host's process ids of the container.

        In version 2 a group that has groups below it holds none itself: some runtimes make one for the container.
        """
        top = self.folders.get("memory", self.folders.get(""))
        found: set[int] = set()
        for folder, _, names in os.walk(top) if top is not None else ():
            with suppress(OSError):
                if "cgroup.procs" in names:
                    found |= {int(word) for word in Path(folder, "cgroup.procs").read_text().split()}
        return found


def _number(word: str) -> float:
    """Return a number as control groups write it."""
    return float("nan") if not word else float("inf") if word == "max" else float(word)


def _folders(pid: int, container: str) -> dict[str, Path]:
    """Return the folder of each controller (empty name: version 2) that a container's process belongs to.

    It is the one that is named after the container: limits are set there, and some runtimes put the processes into
    another one below it.
    """
    mounts: dict[str, Path] = {}
    try:
        table = (_PROC / "self" / "mountinfo").read_text().splitlines()
        groups = (_PROC / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return {}
    for line in table:
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if kind == "cgroup2":
            mounts.setdefault("", Path(left.split()[4]))
        elif kind == "cgroup":
            for name in options.split()[-1].split(","):
                mounts.setdefault(name, Path(left.split()[4]))
    found = {}
    for line in groups:
        _, controllers, path = line.split(":", 2)
        parts = path.strip("/").split("/")
        named = [place for place, part in enumerate(parts) if container and container in part]
        if not named:
            continue
        for name in controllers.split(","):
            if name in mounts:
                folder = mounts[name].joinpath(*parts[: named[0] + 1])
                if folder.is_dir():
                    found[name] = folder
    return found


def holds(group: Cgroup, pid: int, program: str) -> bool:
    """Return whether a program is among a container's processes as this host sees them.

    It is not where the runtime has a kernel of its own (gVisor, a virtual machine), which then obeys for the program.
    """
    processes = group.pids() | {pid}
    with suppress(OSError):  # of the container's first process, an init, in a group that does not tell
        processes |= {int(word) for word in (_PROC / f"{pid}/task/{pid}/children").read_text().split()}
    for one in processes:
        with suppress(OSError):
            if (_PROC / f"{one}/comm").read_text().strip() == program[:15]:
                return True
    return False


def host_swaps() -> bool:
    """Return whether this host has any swap."""
    with suppress(OSError):
        return len((_PROC / "swaps").read_text().splitlines()) > 1
    return False


def host_free_memory() -> float:
    """Return the share of this host's memory that is still to be had; infinite where that cannot be read."""
    found = {}
    with suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines()[:4]:
            name, _, value = line.partition(":")
            found[name] = float(value.split()[0])
    return found["MemAvailable"] / found["MemTotal"] if {"MemAvailable", "MemTotal"} <= set(found) else float("inf")


def host_oom_kills() -> int:
    """Return how often this host's kernel killed a process for memory; 0 where that cannot be read.

    The kills for the limit of some container are among them.
    """
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except OSError:
        pass
    return 0


@dataclass(frozen=True)
class Usage:
    """What lies in an output folder: bytes on disk, entries, and whether folders are nested too deep."""

    bytes: int
    entries: int
    too_deep: bool = False


def folder_usage(root: Path, *, max_bytes: int, max_entries: int) -> Usage:
    """Measure a folder without following links; stops as soon as a cap is exceeded.

    Bytes are what the files occupy, so that a sparse file costs what it costs the host.
    """
    total = entries = 0
    stack: list[tuple[Any, int]] = [(root, 0)]
    while stack:
        folder, depth = stack.pop()
        if depth > _MAX_DEPTH:
            return Usage(total, entries, too_deep=True)
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    entries += 1
                    try:
                        status = entry.stat(follow_symlinks=False)
                    except OSError:
                        continue
                    total += status.st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        stack.append((entry.path, depth + 1))
                    if total > max_bytes or entries > max_entries:
                        return Usage(total, entries)
        except OSError:
            continue
    return Usage(total, entries)


def deleted_bytes(pids: Iterable[int], root: Path) -> int:
    """Return what files occupy that processes hold open after deleting them, on the file system of a folder.

    Only what can be seen: a process may hide its descriptors from anybody but root.
    """
    device = root.stat().st_dev
    found: dict[int, int] = {}
    for pid in pids:
        for kind in ("fd", "map_files"):
            with suppress(OSError), os.scandir(f"/proc/{pid}/{kind}") as entries:
                for entry in entries:
                    with suppress(OSError):
                        status = entry.stat()
                        if status.st_dev == device and status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                            found[status.st_ino] = status.st_blocks * 512
    return sum(found.values())
