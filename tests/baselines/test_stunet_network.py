"""STU-Net against the published figures, and its behaviour inside nnU-Net."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = [pytest.mark.nnunet, pytest.mark.usefixtures("nnunet_installed")]

# arXiv 2304.06716, table 1: millions of parameters and 10^12 operations at a patch of 128 x 128 x 128
PUBLISHED = {"small": ("14.6", 0.13), "base": ("58.26", 0.51), "large": ("440.30", 3.81), "huge": ("1457.33", 12.60)}


@pytest.mark.parametrize("size", PUBLISHED)
def test_parameters_equal_the_published_digits(size: str) -> None:
    """One CT channel, TotalSegmentator's 104 structures with background, the five heads of deep supervision."""
    from medpodium.baselines.stunet.stunet import count_parameters

    printed = PUBLISHED[size][0]
    digits = len(printed.partition(".")[2])
    assert f"{count_parameters(size, channels=1, classes=105) / 1e6:.{digits}f}" == printed


def test_the_smallest_size_is_counted_without_heads_too() -> None:
    """The finest head always counts: 16 weights and a bias per class."""
    from medpodium.baselines.stunet.stunet import count_parameters

    more, fewer = (count_parameters("small", classes=classes, all_heads=False) for classes in (3, 2))
    assert more - fewer == 17


@pytest.mark.parametrize("size", PUBLISHED)
def test_operations_come_within_half_a_percent_of_the_published_ones(size: str) -> None:
    """Published TFLOPs count a multiplication with its addition once; norms and activations are not counted here."""
    from medpodium.baselines.stunet.operations import forward_operations

    ours = forward_operations(size, 1, 105, (128, 128, 128)) / 2e12
    # printed with two decimals, so half a unit of the last one is not our error
    assert ours == pytest.approx(PUBLISHED[size][1], rel=5e-3, abs=5e-3)


@pytest.mark.parametrize(
    ("patch", "strides"),
    [
        # FLARE's published plan: 48 x 128 x 160 at 2.5 x 1.5 x 1.5 mm
        ((48, 128, 160), [(1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2)]),
        # fewer poolings than five are padded
        ((16, 32, 32), [(1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 2, 2)]),
        # more are cut
        ((64, 128, 128), [(1, 1, 1)] + [(2, 2, 2)] * 5 + [(1, 2, 2)]),
    ],
)
def test_shapes_for_anisotropic_patches(patch: tuple[int, ...], strides: list[tuple[int, ...]]) -> None:
    import numpy as np
    import torch

    from medpodium.baselines.stunet.stunet import SIZES, STUNet, five_poolings

    poolings = five_poolings(strides)
    assert len(poolings) == 5
    with torch.device("meta"):
        network = STUNet(2, 3, SIZES["small"], poolings)
        outputs = network(torch.empty(1, 2, *patch))
        network.deep_supervision = False
        single = network(torch.empty(1, 2, *patch))
    factors = np.cumprod([(1, 1, 1), *poolings[:-1]], axis=0)
    assert [tuple(output.shape) for output in outputs] == [
        (1, 3, *(edge // factor for edge, factor in zip(patch, row, strict=True))) for row in factors.tolist()
    ]
    assert tuple(single.shape) == (1, 3, *patch)


def test_deep_supervision_changes_neither_weights_nor_the_finest_output() -> None:
    import torch

    from medpodium.baselines.stunet.stunet import SIZES, STUNet

    torch.manual_seed(0)
    network = STUNet(1, 2, SIZES["small"], [(2, 2, 2), (2, 2, 2), (1, 1, 1), (1, 1, 1), (1, 1, 1)]).eval()
    image = torch.randn(1, 1, 8, 8, 16)
    with torch.no_grad():
        several = network(image)
        network.deep_supervision = False
        assert torch.equal(several[0], network(image))


def test_trainers_are_found_by_nnunet_and_tell_their_signature() -> None:
    """nnU-Net reads both signatures; a trainer with *args cannot be saved, an old one is deprecated."""
    import inspect

    from medpodium.baselines.stunet import stunet

    for size in PUBLISHED:
        for name, rate in ((f"STUNetTrainer_{size}", 1e-2), (f"STUNetTrainer_{size}_ft", 1e-3)):
            trainer = getattr(stunet, name)
            assert trainer.size == size
            assert trainer.learning_rate == rate
            assert list(inspect.signature(trainer.__init__).parameters)[1:] == [
                "plans", "configuration", "fold", "dataset_json", "device",
            ]  # fmt: skip
            assert "plans_manager" in inspect.signature(trainer.build_network_architecture).parameters


@pytest.mark.parametrize(
    ("size", "channels", "classes", "patch", "strides"),
    [
        ("small", 1, 3, (128, 128, 128), None),
        ("base", 2, 5, (48, 128, 160), ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2), (1, 2, 2))),
        ("large", 1, 4, (40, 112, 96), ((1, 1, 1), (1, 2, 2), (2, 2, 2))),
        ("base", 3, 8, (33, 65, 31), None),
    ],
)
def test_operations_are_those_that_pytorch_counts(
    size: str, channels: int, classes: int, patch: tuple[int, ...], strides: Any
) -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from medpodium.baselines.stunet import operations
    from medpodium.baselines.stunet.stunet import POOLINGS, SIZES, WIDTHS, STUNet, five_poolings

    with torch.device("meta"):
        poolings = [(2, 2, 2)] * POOLINGS if strides is None else five_poolings(strides)
        network = STUNet(channels, classes, SIZES[size], poolings)
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            network(torch.empty(1, channels, *patch))
    assert operations.forward_operations(size, channels, classes, patch, strides) == counter.get_total_flops()
    assert operations.WIDTHS == WIDTHS
    assert {name: (item.base_width, item.blocks) for name, item in SIZES.items()} == operations.SIZES


# documentation/resenc_presets.md of nnU-Net: GB as nvidia-smi tells and hours of a training on an A100 with 40 GB.
# The data sets' patches are not given; 128^3 voxels in batches of two are nnU-Net's usual ones for eight gigabytes.
MEASURED = {"small": (5.2, 10), "base": (8.8, 15), "large": (26.5, 51)}


@pytest.mark.parametrize("size", MEASURED)
def test_gpu_memory_and_hours_come_near_the_published_ones(size: str) -> None:
    import torch

    from medpodium.baselines.nnunet.demand import count, demand
    from medpodium.baselines.stunet.operations import forward_operations
    from medpodium.baselines.stunet.stunet import SIZES, STUNet

    with torch.device("meta"):
        network = STUNet(1, 15, SIZES[size], [(2, 2, 2)] * 5, deep_supervision=False)
    counted = count(network, 1, (128, 128, 128))
    # counted by hooks on the network here, from its shape alone there, which counts the heads of deep supervision, too
    assert counted.operations == pytest.approx(forward_operations(size, 1, 15, (128, 128, 128)), rel=0.005)
    found = demand(counted, 2, stunet=True)
    memory, hours = MEASURED[size]
    assert found["gpu_memory_gb"] == pytest.approx(memory, rel=0.15)
    assert found["hours"] == pytest.approx(hours, rel=0.15)
    assert demand(counted, 2, stunet=True, epochs=100)["hours"] == pytest.approx(found["hours"] / 10, abs=0.01)
