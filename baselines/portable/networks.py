"""The network of a trained model: found by its trainer's name, built from the plans, filled with weights.

nnU-Net's own search imports every trainer that it has, and its loader unpickles whatever a checkpoint holds. Here the
file that defines a trainer is found by its text, and nothing but this file is imported.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PLAIN = "nnUNetTrainer"
_DRAWING = ("kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_", "xavier_uniform_")
"""PyTorch's functions that draw the first weights of a layer."""


class NetworkError(Exception):
    """No file defines the trainer, or its file cannot be imported; the message says which."""


def locate(name: str, folders: Iterable[Path]) -> Path | None:
    """Return the file that defines a class, the first one in the order of folders and names."""
    pattern = re.compile(rf"^class\s+{re.escape(name)}\b", re.MULTILINE)
    for folder in folders:
        files = [folder] if folder.is_file() else sorted(folder.rglob("*.py")) if folder.is_dir() else []
        for path in files:
            if pattern.search(path.read_text(encoding="utf-8", errors="replace")):
                return path
    return None


def own_folder() -> Path:
    """Return nnU-Net's folder of trainers."""
    import nnunetv2

    return Path(nnunetv2.__path__[0]) / "training" / "nnUNetTrainer"


def import_file(path: Path) -> Any:
    """Import a file: as part of nnU-Net where it is one, else by itself, with its neighbours in reach.

    Raises
    ------
    NetworkError
        If it cannot be imported.
    """
    own = own_folder().parents[1]
    try:
        if path.resolve().is_relative_to(own.resolve()):
            parts = path.resolve().relative_to(own.resolve()).with_suffix("").parts
            return importlib.import_module(".".join(("nnunetv2", *parts)))
        if str(path.parent) not in sys.path:
            sys.path.append(str(path.parent))
        known = sys.modules.get(path.stem)
        if known is not None and Path(getattr(known, "__file__", None) or "").resolve() == path.resolve():
            return known
        spec = importlib.util.spec_from_file_location(path.stem, path)
        if spec is None or spec.loader is None:
            raise NetworkError(f"{path.name} is no Python file")
        module = importlib.util.module_from_spec(spec)
        if known is None:
            sys.modules[path.stem] = module  # dataclasses look their module up
        spec.loader.exec_module(module)
    except ImportError as error:
        raise NetworkError(f"{path.name} cannot be imported ({error})") from None
    return module


def builds_own_network(trainer: type) -> bool:
    """Whether a trainer has a network of its own, not the one that the plans describe."""
    owner = next(kind for kind in trainer.__mro__ if "build_network_architecture" in vars(kind))
    return owner.__name__ != PLAIN


def build(trainer: type | None, plans: Any, configuration: Any, dataset: Mapping[str, Any]) -> Any:
    """Return the network of a model without deep supervision, with random weights.

    Parameters
    ----------
    trainer : type, optional
        Class of the trainer; the plans' own network without one.
    plans, configuration
        nnU-Net's managers of ``plans.json`` and of one of its configurations.
    dataset : mapping
        ``dataset.json``.
    """
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    channels = determine_num_input_channels(plans, configuration, dataset)
    heads = plans.get_label_manager(dataset).num_segmentation_heads
    described = (
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
    )
    if trainer is None:
        from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

        return get_network_from_plans(*described, channels, heads, allow_init=False, deep_supervision=False)
    make: Any = trainer.build_network_architecture  # type: ignore[attr-defined]
    if "plans_manager" in inspect.signature(make).parameters:
        return make(plans, configuration, channels, heads, enable_deep_supervision=False)
    # trainers written for nnU-Net before 2.7
    return make(*described, channels, heads, enable_deep_supervision=False)


@contextmanager
def without_drawing() -> Iterator[None]:
    """Leave new weights as they lie in memory: :func:`fill` replaces them all, and drawing takes longer than that."""
    from torch.nn import init

    drawing = {name: getattr(init, name) for name in _DRAWING}
    for name in drawing:
        setattr(init, name, lambda tensor, *_, **__: tensor)
    try:
        yield
    finally:
        for name, function in drawing.items():
            setattr(init, name, function)


def fill(network: Any, weights: Mapping[str, Any]) -> None:
    """Load weights into a network; one that does not fit exactly is an error.

    Raises
    ------
    NetworkError
        With the first parameter that differs.
    """
    own = network.state_dict()
    lacking = [key for key in own if key not in weights]
    extra = [key for key in weights if key not in own]
    other = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    for what, names in (("lack", lacking), ("have besides", extra), ("have in another shape", other)):
        if names:
            raise NetworkError(f"the weights {what} {names[0]} ({len(names)} of {len(own)} parameters)")
    network.load_state_dict(weights)
