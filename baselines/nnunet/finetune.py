"""Load pre-trained weights: every shape checked, heads left as they are, the stem spread over the channels.

nnU-Net's own loader asserts on the first mismatch, and a training started without the right trainer silently builds
a plain nnU-Net; here a checkpoint that does not fit is refused with what it is and what was expected.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines.checkpoints import read_checkpoint
from medpodium.baselines.failures import BaselineCode, refuse

HEADS = re.compile(r"(^|\.)(seg_outputs|seg_layers)\.")
"""Segmentation heads of STU-Net and of nnU-Net's own networks; they belong to the labels and are never loaded."""
STEMS = ("repeat", "average")
"""What the weights of a new number of channels are: repeated as published, or repeated and divided by the number."""
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
        See :func:`medpodium.baselines.checkpoints.read_content`.

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
