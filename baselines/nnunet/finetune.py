"""Load pre-trained weights: every shape checked, heads left as they are, the stem spread over the channels.

nnU-Net's own loader asserts on the first mismatch, and a training started without the right trainer silently builds
a plain nnU-Net; here a checkpoint that does not fit is refused with what it is and what was expected.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse

HEADS = re.compile(r"(^|\.)(seg_outputs|seg_layers)\.")
"""Segmentation heads of STU-Net and of nnU-Net's own networks; they belong to the labels and are never loaded."""
STEMS = ("repeat", "average")
"""What the weights of a new number of channels are: repeated as published, or repeated and divided by the number."""
_KEYS = ("network_weights", "state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_SIZE_NAMES = {16: "STU-Net-S", 32: "STU-Net-B", 64: "STU-Net-L", 96: "STU-Net-H"}


@dataclass(frozen=True)
class Loaded:
    """What was taken from a checkpoint.

    Parameters
    ----------
    tensors : int
        Parameters copied as they are.
    stem : list of str
        Parameters spread over another number of channels.
    heads : list of str
        Parameters left at their initial values.
    unused : int
        Parameters of the checkpoint that the network does not have (its own heads).
    """

    tensors: int
    stem: list[str]
    heads: list[str]
    unused: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def read_checkpoint(path: Path, *, trust: bool = False) -> dict[str, Any]:
    """Read the weights of a checkpoint of nnU-Net v1 or v2, or a plain state dictionary.

    Parameters
    ----------
    path : Path
        File written by ``torch.save``.
    trust : bool
        Unpickle arbitrary objects, which can run code; only for files from a source you trust.

    Returns
    -------
    dict of str to torch.Tensor

    Raises
    ------
    UsageError
        If the file cannot be read, or holds objects and is not trusted.
    """
    import numpy as np
    import torch

    scalar = getattr(np, "_core", np).multiarray.scalar
    plain = [
        scalar,
        np.dtype,
        torch.device,
        type(np.dtype(np.float64)),
        type(np.dtype(np.float32)),
        type(np.dtype(np.int64)),
    ]
    try:
        with torch.serialization.safe_globals(plain):
            content = torch.load(path, map_location="cpu", weights_only=not trust)
    except pickle.UnpicklingError as error:
        fix = "use --trust-checkpoint if you trust its source; reading such a file can run code"
        cause = f"holds objects besides weights ({_first_line(error)})"
        raise refuse(BaselineCode.CHECKPOINT_OBJECTS, path, cause, fix) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        cause = f"cannot be read: {_first_line(error)}"
        raise refuse(BaselineCode.CHECKPOINT, path, cause, "give a checkpoint of nnU-Net v1 or v2") from None
    weights = next((content[key] for key in _KEYS if isinstance(content, Mapping) and key in content), content)
    if not isinstance(weights, Mapping) or not weights or not all(hasattr(item, "shape") for item in weights.values()):
        fix = "give a checkpoint of nnU-Net v1 (state_dict) or v2 (network_weights)"
        raise refuse(BaselineCode.CHECKPOINT, path, "holds no network weights", fix)
    return {_bare(str(key)): value for key, value in weights.items()}


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:160]


def _bare(key: str) -> str:
    for prefix in _PREFIXES:
        key = key.removeprefix(prefix)
    return key


def load_weights(network: Any, path: Path, *, stem: str | None = None, trust: bool = False) -> Loaded:
    """Load a checkpoint into a network.

    Parameters
    ----------
    network : torch.nn.Module
        STU-Net or one of nnU-Net's networks; changed only when everything fits.
    path : Path
        Checkpoint.
    stem : {"repeat", "average"}, optional
        How weights of one input channel are spread over several; must be chosen where the numbers differ.
    trust : bool
        See :func:`read_checkpoint`.

    Raises
    ------
    UsageError
        If a parameter is missing, has another shape, or the stem's choice is not made.
    """
    module = getattr(network, "module", network)
    module = getattr(module, "_orig_mod", module)
    ready, loaded = match_weights(module.state_dict(), path, stem=stem, trust=trust)
    module.load_state_dict(ready, strict=False)
    return loaded


def match_weights(
    own: Mapping[str, Any], path: Path, *, stem: str | None = None, trust: bool = False
) -> tuple[dict[str, Any], Loaded]:
    """Find the tensors of a checkpoint for a network, changing neither.

    Parameters
    ----------
    own : mapping of str to torch.Tensor
        The network's ``state_dict``; only shapes are looked at, so it may lie on the meta device.
    path, stem, trust
        See :func:`load_weights`.

    Returns
    -------
    (tensors, loaded)
        What to load, and what it is.

    Raises
    ------
    UsageError
        As :func:`load_weights`.
    """
    weights = read_checkpoint(path, trust=trust)
    missing = [key for key in own if not HEADS.search(key) and key not in weights]
    if missing:
        cause = f"is {describe(weights)}; the network is {describe(own)} and needs {missing[0]}"
        fix = "choose the trainer of the checkpoint's size and kind (--trainer STUNetTrainer_base_ft, ...)"
        raise refuse(BaselineCode.CHECKPOINT_SIZE, path, f"{cause} ({len(missing)} of {len(own)} lacking)", fix)
    ready, spread = {}, []
    for key, value in own.items():
        if HEADS.search(key):
            continue
        given = weights[key]
        if given.shape == value.shape:
            ready[key] = given
        elif _is_stem(given.shape, value.shape):
            ready[key] = _spread(given, int(value.shape[1]), stem, path)
            spread.append(key)
        else:
            cause = f"{key} has the shape {tuple(given.shape)}, the network {tuple(value.shape)}; "
            cause += f"the checkpoint is {describe(weights)}, the network {describe(own)}"
            fix = (
                "choose the trainer of the checkpoint's size (STUNetTrainer_small, _base, _large, _huge, each with _ft)"
            )
            raise refuse(BaselineCode.CHECKPOINT_SIZE, path, cause, fix)
    heads = [key for key in own if HEADS.search(key)]
    return ready, Loaded(len(ready) - len(spread), spread, heads, len(set(weights) - set(ready)))


def _is_stem(given: Any, own: Any) -> bool:
    """Whether only the input channels differ, from one to several."""
    return len(given) == len(own) == 5 and given[1] == 1 and (given[0], *given[2:]) == (own[0], *own[2:])


def _spread(given: Any, channels: int, stem: str | None, path: Path) -> Any:
    if stem not in STEMS:
        cause = f"was trained on one channel, the data have {channels}"
        fix = "choose --stem repeat (as published: weights repeated) or --stem average (and divided by the number)"
        raise refuse(BaselineCode.STEM, path, cause, fix)
    repeated = given.repeat(1, channels, *[1] * (given.ndim - 2))
    return repeated / channels if stem == "average" else repeated


def describe(weights: Mapping[str, Any]) -> str:
    """Say in a few words what network the parameter names and shapes belong to."""
    stem = weights.get("conv_blocks_context.0.0.conv1.weight")
    if stem is not None:
        name = _SIZE_NAMES.get(int(stem.shape[0]), f"an STU-Net of width {int(stem.shape[0])}")
        return f"{name} for {int(stem.shape[1])} channel{'s' if stem.shape[1] != 1 else ''}"
    if any(".stages." in key for key in weights):
        return "a plain nnU-Net v2 network"
    if any(key.startswith("conv_blocks_context") for key in weights):
        return "a plain nnU-Net v1 network"
    return "an unknown network"
