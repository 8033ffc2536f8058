"""What was answered where something else is true, in which place, on which cases, and who agrees with whom."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.scoring.kinds.views import UNANSWERED, Choices, Places, Views

Floats = npt.NDArray[np.float64]
NO_ANSWER = "no answer"
"""Column of a confusion matrix for what is none of the classes: missing, failed or not understood."""


def confusion(view: Choices, views: Views) -> pd.DataFrame:
    """Return how often each class was answered where each is true.

    Returns
    -------
    DataFrame
        Columns part, submission, truth, answer, n, in the order of the classes; without an answer last, where there
        are such cases.
    """
    number, known = len(view.classes), view.truth >= 0
    names = np.array([*view.classes, NO_ANSWER], dtype=object)
    parts = []
    for at, submission in enumerate(views.submissions):
        given = np.where(view.given[:, at] < 0, number, view.given[:, at])[known]
        counts = np.bincount(view.truth[known] * (number + 1) + given, minlength=number * (number + 1))
        grid = counts.reshape(number, number + 1)
        width = number + 1 if grid[:, number].any() else number
        truth, answer = np.indices((number, width)).reshape(2, -1)
        rows = {"truth": names[truth], "answer": names[answer], "n": grid[:, :width].ravel()}
        parts.append(pd.DataFrame(rows).assign(submission=submission))
    return pd.concat(parts, ignore_index=True).assign(part=view.key)


def places(view: Places, views: Views) -> pd.DataFrame:
    """Return how often every place among the options was chosen, and how often the right option stands there.

    ``wrong`` counts wrong answers in the place, ``expected`` how many there would be if wrong answers went to all
    wrong options alike. Rows without an answer, or without a key among the options, do not count.

    Returns
    -------
    DataFrame
        Columns part, submission, place (from 1), n, keyed, chosen, wrong, expected.
    """
    most = int(view.options.max(initial=1))
    parts = []
    for at, submission in enumerate(views.submissions):
        kept = np.flatnonzero((view.chosen[:, at] >= 0) & (view.keyed >= 0) & (view.options > 1))
        chosen, keyed, options = view.chosen[kept, at], view.keyed[kept], view.options[kept]
        missed = chosen != keyed
        shares = np.where(missed, 1.0 / (options - 1), 0.0)
        there = np.array([shares[options > place].sum() for place in range(most)])
        rows = {
            "place": np.arange(1, most + 1),
            "n": len(kept),
            "keyed": np.bincount(keyed, minlength=most),
            "chosen": np.bincount(chosen, minlength=most),
            "wrong": np.bincount(chosen[missed], minlength=most),
            "expected": there - np.bincount(keyed, weights=shares, minlength=most),
        }
        parts.append(pd.DataFrame(rows).assign(submission=submission))
    return pd.concat(parts, ignore_index=True).assign(part=view.key)


def hardest(view: Choices, views: Views) -> pd.DataFrame:
    """Return for every case which part of the submissions is right, the hardest first.

    Without an answer a submission is wrong; of a case with several rows (orders of the options) each counts.

    Returns
    -------
    DataFrame
        Columns part, case, n (submissions that answered in some row), right (share of the answers), same_wrong (largest
        share of the submissions that give one wrong answer).
    """
    right = (view.given == view.truth[:, None]).mean(axis=1)
    answered = view.given != UNANSWERED
    rows = np.bincount(view.of_case, minlength=len(views.cases))
    present = np.flatnonzero(rows > 0)
    share = np.bincount(view.of_case, weights=right, minlength=len(views.cases))[present] / rows[present]
    wrong = np.where(view.given == view.truth[:, None], UNANSWERED, view.given)
    most = np.zeros(len(wrong))
    for number in range(len(view.classes)):
        most = np.maximum(most, (wrong == number).mean(axis=1))
    same = np.bincount(view.of_case, weights=most, minlength=len(views.cases))[present] / rows[present]
    someone = np.zeros((len(views.cases), answered.shape[1]), dtype=bool)
    np.logical_or.at(someone, view.of_case, answered)
    frame = pd.DataFrame(
        {
            "case": np.asarray(views.cases, dtype=object)[present],
            "n": someone[present].sum(axis=1),
            "right": share,
            "same_wrong": same,
        }
    )
    frame = frame.sort_values(["right", "same_wrong", "case"], ascending=[True, False, True], ignore_index=True)
    return frame.assign(part=view.key)


def agreement(view: Choices, views: Views) -> pd.DataFrame:
    """Return for every pair of submissions how often they give the same answer, and Cohen's kappa of it.

    Rows count where both answered. ``same_wrong`` is the share of the rows that both got wrong in which they give the
    same wrong answer: what shared training data would show as.

    Returns
    -------
    DataFrame
        Columns part, submission, versus, n, same, kappa, same_wrong; every pair once, in the order of the names.
    """
    names, rows = views.submissions, []
    indicator = [(view.given == number).astype(np.float32) for number in range(len(view.classes))]
    answered = (view.given >= 0).astype(np.float32)
    missed = ((view.given >= 0) & (view.given != view.truth[:, None])).astype(np.float32)
    both = (answered.T @ answered).astype(np.float64)
    same = sum((one.T @ one for one in indicator), np.zeros_like(both))
    lost = (missed.T @ missed).astype(np.float64)
    same_lost = sum(((one * missed).T @ (one * missed) for one in indicator), np.zeros_like(both))
    # of rows that both answered, how often each gives a class
    margins = np.stack([one.T @ answered for one in indicator]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = same / both
        chance = (margins * margins.transpose(0, 2, 1)).sum(axis=0) / both**2
        kappa = (share - chance) / (1 - chance)
        common = same_lost / lost
    for one in range(len(names)):
        for two in range(one + 1, len(names)):
            numbers = (float(part[one, two]) for part in (share, kappa, common))
            rows.append((names[one], names[two], int(both[one, two]), *numbers))
    columns = ["submission", "versus", "n", "same", "kappa", "same_wrong"]
    return pd.DataFrame(rows, columns=columns).assign(part=view.key)
