"""From a task's structures to nnU-Net's labels or regions, and back.

nnU-Net wants consecutive label values from 0; a challenge may use any. Structures that are unions of labels are
trained as regions where some label has no structure of its own (nested tumour parts), and left to scoring otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.challenges.schema.definition import SegmentationTask

Regions = Literal["auto", "always", "never"]
_FIX = "use --regions never, which trains every label as its own class"


@dataclass(frozen=True)
class LabelScheme:
    """How a challenge's label values are written for nnU-Net.

    Parameters
    ----------
    labels : dict of str to int or list of int
        The ``labels`` of ``dataset.json``, background and ignore label included.
    class_order : tuple of int
        ``regions_class_order``; empty without regions.
    values : dict of int to int
        Challenge value to nnU-Net value, background included.
    ignore : int, optional
        Value of voxels that are neither background nor any structure.
    """

    labels: dict[str, int | list[int]]
    class_order: tuple[int, ...]
    values: dict[int, int]
    ignore: int | None = None

    @property
    def identical(self) -> bool:
        """Whether every value stays what it is."""
        return all(old == new for old, new in self.values.items())

    def forward(self) -> npt.NDArray[np.uint16]:
        """Return a lookup table from challenge values to nnU-Net values."""
        return _table(self.values)

    def backward(self) -> npt.NDArray[np.uint16]:
        """Return a lookup table from nnU-Net values to challenge values."""
        return _table({new: old for old, new in self.values.items()})


def _table(values: dict[int, int]) -> npt.NDArray[np.uint16]:
    table = np.zeros(max(values) + 1, dtype=np.uint16)
    for key, value in values.items():
        table[key] = value
    return table


def make_scheme(task: SegmentationTask, *, regions: Regions = "auto", ignore: bool = False) -> LabelScheme:
    """Derive labels or regions from a task.

    Parameters
    ----------
    task : SegmentationTask
        Its structures, and labels that may occur without being scored.
    regions : {"auto", "always", "never"}
        Train unions as regions: where needed, always, or never.
    ignore : bool
        Add the ignore label, for training data that are labelled in part; it is there anyway where the task has
        ``ignore_labels``, which become it.

    Raises
    ------
    UsageError
        If the unions do not nest, so that a label map could not be read back from the regions.
    """
    present = sorted(task.known_labels - {0, *task.ignore_labels})
    values = {0: 0} | {old: new for new, old in enumerate(present, start=1)}
    own = {next(iter(item.labels)): name for name, item in task.structures.items() if item.label is not None}
    needed = any(label not in own and label not in task.extra_labels for label in present)
    last = len(present) + 1 if ignore or task.ignore_labels else None
    labels: dict[str, int | list[int]] = {"background": 0}
    order: tuple[int, ...] = ()
    if regions == "always" or (regions == "auto" and needed):
        sets = {name: frozenset(values[label] for label in item.labels) for name, item in task.structures.items()}
        sets |= {f"label_{old}": frozenset([values[old]]) for old in task.extra_labels}
        chosen, order = _ordered(sets)
        labels |= {name: sorted(sets[name]) for name in chosen}
    else:
        labels |= {own.get(old, f"label_{old}"): values[old] for old in present}
    if last is not None:
        labels["ignore"] = last
        values |= dict.fromkeys(task.ignore_labels, last)
    return LabelScheme(labels, order, values, last)


def _ordered(sets: dict[str, frozenset[int]]) -> tuple[list[str], tuple[int, ...]]:
    """Order regions from large to small and find the value each one writes.

    nnU-Net paints the regions one after the other, so a region's value is a label that no later one inside it has.
    """
    names = sorted(sets, key=lambda name: -len(sets[name]))
    for index, one in enumerate(names):
        for other in names[index + 1 :]:
            if sets[one] & sets[other] and not sets[other] <= sets[one]:
                cause = f"structures {one} and {other} share labels, but neither holds the other"
                raise refuse(BaselineCode.REGIONS, "structures", cause, _FIX)
    chosen: list[str] = []
    order: list[int] = []
    for index, name in enumerate(names):
        inside = frozenset[int]().union(*(sets[other] for other in names[index + 1 :]))
        rest = sorted(sets[name] - inside)
        if not rest:
            continue  # fully covered by its parts: the union follows from them when scoring
        chosen.append(name)
        order.append(rest[0])  # several labels that no structure tells apart become one
    return chosen, tuple(order)
