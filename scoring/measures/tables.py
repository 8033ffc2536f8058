"""Tables from labels to structures, made once: single lesions are measured by the hundred with the same one label."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt


@lru_cache(maxsize=64)
def index_of(structures: tuple[frozenset[int], ...]) -> npt.NDArray[np.int32]:
    """Return the class of every label: background 0, labels of the same structures one class from 1, others last."""
    owners: dict[int, list[int]] = {}
    for number, labels in enumerate(structures):
        for label in labels:
            owners.setdefault(label, []).append(number)
    classes: dict[tuple[int, ...], int] = {}
    found = {label: classes.setdefault(tuple(own), len(classes) + 1) for label, own in sorted(owners.items())}
    index = np.full(65536, len(classes) + 1, np.int32)
    index[0] = 0
    index[list(found)] = list(found.values())
    return index


@lru_cache(maxsize=64)
def layers(structures: tuple[frozenset[int], ...]) -> npt.NDArray[np.int32]:
    """Return the structure number (from 1) of every label, in as few layers as shared labels allow."""
    taken: list[set[int]] = []
    tables: list[npt.NDArray[np.int32]] = []
    for number, labels in enumerate(structures, start=1):
        layer = next((k for k, used in enumerate(taken) if not used & labels), len(taken))
        if layer == len(taken):
            taken.append(set())
            tables.append(np.zeros(65536, np.int32))
        taken[layer] |= labels
        tables[layer][list(labels)] = number
    return np.stack(tables) if tables else np.zeros((1, 65536), np.int32)
