"""A campaign: the working folder of one challenge's hidden test, from ``init`` to the report.

::

    DIR/challenge.yaml    the frozen definition
        cases.json        manifest of the hidden cases: files, hashes, groups
        ledger.sqlite     submissions, attempts, outputs, scores, events
        predictions/TASK/TEAM/DIGEST/   collected, normalised predictions
        runs/TASK/TEAM/DIGEST/CASE/     log, resource curve and record of each attempt
        runs.csv          resources of every run, one row per submission and case
        work/             what a run is using now; emptied when it ends
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from medpodium.challenges import registry
from medpodium.challenges.campaign import durable, manifests, resources, work
from medpodium.challenges.campaign.cases import Manifest
from medpodium.challenges.campaign.ledger import Attempt, Ledger, LedgerCode
from medpodium.challenges.campaign.work import Submission
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.findings import Code, Finding, UsageError

if TYPE_CHECKING:
    import pandas as pd

TEAM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class CampaignCode(Code):
    """What can be wrong with a campaign or a request to it."""

    EXISTS = "campaign-exists"
    NO_CONTAINER = "no-container-protocol"
    TEAM_NAME = "team-name"
    UNKNOWN_TEAM = "team-unknown"
    UNKNOWN_TASK = "task-unknown"
    UNKNOWN_CASE = "case-unknown"
    DEFINITION_CHANGED = "definition-changed"
    PENDING = "campaign-pending"
    STALE = "scores-out-of-date"
    EXCLUDED = "team-excluded"
    """A team was withdrawn or disqualified; the date and the reason are told with it."""


STANDING = (CampaignCode.PENDING, CampaignCode.STALE, CampaignCode.EXCLUDED)
"""What has to be said before a ranking is."""


class Campaign:
    """An open campaign folder.

    Parameters
    ----------
    root : Path
        The folder; :func:`open` and :func:`create` are the ways to one.
    challenge : Challenge
        The frozen definition.
    manifest : Manifest
        The hidden cases.
    ledger : Ledger
        The open ledger.
    """

    def __init__(self, root: Path, challenge: Challenge, manifest: Manifest, ledger: Ledger) -> None:
        self.root = root
        self.challenge = challenge
        self.manifest = manifest
        self.ledger = ledger

    # -- what score, rank and report need -------------------------------------------------------------

    @property
    def challenge_reference(self) -> str:
        """What a verb that takes a challenge has to be given: the frozen file, with its variant."""
        return f"{self.root / 'challenge.yaml'}:{self.challenge.edition}@{self.challenge.variant}"

    @property
    def references_dir(self) -> Path | None:
        """Folder of the hidden references; ``None`` if the campaign has none."""
        return Path(self.manifest.references_dir) if self.manifest.references_dir else None

    @property
    def cases_dir(self) -> Path:
        """Folder of the inputs."""
        return Path(self.manifest.cases_dir)

    @property
    def scores_path(self) -> Path:
        """Where the score table of this campaign is."""
        return self.root / "scores.parquet"

    def predictions_dirs(self, task: str | None = None) -> dict[str, Path]:
        """Return the folder of collected predictions of every team that entered a task."""
        chosen: dict[str, Path] = {}
        for submission in self.submissions(task=task):
            chosen[submission.team] = self.predictions_dir(submission)
        return chosen

    def groups(self) -> dict[str, dict[str, str]]:
        """Return the groups of every case."""
        return self.manifest.groups()

    def case_names(self) -> list[str]:
        """Return the names of all cases, sorted."""
        return [case.id for case in self.manifest.cases]

    def failures(self, task: str | None = None) -> dict[tuple[str, str], Finding]:
        """Return why a submission has no prediction for a case: (team, case) to finding.

        The score table's status of such a row is ``failed:<code>``.
        """
        found: dict[tuple[str, str], Finding] = {}
        for submission in self.submissions(task=task):
            current = set(self.keys(submission).values())
            for attempt in self.ledger.results(submission.id):
                if attempt.work_key not in current:
                    continue
                for name, problem in self._case_failures(attempt).items():
                    found[(submission.team, name)] = problem
        return found

    def _case_failures(self, attempt: Attempt) -> dict[str, Finding]:
        per_case: dict[str, dict[str, str]] = attempt.detail.get("cases", {})
        found = {name: _finding(name, row["code"], row["cause"], row["fix"]) for name, row in per_case.items()}
        if attempt.code and not per_case:
            for name in [attempt.case] if attempt.case else self.case_names():
                found[name] = _finding(name, attempt.code, attempt.cause, attempt.fix)
        return found

    def resources(self) -> pd.DataFrame:
        """Return the resources of every run; see :data:`medpodium.challenges.campaign.resources.COLUMNS`."""
        return resources.table(self)

    # -- submissions and work -------------------------------------------------------------------------

    def submissions(self, *, task: str | None = None, team: str | None = None) -> list[Submission]:
        """Return the active submissions, all or those that answer a task (or container protocol)."""
        wanted = container_name(self.challenge, task) if task is not None else None
        rows = self.ledger.submissions()
        found = [Submission(row["id"], row["team"], row["task"], row["digest"], self._at_hand(row)) for row in rows]
        return [one for one in found if (wanted is None or one.task == wanted) and (team is None or one.team == team)]

    def _at_hand(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what intake found out; an image whose archive is gone lies in the campaign, if it was restored."""
        image: dict[str, Any] = row["detail"].get("image", {})
        archive = image.get("archive")
        if not archive or Path(archive).is_file():
            return dict(row["detail"])
        own = self.root / "images" / Path(archive).name
        return {**row["detail"], **({"image": image | {"archive": str(own.resolve())}} if own.is_file() else {})}

    def predictions_dir(self, submission: Submission) -> Path:
        """Return the folder of a submission's collected predictions."""
        return self.root / "predictions" / submission.folder

    def runs_dir(self, submission: Submission) -> Path:
        """Return the folder of a submission's logs, curves and records."""
        return self.root / "runs" / submission.folder

    def protocol(self, task: str = "") -> ContainerProtocol:
        """Return a container protocol by its name or by a task's; see :func:`container_name`."""
        name = container_name(self.challenge, task or None)
        return self.challenge.containers[name].for_task(name)

    def container(self, task: str) -> str:
        """Return the name of the container protocol that a task, or a protocol's own name, means."""
        return container_name(self.challenge, task)

    def keys(self, submission: Submission) -> dict[str, str]:
        """Return the pieces of work of a submission: case (empty for the whole set) to key."""
        return work.keys(self, submission)

    def pending(self, submission: Submission) -> list[str]:
        """Return the cases (or the one empty name of the whole set) that still have to be run."""
        return work.pending(self, submission)

    @property
    def secret(self) -> str:
        """Random text made with the campaign; seeds case orders and pseudonyms."""
        return self.ledger.meta("secret")

    def close(self) -> None:
        """Close the ledger."""
        self.ledger.close()


def _finding(name: str, code: str, cause: str | None, fix: str | None) -> Finding:
    """Rebuild a finding from the ledger; a code of an earlier version stays readable."""
    return Finding(cast("Code", code), name, cause or "", fix or "")


def container_name(challenge: Challenge, name: str | None = None) -> str:
    """Return which of a challenge's container protocols a task, or a protocol's own name, means.

    Parameters
    ----------
    name : str, optional
        A task or a container protocol; needed only where the challenge has several protocols.

    Raises
    ------
    UsageError
        If there is none of this name, none at all, or several and none was named.
    """
    known = challenge.containers
    where = challenge.reference
    if not known:
        fix = "add a protocol under 'containers:' in the challenge file, or score folders of predictions"
        raise UsageError(Finding(CampaignCode.NO_CONTAINER, where, "declares no container protocol", fix))
    if name in known:
        return str(name)
    if name is not None and name not in challenge.tasks:
        fix = f"choose one of: {', '.join(dict.fromkeys([*known, *challenge.tasks]))}"
        raise UsageError(Finding(CampaignCode.UNKNOWN_TASK, where, f"no task {name!r}", fix))
    own = challenge.tasks[name].container if name is not None else None
    if own is not None:
        return own
    if len(known) == 1:
        return next(iter(known))
    text = f"has {len(known)} container protocols" if name is None else f"task {name!r} names no container protocol"
    raise UsageError(Finding(CampaignCode.UNKNOWN_TASK, where, text, f"name one with --task: {', '.join(known)}"))


def check_team(team: str) -> str:
    """Return a team's name if it is safe in file names, tables and HTML; `UsageError` otherwise."""
    if not TEAM.fullmatch(team) or team.endswith("."):
        text = f"team name {team[:80]!r}"
        fix = "use 1 to 64 letters, digits, dots, dashes and underscores, starting with a letter or digit"
        raise UsageError(Finding(CampaignCode.TEAM_NAME, "--team", text, fix))
    return team


def frozen(challenge: Challenge) -> dict[str, Any]:
    """Return a resolved challenge as the data of a challenge file with one edition and one variant."""
    data = challenge.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data = {"schema": 1} | {key: value for key, value in data.items() if key not in ("edition", "variant")}
    data["editions"] = {challenge.edition: {}}
    if challenge.variant != "corrected":
        data["variants"] = {challenge.variant: {}}
    return data


def create(root: Path, challenge: Challenge, manifest: Manifest) -> Campaign:
    """Make a campaign folder: all of it, or (when the process is killed) none.

    Parameters
    ----------
    root : Path
        A folder that is absent or empty.
    challenge : Challenge
        Its resolved definition is frozen into the folder.
    manifest : Manifest
        The hidden cases, from :func:`medpodium.challenges.campaign.cases.build`.
    """
    if root.exists() and any(root.iterdir()):
        text = "the folder is not empty"
        raise UsageError(Finding(CampaignCode.EXISTS, str(root), text, "choose a new folder"))
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = root.with_name(f".{root.name}.{secrets.token_hex(4)}.part")
    draft.mkdir()
    for name in ("predictions", "runs", "work"):
        (draft / name).mkdir(mode=0o700)
    from ruamel.yaml import YAML

    writer = YAML(typ="safe", pure=True)
    writer.width = 1 << 20  # a name that is broken over two lines is no key any more
    # Structures and metrics keep their order: it is the order of the score table.
    writer.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    with (draft / "challenge.yaml").open("w", encoding="utf-8") as stream:
        writer.dump(frozen(challenge), stream)
    durable.write(draft / manifests.NAME, manifests.dump(manifest, root))
    ledger = Ledger(draft / "ledger.sqlite", create=True)
    ledger.set_meta(
        definition=challenge.digest,
        edition=challenge.edition,
        variant=challenge.variant,
        secret=secrets.token_hex(32),
        **manifests.meta(challenge, manifest),
    )
    ledger.event("init", challenge.reference, cases=len(manifest.cases), definition=challenge.digest)
    ledger.close()
    if root.exists():
        root.rmdir()
    draft.rename(root)
    durable.settle([root, root.parent])
    return Campaign(root, challenge, manifest, Ledger(root / "ledger.sqlite"))


def is_campaign(path: Path) -> bool:
    """Return whether a path is a campaign folder."""
    return (path / "ledger.sqlite").is_file() and (path / "cases.json").is_file()


def open(path: Path | str) -> Campaign:  # noqa: A001 - campaign.open reads as it is meant
    """Open a campaign folder; the caller closes it.

    Raises
    ------
    UsageError
        If it is none, or its definition or manifest was edited after ``init``.

    Examples
    --------
    >>> import medpodium
    >>> campaign = medpodium.open_campaign("campaign")
    >>> [case.id for case in campaign.manifest.cases]
    ['case0']
    >>> campaign.close()
    """
    root = Path(path)
    if not is_campaign(root):
        fix = "make one with 'medpodium init CHALLENGE DIR --cases DIR'"
        raise UsageError(Finding(LedgerCode.ABSENT, str(root), "is no campaign folder", fix))
    ledger = Ledger(root / "ledger.sqlite")
    reference = f"{root / 'challenge.yaml'}:{ledger.meta('edition')}"
    challenge = registry.load(reference, variant=ledger.meta("variant"))
    manifest = manifests.settled(root, ledger)
    kept = ledger.meta("references", manifest.reference_hash)
    for what, found, stored in (
        ("challenge.yaml", challenge.digest, ledger.meta("definition")),
        ("cases.json", manifest.hash, ledger.meta("manifest")),
        ("cases.json", manifest.reference_hash, kept),
    ):
        if found != stored:
            ledger.close()
            text = "was changed after the campaign was made"
            fix = "restore it, or make a new campaign so that every team is treated alike"
            raise UsageError(Finding(CampaignCode.DEFINITION_CHANGED, str(root / what), text, fix))
    return Campaign(root, challenge, manifest, ledger)


@contextmanager
def opened(path: Path | str) -> Iterator[Campaign]:
    """Open a campaign folder for the length of a block."""
    campaign = open(path)
    try:
        yield campaign
    finally:
        campaign.close()
