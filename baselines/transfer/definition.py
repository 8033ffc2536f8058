"""What a transfer suite trains: a YAML file with data sets, sizes of STU-Net and checkpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet.training import check_start
from medpodium.baselines.nnunet.training_data import check_folds
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.schema.base import Model
from medpodium.findings import MedpodiumError, has_errors

SizeName = Literal["small", "base", "large", "huge"]


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
    here = path.resolve().parent
    datasets = [item.model_copy(update={"raw": _from(here, item.raw)}) for item in suite.datasets]
    checkpoints = {size: _from(here, name) for size, name in suite.checkpoints.items()}
    suite = suite.model_copy(update={"datasets": datasets, "checkpoints": checkpoints})
    for item in suite.datasets:
        if not (Path(item.raw) / "dataset.json").is_file():
            fix = "give a folder in nnU-Net's raw layout ('medpodium baseline plan' writes one)"
            raise refuse(BaselineCode.SUITE, item.raw, "holds no dataset.json", fix)
        found = check_folds(count_labels(Path(item.raw)), [suite.fold])
        if has_errors(found):
            raise MedpodiumError(*found)
    for size in suite.sizes:
        if size in suite.checkpoints:
            check_start(f"STUNetTrainer_{size}_ft", Path(suite.checkpoints[size]), resume=False)
    titles = [item.title for item in suite.datasets]
    if len(set(titles)) < len(titles):
        raise refuse(BaselineCode.SUITE, path, "two data sets have the same name", "give them different names")
    return suite


def _from(here: Path, name: str) -> str:
    """Return a path of the suite's file: relative to the file, or to the working folder where only that is there."""
    own = here / name
    return str(own if own.exists() or not Path(name).exists() else name)


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

    for channels in sorted({len(channels_of(item)) for item in suite.datasets}):
        for size in suite.sizes:
            if size in suite.checkpoints:
                with torch.device("meta"):
                    # neither poolings nor classes change the shape of anything that is loaded
                    network = STUNet(channels, 2, SIZES[size], [(2, 2, 2)] * POOLINGS)
                path = Path(suite.checkpoints[size])
                match_weights(network.state_dict(), path, stem=suite.stem, trust=suite.trust_checkpoints)


def channels_of(item: DataSet) -> list[Any]:
    """Return the channels of a raw data set."""
    facts = json.loads((Path(item.raw) / "dataset.json").read_text(encoding="utf-8"))
    return list(facts.get("channel_names") or facts.get("modality") or [0])


def runs(suite: Suite) -> Iterator[Run]:
    """Yield every training: each data set and size from scratch, and fine-tuned where there is a checkpoint."""
    for item in suite.datasets:
        for size in suite.sizes:
            yield Run(item, size, fine_tuned=False)
            if size in suite.checkpoints:
                yield Run(item, size, fine_tuned=True)


def count_labels(raw: Path) -> int:
    """Return the number of label files of a raw data set."""
    return sum(not is_hidden(path.name) for path in (raw / "labelsTr").glob("*"))
