"""What the platforms' own models refuse is not in a bundle."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize("reference", ["feta/2024", "flare-pancancer", "liqa"])
def test_titles_of_codabench_columns_fit_its_model_and_stay_different(reference: str) -> None:
    """36 characters (codalab/codabench, src/apps/leaderboards/models.py); 0.1.0's bundle of feta/2024 was refused."""
    from medpodium.challenges import registry
    from medpodium.containers.platforms.codabench.export import competition

    challenge = registry.load(reference)
    for task in challenge.tasks:
        made = competition(challenge, task, "python:3.11", "2026-01-01", 10, 60)
        titles = [column["title"] for column in made["leaderboards"][0]["columns"]]
        assert all(0 < len(title) <= 36 for title in titles), max(titles, key=len)
        assert len(set(titles)) == len(titles)
