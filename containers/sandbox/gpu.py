"""Graphics memory of one container, through NVML; without a GPU the same code runs and says so."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from medpodium.containers.failures import EngineCode, finding
from medpodium.findings import Finding, Severity

NO_GPU = "no GPU"
_IDLE_BYTES = 1 << 30


@dataclass
class Gpus:
    """The devices a run may use.

    Parameters
    ----------
    ids : tuple of str
        Device ids handed to the container (indices or UUIDs).
    handles : list
        NVML handles; empty without a GPU.
    status : str
        ``no GPU`` or the devices' names.
    baseline : float
        Bytes in use on the devices before the run.
    """

    ids: tuple[str, ...]
    handles: list[Any]
    status: str
    baseline: float = 0.0

    def sample(self, pids: Iterable[int]) -> tuple[float, float]:
        """Return (bytes used by these processes, bytes used on the devices beyond the baseline).

        NVML lists processes by the host's ids. Where the driver hides them (some virtual machines), the device's
        total above the idle baseline stands in, which is right on an otherwise idle GPU only.
        """
        if not self.handles:
            return float("nan"), float("nan")
        import pynvml

        known, own, device, named = set(pids), 0.0, 0.0, False
        for handle in self.handles:
            try:
                device += float(pynvml.nvmlDeviceGetMemoryInfo(handle).used)
                for process in _processes(handle):
                    used = process.usedGpuMemory
                    if process.pid in known and used is not None:
                        own, named = own + float(used), True
            except pynvml.NVMLError:
                return float("nan"), float("nan")
        beyond = max(0.0, device - self.baseline)
        foreign = any(process.pid not in known for handle in self.handles for process in _safe_processes(handle))
        return (own if named or foreign or beyond < _IDLE_BYTES / 64 else beyond), beyond

    def settle(self) -> list[Finding]:
        """Note the idle baseline; a warning if somebody else uses the devices."""
        if not self.handles:
            return []
        import pynvml

        with suppress(pynvml.NVMLError):
            self.baseline = sum(float(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in self.handles)
        others = [process.pid for handle in self.handles for process in _safe_processes(handle)]
        if others or self.baseline > _IDLE_BYTES * len(self.handles):
            text = f"{self.baseline / 1e6:.0f} MB in use before the run, processes {others or 'not listed'}"
            return [finding(EngineCode.GPU_BUSY, ", ".join(self.ids), text, Severity.WARNING)]
        return []


def _processes(handle: Any) -> list[Any]:
    import pynvml

    return [*pynvml.nvmlDeviceGetComputeRunningProcesses(handle), *pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)]


def _safe_processes(handle: Any) -> list[Any]:
    import pynvml

    try:
        return _processes(handle)
    except pynvml.NVMLError:
        return []


def find(wanted: int, ids: tuple[str, ...] = ()) -> Gpus:
    """Return the devices for a run.

    Parameters
    ----------
    wanted : int
        How many the protocol hands out; 0 asks nothing of NVML.
    ids : tuple of str
        Which ones; the first ones if empty.
    """
    if wanted == 0:
        return Gpus((), [], NO_GPU)
    try:
        import pynvml

        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
        chosen = ids or tuple(str(index) for index in range(min(wanted, count)))
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(int(one)) if one.isdigit() else pynvml.nvmlDeviceGetHandleByUUID(one)
            for one in chosen
        ]
        if not handles:
            return Gpus((), [], NO_GPU)
        names = ", ".join(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles)
        return Gpus(chosen, handles, names)
    except Exception as error:
        # nvidia-ml-py raises its own errors for a missing driver, and the package may be absent altogether.
        return Gpus((), [], f"{NO_GPU} ({type(error).__name__})")
