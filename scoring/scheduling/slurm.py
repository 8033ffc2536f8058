"""Workers on a Slurm cluster: what each asks for, the submission script, and the scheduler they come to."""

from __future__ import annotations

import math
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError, field_validator

from medpodium.challenges.schema.base import Model
from medpodium.challenges.schema.protocol import Duration, Size, parse_bytes, parse_seconds
from medpodium.findings import Finding, InfrastructureError, UsageError
from medpodium.scoring.scheduling.dask import DaskScheduler
from medpodium.scoring.scheduling.encryption import temporary
from medpodium.scoring.scheduling.scheduler import SchedulerCode, require
from medpodium.scoring.scheduling.slurm_jobs import NAME, SlurmJobs


class SlurmSettings(Model):
    """What a ``--slurm FILE.yaml`` says. Sizes and durations are text with their unit.

    Parameters
    ----------
    queue : str, optional
        Partition (``sbatch --partition``).
    account : str, optional
        Account that pays (``sbatch --account``).
    time : str
        Wall time of one Slurm job, ``'4 h'``; workers stop a little earlier and hand their work back.
    memory : str
        Host memory of one Slurm job, ``'16 GiB'``.
    cores : int
        Processor cores of one Slurm job.
    processes : int, optional
        Workers per Slurm job; one per core when left out, one per job where there are GPUs.
    gpus : int
        GPUs of one Slurm job; each worker then offers the Dask resource ``GPU=1``.
    gpu_type : str, optional
        Type in ``--gres=gpu:TYPE:N``.
    jobs : int
        Slurm jobs to keep running.
    interface : str, optional
        Network interface that workers and scheduler talk over (``ib0``).
    local_directory : str, optional
        Fast local folder for the workers' spill files.
    shared_directory : str, optional
        Folder that all nodes see, for the run's certificate and the jobs' outputs; the home folder when left out.
    python : str, optional
        Python of the workers; the one running now when left out.
    prologue : list of str
        Shell lines before the worker starts (``module load ...``).
    directives : list of str
        Further ``#SBATCH`` options, such as ``--exclude=node7``.
    patience : str
        How long to wait for the queue to start the first worker.
    """

    queue: str | None = None
    account: str | None = None
    time: Duration
    memory: Size
    cores: int = Field(ge=1)
    processes: int | None = Field(default=None, ge=1)
    gpus: int = Field(default=0, ge=0)
    gpu_type: str | None = None
    jobs: int = Field(default=1, ge=1)
    interface: str | None = None
    local_directory: str | None = None
    shared_directory: str | None = None
    python: str | None = None
    prologue: list[str] = Field(default_factory=list)
    directives: list[str] = Field(default_factory=list)
    patience: Duration = "24 h"

    @field_validator("queue", "account", "gpu_type", "interface", "local_directory", "shared_directory", "python")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or any(ord(char) < 32 for char in value)):
            raise ValueError("is empty or has control characters")
        return value

    @field_validator("prologue", "directives")
    @classmethod
    def _lines(cls, values: list[str]) -> list[str]:
        if any("\n" in value or "\r" in value for value in values):
            raise ValueError("each item is one line")
        return values

    @property
    def walltime(self) -> str:
        """Wall time as Slurm writes it, ``D-HH:MM:SS``, rounded up to whole seconds."""
        seconds = math.ceil(parse_seconds(self.time))
        days, rest = divmod(seconds, 86400)
        return f"{days}-{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"

    @property
    def workers_per_job(self) -> int:
        """Worker processes of one Slurm job: one per GPU, else one per core."""
        return self.processes or (self.gpus if self.gpus else self.cores)


def read_settings(path: Path) -> SlurmSettings:
    """Read the settings of a Slurm cluster.

    Raises
    ------
    UsageError
        If the file cannot be read or a field is wrong.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8-sig"))
        return SlurmSettings.model_validate(data if isinstance(data, dict) else {})
    except ValidationError as error:
        fix = "a file needs at least: time: 4 h, memory: 16 GiB, cores: 4"
        found = []
        for problem in error.errors(include_url=False):
            field = ".".join(map(str, problem["loc"])) or "file"
            cause = f"{field}: {problem['msg'].removeprefix('Value error, ')}"
            found.append(Finding(SchedulerCode.SETTINGS, str(path), cause, fix))
        raise UsageError(*found) from None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        cause = str(error).split("\n")[0]
        raise UsageError(Finding(SchedulerCode.SETTINGS, str(path), cause, "give a readable YAML file")) from None


def job_arguments(settings: SlurmSettings) -> dict[str, object]:
    """Return the arguments of dask-jobqueue's Slurm job and cluster."""
    directives = list(settings.directives)
    worker_arguments = []
    if settings.gpus:
        kind = f"gpu:{settings.gpu_type}" if settings.gpu_type else "gpu"
        directives.append(f"--gres={kind}:{settings.gpus}")
        worker_arguments += ["--resources", "GPU=1"]
    # Workers retire before Slurm kills them; those of one run do not all start, and end, at the same moment.
    lifetime = max(60, math.floor(parse_seconds(settings.time) * 0.95) - 60)
    worker_arguments += ["--lifetime", f"{lifetime}s", "--lifetime-stagger", "30s"]
    arguments: dict[str, object] = {
        "queue": settings.queue,
        "account": settings.account,
        "walltime": settings.walltime,
        "memory": f"{parse_bytes(settings.memory)} B",
        "cores": settings.workers_per_job,
        "processes": settings.workers_per_job,
        "job_cpu": settings.cores,
        "job_name": "medpodium",
        "job_extra_directives": directives,
        "job_script_prologue": settings.prologue,
        "worker_extra_args": worker_arguments,
        "interface": settings.interface,
        "local_directory": settings.local_directory,
    }
    if settings.python is not None:
        arguments["python"] = settings.python
    return arguments


def submission_script(
    settings: SlurmSettings,
    scheduler: str = "tls://SCHEDULER:8786",
    folder: Path = Path("FOLDER"),
    security: Any = None,
) -> str:
    """Return the script that ``sbatch`` would get; nothing is started and Slurm need not be there.

    Parameters
    ----------
    settings : SlurmSettings
        What a worker asks for.
    scheduler : str
        Address of the Dask scheduler; chosen when a run starts.
    folder : Path
        Where the jobs' outputs go, and the run's certificate; made when a run starts.
    security : distributed.Security, optional
        Certificate and key of the run.
    """
    arguments = job_arguments(settings)
    words = _strings(arguments["worker_extra_args"])
    if settings.interface is not None:
        # The script names the interface; the interface itself is only there on the cluster.
        words += ["--interface", settings.interface]
        arguments["interface"] = None
    # A worker's own pages go unencrypted, and nobody needs them.
    words += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0"]
    arguments["worker_extra_args"] = words
    prologue = ["export DASK_DISTRIBUTED__WORKER__HTTP__ROUTES='[]'", *settings.prologue]
    arguments |= {"job_script_prologue": prologue, "security": security or _certificate(folder)}
    job = require("dask_jobqueue.slurm").SLURMJob(scheduler=scheduler, name=NAME, **arguments)
    # dask-jobqueue would make the folder it is told of, even for a script that is only printed
    head = [f"#SBATCH -e {folder}/medpodium-%J.err", f"#SBATCH -o {folder}/medpodium-%J.out"]
    first, rest = str(job.job_script()).split("\n", 1)
    return "\n".join([first, *head, rest.lstrip("\n")])


def _certificate(folder: Path) -> Any:
    files = {f"tls_worker_{part}": str(folder / f"{part}.pem") for part in ("cert", "key")}
    return require("distributed").Security(require_encryption=True, tls_ca_file=str(folder / "ca_file.pem"), **files)


def _strings(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


class SlurmScheduler(DaskScheduler):
    """Dask workers in Slurm jobs; the scheduler runs in this process and ends with it.

    All connections are encrypted with a certificate made for this run. The scheduler listens at one address: that of
    ``interface``, else the one from which this machine reaches others.

    Parameters
    ----------
    settings : SlurmSettings
        What each Slurm job asks for, and how many there are.

    Raises
    ------
    InfrastructureError
        If a library is not installed, there is no ``sbatch``, or Slurm refuses the jobs.
    """

    def __init__(self, settings: SlurmSettings) -> None:
        distributed = require("distributed")
        require("dask_jobqueue")
        if shutil.which("sbatch") is None:
            cause = "there is no sbatch on this machine"
            fix = "run this on the cluster's login node, or give a running Dask scheduler with --scheduler"
            raise InfrastructureError(Finding(SchedulerCode.UNREACHABLE, "sbatch", cause, fix))
        self._folder = _run_folder(settings)
        try:
            security = temporary(self._folder)
            self._cluster = _listening(distributed, security, settings.interface)
            try:
                script = self._folder / "job.sh"
                address = str(self._cluster.scheduler_address)
                script.write_text(submission_script(settings, address, self._folder, security), encoding="utf-8")
                self._jobs = SlurmJobs(script, self._folder, settings.jobs)
                try:
                    self._jobs.tend([])
                    super().__init__(self._cluster, patience_s=parse_seconds(settings.patience))
                except BaseException:
                    self._jobs.end()
                    raise
            except BaseException:
                self._cluster.close()
                raise
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    def close(self) -> None:
        """Disconnect and end the Slurm jobs started here."""
        try:
            super().close()
        finally:
            self._jobs.end()
            self._cluster.close()
            shutil.rmtree(self._folder, ignore_errors=True)

    def _tend(self, workers: Sequence[str]) -> None:
        self._jobs.tend(workers)


def _run_folder(settings: SlurmSettings) -> Path:
    """Make the folder of one run, which nobody else can enter."""
    place = Path(settings.shared_directory).expanduser() if settings.shared_directory else Path.home()
    try:
        return Path(tempfile.mkdtemp(prefix=".medpodium-slurm-", dir=place))
    except OSError as error:
        fix = "give a folder that all nodes see, as shared_directory"
        raise InfrastructureError(Finding(SchedulerCode.SETTINGS, str(place), str(error), fix)) from None


def _listening(distributed: Any, security: Any, interface: str | None) -> Any:
    """Start the scheduler in this process, at one address, with nothing to see for a browser."""
    dask = require("dask")
    try:
        own = distributed.utils.get_ip_interface(interface) if interface else distributed.utils.get_ip()
    except ValueError as error:
        fix = "name an interface of this machine: interface in the settings"
        raise InfrastructureError(Finding(SchedulerCode.SETTINGS, str(interface), str(error), fix)) from None
    quiet = {
        # A case that kills its worker once more after a second chance is set aside, not sent around the cluster.
        "distributed.scheduler.allowed-failures": 1,
        "distributed.scheduler.http.routes": [],
    }
    with dask.config.set(quiet):
        return distributed.LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            host=f"tls://{own}",
            security=security,
            dashboard_address=None,
            scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            silence_logs="ERROR",
        )
