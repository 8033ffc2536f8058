"""A baseline that is a command, as a challenge file declares it: which task, which files, which labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.challenges import registry
from medpodium.challenges.naming.patterns import format_name
from medpodium.challenges.schema.baseline import PER_CASE, PLACEHOLDER, Baseline
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.task import TaskModel
from medpodium.scoring.kinds.segmentation.tasks import tasks_of

NONE = "none"
"""Instead of a label of the method: it does not know the structure."""


@dataclass(frozen=True)
class Method:
    """A command baseline of a challenge.

    Parameters
    ----------
    challenge, name, baseline
        As declared.
    task_name, task
        What it predicts.
    folder : Path
        Where its commands run: the folder of the challenge file, the working folder for a built-in challenge.
    """

    challenge: Challenge
    name: str
    baseline: Baseline
    task_name: str
    task: TaskModel
    folder: Path

    @property
    def per_case(self) -> bool:
        """Whether the command that predicts is run once per case."""
        return mentions(self.baseline.predict or (), *PER_CASE)

    @property
    def whole_table(self) -> bool:
        """Whether the task asks for one table of all cases."""
        return KINDS[self.task.kind].layout == "table"


def mentions(command: tuple[str, ...], *names: str) -> bool:
    """Whether a command has one of these placeholders."""
    return any(found[1] in names for word in command for found in PLACEHOLDER.finditer(word))


def find_method(reference: str, name: str | None, task: str | None = None) -> Method | None:
    """Return the command baseline of a name; without one, the first if the challenge has none of nnU-Net's.

    Parameters
    ----------
    reference : str
        The challenge, as verbs take it.
    name : str, optional
        Of the baseline.
    task : str, optional
        Instead of the declared one.

    Returns
    -------
    Method, optional
        None where the baseline is of another kind.

    Raises
    ------
    UsageError
        If the task is not there, or the labels do not fit it.
    """
    challenge = registry.load(reference)
    known = {key: item for key, item in challenge.baselines.items() if item.kind == "command"}
    if name is None and not any(item.kind == "nnunet" for item in challenge.baselines.values()):
        name = next(iter(known), None)
    if name not in known:
        return None
    baseline = known[name]
    task_name = task or baseline.task or next(iter(challenge.tasks))
    if task_name not in challenge.tasks:
        fix = f"tasks: {', '.join(challenge.tasks)}"
        raise refuse(BaselineCode.NO_TASK, challenge.reference, f"no task {task_name!r}", fix)
    source, _ = registry.locate(reference.partition("@")[0])
    built_in = source.path.parent.parent == Path(registry.__file__).parent
    folder = Path.cwd() if built_in else source.path.resolve().parent
    found = Method(challenge, name, baseline, task_name, challenge.tasks[task_name], folder)
    if found.whole_table and found.per_case:
        cause = f"predict is run per case, but {task_name} asks for one table of all cases"
        raise refuse(BaselineCode.COMMAND, f"baseline {name}", cause, "leave {case} and {image} out of predict")
    return found


def answer_files(method: Method) -> dict[str, list[int] | None]:
    """Return the files of an answer, as patterns without ``{structure}``, and the labels in each; None for all.

    Raises
    ------
    UsageError
        If the challenge names files by structures and does not say which there are.
    """
    pattern, task = method.task.files.prediction, method.task
    if "{structure}" not in pattern:
        return {pattern: None}
    masks = tasks_of(method.challenge).get(method.task_name)
    stems: Mapping[str, list[int] | None] = dict.fromkeys(sorted(task.file_stems))
    if masks is not None:
        stems = {item.file or name: sorted(item.labels) for name, item in masks.structures.items()}
    if not stems:
        cause = f"files are named {pattern}, and nothing says what {{structure}} stands for"
        raise refuse(BaselineCode.NO_TASK, method.task_name, cause, "declare the structures")
    return {format_name(pattern, {"structure": stem, "case": "{case}"}): labels for stem, labels in stems.items()}


def translation(method: Method) -> dict[str, Any] | None:
    """Return how the method's labels become the task's; None where it writes the challenge's own files.

    Returns
    -------
    dict, optional
        ``labels`` of :func:`medpodium.baselines.portable.methods.hand_over`.

    Raises
    ------
    UsageError
        If a structure is unknown, is a union, or is not said.
    """
    given, own = method.baseline.labels, method.baseline.outputs
    where = f"baseline {method.name}, labels"
    masks = tasks_of(method.challenge).get(method.task_name)
    if given is None:
        if own is not None and own != method.task.files.prediction:
            cause = f"outputs are {own}, the challenge's {method.task.files.prediction}, and no labels say how"
            raise refuse(BaselineCode.COMMAND, f"baseline {method.name}", cause, "declare labels")
        return None
    if masks is None:
        cause = f"{method.task_name} is no segmentation task"
        raise refuse(BaselineCode.COMMAND, where, cause, "leave labels out, and write the challenge's own files")
    values: dict[int, int | str] = {}
    for key, label in given.items():
        item = masks.structures.get(key)
        value = item.label if item is not None else int(key) if key.isdigit() else None
        if value is None:
            what = f"{key} is a union of labels" if item is not None else f"no structure {key!r}"
            fix = f"structures: {', '.join(masks.structures)}; or give a label value"
            raise refuse(BaselineCode.LABEL_UNMATCHED, where, what, fix)
        if str(label).casefold() != NONE:
            values[value] = label
    unsaid = [
        name for name, item in masks.structures.items() if item.label is not None
        and name not in given and str(item.label) not in given
    ]  # fmt: skip
    if unsaid:
        fix = f"add {unsaid[0]}: LABEL, or {unsaid[0]}: {NONE}"
        raise refuse(BaselineCode.LABEL_UNMATCHED, where, f"nothing is said of {', '.join(unsaid)}", fix)
    pattern = own or method.task.files.prediction
    if "{structure}" in pattern:
        return {"pattern": pattern, "files": {str(label): value for value, label in values.items()}}
    wrong = next((label for label in values.values() if not str(label).isdigit()), None)
    if wrong is not None:
        fix = "give label values, or outputs with {structure} if it writes a file per structure"
        raise refuse(BaselineCode.COMMAND, where, f"{wrong!r} is no label value", fix)
    return {"pattern": pattern, "values": {str(label): value for value, label in values.items()}}


def home_settings(method: Method) -> dict[str, Any]:
    """Return the settings of :func:`medpodium.baselines.portable.methods.hand_over` for a folder of predictions."""
    outputs = [{"pattern": name, "from": name, "labels": labels} for name, labels in answer_files(method).items()]
    return {"outputs": outputs, "labels": translation(method)}
