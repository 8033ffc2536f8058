"""Whatever an organizer does, in whatever order, and wherever it is killed: the scores are those of a fresh start.

Random sequences of every verb (:mod:`hypothesis.stateful`). After each step the scores are compared with those of a
campaign that was made from the final state at once: the same cases, references, teams and images. Containers are
functions here, so that hundreds of steps take seconds; a kill is a real SIGKILL at any line of the rooms of campaigns.
A long run: ``MEDPODIUM_STATES`` is how many sequences are tried, ``MEDPODIUM_STATES_SEED`` a number that repeats them.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from medpodium.challenges.campaign import folder as campaigns
from medpodium.challenges.campaign.standing import standing
from medpodium.findings import UsageError

KEYS = ["task", "submission", "case", "structure", "metric"]
TEAMS, TASKS = ("ada", "bob", "cyn"), ("organs", "lesions", "atlas")
LINES = st.integers(1, 1500)
"""Where a process is killed; most verbs execute some hundred lines."""


def sorted_scores(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.sort_values(KEYS).reset_index(drop=True)


class Campaigns(RuleBasedStateMachine):
    """An organizer, and the state that the campaign should be in."""

    tiny: Any = None
    inprocess: Any = None
    counts: ClassVar[dict[str, int]] = {}
    expected: ClassVar[dict[Any, pd.DataFrame]] = {}

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="campaigns-"))
        self.entries: dict[tuple[str, str], int] = {}
        self.kept: dict[tuple[str, str], int] = {}
        self.out: dict[str, str] = {}
        self.number = 0

    def teardown(self) -> None:
        """Finish the campaign and compare once more, then with everything run."""
        if hasattr(self, "world"):
            self.world.run()
            assert self.world.run() == 0, "something is run twice"
            self.same()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -- doing, killed or not --

    def do(self, name: str, action: Any, line: int | None) -> None:
        """Do something; where it is killed, do it again, as an organizer does."""
        type(self).counts[name] = type(self).counts.get(name, 0) + 1
        if line is not None:
            if not self.inprocess.dying(action, line):  # it was over before: given twice, it changes nothing more
                self.world.found()
                return self.again(action)
            type(self).counts["killed"] = type(self).counts.get("killed", 0) + 1
            self.world.found()
            if campaigns.is_campaign(self.world.root):
                self.inprocess.check(self.world.root, references=False)
            return self.again(action)
        action()
        return None

    def again(self, action: Any) -> None:
        """Give a command again; what the killed process had decided on is done already."""
        try:
            action()
        except UsageError as error:
            if str(error.findings[0].code) not in ("team-excluded", "team-unknown"):
                raise

    @initialize(cases=st.integers(1, 3), line=st.none() | LINES)
    def start(self, cases: int, line: int | None) -> None:
        self.world = self.inprocess.World(self.tiny, self.folder)
        self.world.put(*(f"c{number}" for number in range(cases)))
        self.cases = {f"c{number}" for number in range(cases)}
        self.next = cases

        def make() -> None:
            if not campaigns.is_campaign(self.world.root):
                self.world.make()

        self.do("init", make, line)

    @rule(team=st.sampled_from(TEAMS), task=st.sampled_from(TASKS), number=st.integers(0, 5), line=st.none() | LINES)
    def submit(self, team: str, task: str, number: int, line: int | None) -> None:
        if self.out.get(team) == "disqualified":
            with pytest.raises(UsageError, match="disqualified"):
                self.world.submit(team, task, number)
            return
        self.do("submit", lambda: self.world.submit(team, task, number), line)
        self.entries[team, task] = number
        self.kept.pop((team, task), None)
        if self.out.get(team) and not any(who == team for who, _ in self.kept):
            del self.out[team]

    @precondition(lambda self: self.entries)
    @rule(data=st.data(), kind=st.sampled_from(["withdrawn", "disqualified"]), line=st.none() | LINES)
    def exclude(self, data: Any, kind: str, line: int | None) -> None:
        team = data.draw(st.sampled_from(sorted({team for team, _ in self.entries})))
        self.do("exclude", lambda: self.world.exclude(team, kind), line)
        self.kept |= {key: number for key, number in self.entries.items() if key[0] == team}
        self.entries = {key: number for key, number in self.entries.items() if key[0] != team}
        self.out[team] = kind

    @precondition(lambda self: self.out)
    @rule(data=st.data(), line=st.none() | LINES)
    def reinstate(self, data: Any, line: int | None) -> None:
        team = data.draw(st.sampled_from(sorted(self.out)))
        self.do("reinstate", lambda: self.world.reinstate(team), line)
        back = {key: number for key, number in self.kept.items() if key[0] == team}
        self.kept = {key: number for key, number in self.kept.items() if key[0] != team}
        self.entries |= back
        del self.out[team]

    @precondition(lambda self: self.entries)
    @rule(line=st.none() | st.integers(1, 6000), some=st.booleans())
    def run(self, line: int | None, some: bool) -> None:
        teams = (TEAMS[0],) if some else ()
        type(self).counts["run"] = type(self).counts.get("run", 0) + 1
        if line is not None and self.inprocess.dying(lambda: self.world.run(teams=teams), line):
            type(self).counts["killed"] = type(self).counts.get("killed", 0) + 1
            self.inprocess.check(self.world.root)
            return  # an organizer who goes to lunch
        self.world.run(teams=teams)
        assert self.world.run(teams=teams) == 0, "something is run twice"

    @precondition(lambda self: self.entries)
    @rule(line=st.none() | LINES)
    def rerun(self, line: int | None) -> None:
        self.do("rerun", self.world.rerun, line)

    @rule(data=st.data(), line=st.none() | LINES)
    def correct(self, data: Any, line: int | None) -> None:
        self.world.correct(data.draw(st.sampled_from(sorted(self.cases))))
        self.do("correct", self.world.update, line)

    @precondition(lambda self: self.next < 6)
    @rule(line=st.none() | LINES)
    def add(self, line: int | None) -> None:
        name = f"c{self.next}"
        self.next += 1
        self.world.put(name)
        self.do("add", self.world.add, line)
        self.cases.add(name)

    @precondition(lambda self: len(self.cases) > 1)
    @rule(data=st.data(), line=st.none() | LINES)
    def remove(self, data: Any, line: int | None) -> None:
        name = data.draw(st.sampled_from(sorted(self.cases)))
        self.do("remove", lambda: self.world.remove(name), line)
        self.cases.discard(name)

    @rule(line=st.none() | LINES)
    def move(self, line: int | None) -> None:
        self.number += 1
        target = self.folder / f"campaign-{self.number}"

        def moved() -> None:
            if self.world.root != target:
                self.world.move(target)

        self.do("move", moved, line)
        self.world.root = target

    @rule(line=st.none() | LINES, data=st.booleans())
    def archive(self, line: int | None, data: bool) -> None:
        from medpodium.challenges.campaign import archives

        self.number += 1
        file, target = self.folder / f"{self.number}.tar", self.folder / f"campaign-{self.number}"

        def archived() -> None:
            if not file.exists():
                self.world.archive(file, data=data)

        def restored() -> None:
            if not campaigns.is_campaign(target):
                archives.restore(file, target)

        self.do("archive", archived, line)
        shutil.rmtree(self.world.root)
        self.world.root = target
        self.do("restore", restored, line)
        if data:  # what it carries is what was hashed; the organizer goes on with the folders
            with campaigns.opened(target) as campaign:
                assert campaign.cases_dir == target.resolve() / "data" / "cases"
                archives.relocated(campaign, self.world.images, self.world.labels)

    @precondition(lambda self: self.entries)
    @rule(line=LINES)
    def score(self, line: int) -> None:
        """Killed or not: whoever scores next has the same."""
        type(self).counts["score"] = type(self).counts.get("score", 0) + 1
        if self.inprocess.dying(self.world.score, line):
            type(self).counts["killed"] = type(self).counts.get("killed", 0) + 1

    # -- what is always true --

    @invariant()
    def same(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        self.inprocess.check(world.root)
        with campaigns.opened(world.root) as campaign:
            assert set(campaign.case_names()) == self.cases
            entered = {(one.team, one.task): one.digest for one in campaign.submissions()}
            assert entered == {key: self.inprocess.image(number) for key, number in self.entries.items()}
            pending = {
                (one.task, one.team, case)
                for one in campaign.submissions()
                for name in campaign.pending(one)
                for case in ([name] if name else campaign.case_names())
            }
        if not self.entries:
            return
        mine = world.score().result.scores
        whole = world.score(out=self.folder / "whole.parquet").result.scores
        pd.testing.assert_frame_equal(mine, whole)
        pd.testing.assert_frame_equal(mine, pd.read_parquet(world.root / "scores.parquet"), check_dtype=False)
        with campaigns.opened(world.root) as campaign:
            known = standing(campaign)
        assert not known.stale
        assert sum(known.pending.values()) == len(pending)
        fresh = sorted_scores(self.fresh())
        mine = sorted_scores(mine)
        lost = [(task, team, case) in pending for task, team, case in mine[KEYS[:3]].itertuples(index=False)]
        assert set(mine.loc[lost, "status"]) <= {"missing"}
        there = [(task, team, case) not in pending for task, team, case in fresh[KEYS[:3]].itertuples(index=False)]
        done = mine[[not one for one in lost]].reset_index(drop=True)
        pd.testing.assert_frame_equal(done, fresh[there].reset_index(drop=True))

    def fresh(self) -> pd.DataFrame:
        """Return the scores of a campaign that was made of the present state at once."""
        versions = tuple(sorted((case, self.world.versions[case]) for case in self.cases))
        state = (versions, tuple(sorted(self.entries.items())))
        if state not in self.expected:
            root = self.folder / "fresh"
            self.world.make(root, self.cases)
            for (team, task), number in sorted(self.entries.items()):
                self.world.submit(team, task, number, root)
            self.world.run(root)
            self.expected[state] = self.world.score(root=root).result.scores
            shutil.rmtree(root)
        return self.expected[state]


@pytest.mark.slow
def test_any_order_of_verbs_gives_the_scores_of_a_fresh_start(tiny: Any, inprocess: Any, posix: None) -> None:
    Campaigns.tiny, Campaigns.inprocess = tiny, inprocess
    Campaigns.counts, Campaigns.expected = {}, {}
    examples, number = int(os.environ.get("MEDPODIUM_STATES", "4")), os.environ.get("MEDPODIUM_STATES_SEED")
    if number is not None:
        seed(int(number))(Campaigns)
    run_state_machine_as_test(
        Campaigns,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            derandomize="MEDPODIUM_STATES" not in os.environ and number is None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(Campaigns.counts)
    assert Campaigns.counts.get("killed", 0) >= examples
