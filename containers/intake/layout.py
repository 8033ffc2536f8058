"""Which members of an archive make the image: as ``docker save`` says it, or as the OCI image layout does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_INDEX = "index.json"
_DEPTH = 4
_ATTESTATION = "unknown"


class LayoutError(Exception):
    """What is wrong with the layout, in words; ``kind`` is ``"none"`` or ``"many"`` where that many images are."""

    def __init__(self, cause: str, fix: str, kind: str = "broken") -> None:
        super().__init__(cause)
        self.cause, self.fix, self.kind = cause, fix, kind


def image_of(small: Mapping[str, bytes]) -> dict[str, Any]:
    """Return ``Config``, ``Layers`` and ``RepoTags`` of the only image in an archive.

    Parameters
    ----------
    small : mapping of str to bytes
        The archive's small members; what they say is a stranger's word, and every name is checked by the caller.

    Raises
    ------
    LayoutError
        If there is none, or more than one.
    """
    if "manifest.json" in small:
        found = _json(small["manifest.json"], "manifest.json")
        if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
            count = len(found) if isinstance(found, list) else 0
            raise LayoutError(f"holds {count} images", "save exactly one image: docker save NAME:TAG", "many")
        return found[0]
    if _INDEX in small:
        return _of_index(small)
    fix = "submit the output of docker save (not docker export, not a Dockerfile folder)"
    raise LayoutError("has no manifest.json", fix, "none")


def _of_index(small: Mapping[str, bytes]) -> dict[str, Any]:
    """Follow an OCI index to its one image; attestations beside it are no images."""
    document, depth = _json(small[_INDEX], _INDEX), 0
    while isinstance(document, dict) and "manifests" in document:
        entries = [one for one in document["manifests"] or [] if isinstance(one, dict) and not _attests(one)]
        fits = [one for one in entries if _platform(one) in (("linux", "amd64"), None)] or entries
        if len(fits) != 1 or depth >= _DEPTH:
            raise LayoutError(f"holds {len(fits)} images", "save exactly one image, for linux/amd64", "many")
        document, depth = _json(_blob(small, fits[0]), "the image's manifest"), depth + 1
    try:
        config, layers = document["config"], document["layers"]
        return {"Config": _name(config), "Layers": [_name(one) for one in layers], "RepoTags": []}
    except (KeyError, TypeError, AttributeError) as error:
        raise LayoutError("its index.json leads to no image", "save the image again") from error


def _attests(entry: dict[str, Any]) -> bool:
    return _platform(entry) == (_ATTESTATION, _ATTESTATION)


def _platform(entry: dict[str, Any]) -> tuple[str, str] | None:
    platform = entry.get("platform")
    return (str(platform.get("os")), str(platform.get("architecture"))) if isinstance(platform, dict) else None


def _name(descriptor: dict[str, Any]) -> str:
    algorithm, _, digest = str(descriptor["digest"]).partition(":")
    return f"blobs/{algorithm}/{digest}"


def _blob(small: Mapping[str, bytes], descriptor: dict[str, Any]) -> bytes:
    raw = small.get(_name(descriptor)) if "digest" in descriptor else None
    if raw is None:
        raise LayoutError("its index.json names a manifest that is not in it", "save the image again")
    return raw


def _json(raw: bytes, what: str) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        raise LayoutError(f"{what} is no JSON", "save the image again") from None
