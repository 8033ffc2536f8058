"""A container's share of the machine: its quota of cores, however the system tells it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = 64
"""Cores that the process may be scheduled on in these tests."""


def lay(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, HERE),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "350000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n"}, HERE),
        ({}, HERE),
        # the limit of a group above counts, too; the smallest one does
        (
            {
                "proc/self/cgroup": "0::/system.slice/job\n",
                "sys/fs/cgroup/system.slice/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/system.slice/job/cpu.max": "max 100000\n",
            },
            4,
        ),
        # version 1, as in older Docker and on clusters
        (
            {
                "proc/self/cgroup": "7:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/docker/x\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/docker/x/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        # a container that sees its own group only, under the name of the host's
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            HERE,
        ),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "rubbish\n"}, HERE),
    ],
)
def test_threads_follow_the_quota(
    files: dict[str, str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medpodium.baselines.portable.cores import usable_cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(HERE)), raising=False)
    assert usable_cores(lay(tmp_path, files)) == cores


def test_the_smaller_of_affinity_and_quota_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medpodium.baselines.portable.cores import limit_threads, usable_cores

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
    lay(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"})
    assert usable_cores(tmp_path) == 2
    environment = {"MKL_NUM_THREADS": "7"}
    limit_threads(environment, 2)
    assert environment["OMP_NUM_THREADS"] == "2"
    assert environment["OMP_WAIT_POLICY"] == "PASSIVE", "threads that wait would use the quota up"
    assert environment["MKL_NUM_THREADS"] == "7", "what the user has set stays"
