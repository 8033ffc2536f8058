"""Provenance: ``manifest.json`` says what a report was made from, with which versions, seeds and hardware."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.sources import source_hash

NAME = "manifest.json"
FORMAT = 1
_LIBRARIES = ("numpy", "pandas", "scipy", "matplotlib", "jinja2", "typst", "python-docx")


def package_version(name: str = "medpodium") -> str:
    """Return an installed package's version, ``unreleased`` where it is not installed."""
    try:
        return installed(name)
    except PackageNotFoundError:
        return "unreleased"


def sha256(content: bytes) -> str:
    """Return the SHA-256 of some bytes as hex."""
    return hashlib.sha256(content).hexdigest()


def write_manifest(
    out: Path,
    challenge: Challenge,
    files: Iterable[str],
    *,
    settings: Mapping[str, Any],
    inputs: Mapping[str, Any],
) -> None:
    """Write ``manifest.json``.

    It holds no clock time and no absolute path, so that two runs on one machine give the same bytes.

    Parameters
    ----------
    files : iterable of str
        Everything written, relative to ``out``.
    settings : mapping
        What was asked for: formats, seed, resamples, recipe, anonymous.
    inputs : mapping
        Names and hashes of what was read.
    """
    manifest = {
        "format": FORMAT,
        "made_with": {
            "medpodium": package_version(),
            "sources_sha256": source_hash(),
            "python": platform.python_version(),
            **{name: package_version(name) for name in _LIBRARIES},
        },
        "hardware": {"machine": platform.machine(), "system": platform.system(), "processors": os.cpu_count()},
        "challenge": {
            "name": challenge.name,
            "edition": challenge.edition,
            "variant": challenge.variant,
            "definition_sha256": challenge.digest,
        },
        "settings": dict(settings),
        "inputs": dict(inputs),
        "files": {name: sha256((out / name).read_bytes()) for name in sorted(set(files))},
    }
    text = json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=False) + "\n"
    (out / NAME).write_text(text, encoding="utf-8", newline="\n")
