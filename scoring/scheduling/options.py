"""The options of verbs that can run on more than this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from medpodium.scoring.scheduling.scheduler import Scheduler

_F = TypeVar("_F", bound=Callable[..., Any])
_HELP = {
    "scheduler": "Run on a Dask cluster; start it with 'dask scheduler' and 'dask worker'.",
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
    return click.option("--scheduler", metavar="tcp://HOST:PORT", help=_HELP["scheduler"])(function)


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


def choose(scheduler: str | None = None, slurm: Path | None = None, workers: int | None = None) -> Scheduler:
    """Return the place the user asked for.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler, ``tcp://HOST:PORT``.
    slurm : Path, optional
        YAML file of :class:`medpodium.scoring.scheduling.slurm.SlurmSettings`.
    workers : int, optional
        Processes of this machine, where neither is given.

    Raises
    ------
    InfrastructureError
        If Dask is not installed or the scheduler cannot be reached.
    UsageError
        If both are given, or the Slurm settings are invalid.
    """
    if scheduler is not None and slurm is not None:
        from medpodium.challenges.findings import Finding, UsageError
        from medpodium.scoring.scheduling.scheduler import SchedulerCode

        cause = "both --scheduler and --slurm are given"
        raise UsageError(Finding(SchedulerCode.BOTH, "--slurm", cause, "give one of them"))
    if scheduler is not None:
        from medpodium.scoring.scheduling.dask import DaskScheduler

        return DaskScheduler(scheduler)
    if slurm is not None:
        from medpodium.scoring.scheduling.slurm import SlurmScheduler, read_settings

        return SlurmScheduler(read_settings(slurm))
    from medpodium.scoring.scheduling.scheduler import LocalScheduler

    return LocalScheduler(workers)


def open_scheduler(options: dict[str, Any]) -> Scheduler:
    """Return the place that a verb's options ask for (``scheduler, slurm, workers``)."""
    return choose(options.get("scheduler"), options.get("slurm"), options.get("workers"))


def elsewhere(options: dict[str, Any]) -> AbstractContextManager[Scheduler | None]:
    """Return the cluster that a verb's options name, or nothing where they name none."""
    named = options.get("scheduler") is not None or options.get("slurm") is not None
    return open_scheduler(options) if named else nullcontext()
