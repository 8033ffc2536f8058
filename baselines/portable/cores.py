"""How many processor cores this process may really use.

The number of cores of the machine, and even those a process may be scheduled on, say nothing about a container's
quota (``docker run --cpus``): threads beyond it take turns, and each turn costs processor time.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path, PurePosixPath

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
"""Variables by which the numerical libraries choose their number of threads when they are loaded."""
_WAITING = ("OMP_WAIT_POLICY", "PASSIVE")
"""Have threads that wait for each other sleep. They spin otherwise, which costs a container its quota, or where other
work keeps the cores busy most of the processor time that the network takes."""


def usable_cores(system: str | Path = "/") -> int:
    """Return the smaller of the cores in this process's affinity and its control groups' quota, at least 1.

    A quota of part of a core is rounded down: a thread more than the quota holds is paused in every period.

    Parameters
    ----------
    system : path
        Root of the file system; another one in tests.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([float(affinity), *quotas(Path(system))])))


def quotas(system: Path) -> Iterator[float]:
    """Yield every limit of processor time that applies here, in cores, of control groups of both versions."""
    mount = system / "sys/fs/cgroup"
    try:
        lines = (system / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, group = [*line.split(":", 2), "", ""][:3]
        names = controllers.split(",")
        if controllers and "cpu" not in names:
            continue
        # a container without a name space of its own names the host's group, which it does not see: then the root's
        roots = [mount, mount / "unified"] if not controllers else [mount / controllers, mount / "cpu"]
        for root in roots:
            for folder in _upwards(root, group):
                yield from _quota(folder)


def _upwards(root: Path, group: str) -> Iterator[Path]:
    inside = PurePosixPath("/" + group.strip("/"))
    for part in (inside, *inside.parents):
        yield root / part.relative_to("/")


def _quota(folder: Path) -> Iterator[float]:
    try:
        if (folder / "cpu.max").is_file():
            limit, period = (folder / "cpu.max").read_text(encoding="utf-8").split()[:2]
        else:
            limit = (folder / "cpu.cfs_quota_us").read_text(encoding="utf-8").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="utf-8").strip()
        if limit not in ("max", "-1") and float(period) > 0 and float(limit) > 0:
            yield float(limit) / float(period)
    except (OSError, ValueError):
        return


def limit_threads(environment: MutableMapping[str, str], cores: int) -> None:
    """Have the numerical libraries start that many threads, which sleep when they wait; what is set already stays.

    Only of use before they are loaded.
    """
    for name in THREADS:
        environment.setdefault(name, str(cores))
    environment.setdefault(*_WAITING)
