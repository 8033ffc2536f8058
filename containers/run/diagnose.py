"""Read a failed run's log for the usual causes, so that the verdict can say what to change."""

from __future__ import annotations

import re

from medpodium.containers.failures import RunCode, finding
from medpodium.findings import Finding, Severity

_MAX_LINES = 20_000
_MAX_LINE = 2_000
_PATTERNS: tuple[tuple[RunCode, str], ...] = (
    (RunCode.GPU_OOM, r"CUDA out of memory|CUDA_ERROR_OUT_OF_MEMORY|cudaErrorMemoryAllocation"),
    (RunCode.SHM, r"unable to (?:open|write|mmap|allocate).{0,40}shm|insufficient shared memory|Bus error|/dev/shm"),
    (
        RunCode.NETWORK,
        r"name resolution|Network is unreachable|Could not resolve host|getaddrinfo|ConnectionError|bad address"
        r"|Failed to establish a new connection|HTTPSConnectionPool",
    ),
    (RunCode.ROOT_PATH, r"Read-only file system|Errno 30"),
    (RunCode.PIDS, r"can't fork|Cannot fork|can't start new thread|fork: retry|pthread_create failed"),
    (RunCode.FILE_LIMIT, r"File size limit exceeded|File too large|Errno 27"),
    (RunCode.OOM, r"MemoryError|Cannot allocate memory|std::bad_alloc|Unable to allocate"),
    (RunCode.PLATFORM, r"[Ee]xec format error"),
    (RunCode.NO_COMMAND, r"bad interpreter: No such file|cannot execute: required file not found"),
    (RunCode.USER_NAME, r"getpwuid|uid not found|cannot find name for user ID|unknown (?:uid|ID) \d"),
)
_LINE_ENDS = re.compile(
    # what a shell or env says of a name with a carriage return at its end: as it is, quoted, or made visible
    r"(?P<name>[^\s:'\"$]{0,80})(?:\r['\u2019\"]?|\\r['\u2019\"]|\^M): "
    r"(?:not found|[Nn]o such file|command not found|bad interp)"
    r"|\$'(?P<quoted>[^'\n]{0,80})\\r'|bad interpreter: (?P<shebang>[^\n]{0,80})\^M"
)
_SIGNS = tuple((code, re.compile(pattern)) for code, pattern in _PATTERNS)
_DENIED = re.compile(r"Permission denied|Errno 13|can't create|cannot open", re.IGNORECASE)


def diagnose(log: bytes, where: str) -> list[Finding]:
    """Return likely causes named in a log, as warnings: a log is the submission's word, not evidence.

    Parameters
    ----------
    log : bytes
        Standard output and error of the run.
    where : str
        Case, for messages.
    """
    found: dict[RunCode, Finding] = {}
    whole = log.decode("utf-8", "replace")
    if (match := _LINE_ENDS.search(whole)) is not None:
        name = match["name"] or match["quoted"] or match["shebang"] or "a line"
        cause = f"the log names {_line(name)!r} with a carriage return at its end: a script has Windows line ends"
        found[RunCode.LINE_ENDS] = finding(RunCode.LINE_ENDS, where, cause, Severity.WARNING)
    for line in whole.splitlines()[-_MAX_LINES:]:
        # A line is cut before any pattern sees it: patterns on a megabyte without a line break would take hours.
        text = line[:_MAX_LINE]
        for code, pattern in _SIGNS:
            if code not in found and pattern.search(text):
                found[code] = finding(code, where, f"the log says: {_line(text)}", Severity.WARNING)
        if RunCode.ROOT_PATH not in found and _DENIED.search(text):
            cause = f"the log says: {_line(text)}"
            fix = (
                "the container runs as an ordinary user: make the image's files readable (chmod -R a+rX), write to /tmp"
            )
            found[RunCode.ROOT_PATH] = Finding(RunCode.ROOT_PATH, where, cause, fix, Severity.WARNING)
    return list(found.values())


def _line(text: str) -> str:
    """Drop the engine's time stamp, escape what a terminal would obey, cap the length."""
    bare = re.sub(r"^\d{4}-\d\d-\d\dT\S+ ", "", text.strip())
    return "".join(char if char.isprintable() else "?" for char in bare)[:200]
