"""What a baseline needs from the machine: the optional libraries and the device."""

from __future__ import annotations

from importlib.util import find_spec

from medpodium.baselines.failures import BaselineCode, broken

_FIX = "pip install 'medpodium[baselines]'"


def require(*modules: str) -> None:
    """Refuse, in one line, when a library of the extra ``baselines`` is not installed.

    Raises
    ------
    InfrastructureError
        Exit code 3.
    """
    lacking = [name for name in modules if find_spec(name) is None]
    if lacking:
        cause = f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not installed"
        raise broken(BaselineCode.NOT_INSTALLED, "this Python", cause, _FIX)


def require_nnunet() -> None:
    """Refuse when nnU-Net v2 or PyTorch is not installed."""
    require("torch", "nnunetv2")


def check_device(device: str) -> str:
    """Return the device if PyTorch can use it.

    Parameters
    ----------
    device : {"auto", "cuda", "cpu", "mps"}
        ``auto`` takes a GPU if there is one.

    Raises
    ------
    InfrastructureError
        If the device is not there.
    """
    if device == "cpu":
        return device
    import torch

    cuda = bool(torch.cuda.is_available())
    if device == "auto":
        return "cuda" if cuda else "cpu"
    if device == "cuda" and not cuda:
        cause = "--device cuda, but PyTorch sees no GPU"
        raise broken(BaselineCode.NO_GPU, "this machine", cause, "check the driver (nvidia-smi), or use --device cpu")
    if device == "mps" and not torch.backends.mps.is_available():
        cause = "--device mps, but PyTorch has no Metal device"
        raise broken(BaselineCode.NO_GPU, "this machine", cause, "use --device cpu")
    return device
