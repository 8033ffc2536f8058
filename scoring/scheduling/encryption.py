"""Connections of a cluster that nobody else can read or join: certificates made for one run, and a warning."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from medpodium.findings import Finding, Severity
from medpodium.scoring.scheduling.scheduler import SchedulerCode, require


def temporary(folder: Path) -> Any:
    """Make a key and a certificate for one run, in files that only their owner can read.

    Every connection is then encrypted, and both ends must show this certificate: whoever cannot read the files can
    neither listen nor connect, and so cannot have the cluster compute anything.

    Parameters
    ----------
    folder : Path
        Seen by the workers under the same path.

    Returns
    -------
    distributed.Security
        With the names of the files, as workers are told them.
    """
    require("cryptography")
    security = require("distributed").Security
    made = security.temporary().get_tls_config_for_role("worker")
    files = {}
    for part in ("ca_file", "cert", "key"):
        path = folder / f"{part}.pem"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as stream:
            stream.write(made[part])
        files[part] = str(path)
    roles = {
        f"tls_{role}_{part}": files[part] for role in ("client", "scheduler", "worker") for part in ("cert", "key")
    }
    return security(require_encryption=True, tls_ca_file=files["ca_file"], **roles)


def open_connection(address: str) -> Finding | None:
    """Return a warning if whoever reaches a scheduler's machine can read along and give it work."""
    parts = urlsplit(address)
    if parts.scheme == "tls":
        return None
    where = f"{parts.scheme}://{parts.netloc}" if parts.netloc else address
    here = (parts.hostname or "") == "localhost"
    with contextlib.suppress(ValueError):  # a name; which machine it is does not matter
        here = here or ipaddress.ip_address(parts.hostname or "").is_loopback
    who = "every user of this machine" if here else "everybody who reaches this address"
    cause = f"the cluster's connections are open: {who} can read references and scores there, and run code as you"
    fix = "start scheduler and workers with TLS and give tls://HOST:PORT (docs/scale.md)"
    return Finding(SchedulerCode.OPEN, where, cause, fix, Severity.WARNING)
