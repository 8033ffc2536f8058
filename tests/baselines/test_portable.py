"""Families behind single faults: every way to cut a file off, every kind of number in a checkpoint, every patch."""

from __future__ import annotations

import gzip
import itertools
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medpodium.baselines.portable.image_files import damage

PATIENT = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def image(seed: int = 0) -> Any:
    voxels = np.random.default_rng(seed).integers(0, 900, (9, 10, 11)).astype(np.int16)
    return SimpleITK.GetImageFromArray(voxels)


@pytest.mark.parametrize("name", ["x.nii", "x.nii.gz", "x.hdr", "x.img.gz", "x.nrrd", "x.nhdr", "x.mha", "x.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
@PATIENT
@given(share=st.floats(0.0, 0.99))
def test_a_file_of_voxels_that_was_cut_off_anywhere_is_noticed(
    name: str, compressed: bool, share: float, tmp_path: Path
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    SimpleITK.WriteImage(image(), str(tmp_path / name), useCompression=compressed)
    header = tmp_path / name.replace(".img.gz", ".hdr.gz")
    assert damage(header) is None
    assert damage(header, full=True) is None
    largest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[: int(len(content) * share)])
    assert damage(header) is not None


@PATIENT
@given(pieces=st.lists(st.integers(1, 3000), max_size=4), padding=st.integers(0, 600))
def test_several_gzip_members_and_padding_are_no_damage(pieces: list[int], padding: int, tmp_path: Path) -> None:
    """Block-wise writers such as bgzip end with the size of the last block only."""
    SimpleITK.WriteImage(image(), str(tmp_path / "x.nii"))
    raw = (tmp_path / "x.nii").read_bytes()
    edges = sorted({0, *(min(piece, len(raw)) for piece in pieces), len(raw)})
    members = b"".join(gzip.compress(raw[a:b]) for a, b in itertools.pairwise(edges))
    path = tmp_path / "x.nii.gz"
    path.write_bytes(members + b"\0" * padding)
    assert damage(path) is None
    path.write_bytes(members[:-9])
    assert damage(path) is not None
    # a download that reserved its space beforehand
    path.write_bytes(members[: len(members) // 2].ljust(len(members), b"\0"))
    assert damage(path) is not None


def test_a_header_of_nothing_is_named(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        (tmp_path / name).write_bytes(b"no image at all, but longer than nothing")
        assert damage(tmp_path / name) is not None
    (tmp_path / "b.nii.gz").write_bytes(b"")
    assert damage(tmp_path / "b.nii.gz") == "the file is empty"
    assert "cannot be read" in str(damage(tmp_path / "gone.nii"))


@pytest.mark.nnunet
@pytest.mark.usefixtures("nnunet_installed")
class TestNetworks:
    """What needs PyTorch."""

    @PATIENT
    @given(patch=st.tuples(*[st.integers(9, 49)] * 3), spacing=st.tuples(*[st.sampled_from([0.7, 1.0, 2.5, 5.0])] * 3))
    def test_stunet_is_built_for_any_patch_that_nnunet_plans(
        self, patch: tuple[int, int, int], spacing: tuple[float, float, float]
    ) -> None:
        """Odd and flat patches; the output has the patch's size, and every head that of its stage."""
        import torch

        from medpodium.baselines.nnunet.plans import strides_for
        from medpodium.baselines.stunet.stunet import Size, STUNet, five_poolings

        planned, strides = strides_for(spacing, patch)
        assert all(0 <= own - asked < 64 for own, asked in zip(planned, patch, strict=True))
        network = STUNet(1, 2, Size(1, 1), five_poolings(strides)).eval()
        with torch.no_grad():
            heads = network(torch.zeros(1, 1, *planned))
            odd = network(torch.zeros(1, 1, *patch))
        assert tuple(heads[0].shape) == (1, 2, *planned)
        assert tuple(odd[0].shape) == (1, 2, *patch)
        assert len(heads) == 5

    @PATIENT
    @given(data=st.data())
    def test_any_number_of_numpy_comes_back(self, data: st.DataObject, tmp_path: Path) -> None:
        import torch

        from medpodium.baselines.checkpoints import read_content

        kind = data.draw(
            st.sampled_from(["?", "i1", "u1", "i2", "<i4", ">i4", "u8", "f2", "f4", ">f8", "c8", "S3", "U3"])
        )
        shape = data.draw(st.lists(st.integers(0, 3), max_size=3).map(tuple))
        values = np.random.default_rng(1).integers(0, 2, shape).astype(kind)
        layout = data.draw(st.sampled_from("CF"))
        content = {"array": np.asarray(values, order=layout), "list": list(values.ravel()), "text": "x"}
        torch.save(content, tmp_path / "x.pth")
        found = read_content(tmp_path / "x.pth")
        assert found["array"].dtype == values.dtype
        assert np.array_equal(found["array"], values)
        assert found["list"] == values.ravel().tolist()


def test_imports_that_are_put_off_happen_when_something_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Names of classes and the module itself cost nothing; a function, or a module of the package, loads it whole."""
    from medpodium.baselines.portable import lazily

    package = tmp_path / "slowly"
    package.mkdir()
    (package / "__init__.py").write_text(
        "class Kind:\n    pass\ndef work(one=7):\n    return one\nfrom . import below\n"
    )
    (package / "below.py").write_text("from . import Kind\nVALUE = 8\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    for name in ("nnunetv2", "nnunetv2.utilities", "nnunetv2.utilities.find_class_by_name"):
        module = ModuleType(name)
        module.__path__ = []  # type: ignore[attr-defined]
        module.recursive_find_python_class = None  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    sys.modules["nnunetv2.utilities"].find_class_by_name = sys.modules["nnunetv2.utilities.find_class_by_name"]  # type: ignore[attr-defined]

    def started() -> Any:
        for name in ("slowly", "slowly.below"):
            monkeypatch.delitem(sys.modules, name, raising=False)
        lazily.install({"slowly": ("Kind", "work()")})
        import slowly
        from slowly import Kind, work  # type: ignore[import-not-found]

        assert callable(work)
        assert not isinstance(3, Kind)
        assert not hasattr(slowly, "__file__")
        assert isinstance(sys.modules["slowly"], lazily.Later)
        return slowly

    assert started().work(one=9) == 9
    assert not isinstance(sys.modules["slowly"], lazily.Later)
    started()
    from slowly.below import VALUE, Kind  # type: ignore[import-not-found]

    assert VALUE == 8
    assert sys.modules["slowly"].Kind is Kind
    assert sys.modules["slowly"].below is sys.modules["slowly.below"]


def test_a_part_of_pytorch_that_is_used_after_all_finds_what_it_relies_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The rules for work without values are nobody's to ask for; the exporter needs them before it is imported."""
    from medpodium.baselines.portable import lazily

    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("SAID = []\nfrom torch import export, _meta_registrations\n")
    for name in ("export", "_meta_registrations"):
        (package / f"{name}.py").write_text(
            f"import torch\ntorch.SAID.append('{name}')\ndef use(): return torch.SAID\n"
        )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    kept = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "torch"}
    try:
        lazily.before_torch()
        import torch

        assert torch.SAID == []  # type: ignore[attr-defined]
        assert torch.export.use() == ["_meta_registrations", "export"]  # type: ignore[operator]
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
            del sys.modules[name]
        sys.modules.update(kept)
