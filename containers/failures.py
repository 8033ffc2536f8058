"""Everything that can go wrong with a submission, as a closed list, each with a cause and a fix of one line."""

from __future__ import annotations

from medpodium.findings import Code, Finding, InfrastructureError, Severity


class RunCode(Code):
    """How a run, or one of its output files, failed. These are the submission's own failures."""

    CRASH = "crash"
    OOM = "oom"
    GPU_OOM = "gpu-oom"
    GPU_MEMORY = "gpu-memory-limit"
    TIMEOUT = "timeout"
    NO_COMMAND = "no-command"
    CANNOT_START = "cannot-start"
    """The engine refuses to start a container of the image because of what the image declares."""
    PLATFORM = "platform-mismatch"
    PIDS = "pids-limit"
    FILE_LIMIT = "file-size-limit"
    SHM = "shm-too-small"
    OUTPUT_TOO_LARGE = "output-too-large"
    TOO_MANY_FILES = "too-many-files"
    MISSING = "missing-output"
    AMBIGUOUS = "ambiguous-output"
    NOT_REGULAR = "output-not-regular"
    HARD_LINK = "output-hard-link"
    SPARSE = "output-sparse"
    UNREADABLE = "output-unreadable"
    EMPTY_FILE = "output-empty"
    FORMAT = "output-format"
    EXPANDED = "output-expands-too-large"
    CHECK_FAILED = "output-check-failed"
    GEOMETRY = "geometry-mismatch"
    """A prediction does not have the shape, spacing or direction of the image it is of."""
    UNEXPECTED = "unexpected-output"
    BAD_NAME = "output-bad-name"
    COLLISION = "output-name-collision"
    WARM_UP = "warm-up-failed"
    """The run that comes before the first case, and is not scored, failed."""
    CASCADE = "cascade-missing"
    NETWORK = "network-used"
    ROOT_PATH = "writes-outside-output"
    LOG_FLOOD = "log-too-large"
    LINE_ENDS = "windows-line-ends"
    USER_NAME = "user-without-name"
    """A program asks for the name of the user that it runs as, and the image has none for that number."""
    ELSEWHERE = "platform-differs"
    """Another platform, whose rules were asked for, refuses the image or runs it otherwise."""


class EngineCode(Code):
    """What can be wrong with the machine; never a submission's fault."""

    NO_ENGINE = "no-container-engine"
    NO_SDK = "no-docker-package"
    ENGINE_LOST = "engine-lost"
    ENGINE_ERROR = "engine-error"
    IMAGE_CHANGED = "image-changed"
    IMAGE_ABSENT = "image-absent"
    UNKILLABLE = "container-unkillable"
    HOST_DISK = "host-disk-full"
    HOST_OOM = "host-out-of-memory"
    INPUT_CHANGED = "case-changed"
    PREDICTION_CHANGED = "prediction-changed"
    GPU_BUSY = "gpu-busy"
    NO_GPU = "no-gpu"
    OLD_RUNTIME = "runtime-outdated"
    RUNTIME_DEFAULT = "runtime-default-nvidia"
    FEWER_CPUS = "fewer-cpus"
    CHECKER = "checker-failed"
    MOUNT = "output-not-mounted"
    """The outputs of a run could not get a file system of their own."""
    BLIND = "engine-sees-other-files"
    LIMITS = "engine-limits-ignored"
    """A container of ours has not the limits, user or protections that were asked for; it was looked at from inside."""
    FEW_PROCESSES = "runtime-needs-processes"
    """The container runtime counts threads of its own, and needs more processes than the challenge allows."""
    HOST_SOCKETS = "engine-reaches-host"
    """Containers can open sockets to the machine that hosts this virtual machine, although they have no network."""
    UNBOUNDED = "output-only-watched"


FIXES: dict[Code, str] = {
    RunCode.CRASH: "read the log; run 'medpodium check image' with this case to see it at home",
    RunCode.OOM: "use less memory (tiles, float32, one case at a time); 'medpodium check image' applies the same limit",
    RunCode.GPU_OOM: "use a smaller patch or batch; keep intermediate results on the CPU",
    RunCode.GPU_MEMORY: "stay below the challenge's graphics memory limit",
    RunCode.TIMEOUT: "make inference faster (fewer folds, no test-time augmentation, larger step) or skip heavy cases",
    RunCode.NO_COMMAND: "make sure the command of the protocol exists in the image and is executable",
    RunCode.CANNOT_START: "check WORKDIR, ENV, VOLUME and the program; mounted folders, /proc, /sys and /dev must be "
    "plain folders in the image",
    RunCode.PLATFORM: "build for linux/amd64: docker build --platform linux/amd64",
    RunCode.PIDS: "start fewer processes and threads (nnU-Net: -npp 0 -nps 0; set OMP_NUM_THREADS)",
    RunCode.FILE_LIMIT: "write smaller files (compressed label maps as uint8)",
    RunCode.SHM: "use no worker processes (num_workers=0; nnU-Net: -npp 0 -nps 0) or stay below the shm limit",
    RunCode.OUTPUT_TOO_LARGE: "write only the asked files, as compressed label maps; temporary data belong into /tmp",
    RunCode.TOO_MANY_FILES: "write only the asked files; temporary data belong into /tmp",
    RunCode.MISSING: "write the file under exactly this name into the output folder",
    RunCode.AMBIGUOUS: "write exactly one file that matches the pattern",
    RunCode.NOT_REGULAR: "write a regular file, no link, pipe, socket or device",
    RunCode.HARD_LINK: "write a file of its own, no hard link",
    RunCode.SPARSE: "write the file in full",
    RunCode.UNREADABLE: "leave the file readable (mode 0644)",
    RunCode.EMPTY_FILE: "write the prediction before the process ends; check that the file was closed",
    RunCode.FORMAT: "write a NIfTI label map of integers with the input's shape",
    RunCode.EXPANDED: "write an array of the input's shape; the header declares a larger one",
    RunCode.CHECK_FAILED: "write a plain NIfTI label map; the file made the reader fail",
    RunCode.GEOMETRY: "resample the prediction to the input's grid and copy its header",
    RunCode.UNEXPECTED: "write only the asked files; this one is ignored",
    RunCode.BAD_NAME: "use plain UTF-8 names without control characters",
    RunCode.COLLISION: "write one file per name; these differ only in case or Unicode form",
    RunCode.WARM_UP: "see the warm-up run's log",
    RunCode.CASCADE: "submit the image of the first task too, and let it finish",
    RunCode.NETWORK: "pack weights and data into the image; there is no network",
    RunCode.ROOT_PATH: "write to the output folder or /tmp only; the rest of the file system is read-only",
    RunCode.LINE_ENDS: "save scripts with Unix line ends (dos2unix, or git config core.autocrlf input) and build again",
    RunCode.USER_NAME: "name a user in the Dockerfile, whatever number runs it: ENV USER=team LOGNAME=team",
    RunCode.ELSEWHERE: "change the image, or ask who organizes the challenge there; docs/participant.md has the rules",
    RunCode.LOG_FLOOD: "print less; only the newest part of the log is kept",
    EngineCode.NO_ENGINE: "install and start Docker (Debian: apt install docker.io), or set DOCKER_HOST",
    EngineCode.NO_SDK: "pip install docker",
    EngineCode.ENGINE_LOST: "start the container engine again, then run the same command again",
    EngineCode.ENGINE_ERROR: "see the engine's log, then run the same command again",
    EngineCode.IMAGE_CHANGED: "submit the archive again; the image in the engine is not the one that was submitted",
    EngineCode.IMAGE_ABSENT: "submit the archive again; the engine has lost the image",
    EngineCode.UNKILLABLE: "restart the container engine; the process hangs in the kernel",
    EngineCode.HOST_DISK: "free some space, then run the same command again",
    EngineCode.HOST_OOM: "stop other programs or lower limits.memory; the host itself ran out of memory",
    EngineCode.INPUT_CHANGED: "restore the case's files, or make a new campaign",
    EngineCode.PREDICTION_CHANGED: "restore the file, or run the task before again ('medpodium run --retry')",
    EngineCode.GPU_BUSY: "stop the other programs on this GPU, or choose another with --gpu",
    EngineCode.NO_GPU: "run on a machine with an NVIDIA GPU and driver, or set limits.gpus to 0",
    EngineCode.OLD_RUNTIME: "update the runtime (a distribution's package may carry the fix under an old number)",
    EngineCode.RUNTIME_DEFAULT: "make runc the default runtime in daemon.json",
    EngineCode.FEWER_CPUS: "expect longer running times here than in the hidden test",
    EngineCode.CHECKER: "see the message; the checker itself failed, not the submission",
    EngineCode.MOUNT: "see the message; 'losetup -a' and 'mount' show what is in use, then run the same command again",
    EngineCode.BLIND: "put the campaign where the engine sees it under the same path, or use this machine's engine",
    EngineCode.LIMITS: "use an engine that enforces them (rootful Docker or Podman, or rootless with cgroups v2)",
    EngineCode.FEW_PROCESSES: "allow more with limits.pids (gVisor: at least 128), or use another runtime",
    EngineCode.HOST_SOCKETS: "update the engine (Docker 23, containerd 1.7 or newer close them)",
    EngineCode.UNBOUNDED: "run as root where the disk must not be filled: outputs then have a file system of their own",
}
"""One line per code: what to do about it."""


def finding(code: Code, where: str, cause: str, severity: Severity = Severity.ERROR) -> Finding:
    """Return a finding with the fix that belongs to its code."""
    return Finding(code, where, printable(cause), FIXES[code], severity)


def infrastructure(code: EngineCode, where: str, cause: str) -> InfrastructureError:
    """Return the error for a failure of the machine (exit code 3)."""
    return InfrastructureError(finding(code, where, cause))


class Retry(InfrastructureError):  # noqa: N818 - a request, not an error
    """A failure of the machine that may pass; a run that meets it does not count and is tried again."""

    def __init__(self, problem: Finding) -> None:
        self.finding = problem
        super().__init__(problem)


def printable(text: str, limit: int = 500) -> str:
    """Return text from a container as one harmless line: control characters escaped, length capped."""
    out = "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in text)
    return out if len(out) <= limit else out[: limit - 1] + "…"
