"""How a submission is run: mounts, files in and out, command and limits, as one typed model per challenge.

File patterns are plain names with ``{placeholders}``: ``{case}`` is the case, any other word (``{vendor}``)
matches one path component of the source and may be used again in targets, outputs and metadata.
In output patterns ``*`` stands for any characters inside one path component.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator, model_validator

from medpodium.challenges.naming.patterns import relative_pattern
from medpodium.challenges.schema.base import Model

_BYTE_UNITS = {
    "B": 1,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
}
_TIME_UNITS = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")


def _parse(text: str, units: dict[str, float] | dict[str, int], what: str) -> float:
    match = _QUANTITY.fullmatch(str(text))
    known = ", ".join(units)
    if match is None:
        raise ValueError(f"{text!r} is no {what}; write a number and one of the units {known}")
    if match[2] not in units:
        missing = "has no unit" if not match[2] else f"has the unknown unit {match[2]!r}"
        raise ValueError(f"{what} {text!r} {missing}; write one of {known}, for example '{match[1]} {list(units)[-2]}'")
    return float(match[1]) * units[match[2]]


def parse_bytes(text: str) -> int:
    """Return the bytes of a size with its unit (``'28 GiB'`` -> 30064771072).

    Raises
    ------
    ValueError
        When the number or its unit is missing or unknown.
    """
    return int(_parse(text, _BYTE_UNITS, "size"))


def parse_seconds(text: str) -> float:
    """Return the seconds of a duration (``'60 min'`` -> 3600.0); `ValueError` without a unit."""
    return _parse(text, _TIME_UNITS, "duration")


def parse_count(text: str) -> float:
    """Return a plain number (``'256'``, ``'1.5'``); `ValueError` for anything else, a unit included."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None or match[2]:
        raise ValueError(f"{text!r} is no plain number; a count takes no unit, for example '256'")
    return float(match[1])


def _size(value: object) -> str:
    parse_bytes(str(value))
    return str(value)


def _duration(value: object) -> str:
    parse_seconds(str(value))
    return str(value)


def _whole(value: object) -> str:
    if not parse_count(str(value)).is_integer():
        raise ValueError(f"{value!r} is no whole number")
    return str(value)


def _number(value: object) -> str:
    parse_count(str(value))
    return str(value)


Size = Annotated[str, BeforeValidator(_size)]
"""A size as text with its unit, ``'28 GiB'``."""
Duration = Annotated[str, BeforeValidator(_duration)]
"""A duration as text with its unit, ``'60 min'``."""
Count = Annotated[str, BeforeValidator(_whole)]
"""A whole number as text, ``'256'``."""
Number = Annotated[str, BeforeValidator(_number)]
"""A number as text, ``'1.5'``."""


class Limits(Model):
    """What one container run may use. Sizes and durations are text with their unit."""

    time: Duration = "60 min"
    """Wall time of one run; the container is killed at the limit, without a grace period."""
    memory: Size = "16 GiB"
    """Host memory; swap is not added to it. Scratch and shared memory count against it."""
    cpus: Number = "4"
    """Processor cores."""
    pids: Count = "512"
    """Processes and threads."""
    shm: Size = "2 GiB"
    """Shared memory (``/dev/shm``); PyTorch's and nnU-Net's workers pass arrays through it."""
    scratch: Size = "4 GiB"
    """Size of ``/tmp``, the only writable place besides the outputs."""
    output: Size = "2 GiB"
    """All output files of one run together."""
    output_files: Count = "1000"
    """Files and folders below the output mount."""
    file: Size = "1 GiB"
    """One file (``RLIMIT_FSIZE``)."""
    open_files: Count = "1024"
    """Open files per process."""
    log: Size = "1 MiB"
    """Log kept per run; what exceeds it is dropped, oldest first."""
    gpus: Count = "0"
    """Graphics processors handed to the container."""
    gpu_memory: Size | None = None
    """Graphics memory above which the container is killed; no cap if absent."""
    image: Size = "30 GiB"
    """Unpacked size of the submitted image."""
    layers: Count = "100"
    """Layers of the submitted image."""

    @model_validator(mode="after")
    def _positive(self) -> Limits:
        for name in ("time", "memory", "cpus", "pids", "output", "output_files", "file", "open_files", "log"):
            match = _QUANTITY.fullmatch(str(getattr(self, name)))
            if match is not None and float(match[1]) == 0:
                raise ValueError(f"limit {name} is zero; nothing could run")
        return self


class InputFile(Model):
    """One file of a case: where the organizer keeps it and what the container sees."""

    source: str
    """Pattern relative to the cases folder, for example ``{case}_0000.nii.gz``."""
    target: str
    """Pattern relative to the mount."""
    optional: bool = False
    """Whether a case may lack it (a missing modality)."""
    role: str = ""
    """Short name (a modality), for ``{missing}`` in metadata and for messages."""

    @field_validator("source", "target")
    @classmethod
    def _relative(cls, value: str) -> str:
        return relative_pattern(value)


class MetadataFile(Model):
    """A file written next to the inputs from the case's metadata.

    Values are patterns: ``{case}``, the placeholders of the sources, the columns of the groups table, and
    ``{missing}``, the roles of the optional inputs that this case lacks.
    """

    target: str
    """Pattern relative to the mount."""
    content: JsonValue = None
    """A JSON document whose strings are patterns; a string that is one placeholder keeps the value's type."""
    columns: dict[str, str] | None = None
    """A table instead, one row per case: column name to pattern."""
    separator: Literal[",", "\t"] = ","

    @field_validator("target")
    @classmethod
    def _relative(cls, value: str) -> str:
        return relative_pattern(value)

    @model_validator(mode="after")
    def _one_kind(self) -> MetadataFile:
        if (self.content is None) == (self.columns is None):
            raise ValueError("give either content (a JSON document) or columns (a table)")
        return self


class Mount(Model):
    """A folder of the container."""

    path: str
    """Absolute path inside the container."""
    kind: Literal["input", "output", "cascade"] = "input"
    files: tuple[InputFile, ...] = ()
    metadata: tuple[MetadataFile, ...] = ()
    writable: bool = False
    """Inputs are copies made for this run; ``true`` only for methods that insist on writing beside them."""
    task: str | None = None
    """For a cascade: the task whose predictions by the same team are mounted here, read-only."""
    only: str | None = None
    """Mounted only for submissions to this task; for all if absent."""

    @model_validator(mode="after")
    def _consistent(self) -> Mount:
        path = PurePosixPath(self.path)
        if not path.is_absolute() or ".." in path.parts or path == PurePosixPath("/"):
            raise ValueError(f"mount path {self.path!r} must be an absolute folder below /")
        if path.parts[1] in {"proc", "sys", "dev", "tmp"}:
            raise ValueError(f"mount path {self.path!r} would cover /{path.parts[1]}; choose another folder")
        if self.kind == "output" and (self.files or self.metadata):
            raise ValueError("an output mount has no files; list them under outputs")
        if (self.kind == "cascade") != (self.task is not None):
            raise ValueError("a cascade mount names its task, and only a cascade mount does")
        return self


class OutputFile(Model):
    """One file that a run has to write below the output mount."""

    name: str
    """Pattern; with ``{case}`` one file per case. ``*`` must match exactly one file."""
    kind: Literal["mask", "table", "json", "other"] = "mask"
    stored_as: str | None = None
    """Pattern of the collected file; default: the case's name and the file's ending, else the name itself.

    Masks are collected as rewritten ``.nii.gz`` whatever format a run wrote.
    """
    optional: bool = False
    only: str | None = None
    """Asked only of submissions to this task; of all if absent."""
    like: str | None = None
    """Source pattern of the input whose grid a mask has; the case's first input if absent."""

    @field_validator("name", "stored_as")
    @classmethod
    def _relative(cls, value: str | None) -> str | None:
        return None if value is None else relative_pattern(value)

    @property
    def per_case(self) -> bool:
        """Whether every case has its own file."""
        return "{case}" in self.name or "{case}" in self.stored

    @property
    def stored(self) -> str:
        """Pattern of the collected file, below the submission's folder of predictions."""
        if self.stored_as is not None:
            return self.stored_as
        ending = ".nii.gz" if self.kind == "mask" else file_ending(self.name)
        if "{case}" not in self.name and not (self.kind == "mask" and "*" in self.name):
            return self.name.replace("*", "output")
        return "{case}" + ending

    @model_validator(mode="after")
    def _masks_are_nifti(self) -> OutputFile:
        if self.kind == "mask" and not self.stored.endswith((".nii.gz", ".nii")):
            raise ValueError(f"stored_as {self.stored!r}: collected masks are NIfTI, so end it in .nii.gz")
        return self


class ContainerProtocol(Model):
    """The contract between organizer and participant about one container run."""

    per: Literal["case", "set"] = "case"
    """One run per case, or one run over the whole test set."""
    command: tuple[str, ...] | None = None
    """Arguments after the image; the image's own CMD if absent. Placeholders as in the patterns."""
    entrypoint: tuple[str, ...] | None = None
    """Replaces the image's ENTRYPOINT; an empty list clears it."""
    workdir: str | None = None
    env: dict[str, str] = Field(default_factory=dict)
    mounts: tuple[Mount, ...]
    outputs: tuple[OutputFile, ...]
    limits: Limits = Limits()
    image_name: str | None = None
    """Regular expression for the image's repository name without tag; ``{team}`` is the team's name."""
    archive_name: str | None = None
    """Regular expression for the archive's file name; ``{team}`` is the team's name in lower case."""
    pseudonym: str | None = None
    """Pattern of the case name the container sees, with ``{token}`` (8 hex digits) or ``{uuid}``.

    Without it the container sees the real names."""
    random_order: bool = True
    """Run the cases in an order that differs per submission."""
    nonzero_exit: Literal["fail", "keep"] = "fail"
    """Whether complete outputs count although the process ended with a non-zero exit code."""
    timing: Literal["container", "process"] = "container"
    """Running time from creating the container (as FLARE) or from the start of its first process."""
    ready_line: str | None = None
    """Text of a log line that ends start-up (model loading); splits start-up from inference when printed."""
    warm_up: int = Field(default=0, ge=0, le=5)
    """Discarded runs on the first case before the first measured one."""
    retries: int = Field(default=2, ge=0, le=10)
    """Further attempts after a failure of the infrastructure (never after the submission's own failure)."""
    documented_command: str | None = None
    """The command the challenge's own page documents, for comparison."""

    @model_validator(mode="after")
    def _consistent(self) -> ContainerProtocol:
        outputs = [mount for mount in self.mounts if mount.kind == "output"]
        if len(outputs) != 1:
            raise ValueError(f"exactly one mount has kind: output, not {len(outputs)}")
        sources = [file.source for mount in self.mounts for file in mount.files]
        if not any("{case}" in source for source in sources):
            raise ValueError("at least one input file needs {case} in its source")
        paths = [PurePosixPath(mount.path) for mount in self.mounts]
        for one in paths:
            if any(one == other or one in other.parents for other in paths if other is not one):
                raise ValueError(f"mount {one} repeats or covers another mount")
        if not self.outputs:
            raise ValueError("outputs is empty; name the files a run has to write")
        if self.pseudonym is not None and not re.search(r"\{(token|uuid)\}", self.pseudonym):
            raise ValueError("pseudonym needs {token} or {uuid}")
        for name in ("image_name", "archive_name"):
            if getattr(self, name) is not None:
                re.compile(getattr(self, name).replace("{team}", "team"))
        return self

    @property
    def output_mount(self) -> Mount:
        """The one mount that outputs are written to."""
        return next(mount for mount in self.mounts if mount.kind == "output")

    def for_task(self, task: str | None) -> ContainerProtocol:
        """Return the protocol of a submission to one task: mounts and outputs of other tasks left out."""
        if task is None:
            return self
        mounts = tuple(mount for mount in self.mounts if mount.only in (None, task))
        outputs = tuple(output for output in self.outputs if output.only in (None, task))
        return self.model_copy(update={"mounts": mounts, "outputs": outputs})

    @property
    def input_files(self) -> tuple[tuple[Mount, InputFile], ...]:
        """Every input file with its mount."""
        return tuple((mount, file) for mount in self.mounts for file in mount.files)

    @property
    def hash(self) -> str:
        """SHA-256 of everything that can change a run's result; comments about evidence left out."""
        document = self.model_dump(mode="json", exclude={"unconfirmed", "documented_command", "retries"})
        return hashlib.sha256(json.dumps(_bare(document), sort_keys=True).encode()).hexdigest()


def _bare(node: object) -> object:
    if isinstance(node, dict):
        return {key: _bare(value) for key, value in node.items() if key != "unconfirmed"}
    return [_bare(item) for item in node] if isinstance(node, list) else node


def file_ending(name: str) -> str:
    """Return everything after the first dot of the last path component, dot included (``.nii.gz``)."""
    base = PurePosixPath(name).name
    return base[base.index(".") :] if "." in base else ""
