"""STU-Net (Huang et al. 2023, arXiv:2304.06716) as trainers of nnU-Net v2.

Written from the published architecture: six stages of residual blocks, exactly five poolings, nearest-neighbour
upsampling with a 1x1x1 convolution, one segmentation head per decoder stage. Parameter names follow the published
checkpoints (``conv_blocks_context``, ``upsample_layers``, ``conv_blocks_localization``, ``seg_outputs``), so that
those can be loaded.

The file stands on its own: nnU-Net finds it through the environment variable ``nnUNet_extTrainer``, and a packaged
baseline carries a copy. nnU-Net reads the trainers' constructor signatures, which therefore spell out every argument.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

POOLINGS = 5
"""Number of poolings, whatever the plan says; plans with fewer are padded with (1, 1, 1), longer ones cut."""

WIDTHS = (1, 2, 4, 8, 16, 16)
"""Channels of the six stages, in multiples of the base width."""

Strides = tuple[int, int, int]


@dataclass(frozen=True)
class Size:
    """Base width and residual blocks per stage of one STU-Net."""

    base_width: int
    blocks: int


SIZES = {"small": Size(16, 1), "base": Size(32, 1), "large": Size(64, 2), "huge": Size(96, 3)}


class ResidualBlock(nn.Module):
    """Two 3x3x3 convolutions with instance normalisation, and a 1x1x1 convolution around them where shapes change.

    Parameters
    ----------
    inputs, outputs : int
        Channels.
    stride : tuple of int
        Stride (z, y, x) of the first convolution and of the shortcut.
    project : bool
        Whether the shortcut is a convolution; otherwise the input itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: Strides = (1, 1, 1), *, project: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1)
        self.norm1 = nn.InstanceNorm3d(outputs, eps=1e-5, affine=True)
        self.act1 = nn.LeakyReLU(inplace=True)
        self.conv2 = nn.Conv3d(outputs, outputs, 3, padding=1)
        self.norm2 = nn.InstanceNorm3d(outputs, eps=1e-5, affine=True)
        self.act2 = nn.LeakyReLU(inplace=True)
        self.conv3 = nn.Conv3d(inputs, outputs, 1, stride=stride) if project else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features of shape (batch, outputs, z, y, x)."""
        y = self.act1(self.norm1(self.conv1(x)))
        y = self.norm2(self.conv2(y))
        result: torch.Tensor = self.act2(y + (x if self.conv3 is None else self.conv3(x)))
        return result


class Upsample(nn.Module):
    """Nearest-neighbour upsampling by a fixed factor, then a 1x1x1 convolution."""

    def __init__(self, inputs: int, outputs: int, factor: Strides) -> None:
        super().__init__()
        self.factor = tuple(float(value) for value in factor)
        self.conv = nn.Conv3d(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features upsampled by the factor."""
        result: torch.Tensor = self.conv(nn.functional.interpolate(x, scale_factor=self.factor, mode="nearest"))
        return result


def five_poolings(strides: Sequence[Sequence[int]]) -> list[Strides]:
    """Return exactly five poolings from a plan's strides.

    Parameters
    ----------
    strides : sequence of (z, y, x)
        Strides of every stage; the first one, (1, 1, 1) in nnU-Net's plans, is the input stage and left out.
    """
    pools = [(int(z), int(y), int(x)) for z, y, x in strides][1:]
    return (pools + [(1, 1, 1)] * POOLINGS)[:POOLINGS]


class STUNet(nn.Module):
    """The network.

    Parameters
    ----------
    channels, classes : int
        Input channels, and output channels of every head.
    size : Size
        Base width and blocks per stage.
    poolings : sequence of (z, y, x)
        Five factors, finest first.
    deep_supervision : bool
        Return the outputs of all heads, finest first, instead of the finest only.
    """

    def __init__(
        self, channels: int, classes: int, size: Size, poolings: Sequence[Strides], *, deep_supervision: bool = True
    ) -> None:
        super().__init__()
        if len(poolings) != POOLINGS:
            raise ValueError(f"STU-Net has {POOLINGS} poolings, not {len(poolings)}")
        widths = [size.base_width * factor for factor in WIDTHS]
        self.deep_supervision = deep_supervision

        def stage(inputs: int, outputs: int, stride: Strides = (1, 1, 1)) -> nn.Sequential:
            first = ResidualBlock(inputs, outputs, stride, project=True)
            return nn.Sequential(first, *(ResidualBlock(outputs, outputs) for _ in range(size.blocks - 1)))

        encoder = [stage(channels, widths[0])]
        encoder += [stage(widths[i], widths[i + 1], pool) for i, pool in enumerate(poolings)]
        self.conv_blocks_context = nn.ModuleList(encoder)
        # From the coarsest pair of stages to the finest
        pairs = [(widths[i + 1], widths[i], poolings[i]) for i in reversed(range(POOLINGS))]
        self.upsample_layers = nn.ModuleList(Upsample(coarse, fine, pool) for coarse, fine, pool in pairs)
        self.conv_blocks_localization = nn.ModuleList(stage(2 * fine, fine) for _, fine, _ in pairs)
        self.seg_outputs = nn.ModuleList(nn.Conv3d(fine, classes, 1) for _, fine, _ in pairs)
        self.apply(initialise)

    def forward(self, x: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """Return logits of shape (batch, classes, z, y, x), or a list of them, finest first."""
        skips = []
        for stage in self.conv_blocks_context[:-1]:
            x = stage(x)
            skips.append(x)
        x = self.conv_blocks_context[-1](x)
        outputs = []
        last = len(self.seg_outputs) - 1
        for i, (up, stage, head) in enumerate(
            zip(self.upsample_layers, self.conv_blocks_localization, self.seg_outputs, strict=True)
        ):
            skip = skips.pop()
            # a stage halves odd edges upwards, so that what comes back may be a voxel longer
            z, y, width = skip.shape[2:]
            x = stage(torch.cat((up(x)[..., :z, :y, :width], skip), dim=1))
            if self.deep_supervision or i == last:
                outputs.append(head(x))
        return outputs[::-1] if self.deep_supervision else outputs[-1]


def initialise(module: nn.Module) -> None:
    """He initialisation with the slope of the activations, as nnU-Net does; biases zero."""
    if isinstance(module, nn.Conv3d) and not module.weight.is_meta:
        nn.init.kaiming_normal_(module.weight, a=1e-2)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def count_parameters(size: str, *, channels: int = 1, classes: int = 105, all_heads: bool = True) -> int:
    """Count trainable parameters without allocating them.

    Parameters
    ----------
    size : str
        Key of ``SIZES``.
    channels, classes : int
        One CT channel and TotalSegmentator's 104 structures with background are what the published counts are for.
    all_heads : bool
        Whether the heads of deep supervision count; the finest one always does.
    """
    with torch.device("meta"):
        network = STUNet(channels, classes, SIZES[size], [(2, 2, 2)] * POOLINGS)
    total = sum(int(parameter.numel()) for parameter in network.parameters())
    if all_heads:
        return total
    extra = (parameter for head in network.seg_outputs[:-1] for parameter in head.parameters())
    return total - sum(int(parameter.numel()) for parameter in extra)


_CUDA = torch.device("cuda")


class STUNetTrainer(nnUNetTrainer):
    """nnU-Net's training with an STU-Net; subclasses name the size.

    The published training: SGD with Nesterov momentum 0.99, learning rate 0.01, 1,000 epochs, which are nnU-Net's
    own defaults.
    """

    size = "base"
    learning_rate = 1e-2

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = _CUDA,
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.initial_lr = self.learning_rate

    @classmethod
    def build_network_architecture(
        cls,
        plans_manager: Any,  # noqa: ARG003 - nnU-Net looks for this name in the signature
        configuration_manager: Any,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> STUNet:
        """Build the network for a plan's configuration, for training and for inference; 3D only."""
        patch = configuration_manager.patch_size
        if len(patch) != 3:
            raise ValueError(f"STU-Net is three-dimensional, but the configuration's patch is {tuple(patch)}")
        poolings = five_poolings(configuration_manager.pool_op_kernel_sizes)
        return STUNet(
            num_input_channels,
            num_output_channels,
            SIZES[cls.size],
            poolings,
            deep_supervision=enable_deep_supervision,
        )

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        if not self.enable_deep_supervision:
            return None
        factors = np.cumprod([(1, 1, 1), *five_poolings(self.configuration_manager.pool_op_kernel_sizes)], axis=0)
        return [[float(value) for value in row] for row in 1.0 / factors[:-1]]

    def set_deep_supervision_enabled(self, enabled: bool) -> None:
        """Switch between all heads and the finest one."""
        network = self.network.module if self.is_ddp else self.network
        getattr(network, "_orig_mod", network).deep_supervision = enabled


class STUNetTrainer_small(STUNetTrainer):  # noqa: N801 - the published names of the trainers
    """STU-Net-S from scratch."""

    size = "small"


class STUNetTrainer_base(STUNetTrainer):  # noqa: N801
    """STU-Net-B from scratch."""

    size = "base"


class STUNetTrainer_large(STUNetTrainer):  # noqa: N801
    """STU-Net-L from scratch."""

    size = "large"


class STUNetTrainer_huge(STUNetTrainer):  # noqa: N801
    """STU-Net-H from scratch."""

    size = "huge"


class STUNetTrainer_small_ft(STUNetTrainer_small):  # noqa: N801
    """STU-Net-S from a checkpoint, with the published learning rate of fine-tuning."""

    learning_rate = 1e-3


class STUNetTrainer_base_ft(STUNetTrainer_base):  # noqa: N801
    """STU-Net-B from a checkpoint."""

    learning_rate = 1e-3


class STUNetTrainer_large_ft(STUNetTrainer_large):  # noqa: N801
    """STU-Net-L from a checkpoint."""

    learning_rate = 1e-3


class STUNetTrainer_huge_ft(STUNetTrainer_huge):  # noqa: N801
    """STU-Net-H from a checkpoint."""

    learning_rate = 1e-3
