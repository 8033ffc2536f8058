"""How the list of cases lies in a campaign's folder: where the data are, wherever the folder is, and how it changes.

The folders of the cases and of the references are kept twice, as they were seen from the root of the file system and
as they are seen from the campaign. Data inside the campaign go with it. Data beside it are found at their old place,
or, where that is gone, beside the campaign's new one; what they hold is compared by content whenever it is used.

A list that changes is first written beside the old one. Then one transaction of the ledger says which of both counts
and why; the new list is moved into its place last. Whoever opens the campaign after a kill in between does that.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from medpodium.challenges.campaign import durable
from medpodium.challenges.campaign.cases import Manifest
from medpodium.challenges.campaign.ledger import Ledger, note
from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.schema.protocol import parse_bytes, parse_seconds

NAME, DRAFT = "cases.json", "cases.json.new"
_DIRS = ("cases_dir", "references_dir")


class Campaign(Protocol):
    """What has to be known of a campaign here."""

    root: Path
    challenge: Challenge
    manifest: Manifest
    ledger: Ledger


def dump(manifest: Manifest, root: Path) -> str:
    """Return a manifest as the text of its file below ``root``."""
    places = {name: getattr(manifest, name) for name in _DIRS}
    beside = {name: _relative(place, root) for name, place in places.items()}
    return json.dumps(manifest.as_dict() | {"beside": beside}, indent=1, ensure_ascii=False)


def _relative(place: str, root: Path) -> str:
    if not place:
        return ""
    with suppress(ValueError):  # another drive of Windows
        return Path(os.path.relpath(place, root.resolve())).as_posix()
    return ""


def read(path: Path) -> Manifest:
    """Read the file that :func:`dump` made, with its folders where they are now."""
    data = json.loads(path.read_text(encoding="utf-8"))
    beside = data.get("beside", {})
    found = Manifest.from_dict(data)
    dirs: dict[str, Any] = {name: _resolved(getattr(found, name), beside.get(name, ""), path.parent) for name in _DIRS}
    return replace(found, **dirs)


def _resolved(place: str, beside: str, root: Path) -> str:
    if not place or not beside:
        return place
    near = Path(os.path.normpath(root.resolve() / beside))
    inside = not beside.startswith("..")
    return str(near) if inside or (not Path(place).is_dir() and near.is_dir()) else place


def settled(root: Path, ledger: Ledger) -> Manifest:
    """Return the manifest that counts, and finish a change that a killed process had decided on but not finished."""
    path, draft = root / NAME, root / DRAFT
    manifest = read(path)
    for _ in range(2):
        if _counts(manifest, ledger):
            return manifest
        with suppress(FileNotFoundError):  # another process has just done it
            if _counts(read(draft), ledger):
                draft.replace(path)
                durable.settle([root])
        manifest = read(path)
    return manifest


def _counts(manifest: Manifest, ledger: Ledger) -> bool:
    kept = ledger.meta("references", manifest.reference_hash)
    return (manifest.hash, manifest.reference_hash) == (ledger.meta("manifest"), kept)


def meta(challenge: Challenge, manifest: Manifest) -> dict[str, str]:
    """Return what the ledger knows of the cases: hashes, and what somebody needs who sees nothing but the ledger."""
    containers = {}
    for name, whole in challenge.containers.items():
        protocol = whole.for_task(name)
        earlier = [mount.task for mount in protocol.mounts if mount.task is not None]
        containers[name] = {
            "per": protocol.per,
            "seconds": parse_seconds(protocol.limits.time),
            "memory": parse_bytes(protocol.limits.memory),
            "sees": list(dict.fromkeys(earlier)),
        }
    tasks = {name: task.container for name, task in challenge.tasks.items()}
    known = {"challenge": challenge.reference, "cases": [case.id for case in manifest.cases]}
    overview = json.dumps({**known, "containers": containers, "tasks": tasks}, ensure_ascii=False)
    return {"manifest": manifest.hash, "references": manifest.reference_hash, "overview": overview}


def change(campaign: Campaign, manifest: Manifest, kind: str, subject: str, **detail: Any) -> None:
    """Put a new manifest in the place of the old one, and note what changed and why, as one step."""
    root = campaign.root
    durable.write(root / DRAFT, dump(manifest, root))
    values = meta(campaign.challenge, manifest)
    with campaign.ledger.transaction() as db:
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", list(values.items()))
        note(db, kind, subject, **detail)
    with suppress(FileNotFoundError):  # another process has opened the campaign meanwhile, and done it
        (root / DRAFT).replace(root / NAME)
    durable.settle([root])
    campaign.manifest = manifest
