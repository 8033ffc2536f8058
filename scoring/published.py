"""Values that somebody else published: which rows of a score table they are, of which source, and in which order.

The column ``definition`` says by which rules a value was computed (:mod:`medpodium.scoring.definitions`). Of a value
that was read from a publication it says where it was published: so every row knows, wherever the table goes, and no
digest can be confused with it. The ranks that were published with the values stand in ``published_rank``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from medpodium.scoring import table

if TYPE_CHECKING:
    import pandas as pd

PREFIX = "published in "
"""How the entry of a published value starts in the column ``definition``."""
RECIPE_RANK = "recipe_rank"
"""Column of a leaderboard in its published order: the rank by the recipe of the challenge file."""


def mark(scores: pd.DataFrame, source: str) -> pd.DataFrame:
    """Return scores that say where they were published."""
    marked = scores.assign(**{table.DEFINITION: PREFIX + " ".join(source.split())})
    return marked[table.ordered(marked)]


def sources(scores: pd.DataFrame) -> list[str]:
    """Return where values of a score table were published, each source once; empty where none was."""
    if table.DEFINITION not in scores.columns:
        return []
    entries = [str(entry) for entry in scores[table.DEFINITION].unique()]
    return [entry.removeprefix(PREFIX) for entry in entries if entry.startswith(PREFIX)]


def submissions(scores: pd.DataFrame) -> list[str]:
    """Return the submissions that have published values, sorted."""
    if table.DEFINITION not in scores.columns:
        return []
    own = scores[table.DEFINITION].astype(str).str.startswith(PREFIX)
    return sorted(map(str, scores.loc[own, "submission"].unique()))


def wholly(scores: pd.DataFrame) -> bool:
    """Return whether every value of a score table was published."""
    return bool(sources(scores)) and bool(scores[table.DEFINITION].astype(str).str.startswith(PREFIX).all())


def ranks(scores: pd.DataFrame) -> dict[str, float]:
    """Return the published rank by submission, of one task; only those that have exactly one."""
    if table.PUBLISHED_RANK not in scores.columns:
        return {}
    found: dict[str, set[float]] = {}
    for name, text in scores[["submission", table.PUBLISHED_RANK]].drop_duplicates().itertuples(index=False):
        try:
            found.setdefault(str(name), set()).add(float(text))
        except ValueError:
            found.setdefault(str(name), set())
    return {name: own.pop() for name, own in found.items() if len(own) == 1}


def ordered(board: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Return a leaderboard in its published order, the rank by the recipe in a column of its own.

    As it is where the values were not published, or not with a rank of every submission that is ranked.

    Parameters
    ----------
    board : pandas.DataFrame
        ``rank``, ``submission``, and any other columns.
    scores : pandas.DataFrame
        The task's rows of the score table.
    """
    known = ranks(scores) if wholly(scores) else {}
    if not known or not set(board.loc[board["rank"].notna(), "submission"]) <= set(known):
        return board
    told = board.rename(columns={"rank": RECIPE_RANK})
    told.insert(list(board.columns).index("rank"), "rank", told["submission"].map(known))
    return told.sort_values(["rank", "submission"], na_position="last", ignore_index=True)
