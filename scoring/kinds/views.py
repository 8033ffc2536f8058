"""What a kind shows of its observations besides scores: answers against truth, confidence, curves, places.

A kind says what its observations are good for (:meth:`medpodium.scoring.kinds.protocol.Kind.views`), and
:mod:`medpodium.scoring.evidence.observed` makes tables of it, alike for all kinds. Rows are observed answers (a case
may have several: one per order of its options), columns are submissions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]
UNANSWERED = -1
"""Number of an answer that is none of the classes or places: missing, failed or not understood."""


@dataclass(frozen=True)
class Choices:
    """Classes that were answered where others, or the same, are true.

    Parameters
    ----------
    key, title : str
        Short name, unique among the views of a kind, and printed name.
    of_case : ndarray of int, shape (n_rows,)
        Case of every row.
    classes : tuple of str
        Names, in order.
    truth, given : ndarray of int, shapes (n_rows,) and (n_rows, n_submissions)
        Numbers of classes; :data:`UNANSWERED` for none of them.
    told : bool
        Whether single cases may be named with how many got them right. Where classes are few that tells every
        submission, which knows its own answers, what is true.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    classes: tuple[str, ...]
    truth: Ints = field(repr=False)
    given: Ints = field(repr=False)
    told: bool = False


@dataclass(frozen=True)
class Certainty:
    """How sure the answers are, and whether they are right.

    Parameters
    ----------
    right, sure : ndarray of float, shape (n_rows, n_submissions)
        Whether an answer is right (or the share of its trials, or whether the case is positive), and the probability
        given to that; NaN leaves a row out.
    stands_in : ndarray of bool, same shape
        What stands in for a missing answer: it counts in means, and is no measurement.
    positive : bool
        The probability is that of the positive side, not that of being right.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    right: Floats = field(repr=False)
    sure: Floats = field(repr=False)
    stands_in: Bools = field(repr=False)
    positive: bool = False


@dataclass(frozen=True)
class Sides:
    """Scores of a yes-or-no problem.

    Parameters
    ----------
    truth : ndarray of int, shape (n_rows,)
        1 for positive cases, else 0.
    score : ndarray of float, shape (n_rows, n_submissions)
        Higher means more likely positive; NaN leaves a row out.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    truth: Ints = field(repr=False)
    score: Floats = field(repr=False)


@dataclass(frozen=True)
class Places:
    """Where the right option and the chosen one stand among the options, from 0.

    Parameters
    ----------
    options : ndarray of int, shape (n_rows,)
        How many options there are.
    keyed, chosen : ndarray of int, shapes (n_rows,) and (n_rows, n_submissions)
        Places; :data:`UNANSWERED` for none.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    options: Ints = field(repr=False)
    keyed: Ints = field(repr=False)
    chosen: Ints = field(repr=False)


@dataclass(frozen=True)
class Pairs:
    """Numbers that were said, and the true ones.

    Parameters
    ----------
    truth, given : ndarray of float, shapes (n_rows,) and (n_rows, n_submissions)
        NaN: nothing was said.
    unit : str
        Of both.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    truth: Floats = field(repr=False)
    given: Floats = field(repr=False)
    unit: str = ""


@dataclass(frozen=True)
class Rounds:
    """Scores that a judge gave in several rounds.

    Parameters
    ----------
    scores : ndarray of float, shape (n_rows, n_submissions, n_rounds)
        NaN: there was no such round, or no score could be read from it.
    given : ndarray of bool, same shape
        Whether there was such a round.
    judges : tuple of str
        Per submission, who judged and by which prompt; empty where nobody says.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    scores: Floats = field(repr=False)
    given: Bools = field(repr=False)
    judges: tuple[str, ...] = ()


@dataclass(frozen=True)
class Risks:
    """Risks of an event, and when it came.

    Parameters
    ----------
    time : ndarray of float, shape (n_rows,)
        When the event came, or until when the case was seen without it.
    event : ndarray of bool, shape (n_rows,)
        Which of both.
    risk : ndarray of float, shape (n_rows, n_submissions)
        Higher means sooner; NaN where nothing was said.
    unit : str
        Of the times.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    time: Floats = field(repr=False)
    event: Bools = field(repr=False)
    risk: Floats = field(repr=False)
    unit: str = ""


@dataclass(frozen=True)
class Rules:
    """What other rules would have read off the same replies.

    Parameters
    ----------
    rules : tuple of str
        Names; the first is the one that is scored by.
    right, found : ndarray of float, shape (n_rows, n_submissions, n_rules)
        Share of the replies that are right, and in which the rule finds an answer.
    """

    key: str
    title: str
    of_case: Positions = field(repr=False)
    rules: tuple[str, ...]
    right: Floats = field(repr=False)
    found: Floats = field(repr=False)


View: TypeAlias = Choices | Certainty | Sides | Places | Pairs | Rounds | Risks | Rules


@dataclass(frozen=True)
class Views:
    """Everything a kind shows of the observations of one task.

    Parameters
    ----------
    cases, submissions : tuple of str
        Names.
    groups : mapping of str to tuple of str
        Level per case, for every group.
    parts : tuple of View
        What there is to see.
    """

    cases: tuple[str, ...]
    submissions: tuple[str, ...]
    groups: Mapping[str, tuple[str, ...]]
    parts: tuple[View, ...]
