"""Which fold trains on which GPUs: folds side by side, each on one GPU or on several (nnU-Net's DDP)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from queue import SimpleQueue
from subprocess import Popen
from threading import Lock
from typing import TypeVar

from medpodium.baselines.failures import BaselineCode, refuse
from medpodium.baselines.nnunet import jobs

VISIBLE = "CUDA_VISIBLE_DEVICES"
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Starting = Callable[["Popen[str]"], None]


def group_gpus(gpus: Sequence[str], per_fold: int) -> list[tuple[str, ...]]:
    """Return the GPUs of every place where a fold can train.

    Parameters
    ----------
    gpus : sequence of str
        Numbers or UUIDs, as CUDA_VISIBLE_DEVICES takes them; none for one place on whatever there is.
    per_fold : int
        GPUs that train one fold together.

    Raises
    ------
    UsageError
        If they cannot be shared out.
    """
    if len(set(gpus)) < len(gpus):
        raise refuse(BaselineCode.NO_GPU, "--gpus", "names a GPU twice", "name every GPU once")
    if not gpus:
        if per_fold > 1:
            fix = "name the GPUs, such as --gpus 0,1"
            raise refuse(BaselineCode.NO_GPU, "--gpus-per-fold", "without --gpus", fix)
        return [()]
    if len(gpus) % per_fold:
        cause = f"{len(gpus)} GPUs are not a multiple of {per_fold} per fold"
        raise refuse(BaselineCode.NO_GPU, "--gpus", cause, "name other GPUs, or another --gpus-per-fold")
    return [tuple(gpus[start : start + per_fold]) for start in range(0, len(gpus), per_fold)]


def variables(gpus: Sequence[str], places: int) -> dict[str, str]:
    """Return the environment of a fold: the GPUs that it sees, and its share of the processes that load data.

    Parameters
    ----------
    gpus : sequence of str
        Of the fold; none to leave the environment as it is.
    places : int
        Folds that train side by side.
    """
    from medpodium.baselines.portable.cores import usable_cores

    found = {VISIBLE: ",".join(gpus)} if gpus else {}
    if places > 1 and "nnUNet_n_proc_DA" not in os.environ:
        found["nnUNet_n_proc_DA"] = str(max(1, min(12, usable_cores() // places - 1)))
    return found


def side_by_side(
    items: Sequence[_Item],
    places: Sequence[tuple[str, ...]],
    work: Callable[[_Item, tuple[str, ...], Starting], _Result],
) -> list[_Result]:
    """Do every item in the next free place; when one fails, the others go on to their end, none is begun.

    Parameters
    ----------
    work : callable
        Given an item, the GPUs of its place, and what a process has to be handed to, so that it ends with an
        interrupt.

    Raises
    ------
    Exception
        The first one that an item raised.
    """
    if len(places) == 1:
        return [work(item, places[0], _nobody) for item in items]
    free: SimpleQueue[tuple[str, ...]] = SimpleQueue()
    for place in places:
        free.put(place)
    running: list[Popen[str]] = []
    lock = Lock()

    def started(process: Popen[str]) -> None:
        with lock:
            running.append(process)

    def one(item: _Item) -> _Result:
        place = free.get()
        try:
            return work(item, place, started)
        finally:
            free.put(place)

    with ThreadPoolExecutor(len(places)) as pool:
        waiting: list[Future[_Result]] = [pool.submit(one, item) for item in items]
        try:
            wait(waiting, return_when=FIRST_EXCEPTION)
        except BaseException:
            for process in running:
                if process.poll() is None:
                    jobs.stop(process)
            raise
        finally:
            for future in waiting:
                future.cancel()
    failed = [error for future in waiting if not future.cancelled() and (error := future.exception())]
    if failed:
        raise failed[0]
    return [future.result() for future in waiting]


def _nobody(_: Popen[str]) -> None:
    """Do nothing: an interrupt reaches the only process by itself."""
