"""The closed list of what can be wrong with a request to measure two masks."""

from __future__ import annotations

from medpodium.findings import Code, Finding, UsageError


class MeasureCode(Code):
    """What can be wrong with a request to measure masks without a challenge file."""

    INPUT = "measure-input-unknown"
    SHAPE = "measure-shape-not-a-mask"
    CHANNELS = "measure-channels"
    SPACING_MISSING = "measure-spacing-missing"
    SPACING_INVALID = "measure-spacing-invalid"
    SPACING_STATED = "measure-spacing-already-stated"
    METRIC = "measure-metric-unknown"
    PARAMETER = "measure-parameter-invalid"
    STRUCTURES = "measure-structures-invalid"
    NOTHING = "measure-nothing-to-measure"
    LAYOUT = "measure-files-and-folders"


def refuse(code: MeasureCode, where: str, cause: str, fix: str) -> UsageError:
    """Return an error about the request, to be raised."""
    return UsageError(Finding(code, where, cause, fix))
