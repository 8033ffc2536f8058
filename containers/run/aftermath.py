"""What is left to do when a container has ended: its files are looked at and noted while the next container runs."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Aftermath:
    """Does one thing at a time in a thread of its own, in the order it was begun; no failure of it is lost."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._failed: list[Exception] = []

    def begin(self, action: Callable[[], object], *, beside: bool) -> None:
        """Do something when what was begun before is done.

        Parameters
        ----------
        action : callable
            What to do.
        beside : bool
            Whether the caller goes on meanwhile.

        Raises
        ------
        Exception
            What failed first and was not raised yet: of what was begun before or, where the caller waits, of this.
        """
        self.join()
        if beside:
            self._thread = threading.Thread(target=self._act, args=(action,))
            self._thread.start()
        else:
            self._act(action)
        self._tell()

    def join(self) -> None:
        """Wait until all is done; what failed is raised later."""
        if self._thread is not None:
            self._thread.join()
        self._thread = None

    def wait(self) -> None:
        """Wait until all is done; what failed first is raised here."""
        self.join()
        self._tell()

    def _act(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            self._failed.append(error)

    def _tell(self) -> None:
        if self._failed:
            first, self._failed = self._failed[0], []
            raise first
