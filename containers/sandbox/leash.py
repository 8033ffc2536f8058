"""The leash: a process that kills a run's containers when the process that started them is gone.

It waits for its standard input to end, which the system brings about even when the parent is killed with SIGKILL.
So no submission outlives its organizer, with or without a wall limit.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from medpodium.challenges.sources import python_command
from medpodium.containers.sandbox.profile import LABEL


@contextmanager
def held(run: str, work: Path) -> Iterator[None]:
    """Hold the leash of all containers labelled with this run, and of what is mounted in its folder, for a block."""
    process = subprocess.Popen(
        python_command("medpodium.containers.sandbox.leash", run, str(work.resolve())),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
        process.kill()  # all is done and removed; the leash has nothing left to do
    finally:
        if process.stdin is not None:
            process.stdin.close()


def main(run: str, work: str) -> None:
    """Wait until standard input ends, then remove the containers of this run and what was mounted for them."""
    sys.stdin.buffer.read()
    from medpodium.containers.sandbox.bounds import unmount_below
    from medpodium.containers.sandbox.engine import connect, sweep

    try:
        sweep(connect(), {LABEL: "run", f"{LABEL}.run": run})
    finally:
        unmount_below(Path(work))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
