"""What the trials of one question came to."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True)
class Mark:
    """What one part of a question (an order of its options) came to.

    Parameters
    ----------
    answers : tuple of (str or None)
        Answer of every trial, by the letters of the key; None where none was found.
    right : tuple of bool
        Whether each is right.
    total : int
        How many trials there should have been; those that lack are wrong.
    confidence : float
        Mean of the given ones, NaN for none.
    """

    answers: tuple[str | None, ...]
    right: tuple[bool, ...]
    total: int
    confidence: float

    @property
    def found(self) -> bool:
        """Whether any trial has an answer."""
        return any(answer is not None for answer in self.answers)

    @property
    def share(self) -> float:
        """Share of the trials that are right."""
        return sum(self.right) / self.total

    @property
    def majority(self) -> str | None:
        """Answer given most often, of several the one that came first; None where most trials have none."""
        if len(self.answers) == 1:
            return self.answers[0]
        counts = Counter(self.answers)
        most = max(counts.values(), default=0)
        return next((answer for answer in self.answers if counts[answer] == most), None)

    def agreed(self, options: int) -> float:
        """Return the confidence of the trials in each other: ``1 - H / log K`` of the shares of their answers.

        Trials without an answer count as one more answer; the confidence is never below 0.

        Parameters
        ----------
        options : int
            K, the number of options.
        """
        number = len(self.answers)
        shares = [count / number for count in Counter(self.answers).values()]
        if options < 2:
            return 1.0
        entropy = -math.fsum(share * math.log(share) for share in shares)
        return max(0.0, 1.0 - entropy / math.log(options))
