"""The array a recipe works on: scores with named axes, where every empty cell says why it is empty."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from medpodium.challenges.schema.steps import Direction
from medpodium.findings import Code, Finding, MedpodiumError
from medpodium.scoring import policy

Floats = npt.NDArray[np.float64]
States = npt.NDArray[np.uint8]
MissingPolicy = Literal["worst", "skip"] | float

ABSENT = np.uint8(0)
"""Not asked of anybody, or skipped by policy: never counted, never imputed."""
OK = np.uint8(1)
MISSING = np.uint8(2)
"""Asked for and not delivered: the declared policy decides."""


class RankingCode(Code):
    """What can be wrong when scores are ranked."""

    NO_SCORES = "ranking-no-scores"
    UNKNOWN_TASK = "ranking-unknown-task"
    DUPLICATE_ROWS = "ranking-duplicate-rows"
    NO_CASES_OF_SUBMISSION = "ranking-submission-without-cases"
    ONE_CASE = "ranking-one-case"
    ONE_SUBMISSION = "ranking-one-submission"
    ALL_TIED = "ranking-all-tied"
    ALL_MISSING = "ranking-all-missing"
    INFINITE = "ranking-infinite-value"
    MISSING_VALUES = "ranking-missing-values"
    MIXED_DIRECTIONS = "ranking-mixed-directions"
    """A step would average metrics of which some are better when high and others when low."""
    NO_DIRECTION = "ranking-no-direction"
    BAD_STEP = "ranking-bad-step"
    UNKNOWN_LABEL = "ranking-unknown-label"
    UNRANKED = "ranking-submission-unranked"
    NO_PAIRS = "ranking-no-common-case"
    POOLED_FIXED = "ranking-pooled-not-resampled"
    POOLED_UNDEFINED = "ranking-pooled-undefined"
    NOT_POSSIBLE = "ranking-not-possible"
    LOST_IN_RESAMPLE = "ranking-lost-in-resample"
    NO_GUARANTEE = "ranking-sets-without-guarantee"
    SEVERAL_OPTIMA = "ranking-several-optima"
    TOO_FEW_CASES = "ranking-too-few-cases"
    GROUP_CONFLICT = "ranking-group-conflict"
    CLUSTERED = "ranking-cases-in-clusters"
    CLUSTER_IGNORED = "ranking-cluster-ignored"
    TORN_CLUSTER = "ranking-cluster-in-two-strata"
    EVIDENCE_OTHER = "ranking-evidence-of-other-scores"


def problem(code: RankingCode, where: str, cause: str, fix: str) -> MedpodiumError:
    """Return the error of one finding."""
    return MedpodiumError(Finding(code, where, cause, fix))


def near(name: str, known: Iterable[str]) -> str:
    """Return a hint naming the closest known name, or all of them."""
    known = list(known)
    match = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {match[0]!r}?" if match else f"known: {', '.join(known) or 'none'}"


@dataclass(frozen=True)
class ScoreArray:
    """Scores of one task, ``submission`` first, then any of ``case``, ``structure``, ``metric`` and groups.

    Parameters
    ----------
    values : ndarray of float, shape (n_submissions, ...) or (n_resamples, n_submissions, ...)
        NaN unless the state is OK.
    state : ndarray of uint8, same shape
        ABSENT, OK or MISSING.
    dims : tuple of str
        Names of the axes after the optional resample axis; the first is ``submission``.
    labels : mapping of str to tuple of str
        Labels of every axis.
    better : tuple of {"higher", "lower"}
        Direction per label of ``metric``, or one entry when there is no such axis.
    policy : tuple
        Missing policy per label of ``metric`` (or one entry): ``worst``, ``skip``, a number, or None for
        no policy.
    worst : tuple of float
        Worst possible value per label of ``metric`` (or one entry); NaN where there is none.
    groups : mapping of str to tuple of str
        Group columns: a level per case.
    pooled : tuple of bool
        Per case: whether it is no case but a value of a whole set, which a bootstrap must not resample.
    """

    values: Floats
    state: States
    dims: tuple[str, ...]
    labels: Mapping[str, tuple[str, ...]]
    better: tuple[Direction, ...]
    policy: tuple[MissingPolicy | None, ...]
    worst: tuple[float, ...]
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    pooled: tuple[bool, ...] = ()

    @property
    def resampled(self) -> bool:
        """Whether the leading axis is the resample."""
        return self.values.ndim == len(self.dims) + 1

    @property
    def submissions(self) -> tuple[str, ...]:
        """Names of the submissions."""
        return self.labels["submission"]

    @property
    def cases(self) -> tuple[str, ...]:
        """Names of the cases; empty once they have been reduced."""
        return self.labels.get("case", ()) if "case" in self.dims else ()

    def axis(self, dim: str) -> int:
        """Return the position of a dimension in ``values``."""
        if dim not in self.dims:
            raise problem(
                RankingCode.BAD_STEP,
                dim,
                f"there is no dimension {dim!r} at this step, only {', '.join(self.dims)}",
                "name a remaining dimension, or move the step up",
            )
        return self.dims.index(dim) + int(self.resampled)

    def take(self, dim: str, keep: Sequence[int]) -> ScoreArray:
        """Return the array with only some labels of a dimension."""
        axis, index = self.axis(dim), np.asarray(keep, dtype=np.intp)
        labels = {**self.labels, dim: tuple(self.labels[dim][position] for position in keep)}
        changed = replace(
            self,
            values=np.take(self.values, index, axis=axis),
            state=np.take(self.state, index, axis=axis),
            labels=labels,
        )
        if dim == "case":
            groups = {name: tuple(levels[position] for position in keep) for name, levels in self.groups.items()}
            pooled = tuple(self.pooled[position] for position in keep)
            return replace(changed, groups=groups, pooled=pooled)
        if dim == "metric":
            better = tuple(self.better[position] for position in keep)
            policy = tuple(self.policy[position] for position in keep)
            worst = tuple(self.worst[position] for position in keep)
            return replace(changed, better=better, policy=policy, worst=worst)
        return changed

    def along_metric(self, per_metric: Sequence[float]) -> Floats:
        """Return one number per metric, shaped to broadcast against ``values``."""
        if "metric" not in self.dims:
            return np.asarray(per_metric[0], dtype=np.float64)
        shape = [1] * self.values.ndim
        shape[self.axis("metric")] = len(self.labels["metric"])
        return np.asarray(per_metric, dtype=np.float64).reshape(shape)

    def keys(self) -> Floats:
        """Return values turned so that smaller is better everywhere."""
        return self.values * self.along_metric([-1.0 if way == "higher" else 1.0 for way in self.better])

    def resolve(self, declared: object, *, ranking: bool = False, told: bool = False) -> ScoreArray:
        """Apply a missing policy: a step's own one, or every metric's where the step has none.

        Cells stay MISSING where the policy is to be the worst and no worst value is known.

        Parameters
        ----------
        declared : "skip", "worst", "after-last", number or None
            Policy of the step.
        ranking : bool
            The step ranks, so its own ``worst`` means worse than every value, not the metric's worst value.
        told : bool
            Numbers are wanted even of a step that ranks (:func:`medpodium.scoring.policy.stand_in`).
        """
        missing = self.state == MISSING
        if not missing.any():
            return self
        rules = list(zip(self.policy, self.worst, strict=True))
        fills = [policy.stand_in(declared, rule, worst, ranking=ranking, told=told) for rule, worst in rules]
        skips = [float(policy.leaves_out(declared, rule)) for rule in self.policy]
        fill = np.broadcast_to(self.along_metric(fills), missing.shape)
        skip = np.broadcast_to(self.along_metric(skips) > 0, missing.shape)
        filled = missing & ~np.isnan(fill)
        values = np.where(filled, fill, self.values)
        state = np.where(filled, OK, np.where(missing & skip, ABSENT, self.state)).astype(np.uint8)
        return replace(self, values=values, state=state)
