"""What a training will take of a GPU, estimated before it starts: counted on a network without any memory.

What the backward pass keeps and the operations of the convolutions are counted exactly, for any network, on PyTorch's
``meta`` device. What they come to in gigabytes and seconds is fitted to the figures that nnU-Net publishes of an A100
(documentation/resenc_presets.md: nnU-Net 7.7 GB and 9 h, STU-Net-S 5.2 and 10, -B 8.8 and 15, -L 26.5 and 51), under
the assumption of patches of 128^3 voxels in batches of two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

GB = 2**30
FIXED_GB = 2.5
"""CUDA's context, the libraries' working memory and the loss."""
KEPT = 1.37
"""Memory for each byte that the backward pass keeps: gradients on their way, and the allocator's gaps."""
HALF, PARAMETER = 2, 14
"""Bytes of a kept value in mixed precision; of a parameter with its gradient, its momentum and its copy in half."""
BACKWARD = 3.0
"""Operations of a training step in those of a forward pass."""
TERAFLOPS = 76.0
SECONDS = {True: 0.137, False: 0.055}
"""Seconds of a training step besides the convolutions, of an STU-Net (whose upsampling is slow) and of others."""
ITERATIONS, VALIDATIONS, EPOCHS = 250, 50, 1000


@dataclass(frozen=True)
class Counted:
    """A network in numbers, per patch.

    Parameters
    ----------
    parameters : int
        Trained ones.
    kept : int
        Values that a forward pass keeps for the backward pass.
    operations : float
        Floating-point operations of the convolutions in a forward pass; a multiplication and its addition are two.
    """

    parameters: int
    kept: int
    operations: float


def count(network: Any, channels: int, patch: Sequence[int]) -> Counted:
    """Count a network on the ``meta`` device, for one patch.

    Parameters
    ----------
    network : torch.nn.Module
        Built under ``torch.device("meta")``.
    channels : int
        Of the input.
    patch : sequence of int
        Voxels.
    """
    import torch

    operations = 0.0
    alive: list[Any] = []  # so that no two storages have the same address

    def pack(value: Any) -> Any:
        if not isinstance(value, torch.nn.Parameter):
            alive.append(value)
        return value

    def count_convolution(module: Any, given: Any, made: Any) -> None:
        nonlocal operations
        voxels = given[0].numel() if getattr(module, "transposed", False) else made.numel()
        operations += 2.0 * voxels * math.prod(module.weight.shape[1:])

    handles = [
        module.register_forward_hook(count_convolution)
        for module in network.modules()
        if hasattr(module, "transposed") and hasattr(module, "kernel_size")
    ]
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            network(torch.empty(1, channels, *patch, device="meta"))
    finally:
        for handle in handles:
            handle.remove()
    storages = {value.untyped_storage()._cdata: value.numel() for value in alive}
    return Counted(sum(item.numel() for item in network.parameters()), sum(storages.values()), operations)


def demand(
    counted: Counted, batch: int, *, stunet: bool, epochs: int | None = None, iterations: int | None = None
) -> dict[str, float]:
    """Return the estimated GPU memory and hours of a training.

    Parameters
    ----------
    counted : Counted
        Of the network, for a patch.
    batch : int
        Patches per batch.
    stunet : bool
        Whether the network is an STU-Net.
    epochs, iterations : int, optional
        nnU-Net's 1000 epochs of 250 batches when left out.

    Returns
    -------
    dict
        ``parameters``, ``gpu_memory_gb`` (2^30 bytes, as nvidia-smi tells), ``hours`` on an A100 with 40 GB.
    """
    memory = FIXED_GB + (KEPT * HALF * counted.kept * batch + PARAMETER * counted.parameters) / GB
    steps = iterations or ITERATIONS
    convolutions = counted.operations * batch / (TERAFLOPS * 1e12)
    # a validation step is a forward pass
    each = steps * (SECONDS[stunet] + BACKWARD * convolutions) + steps * VALIDATIONS / ITERATIONS * convolutions
    hours = (epochs or EPOCHS) * each / 3600
    return {"parameters": counted.parameters, "gpu_memory_gb": round(memory, 1), "hours": round(hours, 2)}


def demand_of(
    trainer: type | None,
    plans: Any,
    configuration: Any,
    dataset: Mapping[str, Any],
    epochs: int | None = None,
    iterations: int | None = None,
) -> dict[str, float] | None:
    """Return the estimate for a trainer's network and a plan; None for a network that cannot be built without memory.

    Parameters
    ----------
    trainer : type, optional
        Class of the trainer; the plans' own network without one.
    plans, configuration
        nnU-Net's managers.
    dataset : mapping
        ``dataset.json``.
    epochs, iterations : int, optional
        As :func:`demand`.
    """
    import torch
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    from medpodium.baselines.portable import networks

    try:
        with torch.device("meta"):
            network = networks.build(trainer, plans, configuration, dataset)
        counted = count(network, determine_num_input_channels(plans, configuration, dataset), configuration.patch_size)
    except Exception as error:  # somebody else's network may do anything; the training itself does not depend on this
        print(f"no estimate of GPU memory and time ({type(error).__name__}: {error})", flush=True)  # into the log
        return None
    stunet = type(network).__name__ == "STUNet"
    return demand(counted, configuration.batch_size, stunet=stunet, epochs=epochs, iterations=iterations)
