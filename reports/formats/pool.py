"""Draw figures beside the work that goes on: other processes draw what is known already, and this one helps at last.

Processes start at once, so that what they import is there when the first figure is known. They are plain Python
programs that take a plot and give files back: nothing of the caller's main module runs in them, so a script needs no
guard, and a process that dies costs time only, for what it held is drawn here.
"""

from __future__ import annotations

import gc
import os
import pickle
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

from medpodium.challenges.sources import python_command

if TYPE_CHECKING:
    from types import TracebackType

    from medpodium.reports.model.document import Document, Figure, Plot, Section

_MOST = 8
"""Processes that draw, this one included, unless the caller says how many."""
_LENGTH = struct.Struct("<Q")


@dataclass(eq=False)
class _Job:
    """A figure to draw; ``files`` is None where another process could not draw it, or has not yet."""

    plot: Plot
    files: dict[str, bytes] | None = None
    done: threading.Event = field(default_factory=threading.Event)


class FigurePool:
    """Processes that draw the figures of one report; a context, at whose end they are gone.

    Parameters
    ----------
    endings : sequence of {"svg", "pdf", "png"}
        Formats that every figure is drawn in.
    workers : int, optional
        Number of processes, this one included; one per processor that may be used, at most eight, when left out.
    """

    def __init__(self, endings: Sequence[str], workers: int | None = None) -> None:
        self._endings = tuple(endings)
        self._others = (min(_processors(), _MOST) if workers is None else workers) - 1
        self._jobs: dict[int, _Job] = {}  # by the identity of the plot, which each job keeps alive
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> FigurePool:
        command = python_command(__name__)
        for _ in range(self._others if sys.executable else 0):
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            self._processes.append(process)
            threading.Thread(target=self._hand_out, args=(process,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        for process in self._processes:
            process.kill()
            process.wait()

    def begin(self, figures: Iterable[Figure]) -> None:
        """Have figures drawn as soon as a process has time for them."""
        with self._changed:
            for figure in figures:
                if id(figure.plot) not in self._jobs:
                    job = self._jobs[id(figure.plot)] = _Job(figure.plot)
                    self._waiting.append(job)
            self._changed.notify_all()

    def finish(self, document: Document) -> Document:
        """Return the document with every figure drawn, whoever drew it: the files are the same."""
        from medpodium.reports.formats.draw import draw

        figures = document.figures()
        self.begin(figures)
        while (job := self._next(wait=False)) is not None:
            job.files = draw(job.plot, self._endings)
            job.done.set()
        drawn: dict[str, Figure] = {}
        for figure in figures:
            job = self._jobs[id(figure.plot)]
            job.done.wait()
            if job.files is None:  # what is wrong with it is said here, as if nobody else had tried
                job.files = draw(job.plot, self._endings)
            drawn[figure.id] = replace(figure, files=job.files)
        main, rest = (
            tuple(_with_files(section, drawn) for section in part) for part in (document.sections, document.supplement)
        )
        return replace(document, sections=main, supplement=rest)

    def _next(self, *, wait: bool) -> _Job | None:
        """Return a figure that nobody draws yet; None where there is none, or when there will be none any more."""
        with self._changed:
            while wait and not self._waiting and not self._closed:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _hand_out(self, process: subprocess.Popen[bytes]) -> None:
        """Give one process figures for as long as there are any; runs in a thread of its own."""
        to: Any = process.stdin
        back: Any = process.stdout
        alive = bool(_receive(back))  # it says when it is ready: until then, figures are left to others
        while alive and (job := self._next(wait=True)) is not None:
            try:
                asked = pickle.dumps((job.plot, self._endings), pickle.HIGHEST_PROTOCOL)
                _send(to, asked)
                answer = _receive(back)
                alive = bool(answer)
                job.files = pickle.loads(answer) if answer else None  # noqa: S301 - from a process of ours
            except (OSError, ValueError):  # the process is gone
                alive = False
            except (pickle.PicklingError, AttributeError, TypeError):  # a function that cannot be found by name
                pass
            finally:
                job.done.set()


def draw_all(document: Document, endings: Sequence[str], workers: int | None = None) -> Document:
    """Return the document with every figure drawn, see :class:`FigurePool`."""
    with FigurePool(endings, workers) as pool:
        return pool.finish(document)


def _processors() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _with_files(section: Section, drawn: dict[str, Figure]) -> Section:
    from medpodium.reports.model.document import Figure  # with pandas: not before other processes have begun

    blocks = tuple(drawn.get(block.id, block) if isinstance(block, Figure) else block for block in section.blocks)
    return replace(section, blocks=blocks, sections=tuple(_with_files(part, drawn) for part in section.sections))


def _send(stream: IO[bytes], message: bytes) -> None:
    stream.write(_LENGTH.pack(len(message)))
    stream.write(message)
    stream.flush()


def _receive(stream: IO[bytes]) -> bytes:
    """Return a message; empty at the end of the stream."""
    head = stream.read(_LENGTH.size)
    return stream.read(*_LENGTH.unpack(head)) if len(head) == _LENGTH.size else b""


def serve() -> None:
    """Draw what standard input asks for until it ends; answers go to standard output, anything printed to errors."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asks ends this one
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)
        from medpodium.reports.formats import draw

        draw.prepare()
        gc.freeze()  # what was imported stays
        gc.set_threshold(50_000, *gc.get_threshold()[1:])
        _send(answers, b"ready")
        while message := _receive(sys.stdin.buffer):
            try:
                made = draw.draw(*pickle.loads(message))  # noqa: S301 - from the process that started this one
            except Exception:  # the other process draws it again, and says what is wrong
                made = None
            _send(answers, pickle.dumps(made, pickle.HIGHEST_PROTOCOL))


if __name__ == "__main__":
    serve()
