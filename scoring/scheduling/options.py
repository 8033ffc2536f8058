"""The options of verbs that can run on more than this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from medpodium import console

if TYPE_CHECKING:
    from medpodium.scoring.scheduling.scheduler import Scheduler


@dataclass(frozen=True)
class Where:
    """Where the user wants jobs to run.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler, ``tls://HOST:PORT`` or ``tcp://HOST:PORT``.
    slurm : Path, optional
        YAML file of :class:`medpodium.scoring.scheduling.slurm.SlurmSettings`.
    workers : int, optional
        Threads or processes of this machine, where neither is given.
    """

    scheduler: str | None = None
    slurm: Path | None = None
    workers: int | None = None


_F = TypeVar("_F", bound=Callable[..., Any])
_HELP = {
    "scheduler": "Run on a Dask cluster; start it with 'dask scheduler' and 'dask worker' (TLS: docs/scale.md).",
    "slurm": "Run on Slurm workers: queue, time, memory, cores, gpus, jobs.",
    "script": "Print the script that --slurm would submit, and stop.",
}


def scheduler_options(function: _F) -> _F:
    """Add ``--scheduler``, ``--slurm`` and ``--slurm-script`` (parameters ``scheduler, slurm, slurm_script``)."""
    path = click.Path(path_type=Path, dir_okay=False)
    function = click.option(
        "--slurm-script", is_flag=True, is_eager=False, expose_value=False, callback=_print_script, help=_HELP["script"]
    )(function)
    # Eager: read before the flag above, which needs it.
    function = click.option("--slurm", type=path, metavar="FILE.yaml", is_eager=True, help=_HELP["slurm"])(function)
    return click.option("--scheduler", metavar="tls://HOST:PORT", help=_HELP["scheduler"])(function)


def _print_script(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from medpodium import console

    console.guarded(_show)(context.params.get("slurm"))
    context.exit(0)


def _show(slurm: Path | None) -> None:
    from medpodium.scoring.scheduling.slurm import read_settings, submission_script

    if slurm is None:
        raise click.UsageError("--slurm-script needs --slurm FILE.yaml.")
    click.echo(submission_script(read_settings(slurm)), nl=False)


def choose(where: Where) -> Scheduler:
    """Return the place the user asked for.

    Raises
    ------
    InfrastructureError
        If Dask is not installed or the scheduler cannot be reached.
    UsageError
        If both are given, or the Slurm settings are invalid.
    """
    from medpodium.scoring.scheduling.scheduler import LocalScheduler, SchedulerCode

    if where.scheduler is not None and where.slurm is not None:
        from medpodium.findings import Finding, UsageError

        cause = "both --scheduler and --slurm are given"
        raise UsageError(Finding(SchedulerCode.BOTH, "--slurm", cause, "give one of them"))
    if where.scheduler is not None:
        from medpodium.scoring.scheduling.dask import DaskScheduler
        from medpodium.scoring.scheduling.encryption import open_connection

        if (warning := open_connection(where.scheduler)) is not None:
            console.print_findings([warning])
        return DaskScheduler(where.scheduler)
    if where.slurm is not None:
        from medpodium.scoring.scheduling.slurm import SlurmScheduler, read_settings

        return SlurmScheduler(read_settings(where.slurm))
    return LocalScheduler(where.workers, forks=True)


def elsewhere(where: Where) -> AbstractContextManager[Scheduler | None]:
    """Return the cluster that is named, or nothing where none is."""
    named = where.scheduler is not None or where.slurm is not None
    return choose(where) if named else nullcontext()
