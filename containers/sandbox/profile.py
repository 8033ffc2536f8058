"""The sandbox: everything a submission's container may do, as one object.

The same :class:`Sandbox` gives the arguments of the Docker API and the equivalent ``docker run`` command, so that
what a participant reads is what the hidden test does.
"""

from __future__ import annotations

import os
import posixpath
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from medpodium.challenges.naming.patterns import format_name
from medpodium.challenges.schema.protocol import ContainerProtocol, parse_bytes, parse_count, parse_seconds

NOBODY = 65534
LABEL = "medpodium"


@dataclass(frozen=True)
class Bind:
    """A folder of the host in the container."""

    source: str
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Open:
    """What a participant's check under another platform's rules leaves open; nothing of this is ever open in a run.

    Parameters
    ----------
    network : str, optional
        The engine's network; ``None`` is its default one.
    writable_root, privileges, image_user : bool
        Whether the image's folders can be written to, privileges gained, and programs run as the image says.
    capabilities : tuple of str
        Those that are dropped.
    userns : str, optional
        User namespace.
    unlimited : bool
        Whether processes, file sizes and open files have no limit.
    data : int, optional
        Bytes of the data segment of a process.
    """

    network: str | None = "none"
    writable_root: bool = False
    privileges: bool = False
    image_user: bool = False
    capabilities: tuple[str, ...] = ("ALL",)
    userns: str | None = None
    unlimited: bool = False
    data: int | None = None


@dataclass(frozen=True)
class Sandbox:
    """The profile of one container run.

    No network, no capabilities, no new privileges, a filter of system calls, a read-only root file system, private
    IPC and process namespaces, an unprivileged user: these are not options of a run. The fields are what differs.

    Parameters
    ----------
    image : str
        Image id, never a tag.
    binds : tuple of Bind
        Copies of one case's inputs (read-only) and an empty folder for its outputs. Nothing else of the host.
    memory, shm, scratch, file, log : int
        Bytes. Swap is not added to memory; scratch (``/tmp``) and shm count against it.
    cpus : float
        Cores.
    seconds : float
        Wall time until the certain kill.
    output, output_files : int
        Bytes and entries below the output folder; what exceeds them is killed.
    user : str
        ``uid:gid``.
    gpus : tuple of str
        Device ids, one each.
    covered : tuple of str
        VOLUME folders of the image, covered by small tmpfs mounts so that they cannot fill the host's disk.
    seccomp : str, optional
        The filter of system calls, as the engine takes it; its own default otherwise. The printed command has the
        engine's default: whoever reads it does not have the file.
    open : Open, optional
        What a check under another platform's rules leaves open.
    """

    image: str
    binds: tuple[Bind, ...]
    memory: int
    cpus: float
    pids: int
    shm: int
    scratch: int
    output: int
    output_files: int
    file: int
    open_files: int
    log: int
    seconds: float
    user: str
    command: tuple[str, ...] | None = None
    entrypoint: tuple[str, ...] | None = None
    workdir: str | None = None
    env: tuple[tuple[str, str], ...] = ()
    gpus: tuple[str, ...] = ()
    gpu_memory: int | None = None
    covered: tuple[str, ...] = ()
    runtime: str | None = None
    seccomp: str | None = None
    open: Open | None = None
    platform: str = "linux/amd64"

    def environment(self) -> dict[str, str]:
        """Return the variables that are set, the protocol's and those that undo what an image may have set."""
        if self.open is not None:
            return dict(self.env)
        fixed = {
            "HOME": "/tmp",  # noqa: S108 - inside the container, its only scratch space
            "TMPDIR": "/tmp",  # noqa: S108
            "LD_PRELOAD": "",
            "NVIDIA_VISIBLE_DEVICES": ",".join(self.gpus) or "void",
        }
        return dict(self.env) | fixed

    def tmpfs(self) -> dict[str, str]:
        """Return the writable memory file systems: ``/tmp``, and a cover for every VOLUME of the image."""
        options = "nosuid,nodev,mode=1777"
        mounts = {"/tmp": f"rw,exec,{options},size={self.scratch}"}  # noqa: S108
        if self.open is not None and self.open.writable_root:
            mounts = {}
        return mounts | {path: f"rw,noexec,{options},size={min(self.scratch, 1 << 24)}" for path in self.covered}

    def ulimits(self) -> dict[str, int]:
        """Return the limits of each process, by the names that engines give them."""
        found = {"core": 0}
        if self.open is None or not self.open.unlimited:
            found |= {"fsize": self.file, "nofile": self.open_files}
        if self.open is not None and self.open.data is not None:
            found["data"] = self.open.data
        return found

    def docker_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the Docker SDK's ``containers.create``."""
        from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

        mounts = [
            Mount(target=bind.target, source=bind.source, type="bind", read_only=not bind.writable)
            for bind in self.binds
        ]
        free = self.open or Open()
        privileges = [] if free.privileges else ["no-new-privileges:true"]
        arguments: dict[str, Any] = {
            "image": self.image,
            "command": list(self.command) if self.command is not None else None,
            "environment": self.environment(),
            "network_mode": free.network,
            "read_only": not free.writable_root,
            "tmpfs": self.tmpfs(),
            "cap_drop": list(free.capabilities),
            "security_opt": [*privileges, *([f"seccomp={self.seccomp}"] if self.seccomp else [])],
            "pids_limit": self.pids,
            "mem_limit": self.memory,
            "memswap_limit": self.memory,
            "nano_cpus": round(self.cpus * 1e9),
            "shm_size": self.shm,
            "ulimits": [Ulimit(name=name, soft=most, hard=most) for name, most in self.ulimits().items()],
            "user": self.user,
            "init": True,
            "ipc_mode": "private",
            "healthcheck": {"test": ["NONE"]},
            "stop_signal": "SIGKILL",
            "log_config": LogConfig(type="json-file", config={"max-file": "2", "max-size": str(self.log)}),
            "mounts": mounts,
            "platform": self.platform,
        }
        if self.open is not None:
            told = {"pids_limit": not free.unlimited, "user": not free.image_user, "network_mode": free.network}
            arguments = {key: value for key, value in arguments.items() if told.get(key, True)}
            arguments |= {"userns_mode": free.userns} if free.userns else {}
        if self.entrypoint is not None:
            arguments["entrypoint"] = list(self.entrypoint)
        if self.workdir is not None:
            arguments["working_dir"] = self.workdir
        if self.runtime is not None:
            arguments["runtime"] = self.runtime
        if self.gpus:
            arguments["device_requests"] = [DeviceRequest(device_ids=list(self.gpus), capabilities=[["gpu"]])]
        return arguments

    def command_arguments(self, verb: str = "run") -> list[str]:
        """Return the same container as arguments of the ``docker`` command line.

        Parameters
        ----------
        verb : str
            ``run`` or ``create``.
        """
        free = self.open or Open()
        words = ["docker", verb, *(["--rm"] if verb == "run" else [])]
        words += [f"--network={free.network}"] if free.network else []
        words += [] if free.writable_root else ["--read-only"]
        words += [f"--cap-drop={name}" for name in free.capabilities]
        words += [] if free.privileges else ["--security-opt=no-new-privileges:true"]
        words += [f"--userns={free.userns}"] if free.userns else []
        words += ["--init", "--ipc=private", "--no-healthcheck", "--stop-signal=SIGKILL"]
        words += [] if free.image_user else [f"--user={self.user}"]
        words += [] if free.unlimited else [f"--pids-limit={self.pids}"]
        words += [f"--memory={self.memory}"]
        words += [f"--memory-swap={self.memory}", f"--cpus={self.cpus:g}", f"--shm-size={self.shm}"]
        words += [f"--ulimit={name}={most}:{most}" for name, most in self.ulimits().items()]
        words += ["--log-driver=json-file", "--log-opt=max-file=2", f"--log-opt=max-size={self.log}"]
        words += [f"--tmpfs={path}:{options}" for path, options in self.tmpfs().items()]
        for bind in self.binds:
            words.append(f"--mount=type=bind,source={bind.source},target={bind.target}")
            words[-1] += "" if bind.writable else ",readonly"
        words += [f"--env={key}={value}" for key, value in self.environment().items()]
        words += [f"--platform={self.platform}"]
        if self.gpus:
            words.append(f'--gpus="device={",".join(self.gpus)}"')
        if self.runtime is not None:
            words.append(f"--runtime={self.runtime}")
        if self.workdir is not None:
            words.append(f"--workdir={self.workdir}")
        entrypoint, command = self.entrypoint, self.command or ()
        if entrypoint is not None:
            # The command line takes one word as entry point; the others move in front of the command.
            words.append(f"--entrypoint={entrypoint[0] if entrypoint else ''}")
            command = (*entrypoint[1:], *command)
        return [*words, self.image, *command]

    def command_line(self) -> str:
        """Return the equivalent ``docker run`` for a shell, wall limit included."""
        return f"timeout --signal=KILL {self.seconds:g} " + shlex.join(self.command_arguments())


def inside(path: str) -> str:
    """Return where a path of an image lies in a container, as the engine reads it: from the root, without detours."""
    return "/" + posixpath.normpath("/" + path).lstrip("/")


def covered(volumes: tuple[str, ...], protocol: ContainerProtocol) -> tuple[str, ...]:
    """Return the VOLUME folders of an image that no mount of the protocol covers anyway.

    They are named as the engine names them (``//vol`` and ``vol`` are ``/vol``): a cover under another name would lie
    beside the volume, not on it.
    """
    taken = {mount.path.rstrip("/") for mount in protocol.mounts} | {"/tmp", "/"}  # noqa: S108 - in the container
    return tuple(dict.fromkeys(path for path in map(inside, volumes) if path not in taken))


def unprivileged_user() -> str:
    """Return the user a container runs as: nobody if we are root, else ourselves, so that we can clean up."""
    if hasattr(os, "getuid") and os.getuid() != 0:
        return f"{os.getuid()}:{os.getgid()}"
    return f"{NOBODY}:{NOBODY}"


def sandbox(
    protocol: ContainerProtocol,
    image: str,
    binds: tuple[Bind, ...],
    values: Mapping[str, object],
    *,
    gpus: tuple[str, ...] = (),
    covered: tuple[str, ...] = (),
    runtime: str | None = None,
    user: str | None = None,
    seccomp: str | None = None,
) -> Sandbox:
    """Make the profile of one run from the challenge's protocol.

    Parameters
    ----------
    protocol : ContainerProtocol
        Command, environment and limits.
    image : str
        Image id.
    binds : tuple of Bind
        Staged folders.
    values : mapping
        Placeholders of command and environment (``case``, ``team``, ...).
    gpus, covered, runtime
        See :class:`Sandbox`.
    user : str, optional
        ``uid:gid`` to name instead of :func:`unprivileged_user`, where the engine maps users.
    seccomp : str, optional
        See :class:`Sandbox`.
    """
    limits, known = protocol.limits, dict(values)

    def words(given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if given is None else tuple(_fill_known(word, known) for word in given)

    wanted = int(parse_count(limits.gpus))
    return Sandbox(
        image=image,
        binds=binds,
        memory=parse_bytes(limits.memory),
        cpus=parse_count(limits.cpus),
        pids=int(parse_count(limits.pids)),
        shm=parse_bytes(limits.shm),
        scratch=parse_bytes(limits.scratch),
        output=parse_bytes(limits.output),
        output_files=int(parse_count(limits.output_files)),
        file=parse_bytes(limits.file),
        open_files=int(parse_count(limits.open_files)),
        log=parse_bytes(limits.log),
        seconds=parse_seconds(limits.time),
        user=user or unprivileged_user(),
        command=words(protocol.command),
        entrypoint=words(protocol.entrypoint),
        workdir=protocol.workdir,
        env=tuple((key, _fill_known(value, known)) for key, value in sorted(protocol.env.items())),
        gpus=tuple(gpus[:wanted]),
        gpu_memory=parse_bytes(limits.gpu_memory) if limits.gpu_memory else None,
        covered=covered,
        runtime=runtime,
        seccomp=seccomp,
    )


def _fill_known(text: str, values: dict[str, object]) -> str:
    """Fill only placeholders that have a value: a command may contain braces of its own."""
    for key, value in values.items():
        if "{" + key + "}" in text:
            text = text.replace("{" + key + "}", format_name("{" + key + "}", {key: value}))
    return text
