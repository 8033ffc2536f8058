"""What a run left is looked at beside the next run: in order, only with a processor to spare, and nothing is lost."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges.campaign import folder as campaigns
from medpodium.containers.run.aftermath import Aftermath
from medpodium.findings import InfrastructureError


def test_one_thing_at_a_time_in_order_and_failures_are_raised_once() -> None:
    gate, done, inside = threading.Event(), [], []

    def act(number: int) -> Callable[[], None]:
        def do() -> None:
            inside.append(number)
            assert gate.wait(30)
            assert inside == [number]
            inside.remove(number)
            done.append(number)
            if number == 0:
                raise OSError("the first")

        return do

    aftermath = Aftermath()
    aftermath.begin(act(0), beside=True)
    assert done == []
    gate.set()
    with pytest.raises(OSError, match="the first"):
        aftermath.begin(act(1), beside=True)
    aftermath.begin(act(2), beside=False)
    assert done == [0, 1, 2]
    aftermath.wait()
    with pytest.raises(OSError, match="the first"):
        aftermath.begin(act(0), beside=False)


@pytest.fixture
def world(tiny: Any, inprocess: Any, tmp_path: Path) -> Any:
    """Return a campaign of three cases and one team that answers all of them."""
    made = inprocess.World(tiny, tmp_path)
    made.put("c0", "c1", "c2")
    made.make()
    made.submit("ada", "organs", 1)
    return made


def watched(inprocess: Any, tiny: Any, campaign: Any, look: Callable[[str], None]) -> tuple[Any, list[str]]:
    """Return a runner that tells when a container runs and when its files are looked at."""
    happened: list[str] = []

    class Watched(inprocess.InProcess):
        def contain(self, submission: Any, protocol: Any, pinned: Any, name: str, work: Path) -> Callable[[], Any]:
            happened.append(f"run {len(self.executed)}")
            left = super().contain(submission, protocol, pinned, name, work)
            number = len(self.executed) - 1

            def looked() -> Any:
                look(name)
                happened.append(f"look {number}")
                return left()

            return looked

    return Watched(campaign, tiny), happened


@pytest.mark.parametrize(("processors", "beside"), [(2, True), (1, False)])
def test_the_next_container_runs_beside_only_where_a_processor_is_left(
    tiny: Any, inprocess: Any, posix: None, world: Any, monkeypatch: pytest.MonkeyPatch, processors: int, beside: bool
) -> None:
    """Each container of this challenge is given one processor."""
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    again = threading.Semaphore(0)

    def look(_: str) -> None:
        if beside:  # waits for the container after it; there is none after the last
            again.acquire(timeout=20 if len(happened) < 5 else 0)

    with campaigns.opened(world.root) as campaign:
        runner, happened = watched(inprocess, tiny, campaign, look)
        first = runner.contain

        def contain(*given: Any) -> Any:
            again.release() if happened else None
            return first(*given)

        runner.contain = contain
        told: list[str] = []
        with runner.session():
            runner.run(campaign.submissions(), lambda one, case, problem: told.append(case))
        assert len(campaign.ledger.results()) == 3
    assert told == [case for _, _, case in runner.executed]
    looks = [place for place, what in enumerate(happened) if what.startswith("look")]
    assert [happened[place] for place in looks] == ["look 0", "look 1", "look 2"]
    assert (happened.index("run 1") < happened.index("look 0")) == beside
    assert list((world.root / "work").iterdir()) == []


def test_a_disk_that_fails_while_files_are_looked_at_costs_that_case_only(
    tiny: Any, inprocess: Any, posix: None, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    failing = ["c0", "c1", "c2"]

    def look(name: str) -> None:
        if name in failing:
            failing.clear()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with campaigns.opened(world.root) as campaign:
        runner, _ = watched(inprocess, tiny, campaign, look)
        with runner.session(), pytest.raises(InfrastructureError) as said:
            runner.run(campaign.submissions())
        assert str(said.value.findings[0].code) == "disk-full"
        states = [row["state"] for row in campaign.ledger.attempts()]
        assert states[0] == "infra"
        assert set(states[1:]) <= {"done", "failed"}  # what ran beside it counts
        before = len(campaign.ledger.results())
    assert world.run() == 3 - before
    inprocess.check(world.root)
