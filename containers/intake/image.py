"""Intake of a submitted image: checked before it is loaded, pinned by digest, checked again before every run."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.challenges.schema.protocol import ContainerProtocol, parse_bytes, parse_count
from medpodium.containers.failures import EngineCode, infrastructure, printable
from medpodium.containers.intake import archive as archives
from medpodium.containers.intake import registry
from medpodium.containers.sandbox.engine import errors
from medpodium.containers.sandbox.profile import inside
from medpodium.findings import Code, Finding, Severity, UsageError

ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst")
_SYSTEM = ("proc", "sys", "dev")
_HIJACK = ("LD_PRELOAD", "LD_AUDIT")
_GPU_ENV = ("NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_DISABLE_REQUIRE")


class ImageCode(Code):
    """What can be wrong with a submitted image."""

    NAME = "image-name"
    ARCHIVE_NAME = "archive-name"
    PLATFORM = "image-platform"
    """The image was built for another kind of processor."""
    SIZE = "image-too-large"
    LAYERS = "image-layers"
    LOADER_ENV = "image-env-loader"
    """The image sets a variable that makes other programs load its code."""
    GPU_ENV = "image-env-gpu"
    """The image asks for GPUs by an environment variable."""
    WORKDIR = "image-workdir"
    """The image starts in a folder of the system, or in one that is not absolute."""
    ROOT_USER = "image-root-user"
    VOLUME = "image-volume"
    HEALTHCHECK = "image-healthcheck"
    """The image declares a health check; it would run a command beside the submission."""
    STOP_SIGNAL = "image-stop-signal"
    """The image declares how it wants to be stopped."""
    NO_COMMAND = "image-no-command"
    NOT_FOUND = "image-not-found"
    DUPLICATE = "duplicate-submission"


@dataclass(frozen=True)
class Pinned:
    """An image in the engine, by content.

    Parameters
    ----------
    digest : str
        Image id: SHA-256 of the configuration, which names every layer by hash.
    engine_id : str
        What the engine calls it (the same, but with image stores that use the manifest's digest).
    tag : str
        Our own tag, so that a clean-up of dangling images spares it.
    layers : tuple of str
        Hashes of the layers.
    volumes : tuple of str
        Declared VOLUME folders, covered at run time.
    bytes : int
        Unpacked size.
    archive, archive_sha256 : str
        Where it came from; empty for a local image.
    existed : bool
        Whether the engine had it before; then it is never removed.
    """

    digest: str
    engine_id: str
    tag: str
    layers: tuple[str, ...]
    volumes: tuple[str, ...]
    bytes: int
    archive: str = ""
    archive_sha256: str = ""
    existed: bool = False

    def as_dict(self) -> dict[str, Any]:
        """Return the record as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Pinned:
        """Read what :meth:`as_dict` wrote."""
        return cls(**{**data, "layers": tuple(data["layers"]), "volumes": tuple(data["volumes"])})


def lint_config(config: dict[str, Any]) -> list[Finding]:
    """Check an image's ``config`` section (as in the configuration file or ``docker inspect``).

    Returns
    -------
    list of Finding
        Errors refuse the image: they serve nothing but attacks on the runtime.
    """
    found = []

    def say(code: ImageCode, where: str, cause: str, fix: str, severity: Severity) -> None:
        found.append(Finding(code, where, printable(cause), fix, severity))

    for entry in config.get("Env") or []:
        key, _, value = str(entry).partition("=")
        if key in _HIJACK and value:
            fix = "remove this ENV; it is refused because it can attack the GPU runtime (CVE-2025-23266)"
            say(ImageCode.LOADER_ENV, "ENV", f"{key}={value}", fix, Severity.ERROR)
        elif key in _GPU_ENV:
            fix = "nothing to do; the runner decides which GPUs are visible"
            say(ImageCode.GPU_ENV, "ENV", f"{key}={value}", fix, Severity.NOTE)
    workdir = str(config.get("WorkingDir") or "/")
    parts = PurePosixPath(workdir).parts
    if not workdir.startswith("/") or ".." in parts or (len(parts) > 1 and parts[1] in _SYSTEM):
        fix = "set WORKDIR to a folder of your own, such as /workspace (CVE-2024-21626)"
        say(ImageCode.WORKDIR, "WORKDIR", workdir, fix, Severity.ERROR)
    user = str(config.get("User") or "").partition(":")[0]
    if user in ("", "0", "root"):
        fix = "add a USER that is not root and make sure that any user can read your files (chmod -R a+rX)"
        say(ImageCode.ROOT_USER, "USER", "runs as root; the hidden test uses another user", fix, Severity.WARNING)
    for volume in sorted(map(str, config.get("Volumes") or {})):
        place = inside(volume)
        if place == "/" or place.split("/")[1] in _SYSTEM:
            fix = "remove VOLUME; nothing bounds what is written there"
            say(ImageCode.VOLUME, "VOLUME", f"{volume!r} is a system folder", fix, Severity.ERROR)
        else:
            fix = "remove VOLUME; what is written there is lost and limited to 16 MiB"
            say(ImageCode.VOLUME, "VOLUME", volume, fix, Severity.WARNING)
    if (config.get("Healthcheck") or {}).get("Test") not in (None, [], ["NONE"]):
        say(ImageCode.HEALTHCHECK, "HEALTHCHECK", "is switched off", "remove it", Severity.NOTE)
    if config.get("StopSignal"):
        text = f"{config['StopSignal']} is ignored; containers end by SIGKILL"
        say(ImageCode.STOP_SIGNAL, "STOPSIGNAL", text, "remove it", Severity.NOTE)
    return found


def lint(image: dict[str, Any], protocol: ContainerProtocol) -> list[Finding]:
    """Check platform, size, layers, command and ``config`` of an image.

    Parameters
    ----------
    image : dict
        ``architecture``, ``os``, ``bytes``, ``layers`` (count) and ``config``.
    """
    found = lint_config(image["config"])
    limits = protocol.limits
    if (image["os"], image["architecture"]) != ("linux", "amd64"):
        text = f"is built for {image['os']}/{image['architecture']}"
        fix = "build with: docker build --platform linux/amd64"
        found.append(Finding(ImageCode.PLATFORM, "image", printable(text), fix))
    if image["bytes"] > parse_bytes(limits.image):
        text = f"{image['bytes'] / 2**30:.1f} GiB unpacked, allowed {limits.image}"
        found.append(Finding(ImageCode.SIZE, "image", text, "make the image smaller (slim base, no caches, no data)"))
    if image["layers"] > parse_count(limits.layers):
        text = f"{image['layers']} layers, allowed {limits.layers}"
        found.append(Finding(ImageCode.LAYERS, "image", text, "merge RUN lines, or docker build --squash"))
    for volume in sorted(map(str, image["config"].get("Volumes") or {})):
        above = [mount.path for mount in protocol.mounts if inside(volume).startswith(mount.path.rstrip("/") + "/")]
        if above:
            text, fix = f"{volume!r} lies in {above[0]}, which the challenge mounts", "remove VOLUME"
            found.append(Finding(ImageCode.VOLUME, "VOLUME", printable(text), fix))
    words = [*(image["config"].get("Entrypoint") or []), *(image["config"].get("Cmd") or [])]
    if protocol.command is None and protocol.entrypoint is None and not words:
        fix = "add an ENTRYPOINT to the Dockerfile"
        found.append(Finding(ImageCode.NO_COMMAND, "image", "has neither ENTRYPOINT nor CMD", fix))
    return found


def name_findings(protocol: ContainerProtocol, team: str, tags: Iterable[str], file: str | None) -> list[Finding]:
    """Check the names the challenge prescribes for images and archives; warnings, for nothing depends on them."""
    found = []
    if protocol.image_name is not None:
        rule = protocol.image_name.replace("{team}", re.escape(team.lower()))
        for tag in tags:
            if not re.fullmatch(rule, tag.rpartition(":")[0] or tag):
                fix = f"tag it so that it matches {rule}"
                found.append(
                    Finding(ImageCode.NAME, printable(tag, 120), "breaks the name rule", fix, Severity.WARNING)
                )
    if protocol.archive_name is not None and file is not None:
        rule = protocol.archive_name.replace("{team}", re.escape(team.lower()))
        if not re.fullmatch(rule, file):
            text, fix = "breaks the name rule of archives", f"name it so that it matches {rule}"
            found.append(Finding(ImageCode.ARCHIVE_NAME, printable(file, 120), text, fix, Severity.WARNING))
    return found


def is_archive(source: str) -> bool:
    """Return whether a submission is given as an archive file, not as the name of a local image."""
    return Path(source).exists() or source.endswith(ENDINGS)


def take(
    client: Any, source: str, protocol: ContainerProtocol, team: str, folder: Path
) -> tuple[Pinned, list[Finding]]:
    """Take in a submission: an archive of ``docker save``, the name of an image in the engine, or one in a registry.

    Parameters
    ----------
    client : docker.DockerClient
        The engine.
    source : str
        The archive's path, the name, or ``REGISTRY/NAME@sha256:...``.
    protocol : ContainerProtocol
        Its limits and name rules.
    team : str
        Who submits.
    folder : Path
        Where archives fetched from a registry are kept.

    Returns
    -------
    (pinned, findings)
        The image by content, and remarks. Errors among them are raised instead.

    Raises
    ------
    UsageError
        With every error found, before anything was loaded.
    """
    if is_archive(source):
        return _from_archive(client, Path(source), protocol, team)
    reference = registry.parse(source)
    if reference is None or _find(client, source) is not None:
        return _local(client, source, protocol, team)
    limits = protocol.limits
    max_bytes, max_layers = parse_bytes(limits.image), int(parse_count(limits.layers))
    path = registry.fetch(reference, folder, max_bytes=max_bytes, max_layers=max_layers)
    pinned, found = _from_archive(client, path, protocol, team)
    # the rules for names are about what the team calls its image, not about our file
    found = [one for one in found if one.code not in (ImageCode.NAME, ImageCode.ARCHIVE_NAME)]
    return pinned, [*name_findings(protocol, team, [source.partition("@")[0]], None), *found]


def _tag(team: str, digest: str) -> str:
    """Return a tag of this intake's own, so that dropping it never takes the image from another campaign."""
    name = re.sub("[^a-z0-9]+", "-", team.lower()).strip("-") or "team"
    return f"medpodium/{name}:{digest.partition(':')[2][:16]}-{secrets.token_hex(4)}"


def _stop(found: list[Finding]) -> None:
    errors_found = [one for one in found if one.severity is Severity.ERROR]
    if errors_found:
        raise UsageError(*errors_found, *(one for one in found if one.severity is not Severity.ERROR))


def _from_archive(
    client: Any, path: Path, protocol: ContainerProtocol, team: str, tag: str | None = None
) -> tuple[Pinned, list[Finding]]:
    max_bytes = parse_bytes(protocol.limits.image)
    held = archives.inspect(path, max_bytes=max_bytes, max_layers=int(parse_count(protocol.limits.layers)))
    config = held.config.get("config") or {}
    facts = {
        "os": str(held.config.get("os", "")),
        "architecture": str(held.config.get("architecture", "")),
        "bytes": held.bytes,
        "layers": len(held.layers),
        "config": config,
    }
    found = [*name_findings(protocol, team, held.tags, path.name), *lint(facts, protocol)]
    _stop(found)
    existed = _find(client, held.digest) is not None
    tag = tag or _tag(team, held.digest)
    _load(client, held, tag, max_bytes)
    image = _find(client, held.digest) or _find(client, tag)
    if image is None:
        raise infrastructure(EngineCode.ENGINE_ERROR, path.name, "the engine did not keep the loaded image")
    volumes = tuple(sorted(str(name) for name in config.get("Volumes") or {}))
    layers = tuple(held.diff_ids)
    absolute = str(path.resolve())
    return Pinned(
        held.digest, str(image.id), tag, layers, volumes, held.bytes, absolute, held.sha256, existed=existed
    ), found


@contextmanager
def _patience(client: Any) -> Iterator[None]:
    """Give the engine an hour to answer: it is silent while it unpacks a large image."""
    before = client.api.timeout
    client.api.timeout = 3600.0
    try:
        yield
    finally:
        client.api.timeout = before


def _load(client: Any, held: archives.Archive, tag: str, max_bytes: int) -> None:
    import docker

    with errors(held.path.name), _patience(client):
        try:
            client.images.load(archives.normalised(held, tag, max_bytes=max_bytes))
        except docker.errors.ImageLoadError as error:
            if "no space left" in str(error):
                raise infrastructure(EngineCode.HOST_DISK, held.path.name, str(error)) from None
            fix = "save the image again; the engine refuses this one"
            raise archives.refuse(archives.ArchiveCode.UNREADABLE, held.path, str(error), fix) from None


def _find(client: Any, name: str) -> Any:
    import docker

    with errors(name):
        try:
            return client.images.get(name)
        except docker.errors.ImageNotFound:
            return None


def _local(client: Any, name: str, protocol: ContainerProtocol, team: str) -> tuple[Pinned, list[Finding]]:
    image = _find(client, name)
    if image is None:
        if (moving := registry.tagged(name)) is not None:
            raise UsageError(moving)
        text = "neither a file nor an image in the engine"
        fix = "give an archive of docker save, a local image, or REGISTRY/NAME@sha256:..."
        raise UsageError(Finding(ImageCode.NOT_FOUND, printable(name, 200), text, fix))
    facts: dict[str, Any] = {
        "os": str(image.attrs.get("Os", "")),
        "architecture": str(image.attrs.get("Architecture", "")),
        "bytes": int(image.attrs.get("Size") or 0),
        "layers": len(image.attrs.get("RootFS", {}).get("Layers") or []),
        "config": image.attrs.get("Config") or {},
    }
    found = [*name_findings(protocol, team, [name], None), *lint(facts, protocol)]
    _stop(found)
    tag = _tag(team, str(image.id))
    with errors(name):
        image.tag(*tag.split(":"))
    layers = tuple(str(one) for one in image.attrs.get("RootFS", {}).get("Layers") or [])
    volumes = tuple(sorted(str(one) for one in facts["config"].get("Volumes") or {}))
    return Pinned(str(image.id), str(image.id), tag, layers, volumes, facts["bytes"], existed=True), found


def verify(client: Any, pinned: Pinned, protocol: ContainerProtocol, team: str) -> None:
    """Make sure that the engine still holds exactly the submitted image; load it again if it was lost.

    Raises
    ------
    InfrastructureError
        If it is gone and cannot be loaded again, or differs.
    """
    image = _find(client, pinned.engine_id)
    if image is None and pinned.archive and Path(pinned.archive).is_file():
        try:
            again, _ = _from_archive(client, Path(pinned.archive), protocol, team, pinned.tag)
        except UsageError as error:  # it was taken once: whatever is refused now has changed since
            text = f"{pinned.archive} is not what was submitted ({error.findings[0].cause})"
            raise infrastructure(EngineCode.IMAGE_CHANGED, team, text) from None
        if again.digest != pinned.digest:
            text = f"{pinned.archive} now holds {again.digest}, not {pinned.digest}"
            raise infrastructure(EngineCode.IMAGE_CHANGED, team, text)
        image = _find(client, pinned.engine_id)
    if image is None:
        raise infrastructure(EngineCode.IMAGE_ABSENT, team, f"image {pinned.digest} is not in the engine")
    layers = tuple(str(one) for one in image.attrs.get("RootFS", {}).get("Layers") or [])
    if layers != pinned.layers:
        raise infrastructure(EngineCode.IMAGE_CHANGED, team, f"the layers of {pinned.digest} differ")


def discard(client: Any, pinned: Pinned) -> None:
    """Remove an image that intake loaded; one that was there before stays."""
    import docker

    with errors(pinned.tag):
        try:
            client.images.remove(pinned.tag)
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # gone already, or another container still uses it
                raise


def untag(client: Any, pinned: Pinned) -> None:
    """Take our tag off an image that the engine had before; an image without another name keeps it."""
    found = _find(client, pinned.engine_id)
    if found is not None and pinned.existed and len(found.tags) > 1:
        discard(client, pinned)
