"""Loading pre-trained weights: what fits is taken, what does not is refused with what it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from medpodium.findings import UsageError

pytestmark = [pytest.mark.nnunet, pytest.mark.usefixtures("nnunet_installed")]

POOLS = [(2, 2, 2)] * 2 + [(1, 1, 1)] * 3


def network(size: str = "small", channels: int = 1, classes: int = 5) -> Any:
    from medpodium.baselines.stunet.stunet import SIZES, STUNet

    return STUNet(channels, classes, SIZES[size], POOLS)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as nnU-Net v2 saves them, numpy scalars included."""
    import numpy as np
    import torch

    path = tmp_path_factory.mktemp("weights") / "checkpoint_final.pth"
    torch.manual_seed(1)
    content = {
        "network_weights": network().state_dict(),
        "_best_ema": np.float64(0.5),
        "init_args": {"device": torch.device("cpu"), "fold": 0},
        "trainer_name": "STUNetTrainer_small",
    }
    torch.save(content, path)
    return path


def test_other_channels_and_classes(checkpoint: Path) -> None:
    import torch

    from medpodium.baselines.nnunet.finetune import load_weights, read_checkpoint

    given = read_checkpoint(checkpoint)
    target = network(channels=3, classes=2)
    heads = {key: value.clone() for key, value in target.state_dict().items() if "seg_outputs" in key}
    loaded = load_weights(target, checkpoint, stem="repeat")
    own = target.state_dict()
    stem = "conv_blocks_context.0.0.conv1.weight"
    assert loaded.stem == [stem, "conv_blocks_context.0.0.conv3.weight"]
    assert all(torch.equal(own[stem][:, [channel]], given[stem]) for channel in range(3))
    assert len(loaded.heads) == 10
    assert all(torch.equal(own[key], value) for key, value in heads.items())
    assert loaded.tensors + len(loaded.stem) + len(loaded.heads) == len(own)
    key = "conv_blocks_context.5.0.conv2.weight"
    assert torch.equal(own[key], given[key])


def test_average_keeps_the_response_to_equal_channels(checkpoint: Path) -> None:
    """A stem that is repeated and divided answers three equal channels as it answered one."""
    import torch

    from medpodium.baselines.nnunet.finetune import load_weights

    one, three = network(), network(channels=3)
    load_weights(one, checkpoint)
    load_weights(three, checkpoint, stem="average")
    image = torch.randn(1, 1, 4, 8, 8)
    with torch.no_grad():
        first = one.conv_blocks_context[0](image)
        second = three.conv_blocks_context[0](image.repeat(1, 3, 1, 1, 1))
    assert torch.allclose(first, second, atol=1e-5)


def test_a_stem_needs_a_declared_choice(checkpoint: Path) -> None:
    from medpodium.baselines.nnunet.finetune import load_weights

    with pytest.raises(UsageError, match=r"checkpoint-stem-undeclared.*--stem repeat"):
        load_weights(network(channels=2), checkpoint)


def test_a_checkpoint_of_another_size_is_named(checkpoint: Path) -> None:
    import torch

    from medpodium.baselines.nnunet.finetune import load_weights

    with torch.device("meta"):
        base = network("base")
    with pytest.raises(UsageError, match="the checkpoint is STU-Net-S for 1 channel, the network STU-Net-B"):
        load_weights(base, checkpoint)


def test_a_plain_nnunet_is_told_apart(checkpoint: Path) -> None:
    """Users who forget the trainer get a plain nnU-Net, which then fails on the names of the weights."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from torch import nn

    from medpodium.baselines.nnunet.finetune import load_weights

    plain = PlainConvUNet(
        1, 2, (8, 16), nn.Conv3d, 3, ((1, 1, 1), (2, 2, 2)), (1, 1), 2, (1,), conv_bias=True,
        norm_op=nn.InstanceNorm3d, norm_op_kwargs={"affine": True}, nonlin=nn.LeakyReLU,
    )  # fmt: skip
    with pytest.raises(UsageError, match="is STU-Net-S for 1 channel; the network is a plain nnU-Net v2 network"):
        load_weights(plain, checkpoint)


def test_objects_are_refused_unless_trusted(tmp_path: Path) -> None:
    import torch

    from medpodium.baselines.nnunet.finetune import read_checkpoint

    path = tmp_path / "objects.pth"
    torch.save({"network_weights": network().state_dict(), "anything": Path("x")}, path)
    with pytest.raises(UsageError, match="checkpoint-holds-objects"):
        read_checkpoint(path)
    assert len(read_checkpoint(path, trust=True)) > 50


def test_nnunet_v1_checkpoints_and_rubbish(tmp_path: Path) -> None:
    import torch

    from medpodium.baselines.nnunet.finetune import load_weights, read_checkpoint

    old = tmp_path / "base_ep4k.model"
    torch.save(
        {"state_dict": {f"module.{key}": value for key, value in network().state_dict().items()}, "epoch": 4000}, old
    )
    assert load_weights(network(classes=2), old).unused == 10
    rubbish = tmp_path / "rubbish.pth"
    rubbish.write_bytes(b"no checkpoint")
    with pytest.raises(UsageError, match="checkpoint"):
        read_checkpoint(rubbish)
