"""Build contexts of packaged baselines, and the images and archives that are made of them."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import Any

from medpodium.baselines.failures import BaselineCode, broken, refuse
from medpodium.challenges.schema.protocol import ContainerProtocol

BROUGHT = ("torch", "torchvision", "torchaudio")
"""What a base image brings: PyTorch, built for the GPU that the image is for."""
_CHUNK = 1 << 20
_USER = re.compile(r"[\w][\w.-]*(:[\w][\w.-]*)?", re.ASCII)


@dataclass(frozen=True)
class Packaged:
    """Result of packaging.

    Parameters
    ----------
    context : Path, optional
        Folder of the build context, where it was kept.
    image : str, optional
        Name of the built image.
    archive : Path, optional
        ``docker save`` archive.
    bytes : int
        Size of the archive.
    """

    context: Path | None
    image: str | None
    archive: Path | None
    bytes: int = 0


@dataclass(frozen=True)
class Wish:
    """What is to become of a build context.

    Parameters
    ----------
    out : Path, optional
        Archive to write.
    context : Path, optional
        Folder of the context, where it is to be kept.
    team : str
        Name in the image's name.
    network : str, optional
        Network of the build.
    build : bool
        Whether to build at all.
    """

    out: Path | None
    context: Path | None
    team: str
    network: str | None
    build: bool


def check_user(user: str) -> None:
    """Refuse what is no user of an image."""
    if not _USER.fullmatch(user):
        raise refuse(BaselineCode.PACKAGE, user, "is no user of an image", "give --user UID, UID:GID or a name")


@contextmanager
def context_at(folder: Path | None) -> Iterator[Path]:
    """Yield an empty folder for a build context: the given one, or a temporary one."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="medpodium-") as made:
            yield Path(made)
        return
    if folder.exists() and any(folder.iterdir()):
        raise refuse(BaselineCode.PACKAGE, folder, "the folder is not empty", "choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    yield folder.resolve()


def write_program(
    target: Path,
    protocol: ContainerProtocol,
    settings: Mapping[str, Any],
    values: Mapping[str, object],
    templates: tuple[str, str],
    parts: Sequence[str],
) -> None:
    """Write what makes an image of a build context: Dockerfile, program, its parts and its settings.

    Parameters
    ----------
    target : Path
        The context.
    protocol : ContainerProtocol
        Where the program lies, and how it is started.
    settings : mapping
        Read by the program.
    values : mapping
        What the templates ask for.
    templates : (str, str)
        Of the Dockerfile and of the program.
    parts : sequence of str
        Modules of :mod:`medpodium.baselines.portable` that the program imports.
    """
    from jinja2 import Environment, StrictUndefined

    source = files("medpodium.baselines") / "templates"
    workdir = folder_inside(protocol)
    run = f"exec python3 {workdir}/predict.py"
    # A command of the protocol comes after the entry point, so that one has to be a plain pass-through
    entrypoint = ["python3", f"{workdir}/predict.py"] if protocol.command is None else []
    values = {**values, "workdir": workdir, "entrypoint": json.dumps(entrypoint)}
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False)  # noqa: S701
    for template, name in zip(templates, ("Dockerfile", "predict.py"), strict=True):
        text = environment.from_string((source / template).read_text(encoding="utf-8")).render(values)
        (target / name).write_text(text, encoding="utf-8", newline="\n")
    (target / ".dockerignore").write_text("Dockerfile\n.dockerignore\n", encoding="utf-8")
    (target / "predict.sh").write_text(f"#!/bin/sh\n{run}\n", encoding="utf-8", newline="\n")
    (target / "predict.sh").chmod(0o755)
    (target / "medpodium_parts").mkdir()
    for name in parts:
        part = files("medpodium.baselines.portable") / f"{name}.py"
        (target / "medpodium_parts" / f"{name}.py").write_text(part.read_text(encoding="utf-8"), encoding="utf-8")
    (target / "package.json").write_text(json.dumps(settings, indent=1), encoding="utf-8")
    _readable(target)


def lock(target: Path, package: str, *, base: Sequence[str] = BROUGHT) -> None:
    """Write every package that one needs, with the versions that are installed here, to ``requirements.lock``.

    Parameters
    ----------
    target : Path
        The context.
    package : str
        Name of the package.
    base : sequence of str
        Packages that the base image brings, with all that only they need.
    """
    from importlib.metadata import PackageNotFoundError, distribution

    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, str] = {}
    waiting = [package]
    while waiting:
        name = str(canonicalize_name(waiting.pop()))
        if name in found or name in base:
            continue
        try:
            installed = distribution(name)
        except PackageNotFoundError:  # asked for on other systems only
            continue
        found[name] = installed.version.partition("+")[0]
        needs = [Requirement(line) for line in installed.requires or []]
        waiting += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    lines = [f"{name}=={found[name]}" for name in sorted(found)]
    (target / "requirements.lock").write_text("\n".join(lines) + "\n", encoding="utf-8")


def folder_inside(protocol: ContainerProtocol) -> str:
    """Return where a packaged baseline lies in its image."""
    roots = {PurePosixPath(mount.path).parts[1] for mount in protocol.mounts}
    return protocol.workdir or ("/workspace" if "workspace" in roots else "/opt/baseline")


def finish(target: Path, protocol: ContainerProtocol, wish: Wish) -> Packaged:
    """Build the image of a context, have it load its model once, and save it.

    Raises
    ------
    InfrastructureError
        If it cannot be built, or its program does not find what it needs in it.
    """
    if not wish.build:
        return Packaged(wish.context, None, None)
    name = _image_name(protocol, wish.team)
    _build(target, name, wish.network)
    _load_once(name, folder_inside(protocol))
    size = _save(name, wish.out) if wish.out is not None else 0
    return Packaged(wish.context, name, wish.out, size)


def _readable(folder: Path) -> None:
    """Let any user read the files: the hidden test runs as another, unprivileged one.

    Done here, because changing the modes inside the image would store the weights a second time.
    """
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))


def _image_name(protocol: ContainerProtocol, team: str) -> str:
    return (protocol.image_name or "{team}").replace("{team}", team.lower()).replace("\\", "") + ":latest"


def _build(context: Path, name: str, network: str | None) -> None:
    from docker.errors import APIError, BuildError

    from medpodium.containers.sandbox import engine

    client = engine.connect(timeout=3600)
    try:
        client.images.build(
            path=str(context), tag=name, rm=True, forcerm=True, platform="linux/amd64", network_mode=network
        )
    except BuildError as error:
        lines = [str(row.get("stream") or row.get("error") or "").strip() for row in error.build_log]
        last = next((line for line in reversed(lines) if line), str(error))
        fix = "choose another base image with --base, or build the folder of --context by hand"
        raise broken(BaselineCode.IMAGE_BUILD, name, last[:300], fix) from None
    except APIError as error:
        fix = "check that the engine can pull the base image, or choose a local one with --base"
        raise broken(BaselineCode.IMAGE_BUILD, name, str(error.explanation or error)[:300], fix) from None


def _load_once(name: str, workdir: str) -> None:
    """Have the program of an image look for what it needs, without a network and without writing outside /tmp."""
    from docker.errors import APIError, ContainerError

    from medpodium.containers.sandbox import engine

    client = engine.connect(timeout=3600)
    try:
        client.containers.run(
            name,
            [f"{workdir}/predict.py", "--check"],
            entrypoint=["python3"],
            network_mode="none",
            read_only=True,
            tmpfs={"/tmp": ""},  # noqa: S108 - inside the container
            remove=True,
            stderr=True,
            stdout=False,
        )
    except ContainerError as error:
        said = (error.stderr or b"").decode("utf-8", errors="replace").splitlines()
        last = next((line.strip() for line in reversed(said) if line.strip()), "no output")
        fix = "choose another base image with --base, or add what is missing under package.setup"
        raise broken(BaselineCode.IMAGE_BUILD, name, f"the image does not load: {last[:300]}", fix) from None
    except APIError as error:
        fix = "check that the base image has python3"
        raise broken(BaselineCode.IMAGE_BUILD, name, str(error.explanation or error)[:300], fix) from None


def _save(name: str, out: Path) -> int:
    """Write the image as a compressed archive; a broken-off write leaves nothing behind."""
    from medpodium.containers.sandbox import engine

    client = engine.connect(timeout=3600)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(out.name + ".part")
    try:
        with _gzip(partial) if out.suffix == ".gz" else partial.open("wb") as stream:
            for chunk in client.images.get(name).save(chunk_size=_CHUNK, named=name):
                stream.write(chunk)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return out.stat().st_size


def _gzip(path: Path) -> Any:
    """Open a compressed file for writing; layers of libraries and weights gain little from a higher level."""
    opener: Any
    try:
        from isal import igzip

        opener = igzip.open
    except ImportError:  # no wheel for this machine: the standard library takes ten times as long
        import gzip

        opener = gzip.open
    return opener(path, "wb", compresslevel=1)
