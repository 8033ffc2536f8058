"""Read checkpoints of nnU-Net v1 and v2 without running anything that they say.

A checkpoint is a pickle, and a pickle is a program. PyTorch reads one as plain data where every name in it is on a
list; the numbers of numpy that nnU-Net writes beside the weights are not on it, under the names of numpy 1
(``numpy.core``) least of all. Here these names lead to stand-ins that make plain numbers and arrays, and nothing else.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.pickles import no_bytes, numpy_names, plain, stand_ins

_KEYS = ("network_weights", "state_dict")
_PREFIXES = ("module.", "_orig_mod.")


def _names() -> list[Any]:
    """Return what may be named in a checkpoint besides PyTorch's own list."""
    import torch

    named = [(stand_in, f"{module}.{name}") for (module, name), stand_in in numpy_names().items()]
    return [torch.device, *stand_ins(), *named, (no_bytes, "builtins.bytes")]


def read_content(path: Path, *, trust: bool = False) -> Any:
    """Read everything that a checkpoint holds, on the CPU.

    Parameters
    ----------
    path : Path
        File written by ``torch.save``, of any version.
    trust : bool
        Unpickle arbitrary objects, which can run code; only for files from a source you trust.

    Returns
    -------
    object
        Usually a dictionary; numbers of numpy are plain numbers.

    Raises
    ------
    UsageError
        If the file cannot be read, or holds objects and is not trusted.
    """
    import torch

    try:
        if trust:
            return torch.load(path, map_location="cpu", weights_only=False)
        with torch.serialization.safe_globals(_names()):
            return plain(torch.load(path, map_location="cpu", weights_only=True))
    except pickle.UnpicklingError as error:
        fix = "use --trust-checkpoint if you trust its source; reading such a file can run code"
        cause = f"holds objects besides weights ({_reason(error)})"
        raise refuse(BaselineCode.CHECKPOINT_OBJECTS, path, cause, fix) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = f"cannot be read: {_reason(error)}"
        raise refuse(BaselineCode.CHECKPOINT, path, cause, "give a checkpoint of nnU-Net v1 or v2") from None


def _reason(error: BaseException) -> str:
    """Return what is wrong in a line: the name that is not on the list, where PyTorch wraps it in advice."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = next((line for line in lines if "GLOBAL" in line or "Unsupported" in line), None)
    return (told or next(iter(lines), type(error).__name__))[:200]


def weights_of(content: Any, path: Path) -> dict[str, Any]:
    """Return the network's weights in what a checkpoint holds: of nnU-Net v2, of v1, or a plain state dictionary.

    Raises
    ------
    UsageError
        If there are none.
    """
    weights = next((content[key] for key in _KEYS if isinstance(content, Mapping) and key in content), content)
    if not isinstance(weights, Mapping) or not weights or not all(hasattr(item, "shape") for item in weights.values()):
        fix = "give a checkpoint of nnU-Net v1 (state_dict) or v2 (network_weights)"
        raise refuse(BaselineCode.CHECKPOINT, path, "holds no network weights", fix)
    return {_bare(str(key)): value for key, value in weights.items()}


def read_checkpoint(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read the weights of a checkpoint; see :func:`read_content` and :func:`weights_of`.

    Returns
    -------
    dict of str to torch.Tensor
        Names without the prefixes of parallel and compiled networks.
    """
    return weights_of(read_content(path, trust=trust), path)


def _bare(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key
