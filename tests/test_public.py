"""The public interface changes only where the changelog says so.

``public_interface.txt`` lists every public name with its parameters, under the release in which it last changed. Who
changes one moves its line to *Unreleased*, and the changelog's section of that name must speak of it.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import medpodium

ROOT = Path(__file__).resolve().parents[1]


def _shape(name: str) -> str:
    """Return a name with its parameters: kinds, and which may be left out; types and values of defaults are no part."""
    if name == "Challenge":  # its fields are the challenge file's, which has a version of its own
        return name
    parts, star = [], False
    for one in inspect.signature(getattr(medpodium, name)).parameters.values():
        if one.kind is one.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        prefix = "*" if one.kind is one.VAR_POSITIONAL else "**" if one.kind is one.VAR_KEYWORD else ""
        parts.append(f"{prefix}{one.name}{'' if one.default is one.empty else '=...'}")
    return f"{name}({', '.join(parts)})"


def _recorded() -> dict[str, list[str]]:
    text = (ROOT / "tests" / "public_interface.txt").read_text(encoding="utf-8")
    sections = re.split(r"^## (.+)$", text, flags=re.M)[1:]
    return {
        title: [line for line in body.split("\n") if line]
        for title, body in zip(sections[::2], sections[1::2], strict=True)
    }


def test_every_public_name_is_as_recorded() -> None:
    recorded = [line for lines in _recorded().values() for line in lines]
    shapes = [_shape(name) for name in medpodium.__all__]
    assert sorted(recorded) == sorted(shapes), "move what changed to 'Unreleased', and tell users in CHANGELOG.md"


def test_the_changelog_speaks_of_what_changed_since_the_last_release() -> None:
    sections = re.split(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.M)[1:]
    told = dict(zip(sections[::2], sections[1::2], strict=True))["Unreleased"]
    silent = [line for line in _recorded()["Unreleased"] if f"medpodium.{line.partition('(')[0]}" not in told]
    assert not silent


def test_every_public_name_has_a_docstring() -> None:
    assert not [name for name in medpodium.__all__ if not (getattr(medpodium, name).__doc__ or "").strip()]
