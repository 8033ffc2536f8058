"""Start a command of a challenge file here: its placeholders filled in, its threads limited, what it says kept."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from medpodium.baselines.command.method import Method
from medpodium.baselines.failures import BaselineCode, unusable
from medpodium.baselines.portable.cores import limit_threads, usable_cores
from medpodium.baselines.portable.methods import fill, run


def device_of(asked: str) -> str:
    """Return what ``{device}`` stands for: as asked, ``cuda`` or ``cpu`` for ``auto``.

    PyTorch is not asked: a method may use anything.
    """
    if asked != "auto":
        return asked
    import pynvml

    try:
        pynvml.nvmlInit()
        count = int(pynvml.nvmlDeviceGetCount())
        pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return "cpu"
    return "cuda" if count else "cpu"


def start(method: Method, what: str, command: tuple[str, ...], values: Mapping[str, object], logs: Path) -> None:
    """Run a command to its end.

    Parameters
    ----------
    method : Method
        Whose command it is.
    what : str
        ``train`` or ``predict``, for the log and for messages.
    command : tuple of str
        Words with placeholders.
    values : mapping
        What the placeholders stand for, besides ``{python}``.
    logs : Path
        Folder of what commands print.

    Raises
    ------
    MedpodiumError
        With the last lines of what it complained about, if it failed.
    """
    environment = dict(os.environ)
    limit_threads(environment, usable_cores())
    log = logs / f"{datetime.now():%Y%m%d-%H%M%S-%f}-{what}.log"
    words = fill(command, {"python": sys.executable, **values})
    ended = run(words, method.folder, log, environment)
    if ended.code != 0:
        cause = f"{what} ended with exit code {ended.code}: {ended.tail or 'it said nothing'}"
        fix = f"see {log} and {log.name}.err; the command was: {' '.join(words)[:300]}"
        raise unusable(BaselineCode.COMMAND_FAILED, f"baseline {method.name}", cause, fix)
