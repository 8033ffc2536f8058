"""How well confidence fits what is right, pooled over cases, as functions of case weights.

As in :mod:`medpodium.scoring.measures.pooled.labels`: values of shape (n_resamples, n_submissions), weights of shape
(n_resamples, n_cases). A case whose confidence is NaN is left out for that submission.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from medpodium.scoring.measures.pooled.labels import Classes, Floats, share

Binning = Literal["width", "mass"]
"""Bins of equal width on the confidence from 0 to 1, or of equally many cases."""
TINY = float(np.finfo(np.float64).eps)
"""Probabilities are kept this far from 0 and 1 before a logarithm is taken (scikit-learn's rule)."""


def _means(values: Floats, weights: Floats) -> Floats:
    known = ~np.isnan(values)
    return share(weights @ np.where(known, values, 0.0), weights @ known.astype(np.float64))


def briers(right: Floats, confidence: Floats, weights: Floats) -> Floats:
    """Return the Brier score, the mean of ``(confidence - right)^2`` (Mon. Weather Rev. 78, 1950).

    Parameters
    ----------
    right : ndarray of float, shape (n_cases, n_submissions)
        1 where the answer is right (or the case positive), else 0; or the share of trials that are.
    confidence : ndarray of float, same shape
        Probability given to that.
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    return _means((confidence - right) ** 2, weights)


def log_losses(right: Floats, confidence: Floats, weights: Floats) -> Floats:
    """Return the mean negative logarithm of the probability given to what happened; parameters as :func:`briers`."""
    kept = np.clip(confidence, TINY, 1.0 - TINY)
    return _means(-(right * np.log(kept) + (1.0 - right) * np.log1p(-kept)), weights)


def briers_of_classes(truth: Classes, probabilities: Floats, weights: Floats) -> Floats:
    """Return the Brier score of several classes: the sum of the squared errors of all of them, from 0 to 2.

    Parameters
    ----------
    truth : ndarray of int, shape (n_cases,)
    probabilities : ndarray of float, shape (n_cases, n_submissions, n_classes)
    weights : ndarray of float, shape (n_resamples, n_cases)
    """
    true = (truth[:, None] == np.arange(probabilities.shape[2]))[:, None, :]
    return _means(((probabilities - true) ** 2).sum(axis=2), weights)


def log_losses_of_classes(truth: Classes, probabilities: Floats, weights: Floats) -> Floats:
    """Return the mean negative logarithm of the true class's probability; parameters as :func:`briers_of_classes`."""
    own = np.take_along_axis(probabilities, truth[:, None, None], axis=2)[:, :, 0]
    return _means(-np.log(np.clip(own, TINY, 1.0 - TINY)), weights)


def ranked_probability_scores(truth: Classes, probabilities: Floats, weights: Floats) -> Floats:
    """Return the ranked probability score of ordered classes (Epstein, J. Appl. Meteorol. 8, 1969), from 0 to 1.

    The mean over the cases of the squared differences of both cumulated distributions, over the K - 1 steps between K
    classes; for two classes it is the Brier score. Parameters as :func:`briers_of_classes`.
    """
    number = probabilities.shape[2]
    reached = (truth[:, None] <= np.arange(number))[:, None, :-1]
    apart = np.cumsum(probabilities, axis=2)[:, :, :-1] - reached
    return _means((apart**2).sum(axis=2) / (number - 1), weights)


def shifts(right: Floats, confidence: Floats, weights: Floats) -> Floats:
    """Return the calibration shift, mean confidence minus accuracy; positive means overconfident.

    Parameters as :func:`briers`; the accuracy is that of the cases that have a confidence.
    """
    return _means(confidence - right, weights)


def calibration_errors(
    right: Floats, confidence: Floats, weights: Floats, bins: int = 10, binning: Binning = "width"
) -> Floats:
    """Return the expected calibration error: mean over the cases of ``|accuracy - mean confidence|`` of their bin.

    Bins of equal width are ``(k/bins, (k+1)/bins]``, the first with 0 (Guo et al., ICML 2017). Bins of equal mass hold
    ``n / bins`` of the drawn cases each in the order of their confidence; a case on an edge counts in both, in parts.

    Parameters
    ----------
    right, confidence, weights
        As :func:`briers`.
    bins : int
        Number of bins.
    binning : {"width", "mass"}
        How they are cut.
    """
    out = np.full((len(weights), confidence.shape[1]), np.nan)
    for own in range(confidence.shape[1]):
        known = np.flatnonzero(~np.isnan(confidence[:, own]))
        if not len(known):
            continue
        given, gap = confidence[known, own], confidence[known, own] - right[known, own]
        drawn = weights[:, known]
        total = drawn.sum(axis=1)
        if binning == "width":
            at = np.clip(np.ceil(given * bins - 1e-12).astype(np.int64) - 1, 0, bins - 1)
            inside = (at[:, None] == np.arange(bins)).astype(np.float64)
            error = np.abs(drawn @ (inside * gap[:, None])).sum(axis=1)
        else:
            order = np.argsort(given, kind="stable")
            drawn, gap = drawn[:, order], gap[order]
            ends = np.cumsum(drawn, axis=1)
            error = np.zeros(len(drawn))
            for number in range(bins):
                low, high = total[:, None] * number / bins, total[:, None] * (number + 1) / bins
                part = np.clip(np.minimum(ends, high) - np.maximum(ends - drawn, low), 0.0, None)
                error += np.abs(part @ gap)
        out[:, own] = share(error, total)
    return out
