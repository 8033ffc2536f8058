"""Checkpoints that numpy 1 wrote are read; those that would run something are not."""

from __future__ import annotations

import os
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = [pytest.mark.nnunet, pytest.mark.usefixtures("nnunet_installed")]


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    """Return weights of STU-Net-S for one channel; they are never computed with."""
    try:
        from medpodium.baselines.stunet.stunet import POOLINGS, SIZES, STUNet
    except ImportError:  # as 0.1.0 called it
        from medpodium.baselines.trainers.stunet import POOLINGS, SIZES, STUNet

    network = STUNet(1, 2, SIZES["small"], [(2, 2, 2)] * POOLINGS)
    return dict(network.state_dict())


def as_numpy_1(path: Path) -> set[str]:
    """Give the modules in a checkpoint the names that numpy 1 gave them; return every name that it now holds."""
    with zipfile.ZipFile(path) as archive:
        content = {item.filename: archive.read(item) for item in archive.infolist()}
    (name,) = [key for key in content if key.endswith("data.pkl")]
    content[name] = content[name].replace(b"cnumpy._core.", b"cnumpy.core.")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for key, value in content.items():
            archive.writestr(key, value)
    return {str(arg) for code, arg, _ in pickletools.genops(content[name]) if code.name == "GLOBAL"}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A transfer suite, which reads its checkpoints before anything else."""
    raw = tmp_path / "raw" / "Dataset900_Own"
    (raw / "labelsTr").mkdir(parents=True)
    for number in range(5):
        (raw / "labelsTr" / f"c{number}.nii.gz").write_bytes(b"")
    (raw / "dataset.json").write_text('{"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1}}')
    path = tmp_path / "suite.yaml"
    path.write_text(f"datasets: [{{raw: {raw}}}]\nsizes: [small]\ncheckpoints: {{small: {tmp_path}/small.model}}\n")
    return path


def read(suite: Path, verb: Any, no_jobs: Any) -> dict[str, Any]:
    """Have the suite read its checkpoint; nnU-Net itself is not wanted, and says so."""
    from medpodium.baselines.failures import BaselineCode, broken

    def job(*_: Any, **__: Any) -> Any:
        raise broken(BaselineCode.RUN_FAILED, "job", "the checkpoint was read", "nothing to do")

    no_jobs(job)
    answer: dict[str, Any] = verb("baseline", "transfer", suite, "--workspace", suite.parent / "ws", "--out",
                                  suite.parent / "out", "--device", "cpu", code=None)  # fmt: skip
    return answer


def test_what_nnunet_wrote_with_numpy_1_is_read(suite: Path, weights: Any, verb: Any, no_jobs: Any) -> None:
    """The published checkpoints hold such numbers beside the weights: floats, arrays, whole numbers, texts."""
    import torch

    content = {
        "state_dict": weights,
        "best": np.float64(0.5),
        "epoch": np.int64(4000),
        "sure": np.bool_(True),
        "name": np.str_("fold 0"),
        "losses": [np.float32(-0.25)] * 3,
        "matrix": np.arange(6, dtype=">f4").reshape(2, 3),
        "empty": np.zeros((0, 2)),
        "device": torch.device("cuda", 0),
    }
    path = suite.parent / "small.model"
    torch.save(content, path)
    names = as_numpy_1(path)
    assert {"numpy.core.multiarray scalar", "numpy.core.multiarray _reconstruct"} <= names
    causes = [item["cause"] for item in read(suite, verb, no_jobs)["findings"]]
    assert causes, "nothing was read"
    assert all("the checkpoint was read" in cause for cause in causes)


class Call:
    """Pickles as the call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def hostile(folder: Path) -> dict[str, Any]:
    owned = str(folder / "owned")
    scalar = np.float64(1).__reduce__()[0]
    return {
        "a system call": Call(os.mkdir, owned),
        "code": Call(eval, f"__import__('os').mkdir({owned!r})"),
        "a file of numpy": Call(np.load, owned),
        "a number that is an object": Call(scalar, np.dtype(object), b"12345678"),
        "an array of objects": np.array([Call(os.mkdir, owned)], dtype=object),
        "a record": np.zeros(1, dtype=[("a", object)]),
    }


@pytest.mark.parametrize("what", list(hostile(Path())))
@pytest.mark.parametrize("numpy_1", [False, True])
def test_a_checkpoint_that_would_run_something_is_refused(
    what: str, numpy_1: bool, suite: Path, verb: Any, no_jobs: Any
) -> None:
    import torch

    path = suite.parent / "small.model"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "more": hostile(suite.parent)[what]}, path)
    if numpy_1:
        as_numpy_1(path)
    (found,) = read(suite, verb, no_jobs)["findings"]
    assert found["code"] == "checkpoint-holds-objects"
    assert "\n" not in found["cause"]
    assert not (suite.parent / "owned").exists()
