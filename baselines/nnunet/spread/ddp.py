"""One fold on several GPUs: nnU-Net's own set-up of distributed training, with our settings in every process."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

Emit = Callable[..., None]


def train_spread(job: Mapping[str, Any], emit: Emit) -> dict[str, Any]:
    """Train on ``job["gpus"]`` GPUs, all that this process sees; only the first one tells of its progress.

    Returns
    -------
    dict
        As :func:`medpodium.baselines.nnunet.training.train_here`.
    """
    import torch.multiprocessing as processes
    from nnunetv2.run.run_training import find_free_network_port

    os.environ["MASTER_ADDR"] = "localhost"
    os.environ.setdefault("MASTER_PORT", str(find_free_network_port()))
    context = processes.get_context("spawn")
    told = context.SimpleQueue()
    started = processes.spawn(_rank, args=(dict(job), told), nprocs=job["gpus"], join=False)
    result: dict[str, Any] | None = None
    ended = False
    while not ended or not told.empty():
        while not told.empty():
            event, values = told.get()
            if event == "result":
                result = values
            else:
                emit(event, **values)
        if not ended:
            ended = started.join(timeout=1.0)  # raises what a process raised
    if result is None:
        raise RuntimeError("the processes of the distributed training ended without a result")
    return result


def _rank(rank: int, job: dict[str, Any], told: Any) -> None:
    """Be one of the processes."""
    import torch
    from nnunetv2.run.run_training import cleanup_ddp, setup_ddp

    from medpodium.baselines.nnunet.training import train_here

    def emit(event: str, **values: Any) -> None:
        if rank == 0:
            told.put((event, values))

    setup_ddp(rank, job["gpus"])
    torch.cuda.set_device(torch.device("cuda", rank))
    try:
        result = train_here({**job, "gpus": 1}, emit)
        if rank == 0:
            told.put(("result", result))
    finally:
        with suppress(RuntimeError):
            cleanup_ddp()
