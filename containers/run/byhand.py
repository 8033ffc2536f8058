"""The first case of a submission, staged in a folder that stays, and the command line that runs it by hand."""

from __future__ import annotations

from pathlib import Path

from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.protocol import ContainerProtocol, parse_count
from medpodium.containers.intake.image import Pinned
from medpodium.containers.run.runner import Runner
from medpodium.containers.sandbox import stage
from medpodium.containers.sandbox.gpu import find
from medpodium.containers.sandbox.profile import covered, sandbox


def stage_first(runner: Runner, submission: Submission, protocol: ContainerProtocol, folder: Path) -> str:
    """Stage what a run of the first case sees, with an empty output folder; return the line that runs it.

    Parameters
    ----------
    runner : Runner
        Of the campaign, whose engine still has the image.
    submission, protocol
        What to run, and how.
    folder : Path
        A new folder; it stays.
    """
    campaign = runner.campaign
    pinned = Pinned.from_dict(submission.detail["image"])
    every = list(campaign.manifest.cases)
    cases = every[:1] if protocol.per == "case" else every
    names = stage.pseudonyms(protocol, cases, campaign.secret, submission.digest)
    values = {**(cases[0].values if protocol.per == "case" else {}), "team": submission.team}
    if protocol.per == "case":
        values["case"] = names[cases[0].id]
    plain = sandbox(protocol, pinned.engine_id, (), values)
    folder.parent.mkdir(parents=True, exist_ok=True)
    staged = stage.prepare(folder, protocol, campaign.manifest, cases, names, plain.user, runner.cascades(submission))
    box = sandbox(
        protocol,
        pinned.engine_id,
        staged.binds,
        values,
        gpus=find(int(parse_count(protocol.limits.gpus)), runner.options.gpu_ids).ids,
        covered=covered(pinned.volumes, protocol),
        runtime=runner.options.runtime,
    )
    return runner.options.rules(box, staged.output).command_line()
