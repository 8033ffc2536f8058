"""Kill the organizer at forty points, let its disk fail at forty writes: nothing is lost, and nothing done twice."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from medpodium.challenges.campaign import archives
from medpodium.challenges.campaign import folder as campaigns
from medpodium.challenges.campaign.standing import standing

KEYS = ["task", "submission", "case", "structure", "metric"]


class Story:
    """What happens in a campaign from its start to its archive, step by step; every step may be given again."""

    def __init__(self, place: Path, tiny: Any, inprocess: Any) -> None:
        self.world = inprocess.World(tiny, place)
        self.world.put("c0", "c1", "c2")

    def steps(self) -> list[tuple[str, Callable[[], object]]]:
        world, place = self.world, self.world.place
        first, second, file = place / "campaign", place / "moved", place / "campaign.tar"

        def only(missing: Path, action: Callable[[], object]) -> Callable[[], object]:
            return lambda: None if missing.exists() else action()

        def moved() -> None:
            world.root = second
            if not campaigns.is_campaign(second):
                world.root = first
                world.move(second)
            world.root = second

        def withdrawn() -> None:
            with campaigns.opened(world.root) as campaign:
                there = campaign.submissions(team="cyn")
            if there:
                world.exclude("cyn", "disqualified")

        def submitted(team: str, task: str, number: int) -> Callable[[], object]:
            return lambda: world.submit(team, task, number)

        teams = [("ada", 1), ("bob", 2), ("cyn", 3)]
        return [
            ("init", only(first, world.make)),
            *((f"submit {team}", submitted(team, task, n)) for team, n in teams for task in ("organs", "lesions")),
            ("run", world.run),
            ("score", world.score),
            ("correct", lambda: (world.versions["c1"] or world.correct("c1"), world.update())),
            ("add", lambda: ("c3" in world.versions or world.put("c3"), world.add())),
            ("submit ada again", submitted("ada", "organs", 4)),
            ("run again", world.run),
            ("disqualify", withdrawn),
            ("remove", lambda: world.remove("c0")),
            ("score again", world.score),
            ("move", moved),
            ("archive", only(file, lambda: world.archive(file))),
            ("restore", only(place / "restored", lambda: archives.restore(file, place / "restored"))),
            ("rescore", world.score),
        ]

    def outcome(self) -> pd.DataFrame:
        root = self.world.place / "restored"
        with campaigns.opened(root) as campaign:
            known = standing(campaign)
            keys = [(one.submission, one.work_key) for one in campaign.ledger.results()]
        assert not known.pending
        assert not known.stale
        assert len(keys) == len(set(keys)), "a case was counted twice"
        scores = self.world.score(root=root).result.scores
        assert not [path for path in self.world.place.rglob("*.part") if path.parent == root], "a part is left"
        return scores.sort_values(KEYS).reset_index(drop=True)


@pytest.fixture(scope="module")
def undisturbed(tiny: Any, inprocess: Any, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    story = Story(tmp_path_factory.mktemp("undisturbed"), tiny, inprocess)
    for _, action in story.steps():
        action()
    return story.outcome()


def test_kill_the_organizer_at_forty_points(
    tiny: Any, inprocess: Any, posix: None, tmp_path: Path, undisturbed: pd.DataFrame
) -> None:
    rng, kills, number = random.Random(16), 0, 0
    while kills < 40:
        number += 1
        story = Story(tmp_path / str(number), tiny, inprocess)
        for name, action in story.steps():
            for _ in range(2):
                most = 4000 if name.startswith("run") else 400
                if kills < 40 and inprocess.dying(action, rng.randint(1, most)):
                    kills += 1
                    story.world.found()
                    if campaigns.is_campaign(story.world.root):
                        inprocess.check(story.world.root, references=False)
            action()
        pd.testing.assert_frame_equal(story.outcome(), undisturbed)
    assert kills == 40


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
def test_disk_fails_at_twenty_writes(
    tiny: Any, inprocess: Any, posix: None, tmp_path: Path, undisturbed: pd.DataFrame, error: int
) -> None:
    rng, faults, number = random.Random(error), 0, 0
    while faults < 20:
        number += 1
        story = Story(tmp_path / str(number), tiny, inprocess)
        for name, action in story.steps():
            most = 120 if name.startswith("run") else 12
            said = inprocess.failing(action, rng.randint(1, most), error, tmp_path) if faults < 20 else ""
            if said:
                faults += 1
                assert "disk" in said, f"{name}: {said}"
                story.world.found()
                if campaigns.is_campaign(story.world.root):
                    inprocess.check(story.world.root, references=False)
            action()
        pd.testing.assert_frame_equal(story.outcome(), undisturbed)
    assert faults == 20
