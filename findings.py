"""Findings: what is wrong, where, why in one line, and how to fix it in one line.

A finding is data, never a traceback. Every room of the package declares its own enum of codes by
subclassing :class:`Code`, so that a code is always one of a closed, documented set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import Enum, IntEnum


class ExitCode(IntEnum):
    """Exit codes shared by every verb."""

    OK = 0
    FINDINGS = 1
    USAGE = 2
    INFRASTRUCTURE = 3


class Code(str, Enum):
    """Base of every room's enum of finding codes (``class MaskCode(Code): ...``)."""

    def __str__(self) -> str:
        return str(self.value)


class Severity(str, Enum):
    """How much a finding matters."""

    ERROR = "error"
    """The value cannot be used; a declared penalty or a refusal follows."""
    WARNING = "warning"
    """The value is used, but somebody should look."""
    NOTE = "note"
    """Worth knowing; nothing to do."""

    def __str__(self) -> str:
        return str(self.value)


@dataclass(frozen=True)
class Finding:
    """One problem.

    Parameters
    ----------
    code : Code
        Member of a room's enum of codes.
    where : str
        File, case, field or line the finding is about.
    cause : str
        What is wrong, in one line, naming the offending value.
    fix : str
        What to do about it, in one line.
    severity : Severity
        ``error`` unless said otherwise.

    Examples
    --------
    >>> import medpodium
    >>> try:
    ...     medpodium.load_challenge("fetta")
    ... except medpodium.MedpodiumError as error:
    ...     finding = error.findings[0]
    >>> finding.cause, finding.fix[:18]
    ('no challenge of this name', 'did you mean feta?')
    """

    code: Code
    where: str
    cause: str
    fix: str
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        return f"{self.severity}: {self.code}: {self.where}: {self.cause}; {self.fix}"

    def as_dict(self) -> dict[str, str]:
        """Return the finding as plain strings, ready for JSON or a table."""
        return {key: str(value) for key, value in asdict(self).items()}


class MedpodiumError(Exception):
    """An error whose message is one or more findings; the command line prints it without a traceback.

    Examples
    --------
    >>> import medpodium
    >>> try:
    ...     medpodium.read_mask("nowhere.nii.gz")
    ... except medpodium.MedpodiumError as error:
    ...     print(error.findings[0].code, error.findings[0].where)
    mask-file-missing nowhere.nii.gz
    """

    exit_code = ExitCode.FINDINGS

    def __init__(self, *findings: Finding) -> None:
        self.findings = tuple(findings)
        super().__init__("\n".join(str(finding) for finding in findings))


class UsageError(MedpodiumError):
    """The request itself is wrong (exit code 2): unknown challenge, unreadable file, bad option."""

    exit_code = ExitCode.USAGE


class InfrastructureError(MedpodiumError):
    """Something outside the data failed (exit code 3): no Docker engine, a full disk, no GPU."""

    exit_code = ExitCode.INFRASTRUCTURE


def has_errors(findings: Iterable[Finding]) -> bool:
    """Return whether any finding is an error."""
    return any(finding.severity is Severity.ERROR for finding in findings)
