"""Does pre-training pay? Trains every data set from scratch and fine-tuned, and hands the Dice values to the analysis.

A run that has its validation summary is done; anything else goes on where it stopped. Nothing is kept anywhere but in
nnU-Net's own folders and the table of results.
"""

from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from medpodium.baselines import extras
from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet.dataset import place
from medpodium.baselines.nnunet.jobs import OnEvent, run_job
from medpodium.baselines.nnunet.plans import plan_job
from medpodium.baselines.nnunet.training import check_start
from medpodium.baselines.nnunet.training_data import check_folds
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema.base import Model
from medpodium.challenges.schema.baseline import Baseline
from medpodium.findings import MedpodiumError, has_errors

SizeName = Literal["small", "base", "large", "huge"]
ITERATIONS, VALIDATIONS = 250, 50
"""Batches per epoch that nnU-Net trains on, and validates on."""
EPOCHS = 1000
PATCH = (128, 128, 128)
BATCH = 2
BACKWARD = 3.0
"""Operations of a training step in those of a forward pass."""
TERAFLOPS = 40.0
"""Assumed throughput in mixed precision, in 10^12 operations per second; far below the peak of an A100."""


class DataSet(Model):
    """One data set in nnU-Net's raw layout.

    Parameters
    ----------
    raw : str
        Folder ``DatasetXXX_Name`` with ``dataset.json``.
    name : str, optional
        Name in the results; the folder's when left out. A name of the published suite brings its groups along.
    modality, target_kind : str
        Groups of data sets that the suite does not know.
    """

    raw: str
    name: str | None = None
    modality: str = ""
    target_kind: str = ""

    @property
    def title(self) -> str:
        """Name in the results."""
        return self.name or Path(self.raw).name


class Suite(Model):
    """What is trained: a YAML file.

    Parameters
    ----------
    datasets : list of DataSet
    sizes : list of str
        STU-Net sizes.
    checkpoints : dict of str to str
        Pre-trained weights by size; a size without one is trained from scratch only.
    epochs, iterations : int, optional
        Shorter runs than nnU-Net's 1000 epochs of 250 batches.
    fold : int
        Validation fold; the published suite used fold 0.
    stem : {"repeat", "average"}
        Weights of one channel over several; the published suite repeats.
    trust_checkpoints : bool
        Unpickle objects in the checkpoints.
    """

    datasets: list[DataSet] = Field(min_length=1)
    sizes: list[SizeName] = Field(default=["base"], min_length=1)
    checkpoints: dict[SizeName, str] = Field(default_factory=dict)
    epochs: int | None = Field(default=None, ge=1)
    iterations: int | None = Field(default=None, ge=1)
    fold: int = Field(default=0, ge=0, le=4)
    patch_zyx: tuple[int, int, int] | None = None
    stem: Literal["repeat", "average"] = "repeat"
    trust_checkpoints: bool = False


@dataclass(frozen=True)
class Run:
    """One training of the suite."""

    dataset: DataSet
    size: SizeName
    fine_tuned: bool

    @property
    def model(self) -> str:
        """Column of the results: the fine-tuned twin ends in ``_ft``."""
        return f"{self.size}{'_ft' if self.fine_tuned else ''}"

    @property
    def trainer(self) -> str:
        """Class name of the trainer."""
        return f"STUNetTrainer_{self.model}"


def read_suite(path: Path) -> Suite:
    """Read and check the list of data sets; every folder and checkpoint has to be there.

    Raises
    ------
    UsageError
        For the first problem.
    """
    try:
        content = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
        suite = Suite.model_validate(content)
    except (OSError, YAMLError) as error:
        raise refuse(BaselineCode.SUITE, path, str(error).splitlines()[0], "give a readable YAML file") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{path}: {'.'.join(map(str, first['loc']))}"
        raise refuse(BaselineCode.SUITE, where, first["msg"], "correct this field") from None
    for item in suite.datasets:
        if not (Path(item.raw) / "dataset.json").is_file():
            fix = "give a folder in nnU-Net's raw layout ('medpodium baseline plan' writes one)"
            raise refuse(BaselineCode.SUITE, item.raw, "holds no dataset.json", fix)
        found = check_folds(_labels(Path(item.raw)), [suite.fold])
        if has_errors(found):
            raise MedpodiumError(*found)
    for size in suite.sizes:
        if size in suite.checkpoints:
            check_start(f"STUNetTrainer_{size}_ft", Path(suite.checkpoints[size]), resume=False)
    titles = [item.title for item in suite.datasets]
    if len(set(titles)) < len(titles):
        raise refuse(BaselineCode.SUITE, path, "two data sets have the same name", "give them different names")
    return suite


def check_checkpoints(suite: Suite) -> None:
    """Compare every checkpoint with the networks it is to start, without allocating these.

    A checkpoint that does not fit would otherwise be noticed after the first training from scratch, days later.

    Raises
    ------
    UsageError
        For the first one that does not fit.
    """
    import torch

    from medpodium.baselines.nnunet.finetune import match_weights
    from medpodium.baselines.stunet.stunet import POOLINGS, SIZES, STUNet

    for channels in sorted({len(_channels(item)) for item in suite.datasets}):
        for size in suite.sizes:
            if size in suite.checkpoints:
                with torch.device("meta"):
                    # neither poolings nor classes change the shape of anything that is loaded
                    network = STUNet(channels, 2, SIZES[size], [(2, 2, 2)] * POOLINGS)
                path = Path(suite.checkpoints[size])
                match_weights(network.state_dict(), path, stem=suite.stem, trust=suite.trust_checkpoints)


def _channels(item: DataSet) -> list[Any]:
    facts = json.loads((Path(item.raw) / "dataset.json").read_text(encoding="utf-8"))
    return list(facts.get("channel_names") or facts.get("modality") or [0])


def runs(suite: Suite) -> Iterator[Run]:
    """Yield every training: each data set and size from scratch, and fine-tuned where there is a checkpoint."""
    for item in suite.datasets:
        for size in suite.sizes:
            yield Run(item, size, fine_tuned=False)
            if size in suite.checkpoints:
                yield Run(item, size, fine_tuned=True)


def estimate_hours(run: Run, suite: Suite, *, teraflops: float = TERAFLOPS) -> float:
    """Estimate the GPU hours of a training from the network's operations at nnU-Net's usual patch.

    Parameters
    ----------
    teraflops : float
        Throughput that the GPU is assumed to reach, in 10^12 operations per second.

    Returns
    -------
    float
        Hours; data loading and the final validation are not in it.
    """
    from medpodium.baselines.stunet.stunet import forward_operations

    facts = json.loads((Path(run.dataset.raw) / "dataset.json").read_text(encoding="utf-8"))
    channels = len(_channels(run.dataset))
    forward = forward_operations(run.size, channels, len(facts["labels"]), suite.patch_zyx or PATCH) * BATCH
    steps = suite.iterations or ITERATIONS
    per_epoch = forward * (BACKWARD * steps + steps * VALIDATIONS / ITERATIONS)
    return (suite.epochs or EPOCHS) * per_epoch / (teraflops * 1e12) / 3600


def dataset_in(workspace: Workspace, item: DataSet) -> str:
    """Bring a raw folder into the workspace by links, and return its name there."""
    source = Path(item.raw).resolve()
    if source.parent == workspace.raw:
        return source.name
    match = re.fullmatch(r"Dataset(\d{3})_(\w+)", source.name)
    taken = {path.name[7:10] for path in workspace.raw.glob("Dataset*") if path.name != source.name}
    number = (
        match[1] if match and match[1] not in taken else next(f"{n}" for n in range(700, 1000) if f"{n}" not in taken)
    )
    clean = re.sub(r"\W+", "", match[2] if match else source.name)
    known = [path.name for path in workspace.raw.glob(f"Dataset*_{clean}")]
    name = known[0] if known else f"Dataset{number}_{clean}"
    target = workspace.raw / name
    for path in sorted(source.rglob("*")):
        if is_hidden(path.relative_to(source).as_posix()):
            continue  # nnU-Net would take ._x.nii.gz for a case
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        elif not copy.exists():
            copy.parent.mkdir(parents=True, exist_ok=True)
            place(path, copy)
    return name


def _labels(raw: Path) -> int:
    """Return the number of label files of a raw data set."""
    return sum(not is_hidden(path.name) for path in (raw / "labelsTr").glob("*"))


@dataclass(frozen=True)
class Outcome:
    """What became of a run: Dice over the validation fold (mean over labels), or why it failed."""

    run: Run
    dice: float | None
    failure: str = ""


def execute(
    suite: Suite,
    workspace: Workspace,
    *,
    device: str = "auto",
    on_run: Callable[[Run, int, int], None] | None = None,
    on_event: OnEvent | None = None,
) -> list[Outcome]:
    """Check the checkpoints, then train what is not done yet; one failed run never stops the others.

    Returns
    -------
    list of Outcome
        In the order of :func:`runs`.
    """
    extras.require_nnunet()
    device = extras.check_device(device)
    check_checkpoints(suite)
    todo = list(runs(suite))
    planned: dict[str, Mapping[str, Any]] = {}
    outcomes = []
    for index, run in enumerate(todo, start=1):
        if on_run is not None:
            on_run(run, index, len(todo))
        try:
            title = run.dataset.title
            if title not in planned:
                planned[title] = _plan(suite, run.dataset, workspace, on_event)
            outcomes.append(Outcome(run, _train(suite, run, planned[title], workspace, device, on_event)))
        except MedpodiumError as error:
            outcomes.append(Outcome(run, None, str(error.findings[0])))
    return outcomes


def _plan(suite: Suite, item: DataSet, workspace: Workspace, on_event: OnEvent | None) -> Mapping[str, Any]:
    """Plan a data set once; a finished plan is read back."""
    name = dataset_in(workspace, item)
    done = workspace.preprocessed / name / "medpodium-plan.json"
    settings = {"patch": suite.patch_zyx}
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if found["settings"] == json.loads(json.dumps(settings)):
            return found
    baseline = Baseline(method="STU-Net", patch_zyx=suite.patch_zyx)
    processes = max(1, min(8, (os.cpu_count() or 1) // 2))
    job = plan_job(name, "transfer", baseline, gpu_memory_gb=None, processes=processes)
    found = run_job("plan", job, workspace, on_event=on_event) | {"dataset": name, "settings": settings}
    done.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _train(
    suite: Suite, run: Run, plan: Mapping[str, Any], workspace: Workspace, device: str, on_event: OnEvent | None
) -> float | None:
    fold = workspace.model(plan["dataset"], run.trainer, plan["plans"], plan["configuration"]) / f"fold_{suite.fold}"
    summary = fold / "validation" / "summary.json"
    if summary.exists():
        value = json.loads(summary.read_text(encoding="utf-8"))["foreground_mean"]["Dice"]
        return None if value is None else float(value)
    resume = any((fold / f"checkpoint_{kind}.pth").exists() for kind in ("final", "latest"))
    start = run.fine_tuned and not resume
    job = {
        "dataset": plan["dataset"],
        "configuration": plan["configuration"],
        "fold": suite.fold,
        "trainer": run.trainer,
        "plans": plan["plans"],
        "device": device,
        "epochs": suite.epochs,
        "iterations": suite.iterations,
        "learning_rate": None,
        "resume": resume,
        "pretrained": str(Path(suite.checkpoints[run.size]).resolve()) if start else None,
        "stem": suite.stem,
        "trust": suite.trust_checkpoints,
        "validate": True,
    }
    dice = run_job("train", job, workspace, device=device, on_event=on_event)["validation_dice"]
    return None if dice is None else float(dice)


def write_results(suite: Suite, outcomes: list[Outcome], path: Path) -> None:
    """Write the table that the suite's analysis reads: a row per data set, a column ``dice_<model>`` per model."""
    models = list(dict.fromkeys(outcome.run.model for outcome in outcomes))
    header = ["Dataset", "modality", "target_kind", "channels", "train", *(f"dice_{model}" for model in models)]
    rows = []
    for item in suite.datasets:
        count = _labels(Path(item.raw))
        values = {outcome.run.model: outcome.dice for outcome in outcomes if outcome.run.dataset is item}
        cells = ["" if values.get(model) is None else f"{values[model]:.6f}" for model in models]
        # the suite counts the cases that were trained on, which fold 0 is not among
        rows.append([item.title, item.modality, item.target_kind, len(_channels(item)), count - -(-count // 5), *cells])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
