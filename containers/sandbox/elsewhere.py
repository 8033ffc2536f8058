"""What other platforms apply to a submitted container, as one table: for a check at home under their rules.

The hidden test's own sandbox leaves nothing open, so that what passes there mostly passes elsewhere. The reverse does
not hold, and some platforms refuse or limit what the sandbox does not: users, data segments, times. Each entry names
the public source it was read in; what no source says is marked *unconfirmed*, in the output too.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from medpodium.challenges.schema.protocol import ContainerProtocol, parse_seconds
from medpodium.containers.failures import RunCode, finding
from medpodium.containers.sandbox.profile import Open, Sandbox
from medpodium.findings import Finding, Severity

_GB = 10**9
_DOCKER_SHM = 64 << 20
"""Shared memory of a container for which nobody says how much."""
_RUNTIME = 512 << 20
"""Bytes of the data segment that a container runtime needs itself; no platform has a machine so small."""
_DEFAULT_CAPABILITIES = (
    "AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW",
    "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT",
)  # fmt: skip
"""What Docker gives a container: taking these away is taking all away."""


@dataclass(frozen=True)
class Setting:
    """One thing a platform applies.

    Parameters
    ----------
    name : str
        What, in a word or two.
    there : str
        What the platform does.
    here : str
        How the check differs; empty where it does the same.
    unconfirmed : str
        Why nobody can be sure, if so.
    """

    name: str
    there: str
    here: str = ""
    unconfirmed: str = ""

    def __str__(self) -> str:
        """Return it as one line."""
        here = f"; here: {self.here}" if self.here else ""
        return f"{self.name}: {self.there}{here}" + (f" (unconfirmed: {self.unconfirmed})" if self.unconfirmed else "")


@dataclass(frozen=True)
class Platform:
    """How a platform runs a container.

    Parameters
    ----------
    name, title, source : str
        What it is called on the command line and in print, and where all this was read.
    open : Open
        What its containers may do that the hidden test's may not.
    settings : tuple of Setting
        For people.
    root_refused : bool
        Whether images whose user is root are refused.
    data_below_memory : int, optional
        The data segment's limit (RLIMIT_DATA) is the memory less so many bytes.
    shm_share : float, optional
        Shared memory as a share of the memory; Docker's 64 MiB otherwise.
    shortest, longest : float
        Seconds that a run may be given.
    usual : float, optional
        Seconds that a run is given where the organizer says nothing.
    starts_command : bool
        Whether the platform can start another command than the image's own.
    one_output : bool
        Whether exactly one file is taken, whose name begins with ``predictions.``.
    """

    name: str
    title: str
    source: str
    open: Open
    settings: tuple[Setting, ...]
    root_refused: bool = False
    data_below_memory: int | None = None
    shm_share: float | None = None
    shortest: float = 0.0
    longest: float = float("inf")
    usual: float | None = None
    starts_command: bool = False
    one_output: bool = False

    def applied(self, box: Sandbox) -> Sandbox:
        """Return a profile under this platform's rules; the challenge's memory, processors and time stay.

        Who is not root runs as oneself: files of the image's user could not be removed afterwards.
        """
        own = self.open
        if not hasattr(os, "getuid") or os.getuid() != 0:
            own = replace(own, image_user=False)
        data = None if self.data_below_memory is None else max(box.memory - self.data_below_memory, _RUNTIME)
        shm = _DOCKER_SHM if self.shm_share is None else round(box.memory * self.shm_share)
        return replace(box, open=replace(own, data=data), shm=min(shm, box.memory), seccomp=None)

    def findings(self, config: dict[str, Any], protocol: ContainerProtocol) -> list[Finding]:
        """Return what the platform would refuse, or do otherwise, of an image and a challenge's protocol.

        Parameters
        ----------
        config : dict
            The image's ``Config``.
        protocol : ContainerProtocol
            The challenge's.
        """
        found = []

        def say(where: str, cause: str, severity: Severity) -> None:
            found.append(finding(RunCode.ELSEWHERE, where, f"{self.title} {cause}", severity))

        user = str(config.get("User") or "").partition(":")[0]
        if self.root_refused and user in ("", "0", "root"):
            say("USER", "refuses images that run as root, and this one does", Severity.ERROR)
        own = [*(config.get("Entrypoint") or []), *(config.get("Cmd") or [])]
        told = protocol.command is not None or protocol.entrypoint is not None
        if told and not self.starts_command:
            severity = Severity.WARNING if own else Severity.ERROR
            text = "starts the image's own ENTRYPOINT without arguments; the challenge's command is run here"
            say("command", text if own else f"{text}, and the image has neither ENTRYPOINT nor CMD", severity)
        seconds = parse_seconds(protocol.limits.time)
        if not self.shortest <= seconds <= self.longest:
            text = f"gives a run {self.shortest:g} to {self.longest:g} s; the challenge's limit is {seconds:g} s"
            say("time", text, Severity.WARNING)
        elif self.usual is not None and seconds > self.usual:
            text = f"gives a run {self.usual:g} s unless its organizer asks for the challenge's {seconds:g} s"
            say("time", text, Severity.WARNING)
        names = [rule.name for rule in protocol.outputs]
        if self.one_output and not (len(names) == 1 and names[0].startswith("predictions.")):
            text = f"takes exactly one file predictions.*; the challenge asks for {', '.join(names)}"
            say("outputs", text, Severity.WARNING)
        return found


_FREE = Setting("processes, file size, open files", "no limit of its own")
_OWN_MEMORY = "the challenge's limit holds, so that your machine survives"
PLATFORMS: dict[str, Platform] = {
    one.name: one
    for one in (
        Platform(
            name="grand-challenge",
            title="grand-challenge",
            source="comic/grand-challenge.org (components/backends/amazon_sagemaker_base.py, tasks.py; Runtime "
            "Environment) and DIAGNijmegen/rse-sagemaker-shim",
            open=Open(writable_root=True, image_user=True, capabilities=(), privileges=True, unlimited=True),
            settings=(
                Setting("network", "none"),
                Setting("inputs", "read-only"),
                Setting("root file system", "writable; /tmp is emptied for each job"),
                Setting("user", "the image's, refused at upload if it is root"),
                Setting("capabilities", "the engine's default", unconfirmed="the user's process runs below a shim"),
                Setting(
                    "memory",
                    "RLIMIT_DATA of the instance's memory less 1 GB",
                    "the challenge's memory stands for the instance's",
                    "the phase's organizer chooses the instance",
                ),
                Setting("shared memory", "half of the memory"),
                Setting("time", "the phase's, 5 min to 24 h; SIGTERM, and SIGKILL 5 s later", "SIGKILL at the limit"),
                Setting("command", "ENTRYPOINT without arguments", "the challenge's, where it names one"),
                Setting("log", "the last 500 lines, for the phase's admins", "the challenge's limit"),
                Setting("GPU", "one, of the instance's type"),
                _FREE,
            ),
            root_refused=True,
            data_below_memory=_GB,
            shm_share=0.5,
            shortest=300.0,
            longest=86400.0,
        ),
        Platform(
            name="codabench",
            title="Codabench",
            source="codalab/codabench (compute_worker/compute_worker.py)",
            open=Open(
                network=None,
                writable_root=True,
                image_user=True,
                capabilities=_DEFAULT_CAPABILITIES,
                userns="host",
                unlimited=True,
            ),
            settings=(
                Setting("image", "the competition's; a submission is code that runs in it", "this image, as it is"),
                Setting("network", "on", unconfirmed="a worker can be set up without"),
                Setting("inputs", "writable copies", "read-only"),
                Setting("root file system", "writable"),
                Setting("user", "the image's, in the host's user namespace"),
                Setting("capabilities", "all of Docker's default ones dropped"),
                Setting("privileges", "no new ones with Docker; Podman drops the label instead", "as with Docker"),
                Setting("memory, processors", "no limit of its own", _OWN_MEMORY),
                Setting("shared memory", "Docker's 64 MiB"),
                Setting("time", "the phase's execution_time_limit, 600 s by default"),
                Setting("command", "from metadata.yaml, in /app/program", "the challenge's"),
                _FREE,
            ),
            usual=600.0,
            starts_command=True,
        ),
        Platform(
            name="synapse",
            title="Synapse",
            source="Sage-Bionetworks-Workflows/nf-synapse-challenge (bin/run_docker.py)",
            open=Open(writable_root=True, image_user=True, capabilities=(), privileges=True, unlimited=True),
            settings=(
                Setting("network", "disabled"),
                Setting("inputs", "read-only at /input", "where the challenge says"),
                Setting("root file system", "writable"),
                Setting("user", "the image's"),
                Setting("capabilities", "the engine's default"),
                Setting(
                    "memory",
                    "none, or 6 GB",
                    _OWN_MEMORY,
                    "versions of the script differ, and challenges change it",
                ),
                Setting("shared memory", "Docker's 64 MiB"),
                Setting("time", "minutes of the workflow's parameter", "the challenge's", "set by each challenge"),
                Setting("command", "the image's own", "the challenge's, where it names one"),
                Setting("outputs", "exactly one file predictions.*, not empty (a zip, if several)", "the challenge's"),
                Setting("log", "the last 50 kB by default", "the challenge's limit"),
                _FREE,
            ),
            one_output=True,
        ),
    )
}
