"""Check an image at home: the same intake, sandbox, runner, collection and scoring as the hidden test."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.challenges.campaign import cases as case_files
from medpodium.challenges.campaign import exclusions
from medpodium.challenges.campaign import folder as campaigns
from medpodium.challenges.campaign.folder import Campaign, CampaignCode, check_team, container_name
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.naming.names import clashes
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.kinds import KINDS
from medpodium.containers.failures import RunCode
from medpodium.containers.intake import image, integrity
from medpodium.containers.run.byhand import stage_first
from medpodium.containers.run.runner import Options, Report, Runner
from medpodium.containers.sandbox import engine
from medpodium.findings import Finding, Severity, UsageError, has_errors
from medpodium.scoring.masks.codes import MaskCode

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Verdict:
    """What a participant learns.

    Parameters
    ----------
    command : str
        The ``docker run`` of the first case, as the hidden test issued it; its folders are gone.
    by_hand : str
        The same for folders that stay, ready to be run; empty without ``keep``.
    log : tuple of (str, str)
        Case, and the last lines of its log, of the first failure that left one.
    cases : list of dict
        Per case: status, running time, peak memory, ...
    findings : list of Finding
        Everything wrong or odd, each with its fix.
    scores : DataFrame, optional
        Long score table, where references were given.
    """

    command: str = ""
    by_hand: str = ""
    log: tuple[str, str] = ("", "")
    cases: list[dict[str, Any]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    scores: pd.DataFrame | None = None

    @property
    def passed(self) -> bool:
        """Whether the hidden test would take every output."""
        return not has_errors(self.findings)

    @property
    def doubts(self) -> list[Finding]:
        """What says that predictions the hidden test takes are hardly right."""
        return [one for one in self.findings if str(one.code) in _DOUBTS]


_DOUBTS = frozenset(
    str(code)
    for code in (
        MaskCode.LOOKS_FLIPPED,
        MaskCode.LOOKS_TRANSPOSED,
        MaskCode.LOOKS_SHIFTED,
        MaskCode.LOOKS_RELABELLED,
        MaskCode.OVERLAP_LOW,
        MaskCode.PREDICTION_EMPTY,
        MaskCode.STRUCTURE_MISSING,
    )
)


def reference_patterns(challenge: Challenge, container: str | None = None) -> list[str]:
    """Return the patterns of the reference files of every task that is scored from files, or those of one protocol.

    What a campaign keeps of its references is for all its tasks; a protocol needs only those of the tasks it answers.
    """
    found = []
    for name, task in challenge.tasks.items():
        answers = task.container in (None, container) or container_name(challenge, name) == container
        if KINDS[task.kind].computed and (container is None or answers):
            found.append(task.files.reference)
    return list(dict.fromkeys(found))


def submit(
    client: Any, campaign: Campaign, source: str, team: str, task: str | None, *, allow_duplicate: bool = False
) -> tuple[Submission, list[Finding]]:
    """Take a submission into a campaign.

    Parameters
    ----------
    source : str
        Archive of ``docker save``, name of a local image, or ``REGISTRY/NAME@sha256:...``.
    team : str
        Who submits.
    task : str, optional
        Task or container protocol; needed where the challenge has several protocols.
    allow_duplicate : bool
        Accept an image that another team has submitted already.

    Raises
    ------
    UsageError
        If the image is refused.
    """
    team = check_team(team)
    others_there = dict.fromkeys(one.team for one in campaign.submissions())
    for one, other in clashes([*others_there, team]):
        if other == team:
            text, fix = f"team name {team!r} differs from {one!r} only in capitals", f"write {one!r}, or another name"
            raise UsageError(Finding(CampaignCode.TEAM_NAME, "--team", text, fix))
    container = container_name(campaign.challenge, task)
    exclusions.admit(campaign, team, container)
    protocol = campaign.protocol(container)
    pinned, found = image.take(client, source, protocol, team, campaign.root / "images")
    machine = engine.describe(client)
    same = [one for one in campaign.submissions() if one.digest == pinned.digest]
    earlier = [one for one in same if (one.team, one.task) == (team, container)]
    others = sorted({one.team for one in same if one.team != team})
    if earlier:
        text, fix = "this image was submitted before; nothing is run twice", "nothing to do"
        found.append(Finding(image.ImageCode.DUPLICATE, team, text, fix, Severity.NOTE))
    elif others:
        text = f"the same image as the submission of {', '.join(others)}"
        fix = "ask the teams; submit with --allow-duplicate if that is right"
        severity = Severity.WARNING if allow_duplicate else Severity.ERROR
        found.append(Finding(image.ImageCode.DUPLICATE, team, text, fix, severity))
        if not allow_duplicate:
            raise UsageError(found[-1])
    record = pinned.as_dict()
    if earlier:
        # The engine has the image because we loaded it the first time; it may still be removed in the end.
        record["existed"] = pinned.existed and earlier[0].detail["image"]["existed"]
    detail = {"image": record, "engine": machine, "findings": [one.as_dict() for one in found]}
    number = campaign.ledger.add_submission(team, container, pinned.digest, detail, source)
    return next(one for one in campaign.submissions() if one.id == number), found


def check_image(
    client: Any,
    challenge: Challenge,
    source: str,
    cases_dir: Path,
    references_dir: Path | None = None,
    *,
    task: str | None = None,
    team: str = "team",
    groups: dict[str, dict[str, str]] | None = None,
    options: Options | None = None,
    keep: Path | None = None,
    report: Report | None = None,
) -> Verdict:
    """Run an image as the hidden test will, on one's own cases.

    A temporary campaign is made, and the image is submitted to it and run by the same code with the same limits.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    challenge : Challenge
        Its container protocol is followed.
    source : str
        Archive of ``docker save``, name of a local image, or ``REGISTRY/NAME@sha256:...``.
    cases_dir, references_dir : Path
        Cases laid out as the protocol's source patterns say, and their references if at hand.
    keep : Path, optional
        Folder for the campaign (logs, predictions, curves), and below ``by-hand`` for the first case; without it a
        temporary folder, and an image that came as an archive does not stay in the engine.
    """
    container = container_name(challenge, task)
    protocol = challenge.containers[container]
    needed = reference_patterns(challenge, container)
    manifest, findings = case_files.build(
        protocol, cases_dir, references_dir, reference_patterns(challenge), groups, needed
    )
    options = options or Options()
    verdict = Verdict(findings=[*findings, *engine.preflight(client), *engine.shortages(protocol, options.gpu_ids)])
    if has_errors(clash := integrity.shared_files(challenge, manifest)):
        raise UsageError(*clash)
    broken = has_errors(found := list(integrity.references(challenge, container, manifest)))
    verdict.findings += found  # before anything runs: whoever has to mend them should not have to wait for it
    with tempfile.TemporaryDirectory(prefix="medpodium-") as temporary:
        campaign = campaigns.create(keep or Path(temporary) / "campaign", challenge, manifest)
        try:
            submission, found = submit(client, campaign, source, team, container)
            verdict.findings += found
            if options.elsewhere is not None:
                config = client.images.get(submission.detail["image"]["engine_id"]).attrs["Config"]
                verdict.findings += options.elsewhere.findings(config, protocol)
            options = replace(options, keep_images=True) if keep is not None else options
            runner = Runner(client, campaign, options)
            try:
                with runner.session():
                    runner.run([submission], report)
            finally:
                if keep is None:
                    image.untag(client, image.Pinned.from_dict(submission.detail["image"]))
            _tell(campaign, submission, verdict, kept=keep is not None)
            if keep is not None:
                by_hand = runner.fit(campaign.protocol(submission.task))
                verdict.by_hand = stage_first(runner, submission, by_hand, (campaign.root / "by-hand").resolve())
            if references_dir is not None and not broken:
                _score(campaign, verdict)
        finally:
            campaign.close()
    return verdict


def _tell(campaign: Campaign, submission: Submission, verdict: Verdict, *, kept: bool) -> None:
    import json

    failures = campaign.failures(submission.task)
    for row in campaign.resources().to_dict("records"):
        verdict.cases.append({str(key): value for key, value in row.items() if key not in ("submission", "task")})
    logs: dict[str, Path] = {}
    for attempt in campaign.ledger.results(submission.id):
        folder = campaign.runs_dir(submission) / (attempt.case or "all-cases") / f"{attempt.id:06d}"
        if (folder / "log.txt").is_file():
            logs[attempt.case] = folder / "log.txt"
        record = folder / "run.json"
        if not verdict.command and record.is_file():
            verdict.command = json.loads(record.read_text(encoding="utf-8"))["command"]
    for (_, case), one in sorted(failures.items(), key=lambda item: item[0]):
        log = logs.get(case) or logs.get("")
        fix = one.fix
        if str(one.code) in _READ_THE_LOG:
            fix = f"read {log}" if kept and log else "see the end of its log below; --keep DIR keeps all of it"
        verdict.findings.append(Finding(one.code, case, one.cause, fix))
        if log is not None and not verdict.log[1]:
            verdict.log = (case, "\n".join(log.read_text(encoding="utf-8").splitlines()[-_LOG_LINES:]))
    for attempt in campaign.ledger.results(submission.id):
        for note in attempt.detail.get("notes", []):
            verdict.findings.append(Finding(note["code"], note["where"], note["cause"], note["fix"], _level(note)))


_READ_THE_LOG = (str(RunCode.CRASH), str(RunCode.WARM_UP))
"""Failures of which only the log says why."""
_LOG_LINES = 25


def _level(note: dict[str, str]) -> Severity:
    return Severity(note["severity"])


def _score(campaign: Campaign, verdict: Verdict) -> None:
    """Score what came out, and say what would explain a low overlap."""
    import pandas as pd

    from medpodium.scoring.campaign import answered_tasks, score
    from medpodium.scoring.kinds.engine import check_task

    tables = []
    for name in answered_tasks(campaign):
        result = score(campaign, name)
        tables.append(result.scores)
        found = result.all_findings()
        scores = result.scores
        cases = pd.DataFrame({"case": sorted(set(scores.loc[scores["status"] == "ok", "case"]))})
        for folder in campaign.predictions_dirs(name).values() if len(cases) else ():
            references = Path(campaign.manifest.references_dir)
            found += check_task(campaign.challenge, name, references, folder, cases=cases)
        known = {_same(one) for one in verdict.findings}
        for one in found:
            if _same(one) not in known:
                verdict.findings.append(one)
                known.add(_same(one))
    verdict.scores = pd.concat(tables, ignore_index=True) if tables else None


def _same(one: Finding) -> tuple[str, str, Severity]:
    """Return what two findings about one file have in common, however they name its folder.

    What was a warning before scoring and is an error in it is told again: the score hangs on it.
    """
    return str(one.code), Path(one.where).name, one.severity
