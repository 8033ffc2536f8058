"""Which structure of a challenge is a label of a model: by their names, or as the user says."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse, warning
from medpodium.challenges.naming.names import alike
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.findings import Finding

NONE = "none"
"""Instead of a label of the model: it does not know the structure."""
_BACKGROUND = ("background", "ignore")

Labels = dict[str, frozenset[int]]


def model_labels(dataset: Mapping[str, Any]) -> tuple[Labels, dict[str, int]]:
    """Return a model's labels from its ``dataset.json``.

    Returns
    -------
    (parts, painted)
        Label values of the training data by name, and the value that a prediction has for each name: the same
        without regions, with them nnU-Net's ``regions_class_order``.

    Raises
    ------
    UsageError
        If the file declares none that can be understood.
    """
    given = dataset.get("labels")
    if not isinstance(given, Mapping) or not given:
        raise refuse(BaselineCode.MODEL_UNKNOWN, "dataset.json", "declares no labels", "give the model's dataset.json")
    if all(str(key).lstrip("-").isdigit() for key in given):
        given = {str(name): int(value) for value, name in given.items()}  # as nnU-Net v1 wrote them
    own = {str(name): value for name, value in given.items() if str(name) not in _BACKGROUND and value != 0}
    parts = {
        name: frozenset(map(int, value)) if isinstance(value, list | tuple) else frozenset([int(value)])
        for name, value in own.items()
    }
    order = dataset.get("regions_class_order")
    if order is None:
        wide = [name for name, values in parts.items() if len(values) > 1]
        if wide:
            cause = f"{wide[0]} is a region, but there is no regions_class_order"
            raise refuse(BaselineCode.MODEL_UNKNOWN, "dataset.json", cause, "give the model's dataset.json")
        return parts, {name: next(iter(values)) for name, values in parts.items()}
    if len(order) != len(parts):
        cause = f"has {len(parts)} regions, but regions_class_order has {len(order)} values"
        raise refuse(BaselineCode.MODEL_UNKNOWN, "dataset.json", cause, "give the model's dataset.json")
    return parts, {name: int(value) for name, value in zip(parts, order, strict=True)}


def match_labels(
    task: SegmentationTask, dataset: Mapping[str, Any], given: Mapping[str, str]
) -> tuple[dict[int, int], list[Finding]]:
    """Match a model's labels with a task's.

    Parameters
    ----------
    task : SegmentationTask
        Its structures.
    dataset : mapping
        The model's ``dataset.json``.
    given : mapping of str to str
        Structure, or label value of the task, to the model's label by name or value, or to ``none``.

    Returns
    -------
    (values, findings)
        Value in a prediction of the model to label of the task, background included. Labels of the model that the
        task does not know become background, with a warning.

    Raises
    ------
    UsageError
        If a structure has no label of the model, or a choice makes no sense.
    """
    parts, painted = model_labels(dataset)
    chosen = {name: _structure(task, name) for name in given}
    owners: dict[str, str] = {}  # the model's name to the task's
    for name, value in given.items():
        if value.casefold() != NONE:
            label = _named(value, painted)
            if label in owners:
                cause = f"is given for both {owners[label]} and {chosen[name]}"
                raise refuse(BaselineCode.LABEL_UNMATCHED, label, cause, "give every label of the model once")
            owners[label] = chosen[name]
    free = [name for name in task.structures if name not in chosen.values()]
    findings = []
    for read, loose in ((alike, False), (_joined, False), (_words, True)):
        left = {read(name): name for name in painted if name not in owners}
        for name in free:
            if name in owners.values():
                continue
            names = (name, task.structures[name].file or name)
            known = next((left[read(one)] for one in names if read(one) in left), None)
            if known is not None and known not in owners:
                owners[known] = name
                if loose:
                    fix = f"use --label {name}=... if that is wrong"
                    findings.append(warning(BaselineCode.LABEL_UNMATCHED, name, f"was taken to be {known!r}", fix))
    values = _by_regions(task, parts, painted, owners) if _has_regions(dataset) else _by_labels(task, painted, owners)
    _complete(task, painted, values, {chosen[name] for name, value in given.items() if value.casefold() == NONE})
    strangers = [name for name, value in painted.items() if value not in values]
    if strangers:
        shown = ", ".join(strangers[:6]) + (", ..." if len(strangers) > 6 else "")
        cause = f"{len(strangers)} of the model's {len(painted)} labels are no structure of the task: {shown}"
        fix = "they become background; use --label STRUCTURE=NAME if one of them is meant"
        findings.append(warning(BaselineCode.LABEL_UNMATCHED, "labels", cause, fix))
    return {0: 0} | dict.fromkeys(painted.values(), 0) | values, findings


def _has_regions(dataset: Mapping[str, Any]) -> bool:
    return dataset.get("regions_class_order") is not None


def _joined(name: str) -> str:
    return re.sub(r"[\W_]+", "", alike(name))


def _words(name: str) -> tuple[str, ...]:
    return tuple(sorted(word for word in re.split(r"[\W_]+", alike(name)) if word))


def _structure(task: SegmentationTask, name: str) -> str:
    """Return the structure, or the label value as text, that a name on the command line means."""
    if name in task.structures or (name.isdigit() and int(name) in task.known_labels - {0}):
        return name
    fix = f"structures: {', '.join(task.structures)}"
    raise refuse(BaselineCode.LABEL_UNMATCHED, name, "the task has no structure of this name", fix)


def _named(value: str, painted: Mapping[str, int]) -> str:
    if value in painted:
        return value
    found = next((name for name, own in painted.items() if value.isdigit() and own == int(value)), None)
    if found is None:
        fix = f"the model's labels: {', '.join(f'{name} {own}' for name, own in list(painted.items())[:30])}"
        raise refuse(BaselineCode.LABEL_UNMATCHED, value, "the model has no label of this name or value", fix)
    return found


def _labels_of(task: SegmentationTask, owner: str) -> frozenset[int]:
    return task.structures[owner].labels if owner in task.structures else frozenset([int(owner)])


def _by_labels(task: SegmentationTask, painted: Mapping[str, int], owners: Mapping[str, str]) -> dict[int, int]:
    found: dict[int, int] = {}
    for name, owner in owners.items():
        labels = _labels_of(task, owner)
        if len(labels) == 1:
            found[painted[name]] = next(iter(labels))
        elif _alike_everywhere(task, labels):
            found[painted[name]] = min(labels)
        # else a union that follows from its parts, which have to be matched themselves
    return found


def _alike_everywhere(task: SegmentationTask, labels: frozenset[int]) -> bool:
    """Whether no structure of the task tells these labels apart."""
    return all(labels <= item.labels or not labels & item.labels for item in task.structures.values())


def _by_regions(
    task: SegmentationTask, parts: Labels, painted: Mapping[str, int], owners: Mapping[str, str]
) -> dict[int, int]:
    """Return labels for regions: nnU-Net paints one after the other, so a value is what no later region covers."""
    names = list(parts)
    found: dict[int, int] = {}
    for index, name in enumerate(names):
        if name not in owners:
            # what lies in a region that the task does not know still lies in the smallest around it that it knows
            around = [one for one in names[:index] if one in owners and parts[name] <= parts[one]]
            if around and painted[min(around, key=lambda one: len(parts[one]))] in found:
                found[painted[name]] = found[painted[min(around, key=lambda one: len(parts[one]))]]
            continue
        inside = frozenset[int]().union(*(_labels_of(task, owners[one]) for one in names[index + 1 :] if one in owners))
        rest = _labels_of(task, owners[name]) - inside
        if not rest:
            continue
        if not _alike_everywhere(task, rest):
            shown = ", ".join(map(str, sorted(rest)))
            cause = f"the task tells the labels {shown} of {owners[name]} apart, the model does not"
            fix = "say which label it is with --label VALUE=" + name
            raise refuse(BaselineCode.LABEL_UNMATCHED, name, cause, fix)
        found[painted[name]] = min(rest)
    return found


def _complete(task: SegmentationTask, painted: Mapping[str, int], values: Mapping[int, int], without: set[str]) -> None:
    """Refuse a model that cannot predict a structure, unless that was said."""
    reached = set(values.values())
    lacking = [name for name, item in task.structures.items() if name not in without and not item.labels & reached]
    if not lacking:
        return
    near = get_close_matches(lacking[0], list(painted), 3, 0.4)
    shown = ", ".join(f"{name} {value}" for name, value in list(painted.items())[:30])
    cause = f"no label of the model is called {', '.join(lacking[:5])}"
    example = f"--label {lacking[0]}={near[0] if near else next(iter(painted))}"
    fix = f"say which one it is, such as {example}, or {lacking[0]}=none; the model's labels: {shown}"
    raise refuse(BaselineCode.LABEL_UNMATCHED, "labels", cause, fix)
