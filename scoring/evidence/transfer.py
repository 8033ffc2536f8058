"""Does pre-training pay? A benchmark over many data sets, from scratch against fine-tuned.

The unit is the data set: each is one case of a score table, whatever the size of its test set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from medpodium.findings import Code, Finding, Severity
from medpodium.scoring import table
from medpodium.scoring.ranking.settled import settle_as_given
from medpodium.scoring.rows import ImportCode

SIZE_BINS = ((0, 50, "<=50"), (51, 200, "51-200"), (201, None, ">200"))
"""Training cases from, to (inclusive), and the bin's name, as the challenge file's group ``size_bin`` lists them."""

FINE_TUNED = ("_ft", "-ft", " ft")
"""Endings that mark the fine-tuned twin of a model."""


class TransferCode(Code):
    """What can be wrong with a suite of data sets."""

    UNKNOWN_DATA_SET = "suite-data-set-unknown"
    NO_PAIR = "suite-no-pair"
    DATASET_JSON = "dataset-json-invalid"
    LABELS_AMBIGUOUS = "label-names-doubtful"
    """A source states names and numbers of labels that do not fit together."""


@dataclass(frozen=True)
class SuiteAnalysis:
    """Results over a suite of data sets.

    Parameters
    ----------
    models : DataFrame
        Per submission: n (data sets), macro_mean, mean_rank (1 is best; exact ties share the mean rank), best
        (data sets it wins alone or shares).
    pairs : DataFrame
        Per pair: scratch, fine_tuned, n, mean_gain, median_gain, wins, losses, ties.
    gains : DataFrame
        Per pair, grouping and level: n, scratch mean, fine-tuned mean, mean_gain, wins. Groupings are the group
        columns and ``size_quantile`` (terciles of the training size).
    findings : tuple of Finding
    """

    models: pd.DataFrame
    pairs: pd.DataFrame
    gains: pd.DataFrame
    findings: tuple[Finding, ...]


def data_sets() -> pd.DataFrame:
    """Return the 87 data sets of the suite as facts, with a column ``size_bin``.

    Columns dataset, modality, channels, target_kind, train, test, foreground_labels, patch_zyx (voxels),
    spacing_zyx_mm, flag (known wrong entries) and source.
    """
    path = Path(__file__).resolve().parents[2] / "challenges" / "stunet-transfer" / "datasets.csv"
    frame = pd.read_csv(path, keep_default_na=False)
    return frame.assign(size_bin=[size_bin(int(train)) for train in frame["train"]])


def size_bin(train: int) -> str:
    """Return the suite's size bin of a number of training cases."""
    return next(name for low, high, name in SIZE_BINS if low <= train and (high is None or train <= high))


def analyse(scores: pd.DataFrame, *, pairs: Mapping[str, str] | None = None, quantiles: int = 3) -> SuiteAnalysis:
    """Compare models over data sets, and each model with its fine-tuned twin.

    Parameters
    ----------
    scores : DataFrame
        As :func:`read_suite` returns them.
    pairs : mapping of str to str, optional
        From-scratch submission to fine-tuned one; by the endings :data:`FINE_TUNED` when left out.
    quantiles : int
        Number of bins of equal count for the training size.
    """
    settled = settle_as_given(scores, str(scores["metric"].iloc[0]))
    wide = settled.frame(settled.blocks[0]).rename_axis(columns="submission")
    findings = []
    incomplete = wide.index[wide.isna().any(axis=1)]
    for name in incomplete:
        lacking = ", ".join(wide.columns[wide.loc[name].isna()])
        fix = "the data set is left out of ranks, and of pairs that lack a value"
        findings.append(Finding(ImportCode.NOT_A_NUMBER, str(name), f"no value of {lacking}", fix, Severity.WARNING))
    complete = wide.drop(index=incomplete)
    ranks = complete.rank(axis=1, ascending=False, method="average")
    models = pd.DataFrame(
        {
            "n": wide.notna().sum(),
            "macro_mean": wide.mean(),
            "mean_rank": ranks.mean(),
            "best": complete.eq(complete.max(axis=1), axis=0).sum(),
        }
    )
    chosen = dict(pairs) if pairs is not None else _twins(list(wide.columns))
    if not chosen:
        fix = f"name pairs, or end the fine-tuned model's name in {FINE_TUNED[0]}"
        text = "no from-scratch model has a fine-tuned twin"
        findings.append(Finding(TransferCode.NO_PAIR, "scores", text, fix, Severity.WARNING))
    facts = scores.drop_duplicates("case").set_index("case")[table.group_columns(scores)]
    train = facts["train"] if "train" in facts else pd.Series("", index=facts.index)
    facts = facts.assign(size_quantile=size_quantiles(pd.to_numeric(train, errors="coerce"), quantiles))
    order = models.sort_values(["mean_rank", "macro_mean"], ascending=[True, False])
    return SuiteAnalysis(
        order.rename_axis("submission").reset_index(),
        pd.DataFrame([_pair(wide, *pair) for pair in chosen.items()]),
        _gains(wide, chosen, facts.drop(columns="train", errors="ignore")),
        tuple(findings),
    )


def _twins(names: Sequence[str]) -> dict[str, str]:
    return {
        name.removesuffix(ending): name
        for name in names
        for ending in FINE_TUNED
        if name.endswith(ending) and name.removesuffix(ending) in names
    }


def _pair(wide: pd.DataFrame, scratch: str, tuned: str) -> dict[str, object]:
    gain = (wide[tuned] - wide[scratch]).dropna()
    # published values have four decimals; a float subtraction must not turn a tie into a win
    sign = np.sign(gain.round(12))
    return {
        "scratch": scratch,
        "fine_tuned": tuned,
        "n": len(gain),
        "mean_gain": gain.mean(),
        "median_gain": gain.median(),
        "wins": int((sign > 0).sum()),
        "losses": int((sign < 0).sum()),
        "ties": int((sign == 0).sum()),
    }


def size_quantiles(train: pd.Series[float], bins: int) -> pd.Series[str]:
    """Return for every data set which of ``bins`` equally filled bins of the training size it is in.

    The bins' names give the sizes they hold (``16-80``); equal sizes are never separated.
    """
    known = train.dropna()
    if known.empty:
        return pd.Series("", index=train.index)
    cut = pd.qcut(known.rank(method="max"), min(bins, known.nunique()), labels=False, duplicates="drop")
    names = {index: f"{int(own.min())}-{int(own.max())}" for index, own in known.groupby(cut)}
    return cut.map(names).reindex(train.index).fillna("")


def _gains(wide: pd.DataFrame, pairs: Mapping[str, str], facts: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for scratch, tuned in pairs.items():
        both = wide[[scratch, tuned]].dropna()
        for group in facts.columns:
            for level, own in both.groupby(facts[group].reindex(both.index)):
                gain = own[tuned] - own[scratch]
                rows.append(
                    {
                        "scratch": scratch,
                        "fine_tuned": tuned,
                        "group": group,
                        "level": level or "unknown",
                        "n": len(own),
                        "scratch_mean": own[scratch].mean(),
                        "fine_tuned_mean": own[tuned].mean(),
                        "mean_gain": gain.mean(),
                        "wins": int((gain.round(12) > 0).sum()),
                    }
                )
    return pd.DataFrame(rows)
