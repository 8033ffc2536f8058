"""Suites of data sets: a published table of results as scores, and a data set of your own as a challenge file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.rows import read_sheet
from medpodium.findings import Finding, Severity, UsageError
from medpodium.scoring.evidence.transfer import TransferCode, data_sets, size_bin
from medpodium.scoring.exchange.importers import score_rows
from medpodium.scoring.rows import ImportCode, number, refuse


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
    sheet = read_sheet(path)
    columns = sheet.columns
    chosen = dict(models or {name: name.removeprefix("dice_") for name in columns if name.startswith("dice_")})
    if not chosen:
        text, fix = "no column starts with 'dice_'", f"columns: {', '.join(columns[:10])}"
        raise refuse(ImportCode.UNKNOWN_NAME, path, text, fix)
    sheet.need(dataset_column, *chosen)
    written = sheet.numbers(chosen)
    known = (data_sets() if facts is None else facts).set_index("dataset")
    findings: list[Finding] = []
    found: list[dict[str, object]] = []
    seen: set[str] = set()
    for row in sheet.rows:
        name = row[dataset_column].strip()
        if name in seen:
            raise refuse(ImportCode.ROW_TWICE, f"{path.name}: {name}", "the data set occurs twice", "keep one row")
        seen.add(name)
        groups = _groups_of(name, known, row, findings)
        for column, submission in chosen.items():
            value = number(row[column], f"{path.name}: {name}, {column}", findings, low=0, high=1, numbers=written)
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
        fold 0. Labels and regions become structures; both masks empty is left out, one of them empty counts 0. What has
        the label ``ignore`` is left out of everything, as nnU-Net's evaluator does.

    Raises
    ------
    UsageError
        If ``dataset.json`` cannot be read or lists no foreground label.
    """
    facts, structures, ignore = dataset_labels(folder / "dataset.json")
    ending = str(facts.get("file_ending", ".nii.gz"))
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
                **({"ignore_labels": ignore} if ignore else {}),
                "empty": {"both": "skip", "reference": 0.0, "prediction": 0.0},
                "metrics": {"dice": {"kind": "dice"}},
            }
        },
        "recipes": {"label-mean": {"steps": [{"mean": "case"}, {"mean": "structure"}, {"mean": "metric"}, "rank"]}},
        "ranking": {"segmentation": "label-mean"},
    }
    labels_there = [file.name for file in (folder / "labelsTr").glob("*" + ending) if not is_hidden(file.name)]
    stems = [name[: -len(ending)] for name in labels_there]
    return challenge, fold_zero(stems)


def dataset_labels(path: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]], list[int]]:
    """Read what nnU-Net's ``dataset.json`` says of labels.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    (facts, structures, ignore)
        The whole file; every label and region as a structure of a challenge file (``label`` or ``union``), in its
        order; the label ``ignore``, if there is one.

    Raises
    ------
    UsageError
        If it cannot be read or lists no foreground label.
    """
    try:
        facts = json.loads(path.read_text(encoding="utf-8-sig"))
        labels = {str(name): value for name, value in facts["labels"].items()}
        structures = {name: _structure(value) for name, value in labels.items() if name not in ("background", "ignore")}
        ignore = [int(labels["ignore"])] if "ignore" in labels else []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        text = f"{type(error).__name__}: {error}"
        fix = "give a dataset.json of nnU-Net v2 with 'labels' as name to number"
        raise UsageError(Finding(TransferCode.DATASET_JSON, str(path), text, fix)) from None
    if not structures:
        fix = "add at least one label besides background"
        raise UsageError(Finding(TransferCode.DATASET_JSON, str(path), "no foreground label", fix))
    return facts, structures, ignore


def _structure(value: object) -> dict[str, Any]:
    if isinstance(value, list):
        return {"union": [int(item) for item in value]}
    return {"label": int(str(value))}
