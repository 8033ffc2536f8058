"""What of a transfer suite is done, running, begun, made of something else, or open; nothing is started."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from medpodium.baselines.fingerprints import file_digest
from medpodium.baselines.nnunet.folds import facts_of
from medpodium.baselines.nnunet.workspace import Workspace
from medpodium.baselines.runs import Fold
from medpodium.baselines.transfer.definition import Run, Suite, runs
from medpodium.baselines.transfer.suite import job_of, known_plan

State = Literal["done", "running", "begun", "stale", "open"]


@dataclass(frozen=True)
class Standing:
    """Where a training of the suite stands, and what is to be said about it."""

    run: Run
    state: State
    told: str = ""


def standings(suite: Suite, workspace: Workspace) -> list[Standing]:
    """Return where every training of the suite stands; the images themselves are not read.

    A stale training was made with other settings, another plan or other weights: the suite refuses it.
    """
    weights = {size: file_digest(Path(path)) for size, path in suite.checkpoints.items() if size in suite.sizes}
    return [_standing(suite, run, weights.get(run.size) if run.fine_tuned else None, workspace) for run in runs(suite)]


def _standing(suite: Suite, run: Run, weights: str | None, workspace: Workspace) -> Standing:
    plan = known_plan(suite, run.dataset, workspace)
    if plan is None:
        return Standing(run, "open", "not planned")
    job = job_of(suite, run, plan, "cpu")
    folder = workspace.model(job["dataset"], job["trainer"], job["plans"], job["configuration"]) / f"fold_{job['fold']}"
    fold = Fold.at(folder)
    if fold.state == "absent" and fold.owner is None:
        return Standing(run, "open")
    facts = facts_of({**job, "pretrained": None}, plan["settings"], workspace.preprocessed / job["dataset"])
    if different := fold.unlike(facts | {"checkpoint": weights, "stem": job["stem"]}):
        return Standing(run, "stale", "; ".join(different))
    if fold.owner is not None:
        return Standing(run, "running", f"process {fold.owner}")
    summary = folder / "validation" / "summary.json"
    if summary.exists():
        dice = json.loads(summary.read_text(encoding="utf-8"))["foreground_mean"]["Dice"]
        return Standing(run, "done", f"Dice {dice:.3f}")
    return Standing(run, "begun")
