"""Python commands that start at once: a process that has imported the libraries forks itself for each of them.

A fresh process spends most of a small command on importing libraries: two seconds for pandas and its friends, thirteen
for nnU-Net. Here one process per session imports them, and every command is a fork of it, with its own arguments,
folder, environment, standard streams and exit code. The package under test is never imported beforehand, so that each
command imports its own copy of it. Run as a program, this file is what a test starts instead of Python::

    subprocess.run([*warm.python("tables"), "-m", "medpodium.cli", "lint", "x.yaml"], env=..., cwd=...)

It hands its arguments and streams to the process with the libraries and ends as the fork does; when it is killed, the
fork is killed. Where a test is about processes themselves, it starts Python as a user would.
"""

# The program that stands for Python has to start at once, without pathlib.
# ruff: noqa: PTH109, PTH120
from __future__ import annotations

import array
import contextlib
import json
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

LIBRARIES = {
    "tables": (
        *("numpy", "pandas", "pyarrow.parquet", "scipy.stats", "scipy.ndimage", "scipy.optimize", "scipy.spatial"),
        *("numba", "matplotlib.pyplot", "SimpleITK", "pydantic", "ruamel.yaml", "rich.console", "rich.table", "jinja2"),
        *("click", "isal.igzip", "zstandard", "platformdirs", "psutil", "threadpoolctl", "docker", "pytest"),
    ),
    "nnunet": (
        "nnunetv2.experiment_planning.plan_and_preprocess_api",
        "nnunetv2.run.run_training",
        "nnunetv2.inference.predict_from_raw_data",
    ),
}
"""What the process of each name imports."""
_BYTES = 4


def _forget(package: str) -> None:
    """Have a package imported anew: nnU-Net reads its folders from the environment when it is imported."""
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]


def serve(name: str, path: str) -> None:
    """Import, then fork for every request that comes to a socket, until the tests' process is gone (stdin ends)."""
    import importlib
    import select

    asked_for = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:] = [part for part in sys.path[1:] if part not in asked_for]
    for library in LIBRARIES[name]:
        importlib.import_module(library)
    if name == "nnunet":
        from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

        # looks into every module of the trainers, as each job does
        (folder,) = sys.modules["nnunetv2.training.nnUNetTrainer"].__path__
        recursive_find_python_class(folder, "no such trainer", "nnunetv2.training.nnUNetTrainer")
    _forget("nnunetv2")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks that watch
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(16)
        print("ready", flush=True)
        while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
            asking, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _watch(name, asking)
            asking.close()


def _watch(name: str, asking: socket.socket) -> None:
    """Start a request's fork, tell its exit code, and kill it when who asked is gone."""
    import select

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    request, streams = _receive(asking)
    child = os.fork()
    if child == 0:
        asking.close()
        os.setpgid(0, 0)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        _run(name, request)
    with contextlib.suppress(OSError):  # the fork may have done it, or have ended
        os.setpgid(child, child)
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while ended not in (ready := select.select([ended, asking], [], [])[0]):
        told = asking.recv(1) if ready else b""
        os.killpg(child, told[0] if told else signal.SIGKILL)
        if not told:
            break
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(OSError):
        asking.sendall(code.to_bytes(_BYTES, "big", signed=True))
    os._exit(0)


def _run(name: str, request: dict[str, Any]) -> None:
    """Be a fresh Python with these arguments (``-u`` and ``-m MODULE`` or a file); never returns."""
    import multiprocessing
    import runpy
    import traceback

    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    sys.stdout = open(1, "w", buffering=1, encoding="utf-8")  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
    words = [word for word in request["argv"] if word != "-u"]
    search = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    sys.path[:0] = ["" if words[0] == "-m" else os.path.dirname(words[0]), *search]
    if name == "nnunet":
        # a pool's process would import everything again
        original = multiprocessing.get_context
        multiprocessing.get_context = lambda method=None: original("fork" if method == "spawn" else method)
    code = 0
    try:
        if words[0] == "-m":
            sys.argv = [words[1], *words[2:]]
            runpy.run_module(words[1], run_name="__main__", alter_sys=True)
        else:
            sys.argv = words
            runpy.run_path(words[0], run_name="__main__")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
        if code == 1 and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _receive(asking: socket.socket) -> tuple[dict[str, Any], list[int]]:
    numbers = array.array("i")
    head, ancillary, *_ = asking.recvmsg(_BYTES, socket.CMSG_LEN(3 * numbers.itemsize))
    for level, kind, content in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            numbers.frombytes(content[: len(content) - len(content) % numbers.itemsize])
    text = b""
    while len(text) < int.from_bytes(head, "big"):
        text += asking.recv(1 << 16)
    return json.loads(text), list(numbers)


def ask(path: str, words: list[str]) -> int:
    """Have a command run and return its exit code; signals are handed on."""
    text = json.dumps({"argv": words, "cwd": os.getcwd(), "env": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(path)
        streams = array.array("i", [0, 1, 2])
        asking.sendmsg([len(text).to_bytes(_BYTES, "big")], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams)])
        asking.sendall(text)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _: asking.sendall(bytes([number])))
        told = asking.recv(_BYTES, socket.MSG_WAITALL)
    return int.from_bytes(told, "big", signed=True) if len(told) == _BYTES else -signal.SIGKILL


class Warm:
    """The processes with libraries of one test session; each is started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: dict[str, subprocess.Popen[str]] = {}

    def python(self, name: str) -> list[str]:
        """Return the words that stand for Python, with the libraries of a name imported already."""
        if not hasattr(os, "pidfd_open"):  # not Linux
            return [sys.executable]
        path = self._folder / name
        if name not in self._started:
            import subprocess

            command = [sys.executable, __file__, "serve", name, str(path)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._started[name] = subprocess.Popen(command, **pipes)
            assert self._started[name].stdout.readline() == "ready\n"
        return [sys.executable, "-I", "-S", __file__, str(path)]

    def close(self) -> None:
        """End the processes."""
        for process in self._started.values():
            process.stdin.close()
            process.wait()
            process.stdout.close()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        sys.exit(serve(sys.argv[2], sys.argv[3]))
    code = ask(sys.argv[1], sys.argv[2:])
    if code < 0:
        with contextlib.suppress(OSError):  # no handler can be set for SIGKILL
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)
