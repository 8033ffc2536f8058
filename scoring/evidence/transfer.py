"""Does pre-training pay? A benchmark over many data sets, from scratch against fine-tuned.

The unit is the data set: each is one case of a score table, whatever the size of its test set.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.findings import Code, Finding, Severity, UsageError
from medpodium.scoring import table
from medpodium.scoring.exchange.importers import ImportCode, number, read_rows, refuse, score_rows

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


def read_suite(
    path: Path,
    *,
    models: Mapping[str, str] | None = None,
    dataset_column: str = "Dataset",
    facts: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, list[Finding]]:
    """Read a table of results: a row per data set, a Dice column (0 to 1) per model.

    Parameters
    ----------
    path : Path
        Delimited text.
    models : mapping of str to str, optional
        Column to submission name; every column that starts with ``dice_`` (which is cut off) when left out.
    dataset_column : str
        Column of the data sets' names.
    facts : DataFrame, optional
        The data sets; those of the suite when left out. Other data sets take their facts from columns of the same
        names in the table itself, where there are any.

    Returns
    -------
    (scores, findings)
        Task ``suite``; a case per data set; groups modality, target_kind, channels, size_bin and train.
    """
    columns, rows = read_rows(path)
    chosen = dict(models or {name: name.removeprefix("dice_") for name in columns if name.startswith("dice_")})
    lacking = [name for name in [dataset_column, *chosen] if name not in columns]
    if lacking or not chosen:
        text = f"no column {', '.join(lacking)}" if lacking else "no column starts with 'dice_'"
        raise refuse(ImportCode.COLUMN_MISSING, path, text, f"columns: {', '.join(columns[:10])}")
    known = (data_sets() if facts is None else facts).set_index("dataset")
    findings: list[Finding] = []
    found: list[dict[str, object]] = []
    seen: set[str] = set()
    for row in rows:
        name = row[dataset_column].strip()
        if name in seen:
            raise refuse(ImportCode.ROW_TWICE, f"{path.name}: {name}", "the data set occurs twice", "keep one row")
        seen.add(name)
        groups = _groups_of(name, known, row, findings)
        for column, submission in chosen.items():
            value = number(row[column], f"{path.name}: {name}, {column}", findings, low=0, high=1)
            found.append(
                {"submission": submission, "case": name, "structure": "", "metric": "dice", "value": value, **groups}
            )
    if known.index.isin(list(seen)).any():
        findings += _doubtful(known, seen)
    return score_rows(found, challenge="stunet-transfer", edition="2024", task="suite"), findings


def _groups_of(name: str, known: pd.DataFrame, row: Mapping[str, str], findings: list[Finding]) -> dict[str, str]:
    if name in known.index:
        facts = {key: str(known.at[name, key]) for key in ("modality", "target_kind", "channels", "train")}
    else:
        facts = {key: row.get(key, "").strip() for key in ("modality", "target_kind", "channels", "train")}
        fix = "add columns modality, target_kind, channels and train, or correct the name"
        text = "not one of the suite's data sets; its groups come from the table"
        findings.append(Finding(TransferCode.UNKNOWN_DATA_SET, name, text, fix, Severity.NOTE))
    train = facts["train"]
    return {**facts, "size_bin": size_bin(int(train)) if train.isdigit() else ""}


def _doubtful(known: pd.DataFrame, seen: set[str]) -> list[Finding]:
    rows = known[(known["flag"] != "") & known.index.isin(list(seen))]
    return [
        Finding(
            TransferCode.LABELS_AMBIGUOUS,
            str(name),
            str(flag),
            "means over data sets hold; never average by this label or count",
            Severity.NOTE,
        )
        for name, flag in rows["flag"].items()
    ]


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
    wide = scores.pivot(index="case", columns="submission", values="value")
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


def fold_zero(cases: Sequence[str], folds: int = 5, seed: int = 12345) -> list[str]:
    """Return the validation cases of fold 0 of nnU-Net's split: sorted names, shuffled with its seed, cut in five.

    Raises
    ------
    UsageError
        If there are fewer cases than folds.
    """
    names = sorted(cases)
    if len(names) < folds:
        fix = f"nnU-Net needs at least {folds} cases for its folds"
        raise UsageError(Finding(TransferCode.DATASET_JSON, "cases", f"{len(names)} cases", fix))
    order: npt.NDArray[np.int64] = np.arange(len(names))
    # the legacy generator, because the published folds were drawn with it
    np.random.RandomState(seed).shuffle(order)
    return [names[index] for index in sorted(order[: -(-len(names) // folds)])]


def own_dataset(folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Describe a data set in nnU-Net's raw layout as a challenge, scored as the suite scores.

    Parameters
    ----------
    folder : Path
        ``DatasetXXX_Name`` with ``dataset.json`` and ``labelsTr``.

    Returns
    -------
    (challenge, cases)
        A challenge file as plain data (write it as YAML, then ``medpodium score`` as any other), and the cases of
        fold 0. Labels and regions become structures; both masks empty is left out, one of them empty counts 0.

    Raises
    ------
    UsageError
        If ``dataset.json`` cannot be read or lists no foreground label.
    """
    path = folder / "dataset.json"
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
        labels = {str(name): value for name, value in facts["labels"].items()}
        ending = str(facts.get("file_ending", ".nii.gz"))
        structures = {name: _structure(value) for name, value in labels.items() if name not in ("background", "ignore")}
        ignore = [int(labels["ignore"])] if "ignore" in labels else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}"
        fix = "give a dataset.json of nnU-Net v2 with 'labels' as name to number"
        raise UsageError(Finding(TransferCode.DATASET_JSON, str(path), text, fix)) from None
    if not structures:
        fix = "add at least one label besides background"
        raise UsageError(Finding(TransferCode.DATASET_JSON, str(path), "no foreground label", fix))
    channels = facts.get("channel_names") or facts.get("modality") or {"0": "image"}
    name = "".join(char if char.isalnum() and char.isascii() else "-" for char in folder.name.lower()).strip("-")
    challenge = {
        "schema": 1,
        "name": name or "own-data",
        "title": str(facts.get("name", folder.name)),
        "tasks": {
            "segmentation": {
                "kind": "segmentation",
                "files": {
                    "reference": "{case}" + ending,
                    "prediction": "{case}" + ending,
                    "images": {str(label): f"{{case}}_{int(key):04d}{ending}" for key, label in channels.items()},
                },
                "structures": structures,
                "extra_labels": ignore,
                "empty": {"both": "skip", "reference": 0.0, "prediction": 0.0},
                "metrics": {"dice": {"kind": "dice"}},
            }
        },
        "recipes": {"label-mean": {"steps": [{"mean": "case"}, {"mean": "structure"}, {"mean": "metric"}, "rank"]}},
        "ranking": {"segmentation": "label-mean"},
    }
    stems = [file.name[: -len(ending)] for file in (folder / "labelsTr").glob("*" + ending)]
    return challenge, fold_zero(stems)


def _structure(value: object) -> dict[str, object]:
    if isinstance(value, list):
        return {"union": [int(item) for item in value]}
    return {"label": int(str(value))}
