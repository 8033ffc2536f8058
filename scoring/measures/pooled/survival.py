"""Agreement of risks with times to an event, pooled over cases, as functions of case weights.

Times of some cases are censored: nothing happened until then. Risks of shape (n_cases, n_submissions), higher means
sooner; weights of shape (n_resamples, n_cases), values of shape (n_resamples, n_submissions), NaN where a value is not
defined. A weight says how often a case counts, so that the value is that of repeated rows. A risk that is NaN leaves
its case out for that submission; with an infinite one, every pair of the case is in the wrong order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from medpodium.scoring.measures.pooled.labels import Floats, share

Events = npt.NDArray[np.bool_]
_CELLS = 4_000_000
"""Cells of a (case, case) or (resample, case) array that are held at once."""


def censoring_survival(time: Floats, event: Events, weights: Floats) -> Floats:
    """Return the probability of not being censored until every case's own time, shape (n_resamples, n_cases).

    The Kaplan-Meier estimate of the censoring times (Uno et al., Stat. Med. 30, 2011): events come before censorings at
    the same time, and a censoring at the time itself counts, as in scikit-survival.
    """
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    _, first, which = np.unique(ordered, return_index=True, return_inverse=True)
    which = which.reshape(-1)
    drawn = weights[:, order]
    total = np.add.reduceat(drawn, first, axis=1)
    events = np.add.reduceat(drawn * event[order], first, axis=1)
    remaining = np.cumsum(total[:, ::-1], axis=1)[:, ::-1]
    # whoever has the event at a time is not at risk of being censored then
    at_risk = remaining - events
    factor = np.where(at_risk > 0, 1.0 - (total - events) / np.where(at_risk > 0, at_risk, 1.0), 1.0)
    kept = np.cumprod(factor, axis=1)
    out = np.empty_like(drawn)
    out[:, order] = kept[:, which]
    return out


def _at(time: Floats, kept: Floats, at: float) -> Floats:
    """Return the probability of not being censored until a time, shape (n_resamples,), from that at all own times."""
    before = np.flatnonzero(time <= at)
    return kept[:, before[np.argmax(time[before])]] if len(before) else np.ones(len(kept))


def briers(time: Floats, event: Events, free: Floats, weights: Floats, times: Sequence[float]) -> Floats:
    """Return the integrated Brier score of predicted probabilities of being free of the event; of one time, its score.

    At a time ``t`` the squared error is weighed by the inverse of the probability of not being censored: until the
    event, where that came by ``t``, until ``t``, where the case was seen longer; cases censored before count nothing
    (Graf et al., Stat. Med. 18, 1999). The mean over time follows the trapezoidal rule, as in scikit-survival.

    Parameters
    ----------
    time, event, weights
        As :func:`concordances`.
    free : ndarray of float, shape (n_cases, n_submissions, n_times)
        Probability of no event until each time; NaN leaves the case out, infinity counts as certain and wrong.
    times : sequence of float
        Rising, in the unit of ``time``.
    """
    out = np.full((len(weights), free.shape[1]), np.nan)
    for own in range(free.shape[1]):
        known = ~np.isnan(free[:, own]).any(axis=1)
        drawn = weights * known
        kept = censoring_survival(time, event, drawn)
        inverse = np.nan_to_num(share(np.ones_like(kept), kept))
        scores = []
        for number, at in enumerate(times):
            said = np.where(known, free[:, own, number], 0.0)
            lost = np.isinf(said)
            sure = np.where(lost, 0.0, said)
            gone = np.where(lost, 1.0, sure**2) * ((time <= at) & event)
            stays = np.where(lost, 1.0, (1.0 - sure) ** 2) * (time > at)
            there = np.nan_to_num(share(np.ones(len(weights)), _at(time[known], kept[:, known], at)))
            scores.append(share((drawn * inverse) @ gone + there * (drawn @ stays), drawn.sum(axis=1)))
        if len(times) == 1:
            out[:, own] = scores[0]
        else:
            out[:, own] = np.trapezoid(np.stack(scores), times, axis=0) / (times[-1] - times[0])
    return out


def free_of_event(time: Floats, event: Events, at: Floats) -> tuple[Floats, Floats, Floats, npt.NDArray[np.int64]]:
    """Return the Kaplan-Meier estimate of being free of the event at some times, with its 95 % interval.

    Greenwood's variance on the scale of log(-log); no interval where nobody or everybody had the event.

    Parameters
    ----------
    time : ndarray of float, shape (n_cases,)
    event : ndarray of bool, shape (n_cases,)
    at : ndarray of float, shape (n_times,)

    Returns
    -------
    free, low, high : ndarray of float, shape (n_times,)
    at_risk : ndarray of int, shape (n_times,)
        Cases that are seen at that time or longer.
    """
    moments = np.unique(time[event])
    risk = (time[:, None] >= moments).sum(axis=0)
    happened = ((time[:, None] == moments) & event[:, None]).sum(axis=0)
    steps = np.append(1.0, np.cumprod(1.0 - happened / risk)) if len(moments) else np.ones(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        sums = np.append(0.0, np.cumsum(happened / (risk * (risk - happened)))) if len(moments) else np.zeros(1)
        place = np.searchsorted(moments, at, side="right")
        free = steps[place]
        error = np.sqrt(sums[place]) / np.abs(np.log(free))
        low, high = free ** np.exp(1.96 * error), free ** np.exp(-1.96 * error)
    return free, low, high, (time[:, None] >= at).sum(axis=0)


def concordances(
    time: Floats, event: Events, risk: Floats, weights: Floats, *, uno: bool = False, tau: float | None = None
) -> Floats:
    """Return the concordance index: the share of comparable pairs in which the earlier event has the higher risk.

    A pair is comparable when the earlier time is that of an event, or both are equal and one of them is an event;
    equal risks count one half.

    Parameters
    ----------
    time : ndarray of float, shape (n_cases,)
    event : ndarray of bool, shape (n_cases,)
        Whether the event happened at that time; else the case is censored.
    risk : ndarray of float, shape (n_cases, n_submissions)
    weights : ndarray of float, shape (n_resamples, n_cases)
    uno : bool
        Weigh a pair by the inverse square of the probability of not being censored until its earlier time, which
        makes the value independent of the censoring; Harrell's index weighs all pairs alike.
    tau : float, optional
        Only events before this time count.

    Notes
    -----
    Harrell et al., Stat. Med. 15 (1996) 361-387; Uno et al., Stat. Med. 30 (2011) 1105-1117.
    """
    out = np.full((len(weights), risk.shape[1]), np.nan)
    starts = event if tau is None else event & (time < tau)
    first = np.flatnonzero(starts)
    for own in range(risk.shape[1]):
        given = risk[:, own]
        known = ~np.isnan(given)
        index = first[known[first]]
        drawn = weights * known
        pair = drawn[:, index]
        if uno:
            kept = censoring_survival(time, event, drawn)[:, index]
            pair = pair * share(np.ones_like(kept), kept**2)
            pair = np.nan_to_num(pair)
        hits, all_ = np.zeros(len(weights)), np.zeros(len(weights))
        for part in _parts(index, len(time)):
            chosen = index[part]
            later = (time > time[chosen, None]) | ((time == time[chosen, None]) & ~event)
            higher = np.where(given[chosen, None] > given, 1.0, np.where(given[chosen, None] == given, 0.5, 0.0))
            both = known & np.isfinite(given) & np.isfinite(given[chosen, None])
            higher = np.where(later & both, higher, 0.0)
            all_ += np.einsum("re,re->r", pair[:, part], drawn @ (later & known).T.astype(np.float64))
            hits += np.einsum("re,re->r", pair[:, part], drawn @ higher.T)
        out[:, own] = share(hits, all_)
    return out


def _parts(index: npt.NDArray[np.intp], size: int) -> Iterator[slice]:
    step = max(1, _CELLS // max(size, 1))
    for start in range(0, len(index), step):
        yield slice(start, start + step)


def areas_at(time: Floats, event: Events, risk: Floats, weights: Floats, times: Sequence[float]) -> Floats:
    """Return the cumulative/dynamic area under the ROC curve, the mean over some times of those that are defined.

    At a time ``t`` the cases with an event until ``t`` are compared with those that are free of it after ``t``; an
    event is weighed by the inverse of the probability of not being censored until it (Hung and Chiang 2010; Uno et
    al. 2007). Equal risks count one half.

    Parameters
    ----------
    time, event, risk, weights
        As :func:`concordances`.
    times : sequence of float
        Where, in the unit of ``time``.
    """
    total, defined = (np.zeros((len(weights), risk.shape[1])) for _ in range(2))
    for own in range(risk.shape[1]):
        given = risk[:, own]
        known = ~np.isnan(given)
        drawn = weights * known
        inverse = share(np.ones_like(drawn), censoring_survival(time, event, drawn))
        for at in times:
            ill = np.flatnonzero((time <= at) & event & known)
            free = np.flatnonzero((time > at) & known)
            mass = drawn[:, ill] * np.nan_to_num(inverse[:, ill])
            controls = drawn[:, free]
            hits = np.zeros(len(weights))
            for part in _parts(ill, len(free)):
                whole = np.isfinite(given[ill[part], None]) & np.isfinite(given[free])
                higher = whole & (given[ill[part], None] > given[free])
                same = whole & (given[ill[part], None] == given[free])
                hits += np.einsum("re,re->r", mass[:, part], controls @ (higher + 0.5 * same).T)
            value = share(hits, mass.sum(axis=1) * controls.sum(axis=1))
            total[:, own] += np.nan_to_num(value)
            defined[:, own] += ~np.isnan(value)
    return share(total, defined)
