"""Whose fault it is that a container does not start: the engine is asked first, with a container of our own.

An engine answers a broken image and its own trouble with the same kinds of error, and an image can put any words into
the text. So the text never decides who is at fault: where our container starts under the same profile and the
submission's does not, twice, it is the submission's image.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from typing import Any

from medpodium.containers.failures import EngineCode, Retry, RunCode, finding, printable
from medpodium.containers.sandbox import control
from medpodium.containers.sandbox.engine import answers, is_lost, remove
from medpodium.containers.sandbox.profile import LABEL, Bind, Sandbox
from medpodium.findings import Finding

_ROOT = re.compile(r"(?:/[^/\"]+)+/(?:merged|rootfs)(?=/)")
"""Where engines keep the root of a container."""
_NO_COMMAND = ("executable file not found", "no such file or directory", "permission denied", "is a directory")


def start(client: Any, box: Sandbox, labels: dict[str, str], where: str) -> tuple[Any, float] | Finding:
    """Create and start a submission's container.

    Returns
    -------
    (container, began) or Finding
        The running container and the monotonic time at which its creation began, or why this image cannot be run.

    Raises
    ------
    Retry
        When the engine, not the submission, failed.
    """
    refused: Exception | None = None
    for _ in range(2):
        began = time.monotonic()
        try:
            return _start(client, box, labels), began
        except _Unbounded as unbounded:
            return finding(RunCode.CANNOT_START, where, str(unbounded))
        except Exception as error:
            refused = error
            _ask_engine(client, error, where)
    assert refused is not None  # noqa: S101 - two attempts were made
    _ask_control(client, box, labels, where)
    return _of_the_image(refused, box, where)


class _Unbounded(Exception):  # noqa: N818 - a fact about an image
    """The engine would give the container a place without a limit."""


def _start(client: Any, box: Sandbox, labels: dict[str, str]) -> Any:
    container = client.containers.create(**box.docker_arguments(), labels={LABEL: "run", **labels})
    try:
        # What the engine makes of an image's VOLUME is the engine's to say; an anonymous volume has no limit.
        loose = [mount["Destination"] for mount in container.attrs["Mounts"] if mount.get("Type") == "volume"]
        if loose:
            raise _Unbounded(f"VOLUME {printable(', '.join(loose), 200)} would be a place without a limit")
        container.start()
    except BaseException:
        remove(container)
        raise
    return container


def _ask_engine(client: Any, error: Exception, where: str) -> None:
    """Return if an error is an answer of the engine; otherwise ask whether it is there.

    Raises
    ------
    Retry
        If the engine is gone, broke off, or has lost the image.
    """
    import docker
    import requests

    if isinstance(error, docker.errors.ImageNotFound):
        raise Retry(finding(EngineCode.IMAGE_ABSENT, where, str(error))) from error
    if not isinstance(error, (docker.errors.DockerException, requests.exceptions.RequestException, ConnectionError)):
        raise error
    if not answers(client):
        raise Retry(finding(EngineCode.ENGINE_LOST, where, str(error))) from error
    if is_lost(error):
        raise Retry(finding(EngineCode.ENGINE_ERROR, where, str(error))) from error


def _ask_control(client: Any, box: Sandbox, labels: dict[str, str], where: str) -> None:
    """Return if the engine starts a container of ours under the same profile.

    Raises
    ------
    Retry
        If it does not: then it is the machine.
    """
    import docker
    import requests

    try:
        with control.created(client, box, labels) as container:
            container.start()
    except (docker.errors.DockerException, requests.exceptions.RequestException, ConnectionError) as error:
        code = EngineCode.ENGINE_ERROR if answers(client) else EngineCode.ENGINE_LOST
        text = f"the engine starts no container under this profile, ours neither: {error}"
        raise Retry(finding(code, where, _without_sources(text, box.binds))) from error


def _of_the_image(error: Exception, box: Sandbox, where: str) -> Finding:
    """Say what is wrong with an image that the engine refuses while it takes ours."""
    cause = str(getattr(error, "explanation", None) or error)
    low = cause.lower()
    if "exec format error" in low:
        return finding(RunCode.PLATFORM, where, "the image's program is built for another processor")
    short = _without_sources(cause.rpartition("failed: ")[2], box.binds)[:300]
    inside = any(text in low for text in ("exec:", "starting container process", "unable to start container process"))
    tree = any(text in low for text in ("mount", "chdir", "mkdir"))
    if inside and not tree and any(text in low for text in _NO_COMMAND):
        return finding(RunCode.NO_COMMAND, where, short)
    return finding(RunCode.CANNOT_START, where, short)


def _without_sources(cause: str, binds: Sequence[Bind]) -> str:
    """Hide where the organizer keeps things: teams read causes."""
    sources = {path for bind in binds for path in (bind.source, os.path.realpath(bind.source))}
    for source in sorted(sources, key=len, reverse=True):
        cause = cause.replace(source, "(staged)")
    return _ROOT.sub("", cause)


def answered(problem: Finding) -> Finding:
    """Return what to say of a connection that broke again and again, while the engine answers: it is not lost."""
    if problem.code is not EngineCode.ENGINE_LOST:
        return problem
    return finding(EngineCode.ENGINE_ERROR, problem.where, f"the engine answers, but not about this: {problem.cause}")
