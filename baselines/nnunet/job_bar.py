"""Progress of nnU-Net's jobs on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class JobBar:
    """Progress of a job on stderr."""

    def __init__(self, bar: Any) -> None:
        self.bar = bar
        self.line = bar.add_task("starting", total=None)

    def __call__(self, event: Mapping[str, Any]) -> None:
        """Show one event of the worker."""
        if event["event"] == "stage":
            self.bar.update(self.line, description=event["name"], completed=0, total=None)
        elif event["event"] == "epoch":
            text = f"loss {event['loss']:.3f}"
            self.bar.update(self.line, description=text, completed=event["done"], total=event["total"])
        elif event["event"] == "case":
            self.bar.update(self.line, description=event["name"], completed=event["done"], total=event["total"])

    def converting(self, done: int, total: int) -> None:
        """Show the conversion."""
        self.bar.update(self.line, description="checking and converting", completed=done, total=total)
