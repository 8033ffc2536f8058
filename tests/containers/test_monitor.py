"""Areas under curves, both versions of control groups, bounded folder walks, and machines without a GPU."""

from __future__ import annotations

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from medpodium.containers.sandbox import gpu, monitor
from medpodium.containers.sandbox.monitor import Cgroup, Curve, Sample, area, folder_usage, mean


def test_area_is_the_integral_of_a_straight_line() -> None:
    assert area([0, 1, 4], [0, 1, 4]) == pytest.approx(8.0)
    assert area([0, 0.5, 4], [0, 0.5, 4]) == pytest.approx(8.0), "uneven steps change nothing"


def test_area_of_a_parabola_converges() -> None:
    times = [index / 1000 for index in range(1001)]
    assert area(times, [time * time for time in times]) == pytest.approx(1 / 3, abs=1e-6)


def test_area_above_a_tolerance_interpolates_the_crossing() -> None:
    # max(0, t - 2) from 0 to 4 is a triangle of 2 x 2 / 2, whatever the samples are.
    assert area([0, 4], [0, 4], 2.0) == pytest.approx(2.0)
    assert area([0, 1, 4], [0, 1, 4], 2.0) == pytest.approx(2.0)
    assert area([0, 4], [4, 0], 2.0) == pytest.approx(2.0)
    assert area([0, 1, 2], [1, 1, 1], 2.0) == 0.0


def test_what_was_not_measured_is_nan_and_never_zero() -> None:
    summary = Curve().summary()
    assert all(math.isnan(value) for value in summary.values())
    assert math.isnan(area([], []))
    assert math.isnan(mean([], []))
    assert mean([3.0], [5.0]) == 5.0


def test_summary_is_in_megabytes_and_seconds() -> None:
    curve = Curve([Sample(0.0, 1e8, 0.1, 2e9), Sample(2.0, 3e8, 1.5, 4e9)])
    summary = curve.summary()
    assert summary["peak_memory"] == 300.0
    assert summary["mean_memory"] == 200.0
    assert summary["cpu_time"] == 1.5
    assert summary["peak_gpu_memory"] == 4000.0
    assert summary["gpu_memory_area"] == 6000.0


def test_curve_survives_parquet(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    Curve([Sample(0.25, 1e6, 0.5)]).write(tmp_path / "curve.parquet")
    found = pq.read_table(tmp_path / "curve.parquet").to_pylist()
    assert found[0]["time"] == 0.25
    assert math.isnan(found[0]["gpu_memory"])


V1 = {
    "memory.usage_in_bytes": "1000000",
    "memory.max_usage_in_bytes": "1500000",
    "memory.stat": "cache 1\ntotal_inactive_file 400000\n",
    "memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "cpuacct.usage": "2500000000",
    "pids.events": "max 7\n",
    "cgroup.procs": "11\n12\n",
    "memory.limit_in_bytes": "67108864\n",
    "memory.memsw.limit_in_bytes": "67108964\n",
    "pids.max": "64\n",
    "cpu.cfs_quota_us": "150000\n",
    "cpu.cfs_period_us": "100000\n",
}
V2 = {
    "memory.current": "1000000",
    "memory.peak": "1500000",
    "memory.stat": "anon 1\ninactive_file 400000\n",
    "memory.events": "low 0\nmax 5\noom 3\noom_kill 3\n",
    "cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
    "pids.events": "max 7\n",
    "cgroup.procs": "11\n12\n",
    "memory.max": "67108864\n",
    "memory.swap.max": "100\n",
    "pids.max": "64\n",
    "cpu.max": "150000 100000\n",
}


@pytest.mark.parametrize(("version", "files"), [(1, V1), (2, V2)])
def test_control_groups_of_both_versions(
    version: int, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    names = ("memory", "cpuacct", "cpu", "pids") if version == 1 else ("",)
    monkeypatch.setattr(monitor, "_folders", lambda *_: dict.fromkeys(names, tmp_path))
    group = Cgroup(1, "id")
    assert group.version == version
    assert group.memory() == 600_000
    assert group.memory_high() == 1_500_000
    assert group.cpu() == 2.5
    assert group.oom_kills() == 3
    assert group.pids_refused() == 7
    assert group.pids() == {11, 12}
    assert group.limits() == (64 << 20, 64)
    assert group.cpus() == 1.5
    assert group.swap() == 100


@pytest.mark.parametrize("version", [1, 2])
def test_what_has_no_limit_is_infinite_and_what_cannot_be_read_is_no_number(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("memory", "cpu", "pids") if version == 1 else ("",)
    monkeypatch.setattr(monitor, "_folders", lambda *_: dict.fromkeys(names, tmp_path))
    group = Cgroup(1, "id")
    assert all(math.isnan(one) for one in (*group.limits(), group.cpus(), group.swap()))
    for name in ("memory.max", "memory.swap.max", "pids.max"):
        (tmp_path / name).write_text("max\n")
    (tmp_path / "cpu.max").write_text("max 100000\n")
    (tmp_path / "cpu.cfs_quota_us").write_text("-1\n")
    (tmp_path / "cpu.cfs_period_us").write_text("100000\n")
    assert math.isinf(group.cpus())
    assert math.isinf(group.limits()[1])
    assert version == 1 or math.isinf(group.swap())


ID = "4f" * 32


@pytest.mark.parametrize(
    ("path", "below"),
    [
        (f"/docker/{ID}", ""),
        (f"/system.slice/docker-{ID}.scope", ""),
        (f"/machine.slice/libpod-{ID}.scope/container", "container"),
        (f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container", "container"),
    ],
    ids=["cgroupfs", "systemd", "podman", "podman-rootless"],
)
def test_group_named_after_the_container_is_read_in_version_2(
    path: str, below: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman puts processes into a group below the one that is limited, which itself says that it has no limit."""
    top = tmp_path / "cgroup"
    proc = tmp_path / "proc"
    (proc / "self").mkdir(parents=True)
    (proc / "77").mkdir()
    (proc / "self" / "mountinfo").write_text(f"29 23 0:26 / {top} rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n")
    (proc / "77" / "cgroup").write_text(f"0::{path}\n")
    folder = top / path.lstrip("/")
    folder.mkdir(parents=True)
    for name in V2:
        (folder / name).write_text("max\n" if name.endswith(".max") else V2[name])
    limited = folder.parent if below else folder
    for name, text in V2.items():
        (limited / name).write_text("" if below and name == "cgroup.procs" else text)
    monkeypatch.setattr(monitor, "_PROC", proc)
    group = Cgroup(77, ID)
    assert group.version == 2
    assert group.folders == {"": limited}
    assert group.limits() == (64 << 20, 64)
    assert group.cpus() == 1.5
    assert group.pids() == {11, 12}
    (proc / "77" / "cgroup").write_text("0::/\n")
    assert Cgroup(77, ID).folders == {}, "a process that has ended is shown in the root group"


def test_vanished_control_group_is_no_reading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(monitor, "_folders", lambda *_: {"": tmp_path / "gone"})
    assert math.isnan(Cgroup(1, "id").memory())
    assert Cgroup(1, "id").pids() == set()


def test_folder_walk_stops_at_its_caps_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "secret").write_bytes(bytes(10_000_000))
    (tmp_path / "out" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "out" / "loop").symlink_to(tmp_path / "out")
    usage = folder_usage(tmp_path / "out", max_bytes=1 << 40, max_entries=1000)
    assert usage.entries == 2
    assert usage.bytes < 100_000
    for number in range(50):
        (tmp_path / "out" / str(number)).touch()
    assert folder_usage(tmp_path / "out", max_bytes=1 << 40, max_entries=10).entries == 11


def test_folder_of_any_shape_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from medpodium.containers.sandbox.stage import remove

    root = tmp_path / "run"
    root.mkdir()
    here = Path.cwd()
    os.chdir(root)
    try:
        for _ in range(700):  # deeper than any path may be long
            Path("d" * 100).mkdir()
            os.chdir("d" * 100)
        Path("file").touch()
    finally:
        os.chdir(here)
    (root / "closed").mkdir()
    (root / "closed" / "file").touch()
    (root / "closed").chmod(0)
    (root / "out").symlink_to(tmp_path)
    (tmp_path / "precious").touch()
    opened: list[int] = []
    real = os.open
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *a, **k: opened.append(real(*a, **k)) or opened[-1])
        remove(root)
    assert max(opened) < 200, "a deep tree must not need as many descriptors as it has levels"
    assert not root.exists()
    assert (tmp_path / "precious").exists()


def test_no_gpu_is_said_and_measures_nothing() -> None:
    found = gpu.find(0)
    assert found.status == gpu.NO_GPU
    assert found.settle() == []
    assert all(math.isnan(value) for value in found.sample({1}))


class FakeNvml:
    """Stands in for nvidia-ml-py: one device of 10 GB with two processes."""

    NVMLError = type("NVMLError", (Exception,), {})

    def __init__(self, used: float, processes: dict[int, float | None]) -> None:
        self.used, self.processes = used, processes

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        """Start."""

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return f"device {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=self.used)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in self.processes.items()]

    def nvmlDeviceGetGraphicsRunningProcesses(self, handle: int) -> list[Any]:  # noqa: N802
        return []


def test_gpu_memory_is_attributed_to_the_container_s_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    fake = FakeNvml(5e9, {100: 3e9, 7: 2e9})
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    found = gpu.find(1)
    assert found.status == "device 0"
    assert [str(one.code) for one in found.settle()] == ["gpu-busy"]
    found.baseline = 2e9
    assert found.sample({100, 101}) == (3e9, 3e9)
    assert found.sample({55})[0] == 0.0, "what others use is not counted"
    fake.processes = {}
    assert found.sample({100}) == (3e9, 3e9), "where the driver lists nobody, the rise above the baseline counts"
