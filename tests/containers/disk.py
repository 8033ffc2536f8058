"""How much lies on the disk at the worst moment of a block, for tests of what strangers can write."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


class Disk:
    """Measures in a thread how much lies in some folders, beyond what lay there, while a block runs.

    Parameters
    ----------
    *folders : Path
        Everything below them is counted, but for mounted file systems: each lies in a file, which is counted already.
    seconds : float
        Pause between two looks.
    """

    def __init__(self, *folders: Path, seconds: float = 0.25) -> None:
        self.folders, self.seconds, self.most, self._end = folders, seconds, 0, threading.Event()

    def _measure(self) -> int:
        total = 0
        for top in self.folders:
            for folder, inner, found in os.walk(top):
                inner[:] = [name for name in inner if not os.path.ismount(f"{folder}/{name}")]
                for name in found:
                    with suppress(OSError):
                        total += Path(folder, name).lstat().st_blocks * 512
        return total

    def _watch(self) -> None:
        while not self._end.wait(self.seconds):
            self.most = max(self.most, self._measure() - self._before)

    def __enter__(self) -> Disk:
        self._before = self._measure()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()
