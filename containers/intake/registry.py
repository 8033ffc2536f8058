"""Fetch an image from a registry by digest, as an archive: what the engine gets goes through the intake of archives.

The engine itself is not asked to pull: it would unpack a stranger's layers before anybody has looked at their sizes.
Manifests and layers are checked against their digests while they come, so it does not matter what the registry says.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.containers.failures import printable
from medpodium.findings import Code, Finding, UsageError

if TYPE_CHECKING:
    import requests

_REFERENCE = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._:/-]{0,250})@sha256:(?P<hex>[0-9a-f]{64})")
_TAGGED = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?(?:/[a-z0-9._-]+)+:[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"
_INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
_MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
_MAX_DOCUMENT = 4 << 20
_CHUNK = 1 << 20
_SECONDS = (15.0, 120.0)
"""Patience for a connection, and for the next bytes of an answer."""
_LOCAL = ("localhost", "127.0.0.1", "[::1]")


class RegistryCode(Code):
    """Why an image cannot be had from a registry."""

    UNREACHABLE = "registry-unreachable"
    REFUSED = "registry-refused"
    """The registry does not hand the image out: it has none of this name, or wants to know who asks."""
    DAMAGED = "registry-digest-differs"
    """What the registry handed out is not what the digest says."""
    KIND = "registry-no-image"
    """The digest names no container image for linux/amd64."""
    TOO_LARGE = "image-too-large"
    TAG = "registry-tag"


@dataclass(frozen=True)
class Reference:
    """An image in a registry, by content.

    Parameters
    ----------
    host, repository : str
        Where it is.
    digest : str
        ``sha256:...`` of its manifest, or of an index of images.
    """

    host: str
    repository: str
    digest: str

    @property
    def base(self) -> str:
        """Address of the registry's API; without TLS only on this machine, as the engine does it."""
        name = self.host.rpartition(":")[0] or self.host
        return f"{'http' if name in _LOCAL else 'https'}://{self.host}/v2/{self.repository}"

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}@{self.digest}"


def parse(text: str) -> Reference | None:
    """Read ``REGISTRY/NAME@sha256:...``; ``None`` if it is no such name."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    name = match["name"]
    first, slash, rest = name.partition("/")
    if not slash or not ("." in first or ":" in first or first == "localhost"):
        first, rest = _HUB, name if slash else f"library/{name}"
    last = rest.rpartition("/")[2]
    repository = rest.rpartition(":")[0] if ":" in last else rest  # a tag beside the digest says nothing
    return Reference(_HUB_HOST if first == _HUB else first, repository, f"sha256:{match['hex']}")


def tagged(text: str) -> Finding | None:
    """Return what to say of a name in a registry that has a tag and no digest."""
    if _TAGGED.fullmatch(text) is None:
        return None
    cause = "a tag can be moved to another image at any time"
    fix = "give the digest that docker push printed: REGISTRY/NAME@sha256:..."
    return Finding(RegistryCode.TAG, printable(text, 200), cause, fix)


def fetch(reference: Reference, folder: Path, *, max_bytes: int, max_layers: int) -> Path:
    """Fetch an image into an archive of the OCI layout.

    Parameters
    ----------
    reference : Reference
        What to fetch.
    folder : Path
        Where the archive goes; one that is there already is not fetched again.
    max_bytes, max_layers : int
        Limits, before anything large is fetched.

    Raises
    ------
    UsageError
        With the reason: unreachable, refused, not what the digest says, no image for linux/amd64, too large.
    """
    target = folder / f"{reference.digest.partition(':')[2]}.tar"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    source = _Registry(reference)
    part = target.with_suffix(".part")
    try:
        raw, document = source.manifest(reference.digest)
        for _ in range(3):
            if "manifests" not in document:
                break
            raw, document = source.manifest(_choose(reference, document))
        entries = _entries(reference, document)
        if len(entries) - 1 > max_layers:
            text = f"{len(entries) - 1} layers, allowed {max_layers}"
            raise _problem(RegistryCode.TOO_LARGE, reference, text, "merge RUN lines, or docker build --squash")
        if sum(size for _, size in entries) > max_bytes:
            text = f"its layers alone are {sum(size for _, size in entries)} bytes, allowed {max_bytes}"
            raise _problem(RegistryCode.TOO_LARGE, reference, text, "make the image smaller (slim base, no caches)")
        with tarfile.open(part, "w") as tar:
            index = {"schemaVersion": 2, "manifests": [{"digest": _digest(raw), "size": len(raw)}]}
            for name, data in (("index.json", json.dumps(index).encode()), (_blob_name(_digest(raw)), raw)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
            for digest, size in entries:
                source.blob(digest, size, tar)
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    return target


def _problem(code: RegistryCode, reference: Reference, cause: str, fix: str) -> UsageError:
    return UsageError(Finding(code, printable(str(reference), 300), printable(cause), fix))


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _blob_name(digest: str) -> str:
    return "blobs/" + digest.replace(":", "/")


def _choose(reference: Reference, document: dict[str, Any]) -> str:
    """Return the digest of the image for linux/amd64 in an index."""
    for entry in document.get("manifests") or []:
        platform = entry.get("platform") if isinstance(entry, dict) else None
        if isinstance(platform, dict) and (platform.get("os"), platform.get("architecture")) == ("linux", "amd64"):
            return str(entry.get("digest"))
    fix = "build with: docker build --platform linux/amd64"
    raise _problem(RegistryCode.KIND, reference, "holds no image for linux/amd64", fix)


def _entries(reference: Reference, document: dict[str, Any]) -> list[tuple[str, int]]:
    """Return (digest, bytes) of an image's configuration and layers; each digest once."""
    try:
        found = [(str(one["digest"]), int(one["size"])) for one in (document["config"], *document["layers"])]
    except (KeyError, TypeError, ValueError):
        fix = "push a container image (docker push), not another kind of artifact"
        raise _problem(RegistryCode.KIND, reference, "its manifest lists no layers", fix) from None
    if any(not re.fullmatch(r"sha256:[0-9a-f]{64}", digest) or size < 0 for digest, size in found):
        raise _problem(RegistryCode.KIND, reference, "its manifest names digests of another kind", "push it again")
    return list(dict(found).items())


class _Registry:
    """One repository over HTTP (OCI distribution specification)."""

    def __init__(self, reference: Reference) -> None:
        import requests

        self._reference = reference
        self._session = requests.Session()
        self._session.headers["Accept-Encoding"] = "identity"

    def manifest(self, digest: str) -> tuple[bytes, dict[str, Any]]:
        """Return a manifest as it is, and read."""
        accept = {"Accept": ", ".join((*_MANIFESTS, *_INDEXES))}
        with self._get(f"manifests/{digest}", accept) as answer:
            raw = answer.raw.read(_MAX_DOCUMENT + 1)
        if len(raw) > _MAX_DOCUMENT or _digest(raw) != digest:
            raise self._differs(f"the manifest is not {digest}")
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise _problem(RegistryCode.KIND, self._reference, "its manifest is no JSON object", "push it again")
        return raw, document

    def blob(self, digest: str, size: int, tar: tarfile.TarFile) -> None:
        """Copy a blob into an archive, checking it on the way."""
        info = tarfile.TarInfo(_blob_name(digest))
        info.size = size
        with self._get(f"blobs/{digest}", {}) as answer:
            checked = _Checked(answer.raw)
            try:
                tar.addfile(info, checked)  # type: ignore[arg-type]
            except OSError as error:
                if "unexpected end of data" not in str(error):
                    raise
                raise self._differs(f"{digest} has fewer than {size} bytes") from None
        if checked.hexdigest != digest.partition(":")[2]:
            raise self._differs(f"a layer is not {digest}")

    def _differs(self, cause: str) -> UsageError:
        fix = "push the image again; the registry, or something before it, hands out other content"
        return _problem(RegistryCode.DAMAGED, self._reference, cause, fix)

    @contextmanager
    def _get(self, path: str, headers: dict[str, str]) -> Iterator[requests.Response]:
        """Ask for something; log in as the registry says it where it asks for that.

        Raises
        ------
        UsageError
            If it does not answer, or refuses.
        """
        import requests
        import urllib3

        url = f"{self._reference.base}/{path}"
        try:
            answer = self._session.get(url, headers=headers, stream=True, timeout=_SECONDS)
            if answer.status_code == 401:
                answer.close()
                self._log_in(answer.headers.get("WWW-Authenticate", ""))
                answer = self._session.get(url, headers=headers, stream=True, timeout=_SECONDS)
            with answer:
                if answer.status_code != 200:
                    fix = "check name and digest, and 'docker login' to the registry if it is private"
                    cause = f"the registry answers {answer.status_code} {answer.reason or ''}".rstrip()
                    raise _problem(RegistryCode.REFUSED, self._reference, cause, fix)
                yield answer
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            cause = f"{type(error).__name__}: {error}"
            fix = "check the registry's name and the network, then submit again"
            raise _problem(RegistryCode.UNREACHABLE, self._reference, cause, fix) from None

    def _log_in(self, challenge: str) -> None:
        """Do what ``WWW-Authenticate`` asks for, with what ``docker login`` has stored."""
        kind, _, rest = challenge.partition(" ")
        stored = _stored_login(self._reference.host)
        if kind.lower() == "basic" and stored is not None:
            self._session.auth = stored
        if kind.lower() != "bearer":
            return
        values = dict(re.findall(r'(\w+)="([^"]*)"', rest))
        realm = values.get("realm", "")
        if not realm.startswith("https://") and not self._reference.base.startswith("http://"):
            return  # a password never goes over an open connection
        query = {key: values[key] for key in ("service", "scope") if key in values}
        answer = self._session.get(realm, params=query, auth=stored, timeout=_SECONDS)
        found = answer.json() if answer.status_code == 200 else {}
        token = found.get("token") or found.get("access_token") if isinstance(found, dict) else None
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"


def _stored_login(host: str) -> tuple[str, str] | None:
    import docker

    try:
        found = docker.auth.load_config().resolve_authconfig("" if host == _HUB_HOST else host) or {}
    except docker.errors.DockerException:  # a credential helper that fails
        return None
    user, password = found.get("username") or found.get("Username"), found.get("password") or found.get("Password")
    return (str(user), str(password)) if user and password else None


class _Checked:
    """A stream that is hashed while it is read."""

    def __init__(self, stream: Any) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def read(self, size: int) -> bytes:
        data, left = bytearray(), size
        while left > 0 and (chunk := self._stream.read(min(left, _CHUNK))):
            self._hash.update(chunk)
            data += chunk
            left -= len(chunk)
        return bytes(data)

    @property
    def hexdigest(self) -> str:
        return self._hash.hexdigest()
