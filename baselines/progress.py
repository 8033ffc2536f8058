"""Progress of nnU-Net's jobs: a bar on the terminal, lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Any


class JobBar:
    """Progress of a job on stderr; where that is no terminal, a line per stage, epoch and case."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.line = bar.add_task("starting", total=None)
        self.title = ""

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event of the worker; folds that are trained side by side are told apart by their number."""
        kind = event["event"]
        if "fold" in event:
            self.title = f"fold {event['fold']}: "
        if kind == "stage":
            self.bar.update(self.line, description=event["name"], completed=0, total=None)
            self._log(event["name"])
        elif kind == "epoch":
            text = f"loss {event['loss']:.3f}"
            self.bar.update(self.line, description=text, completed=event["done"], total=event["total"])
            left = (event["total"] - event["done"]) * event["seconds"] / 3600
            self._log(
                f"epoch {event['done']}/{event['total']}, {text}, pseudo Dice {_mean(event['dice'])}, "
                f"{event['seconds']:.0f} s, about {left:.1f} h to go"
            )
        elif kind == "estimate":
            text = (
                f"about {event['gpu_memory_gb']:.1f} GB of GPU memory and {event['hours']:.2g} h on an A100 (estimated)"
            )
            if self.bar.disable:
                self._log(text)
            else:
                self.bar.console.print(f"{self.title}{text}")
        elif kind in ("case", "failed"):
            self.bar.update(self.line, description=event["name"], completed=event["done"], total=event["total"])
            cause = f": {event['cause']}" if kind == "failed" else ""
            self._log(f"case {event['done']}/{event['total']}, {event['name']}{cause}")

    def converting(self, done: int, total: int) -> None:
        """Show the conversion."""
        self.bar.update(self.line, description="checking and converting", completed=done, total=total)

    def _log(self, text: str) -> None:
        if self.bar.disable:
            print(f"{time.strftime('%H:%M:%S')} {self.title}{text}", file=sys.stderr, flush=True)


def _mean(values: list[float]) -> str:
    known = [value for value in values if value == value]
    return f"{sum(known) / len(known):.3f}" if known else "unknown"
