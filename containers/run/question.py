"""What the runner asks the process that parses collected files, and what it is told: one line of JSON each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Literal

from medpodium.findings import Finding


@dataclass(frozen=True)
class Question:
    """One collected file, to be checked and written anew.

    Parameters
    ----------
    kind : {"mask", "table", "json"}
        What it has to be.
    source, target : str
        Path of the file, and where what survives is written.
    max_bytes : int
        How large it may be.
    like : str, optional
        Path of the input whose grid a mask shares.
    names : dict of str to str
        Real name of every case by the name that the container saw.
    """

    kind: Literal["mask", "table", "json"]
    source: str
    target: str
    max_bytes: int
    like: str | None = None
    names: dict[str, str] = field(default_factory=dict)

    def line(self) -> bytes:
        """Return the question as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"


@dataclass(frozen=True)
class Answer:
    """What is wrong with the file, or what is odd about it.

    Parameters
    ----------
    refusal : dict of str to str, optional
        ``code``, ``cause`` and ``fix`` of what makes it unusable; ``None`` where it was written anew.
    notes : list of dict of str to str
        Findings about what is odd but usable, as plain strings.
    """

    refusal: dict[str, str] | None = None
    notes: list[dict[str, str]] = field(default_factory=list)

    def line(self) -> bytes:
        """Return the answer as it is sent."""
        return json.dumps(asdict(self)).encode() + b"\n"


def refused(found: Finding) -> Answer:
    """Return the answer about a file that cannot be used."""
    return Answer(found.as_dict())


def noted(*found: Finding) -> Answer:
    """Return the answer about a file that was written anew."""
    return Answer(notes=[one.as_dict() for one in found])
