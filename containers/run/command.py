"""Why a command does not start: what lies at its path in the image, seen through the engine, never unpacked."""

from __future__ import annotations

import posixpath
import struct
import tarfile
from typing import IO, Any, cast

from medpodium.containers.failures import RunCode, finding, printable
from medpodium.findings import Finding

_HEAD = 4096
_X86_64 = 62
_MOST = 64 << 20


class _Stream:
    """The engine's chunks as a file that can be read once."""

    def __init__(self, chunks: Any) -> None:
        self._chunks, self._left, self._total = iter(chunks), b"", 0

    def read(self, size: int) -> bytes:
        while len(self._left) < size and self._total < _MOST:
            chunk = next(self._chunks, b"")
            if not chunk:
                break
            self._left += chunk
            self._total += len(chunk)
        data, self._left = self._left[:size], self._left[size:]
        return data


def why_not(container: Any, code: int, where: str) -> Finding | None:
    """Say why a container's command cannot have been started; nothing if there is no reason to be seen.

    The container has ended and still exists. What is found is the image's word, and only the cause of a failure.
    """
    path = str(container.attrs.get("Path") or "")
    if not path.startswith("/"):
        return None
    mode, head, link = _look(container, path)
    shown = printable(path, 100)
    if link:
        return None
    if mode is None:
        return _say(where, f"exit code {code}: the image has no {shown}", "copy it into the image, at this path")
    if mode & 0o111 == 0:
        return _say(where, f"{shown} is not executable", f"chmod +x {shown} in the Dockerfile")
    if head[:4] == b"\x7fELF" and len(head) >= 20 and struct.unpack_from("<H", head, 18)[0] != _X86_64:
        return finding(RunCode.PLATFORM, where, f"{shown} is built for another processor")
    if head[:2] != b"#!":
        return None
    line = head.split(b"\n")[0]
    first = printable(line.rstrip(b"\r").decode("utf-8", "replace"), 100)
    if line.endswith(b"\r"):
        fix = "save it with Unix line ends (dos2unix, or git config core.autocrlf input)"
        return _say(where, f"{shown} has Windows line ends: its first line {first!r} ends in a carriage return", fix)
    words = line[2:].split()
    interpreter = words[0].decode("utf-8", "replace") if words else ""
    if interpreter.startswith("/") and _look(container, interpreter)[0] is None:
        fix = "install the interpreter, or correct the first line (#!/usr/bin/env python3)"
        return _say(where, f"{shown} begins with {first!r}, and the image has no {printable(interpreter, 100)}", fix)
    return None


def _say(where: str, cause: str, fix: str) -> Finding:
    return Finding(RunCode.NO_COMMAND, where, cause, fix)


def _look(container: Any, path: str) -> tuple[int | None, bytes, bool]:
    """Return (mode, first bytes, whether links lead elsewhere) of a file in a container; no mode without a file."""
    import docker
    import requests

    for _ in range(8):
        try:
            stream, status = container.get_archive(path)
        except docker.errors.NotFound:
            return None, b"", False
        except (docker.errors.APIError, requests.exceptions.RequestException):
            return 0o755, b"", True  # the engine cannot say
        target = str(status.get("linkTarget") or "")
        if target and posixpath.normpath(target) != posixpath.normpath(path):
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
            continue
        try:
            with tarfile.open(fileobj=cast("IO[bytes]", _Stream(stream)), mode="r|") as tar:
                member = tar.next()
                if member is None or not member.isreg():
                    return (None if member is None else member.mode), b"", member is not None and member.issym()
                file = tar.extractfile(member)
                return member.mode, file.read(_HEAD) if file is not None else b"", False
        except (tarfile.TarError, OSError, ValueError):
            return 0o755, b"", True
    return 0o755, b"", True
