"""Have nnU-Net import only what a prediction uses: most of a small job is the import of what it never calls.

nnU-Net looks for a class by importing every module of a folder, and its modules import PyTorch's compiler and readers
of formats that no case has. Nothing is left out: what is used after all is imported then, and is missed only then.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

LATER: dict[str, tuple[str, ...]] = {
    "torch._dynamo": ("OptimizedModule",),
    "blosc2": ("ndarray.NDArray",),
    "pandas": (),
    "skimage.transform": ("resize()",),
    "nnunetv2.training.dataloading.nnunet_dataset": ("nnUNetDatasetBlosc2", "comp_blosc2_params"),
    "nnunetv2.imageio.natural_image_reader_writer": ("NaturalImage2DIO",),
    "nnunetv2.imageio.nibabel_reader_writer": ("NibabelIO", "NibabelIOWithReorient"),
    "nnunetv2.imageio.tif_reader_writer": ("Tiff3DIO",),
}
"""Modules that are imported when something of them is used, and what is named of them before: classes, functions()."""
PYTORCH: dict[str, tuple[str, ...]] = {
    "torch._meta_registrations": (),
    "torch.cuda.graph_annotations": (),
    "torch.distributed._meta_registrations": (),
    "torch.distributions": (),
    "torch.export": (),
    "torch.quantization": (),
}
"""Parts of PyTorch itself that no network computes with: shapes without values, graphs, distributions."""
_FIRST = ("torch._meta_registrations", "torch.distributed._meta_registrations")
"""Nobody asks for these by name: they tell PyTorch how to work without values, which its compiler and exporter do."""
TRAINER: dict[str, tuple[str, ...]] = {"nnunetv2.training.nnUNetTrainer.nnUNetTrainer": ("nnUNetTrainer",)}
"""nnU-Net's training, for trainers of which only the network is built, and which need nothing of it for that."""
_ABSENT = ("__file__", "__wrapped__")
"""What libraries ask every loaded module for without using it."""


def _not_used(self: Any, *_: Any, **__: Any) -> None:
    raise RuntimeError(f"{type(self).__name__} was put off, and is used after all")


class Later(ModuleType):
    """Stands for a module until something of it is used; then the module itself takes its place.

    Parameters
    ----------
    name : str
        Of the module.
    named : sequence of str
        What is named without being used. A new class stands for each, of which nothing is an instance; for a name with
        brackets, a function that loads the module when it is called.
    """

    def __init__(self, name: str, named: Sequence[str]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        for own in named:
            if own.endswith("()"):
                setattr(self, own[:-2], partial(self._call, own[:-2]))
                continue
            room, _, last = own.rpartition(".")
            made = type(last, (), {"__init__": _not_used})
            setattr(self, room or last, SimpleNamespace(**{last: made}) if room else made)

    def __getattr__(self, name: str) -> Any:
        if name in _ABSENT:
            raise AttributeError(name)
        return getattr(self.load(), name)

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.load(), name)(*arguments, **options)

    def load(self) -> ModuleType:
        """Import the module and put it where this one was."""
        own = self.__name__
        if own.startswith("torch.") and own not in _FIRST:
            for first in _FIRST:
                if isinstance(put_off := sys.modules.get(first), Later):
                    with suppress(ModuleNotFoundError):  # not in every version of PyTorch
                        put_off.load()
        if sys.modules.get(own) is self:
            del sys.modules[own]
        module = importlib.import_module(own)
        parent, _, last = own.rpartition(".")
        if parent:
            setattr(sys.modules[parent], last, module)
        return module


class _Ready(Loader):
    """Hands out a module that is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing; it was done."""


class _Below(MetaPathFinder):
    """Finds the modules of a package that a :class:`Later` stands for, which is loaded first."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,
        target: ModuleType | None = None,
    ) -> ModuleSpec | None:
        parent = sys.modules.get(fullname.rpartition(".")[0])
        if not isinstance(parent, Later):
            return None
        package = parent.load()
        known = sys.modules.get(fullname)
        if known is not None:
            return importlib.util.spec_from_loader(fullname, _Ready(known))
        return PathFinder.find_spec(fullname, getattr(package, "__path__", None), target)


def before_torch() -> None:
    """Put parts of PyTorch off; before it is imported, and where it does nothing but compute."""
    if "torch" not in sys.modules:
        sys.meta_path.insert(0, _Below())
        sys.modules.update({name: Later(name, named) for name, named in PYTORCH.items()})


def install(later: Mapping[str, Sequence[str]] | None = None) -> None:
    """Put off imports, and have nnU-Net find its classes by the text of its files; before nnU-Net is imported.

    Parameters
    ----------
    later : mapping of str to sequence of str, optional
        Modules, and what is named of them, as in :data:`LATER`.
    """
    if not any(isinstance(finder, _Below) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Below())
    for name, named in (LATER if later is None else later).items():
        parent, _, last = name.rpartition(".")
        if name in sys.modules:
            continue
        sys.modules[name] = Later(name, named)
        if parent:
            setattr(importlib.import_module(parent), last, sys.modules[name])
    from nnunetv2.utilities import find_class_by_name

    search = find_class_by_name.recursive_find_python_class

    def find(folder: str, class_name: str, current_module: str) -> Any:
        path = defined_in(class_name, Path(folder))
        if path is None:
            return search(folder, class_name, current_module)
        module = importlib.import_module(".".join((current_module, *path.relative_to(folder).with_suffix("").parts)))
        return getattr(module.load() if isinstance(module, Later) else module, class_name)

    find_class_by_name.recursive_find_python_class = find


def defined_in(name: str, folder: Path) -> Path | None:
    """Return the first file below a folder that defines a class or function of this name."""
    pattern = re.compile(rf"^(class|def)\s+{re.escape(name)}\b", re.MULTILINE)
    for path in sorted(folder.rglob("*.py")):
        if pattern.search(path.read_text(encoding="utf-8", errors="replace")):
            return path
    return None
