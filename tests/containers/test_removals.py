"""What is cleared away in the background: in order, and no failure of it is lost."""

from __future__ import annotations

import threading

import pytest

from medpodium.containers.sandbox.engine import Removals


def test_what_was_begun_first_is_done_first_and_waited_for() -> None:
    done: list[int] = []
    gate = threading.Event()
    removals = Removals()
    removals.then(gate.wait, 30)
    for number in range(20):
        removals.then(done.append, number)
    assert done == []
    gate.set()
    removals.wait()
    assert done == list(range(20))
    removals.wait()


def test_first_failure_is_raised_once_and_the_rest_is_done() -> None:
    def fail(text: str) -> None:
        raise OSError(text)

    done: list[int] = []
    removals = Removals()
    removals.then(fail, "first")
    removals.then(fail, "second")
    removals.then(done.append, 1)
    with pytest.raises(OSError, match="first"):
        removals.wait()
    assert done == [1]
    removals.wait()
