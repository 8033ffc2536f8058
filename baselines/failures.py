"""What can be wrong with a baseline's data, plan, training, checkpoint or package."""

from __future__ import annotations

from pathlib import Path

from medpodium.findings import Code, Finding, InfrastructureError, MedpodiumError, Severity, UsageError


class BaselineCode(Code):
    """Every situation in which a baseline cannot be planned, trained, run or packaged, or should be looked at."""

    NOT_INSTALLED = "baselines-not-installed"
    NO_GPU = "device-unavailable"
    UNKNOWN_BASELINE = "baseline-unknown"
    NO_TASK = "baseline-task-unsuitable"

    FOLDER_ABSENT = "training-folder-absent"
    NO_CASES = "training-cases-none"
    CHANNEL_UNKNOWN = "channel-unknown"
    CHANNEL_MISSING = "training-channel-missing"
    LABEL_MISSING = "training-label-missing"
    STRUCTURE_ABSENT = "training-structure-absent"
    LABEL_UNKNOWN = "training-label-unknown"
    OVERLAP = "training-structures-overlap"
    UNREADABLE = "training-file-unreadable"
    GEOMETRY = "training-geometry-mismatch"
    REGIONS = "regions-do-not-nest"
    NORMALISATION = "normalisation-doubtful"
    TOO_FEW_CASES = "training-cases-too-few"
    DATASET_EXISTS = "dataset-exists"

    NOT_PLANNED = "baseline-not-planned"
    NOT_TRAINED = "baseline-not-trained"
    ALREADY_TRAINED = "baseline-already-trained"
    TRAINED_OTHERWISE = "baseline-trained-otherwise"
    PLANNED_OTHERWISE = "data-set-planned-otherwise"
    SPLITS = "splits-unsuitable"
    PREDICTED_OTHERWISE = "predictions-of-another-model"
    NOT_PREDICTED = "case-not-predicted"
    """A case has no prediction after the run; all others were predicted."""
    LABEL_UNMATCHED = "model-label-unmatched"
    MODEL_UNKNOWN = "model-unusable"
    CONFIGURATION = "configuration-absent"
    TRAINER = "trainer-unsuitable"
    CHECKPOINT = "checkpoint-unusable"
    CHECKPOINT_OBJECTS = "checkpoint-holds-objects"
    CHECKPOINT_SIZE = "checkpoint-does-not-fit"
    STEM = "checkpoint-stem-undeclared"
    RUN_FAILED = "nnunet-failed"
    """nnU-Net ended with an error: its last line is named, and the log has the rest."""
    COMMAND = "command-unsuitable"
    COMMAND_FAILED = "command-failed"

    SUITE = "transfer-plan-invalid"
    STAGING_TABLE = "staging-table-invalid"
    STAGING_MODEL = "staging-model-invalid"
    PACKAGE = "package-impossible"
    IMAGE_BUILD = "package-build-failed"
    """The engine could not build the image of a baseline."""


def problem(code: BaselineCode, where: str | Path, cause: str, fix: str) -> Finding:
    """Return an error finding."""
    return Finding(code, str(where), cause, fix)


def warning(code: BaselineCode, where: str | Path, cause: str, fix: str) -> Finding:
    """Return a warning."""
    return Finding(code, str(where), cause, fix, Severity.WARNING)


def refuse(code: BaselineCode, where: str | Path, cause: str, fix: str) -> UsageError:
    """Return the error of one finding about the request (exit code 2)."""
    return UsageError(problem(code, where, cause, fix))


def unusable(code: BaselineCode, where: str | Path, cause: str, fix: str) -> MedpodiumError:
    """Return the error of one finding about data (exit code 1)."""
    return MedpodiumError(problem(code, where, cause, fix))


def broken(code: BaselineCode, where: str | Path, cause: str, fix: str) -> InfrastructureError:
    """Return the error of one finding about the machine (exit code 3)."""
    return InfrastructureError(problem(code, where, cause, fix))
