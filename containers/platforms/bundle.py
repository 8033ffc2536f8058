"""What a scorer on another platform needs: the frozen rules, the references, the program itself and its libraries.

Every platform's scorer goes through :func:`score`, which calls the same engine as ``medpodium score``.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import pandas as pd

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.challenges.schema.task import TaskModel
from medpodium.findings import Finding, InfrastructureError, UsageError
from medpodium.scoring import table
from medpodium.scoring.exchange.codes import PlatformCode
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.kinds.engine import Result, score_task
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import Given, References
from medpodium.scoring.ranking.settled import Settled, settle_task

LIBRARIES = ("numba", "numpy", "pandas", "psutil", "pydantic", "ruamel.yaml", "scipy")
"""What the scorer imports beyond the standard library; ``isal``, ``zlib-ng`` and ``zstandard`` make it faster,
``pillow`` reads PNG and TIFF, ``scikit-image`` thins vessels to their centrelines."""
OPTIONAL_LIBRARIES = ("isal", "pillow", "scikit-image", "zlib-ng", "zstandard")
_ROOMS = ("challenges", "scoring", "containers/platforms")
_MODULES = ("findings.py", "containers/__init__.py")
_SUBMISSION = "submission"


@dataclass(frozen=True)
class Bundle:
    """The hidden part of a scorer: rules and references.

    Parameters
    ----------
    challenge : Challenge
        The frozen rules.
    task : str
        Which task is scored.
    folder : Path
        Holds ``references``.
    cases : pandas.DataFrame or None
        Cases to score and their groups.
    """

    challenge: Challenge
    task: str
    folder: Path
    cases: pd.DataFrame | None

    @property
    def references(self) -> Path:
        """Folder of the references, or of the table that holds them."""
        return self.folder / "references"

    @property
    def about(self) -> dict[str, str]:
        """What the scores depend on."""
        from medpodium.scoring.scheduling.dask import scorer_versions

        return {"variant": self.challenge.variant, "definition": self.challenge.digest, **scorer_versions()}


def load(folder: Path) -> Bundle:
    """Read rules and references written by :meth:`medpodium.containers.platforms.source.Source.write_truth`.

    Raises
    ------
    UsageError
        If something is missing or was changed.
    """
    from medpodium.scoring import groups

    try:
        about = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        edition, variant, task = (str(about[name]) for name in ("edition", "variant", "task"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = f"no readable bundle.json ({error})".split("\n")[0]
        fix = "give the folder that 'medpodium export' wrote"
        raise UsageError(Finding(PlatformCode.BUNDLE, str(folder), cause, fix)) from None
    challenge = registry.load(f"{folder / 'challenge.yaml'}:{edition}", variant=variant)
    if challenge.digest != about.get("definition") or task not in challenge.tasks:
        cause = "challenge.yaml was changed after the export, or another version of medpodium reads it"
        fix = "export again, so that every team is scored by the same rules"
        raise UsageError(Finding(PlatformCode.BUNDLE, str(folder), cause, fix))
    cases = folder / "cases.csv"
    return Bundle(challenge, task, folder, groups.read_cases(cases) if cases.is_file() else None)


def read_references(bundle: Bundle) -> References:
    """Return what is true of the cases of a bundle."""
    task = bundle.challenge.tasks[bundle.task]
    names = None if bundle.cases is None else [str(name) for name in bundle.cases["case"]]
    return of(task).read_references(bundle.challenge, task, bundle.references, names, [])


def settle(bundle: Bundle, result: Result) -> Settled:
    """Return the scores of one submission as they count for the ranking."""
    return settle_task(result.scores, bundle.challenge, bundle.task, ranked=False)


def score(
    bundle: Bundle,
    predictions: Given,
    *,
    submission: str = _SUBMISSION,
    failures: Mapping[str, str] | None = None,
    times: Mapping[str, float] | None = None,
    workers: int | None = None,
) -> Result:
    """Score one submission with the engine behind ``medpodium score``.

    Parameters
    ----------
    bundle : Bundle
        Rules and references.
    predictions : Path or mapping of str to files
        Folder (or table) of predictions, or the file(s) of each case.
    failures : mapping of str to str
        Case to the reason why there is no prediction.
    times : mapping of str to float
        Case to its running time in seconds, where the platform tells it.
    workers : int, optional
        Threads or processes; by default what cores and memory allow.
    """
    if not isinstance(predictions, Path) and KINDS[bundle.challenge.tasks[bundle.task].kind].layout == "table":
        cause = "this platform hands over one file per case, the task needs one table"
        fix = "use codabench or synapse for this kind of task"
        raise UsageError(Finding(PlatformCode.TASK_KIND, bundle.task, cause, fix))
    rows = [
        {"submission": submission, "case": case, "metric": "status", "status": f"{table.FAILED_PREFIX}{why}"}
        for case, why in (failures or {}).items()
    ]
    resources_frame = pd.DataFrame(rows).assign(value=float("nan")) if rows else None
    if times is not None:
        resources_frame = pd.concat(
            [one for one in (resources_frame, _running_times(bundle, submission, times)) if one is not None]
        )
    result = score_task(
        bundle.challenge,
        bundle.task,
        bundle.references,
        {submission: predictions},
        cases=bundle.cases,
        resources=resources_frame,
        workers=workers,
        references_checked=True,  # when the bundle was written
    )
    if result.unscored:  # a platform shows one number, and nobody would see that a case is not in it
        raise InfrastructureError(*result.unscored)
    return result


def _running_times(bundle: Bundle, submission: str, times: Mapping[str, float]) -> pd.DataFrame:
    """Return running times as the rows that the engine takes for each metric of them."""
    measured = payload.running_times(bundle.challenge.tasks[bundle.task])
    rows = [
        (submission, case, name, table.OK, spec.in_unit(seconds))
        for name, spec in measured.items()
        for case, seconds in times.items()
    ]
    return pd.DataFrame(rows, columns=["submission", "case", "metric", "status", "value"])


def write_program(folder: Path) -> None:
    """Copy the part of the package that scores to ``folder/medpodium``, and its libraries' versions beside it."""
    package = Path(str(resources.files("medpodium")))
    target = folder / "medpodium"
    target.mkdir(parents=True, exist_ok=True)
    (target / "__init__.py").write_text('"""The scoring part of medpodium."""\n', encoding="utf-8", newline="\n")
    (target / "containers").mkdir()
    for name in _MODULES:
        shutil.copyfile(package / name, target / name)
    for room in _ROOMS:
        for path in sorted((package / room).rglob("*.py")):
            copy = target / path.relative_to(package)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    (folder / "requirements.txt").write_text("\n".join(requirements()) + "\n", encoding="utf-8", newline="\n")


def imports(task: TaskModel) -> str:
    """Return the modules without which a task cannot be scored, as an ``import`` statement names them."""
    needed = [*LIBRARIES]
    if any(metric.kind == "cldice" for metric in task.metrics.values()):
        needed.append("skimage")
    if getattr(task, "pictures", False):
        needed.append("PIL")
    return ", ".join(needed)


def requirements() -> list[str]:
    """Return the libraries of the scorer, at the versions installed here, so that scores stay the same to the bit."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for name in (*LIBRARIES, *OPTIONAL_LIBRARIES):
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            if name in LIBRARIES:
                found.append(name)
    return found


def template(name: str, values: Mapping[str, Any]) -> str:
    """Fill one of the templates of this room."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    text = (resources.files("medpodium.containers") / "templates" / "platforms" / name).read_text(encoding="utf-8")
    return environment.from_string(text).render(**values)
