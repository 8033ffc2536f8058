"""The process in which nnU-Net runs: reads one job from stdin, prints events and a result.

Started by :func:`medpodium.baselines.nnunet.jobs.run_job`; nothing else imports it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from medpodium.baselines.nnunet.jobs import MARK
from medpodium.baselines.portable import lazily
from medpodium.findings import MedpodiumError


def emit(event: str, **values: Any) -> None:
    """Print one event; numpy numbers become plain ones."""
    print(f"\n{MARK}{json.dumps({'event': event, **values}, default=float)}", flush=True)


def work(kind: str, job: Mapping[str, Any]) -> dict[str, Any]:
    """Do one job."""
    if kind == "plan":
        from medpodium.baselines.nnunet.plans import plan_here

        return plan_here(job, emit)
    if kind == "train":
        from medpodium.baselines.nnunet.spread.ddp import train_spread
        from medpodium.baselines.nnunet.training import train_here

        return train_spread(job, emit) if job.get("gpus", 1) > 1 else train_here(job, emit)
    from medpodium.baselines.nnunet.prediction import load_here, predict_here

    if kind == "load":
        networks = [stage.predictor.network for stage in load_here(job)]
        return {"networks": len(networks), "parameters": sum(p.numel() for one in networks for p in one.parameters())}
    return predict_here(job, emit)


def end_with_parent() -> None:
    """End this process and all it started as soon as nobody holds the other end of its standard input.

    A parent that is killed ends nothing by itself: its training would go on, and write over that of its successor.
    """

    def wait() -> None:
        import psutil

        with suppress(OSError, ValueError):
            while os.read(0, 1 << 10):
                pass
        with suppress(psutil.Error):
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    child.kill()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """Read one line, work, report."""
    request = json.loads(sys.stdin.buffer.readline())
    end_with_parent()
    if request["kind"] in ("load", "predict"):
        lazily.install()
    try:
        emit("result", result=work(request["kind"], request["job"]))
    except MedpodiumError as error:
        emit("findings", exit_code=int(error.exit_code), findings=[item.as_dict() for item in error.findings])


if __name__ == "__main__":
    main()
