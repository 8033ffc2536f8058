"""A small staging baseline: fifteen features of the liver, standardised, and a multinomial logistic regression.

Meant as a floor that any method should beat and as a check of the way from data to ranking. It looks at one sequence
and a liver mask only; which sequences are missing, though it tells the stage in the published training set, is never
used. The model is a JSON file of numbers, so loading one can run no code.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medpodium.baselines import extras
from medpodium.baselines.failures import BaselineCode, refuse, unusable, warning
from medpodium.baselines.portable.image_files import damage
from medpodium.baselines.staging.calibration import calibrate
from medpodium.baselines.staging.features import FEATURES, describe_liver
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.naming.patterns import case_name, parse_name
from medpodium.challenges.rows import read_sheet
from medpodium.challenges.schema.classification import ClassificationTask
from medpodium.challenges.schema.definition import Challenge
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring.kinds.classification.tasks import tasks_of

FORMAT = "medpodium-staging-1"
_PATIENT = ("patient", "patientid", "subject", "subjectid")
STRENGTH = 0.1
"""Inverse strength of the ridge penalty; fixed beforehand, so that no data are spent on choosing it."""
FOLDS, REPEATS, SEED = 5, 4, 20240
Floats = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StagingModel:
    """A fitted model.

    Parameters
    ----------
    classes : list of str
        Stages, in order of severity.
    means, scales : list of float
        Standardisation of every feature.
    coefficients : list of list of float
        Per class and feature.
    intercepts : list of float
        Per class.
    prior : list of float
        Share of every class in the training cases, the answer for a case without a usable liver.
    cases : int
        Training cases.
    validation : dict of str to float
        AUC of every binary problem over repeated cross-validation.
    calibration : dict of str to dict
        Of every binary problem over the same predictions: ``brier``, ``ece`` (ten bins of equal width) and
        ``reliability``, a list of bins with ``from``, ``to``, ``cases`` per repetition, mean ``predicted`` probability
        and ``observed`` share.
    """

    classes: list[str]
    means: list[float]
    scales: list[float]
    coefficients: list[list[float]]
    intercepts: list[float]
    prior: list[float]
    cases: int
    validation: dict[str, float]
    calibration: dict[str, dict[str, Any]] = field(default_factory=dict)

    def probabilities(self, features: Floats) -> Floats:
        """Return class probabilities, shape (cases, classes), of features, shape (cases, 15)."""
        standard = (features - np.asarray(self.means)) / np.asarray(self.scales)
        logits = standard @ np.asarray(self.coefficients).T + np.asarray(self.intercepts)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        result: Floats = powers / powers.sum(axis=1, keepdims=True)
        return result

    def save(self, path: Path) -> None:
        """Write the model as JSON."""
        content = {"format": FORMAT, "features": FEATURES, **asdict(self)}
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> StagingModel:
        """Read a model.

        Raises
        ------
        UsageError
            If the file is no staging model of this version.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("format") != FORMAT or tuple(content.pop("features")) != FEATURES:
                raise ValueError("another format or other features")
            return cls(**content)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            fix = "give the file that 'medpodium baseline stage fit' wrote"
            raise refuse(BaselineCode.STAGING_MODEL, path, f"no staging model ({error})", fix) from None


@dataclass(frozen=True)
class Livers:
    """Where images and liver masks are: folders and patterns with ``{case}``."""

    images: Path
    image_pattern: str
    masks: Path
    mask_pattern: str


def task_of(challenge: Challenge, name: str | None) -> tuple[str, ClassificationTask]:
    """Return the classification task of a name, of a staging baseline, or the only one.

    Raises
    ------
    UsageError
        If there is none.
    """
    declared = next((item.task for item in challenge.baselines.values() if item.kind == "staging"), None)
    known = tasks_of(challenge)
    chosen = name or declared or next(iter(known), "")
    if chosen not in known:
        fix = f"classification tasks: {', '.join(known) or 'none'}"
        raise refuse(BaselineCode.NO_TASK, challenge.reference, f"no classification task {chosen!r}", fix)
    return chosen, known[chosen]


def collect(livers: Livers, progress: Progress | None = None) -> tuple[dict[str, Floats], list[Finding]]:
    """Compute the features of every case that has an image and a mask.

    Returns
    -------
    (features, findings)
        Features by case; a case whose mask is missing, empty or on another grid is a warning and has none.
    """
    images, masks = _match(livers.images, livers.image_pattern), _match(livers.masks, livers.mask_pattern)
    found: dict[str, Floats] = {}
    findings: list[Finding] = []
    for number, (case, image) in enumerate(images.items(), start=1):
        try:
            if case not in masks:
                raise ValueError(f"no liver mask fits {livers.mask_pattern!r}")
            found[case] = _features(image, masks[case])
        except (ValueError, RuntimeError, OSError, MedpodiumError) as error:  # one bad image costs no other case
            text = error.findings[0].cause if isinstance(error, MedpodiumError) else str(error)
            cause = (text.strip().splitlines() or [type(error).__name__])[-1]
            fix = "give a usable image and mask; until then the case gets the shares of the classes"
            findings.append(warning(BaselineCode.STAGING_TABLE, case, cause, fix))
        if progress is not None:
            progress(number, len(images))
    return found, findings


def _match(folder: Path, pattern: str) -> dict[str, Path]:
    if not folder.is_dir():
        raise refuse(BaselineCode.FOLDER_ABSENT, folder, "no such folder", "check the path")
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        readings = [] if is_hidden(relative) else parse_name(pattern, relative)
        if readings and path.is_file():
            found[case_name(pattern, readings[0])] = path
    if not found:
        raise refuse(BaselineCode.NO_CASES, folder, f"no file fits {pattern!r}", "check the folder and the pattern")
    return found


def _features(image: Path, mask: Path) -> Floats:
    import SimpleITK

    from medpodium.findings import has_errors
    from medpodium.scoring.masks.geometry import compare_geometry
    from medpodium.scoring.masks.reader import read_geometry, read_mask

    if cause := damage(image.resolve()):
        raise ValueError(f"the image {cause}")
    liver = read_mask(mask.resolve())
    different = compare_geometry(read_geometry(image.resolve()), liver.geometry)
    if has_errors(different):
        raise ValueError(f"mask and image are on different grids: {different[0].cause}")
    voxels = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(image))).astype(np.float64)
    return describe_liver(voxels, liver.array > 0, liver.geometry.spacing_zyx)


def read_stages(path: Path, task: ClassificationTask) -> dict[str, str]:
    """Read the stage of every training case.

    Raises
    ------
    UsageError
        If a column is missing, a case occurs twice or a stage is unknown.
    """
    sheet = read_sheet(path)
    columns = sheet.need(task.case_column, task.reference_column)
    found: dict[str, str] = {}
    for case, stage in zip(*(sheet.column(name) for name in columns), strict=True):
        stage = f"S{stage}" if f"S{stage}" in task.classes else stage
        if case in found or stage not in task.classes:
            cause = f"case {case} occurs twice" if case in found else f"unknown stage {stage!r}"
            fix = f"one row per case; stages: {', '.join(task.classes)}"
            raise refuse(BaselineCode.STAGING_TABLE, f"{path.name}: {case}", cause, fix)
        found[case] = stage
    return found


def read_groups(path: Path, task: ClassificationTask, column: str | None) -> dict[str, str]:
    """Read which cases are of one patient: by a column of the table of stages.

    Parameters
    ----------
    column : str, optional
        Its name; one called ``patient``, ``patient_id``, ``subject`` or ``subject_id`` when left out.

    Returns
    -------
    dict of str to str
        Patient of every case; empty where no column says it.

    Raises
    ------
    UsageError
        If the column asked for is missing.
    """
    sheet = read_sheet(path)
    spelled = {re.sub(r"[\W_]+", "", name).casefold(): name for name in sheet.columns}
    found = column or next((spelled[name] for name in _PATIENT if name in spelled), None)
    if found is None:
        return {}
    (case_column, own) = sheet.need(task.case_column, found)
    return {
        case: group.strip() or f"case {case}"
        for case, group in zip(sheet.column(case_column), sheet.column(own), strict=True)
    }


def _splits(labels: npt.NDArray[np.int64], groups: Sequence[str]) -> list[list[tuple[Any, Any]]]:
    """Return the folds of every repetition; all cases of a patient are in the same fold."""
    from sklearn.model_selection import RepeatedStratifiedKFold, StratifiedGroupKFold

    blank = np.zeros((len(labels), 1))
    if len(set(groups)) == len(groups):
        every = RepeatedStratifiedKFold(n_splits=FOLDS, n_repeats=REPEATS, random_state=SEED).split(blank, labels)
        rows = list(every)
        return [rows[start : start + FOLDS] for start in range(0, len(rows), FOLDS)]
    return [
        list(StratifiedGroupKFold(FOLDS, shuffle=True, random_state=SEED + repeat).split(blank, labels, list(groups)))
        for repeat in range(REPEATS)
    ]


def fit(
    task: ClassificationTask,
    stages: Mapping[str, str],
    features: Mapping[str, Floats],
    groups: Mapping[str, str] | None = None,
) -> StagingModel:
    """Fit the model and estimate its AUCs by repeated stratified cross-validation.

    Parameters
    ----------
    task, stages, features
        Task, stage and features of the training cases.
    groups : mapping of str to str, optional
        Patient of a case. Several scans of a patient are never on both sides of a fold: a model that knows the patient
        again would be praised for its memory. Cases with the same features, copies of each other, count as one
        patient's, too.

    Raises
    ------
    MedpodiumError
        If there are fewer than five cases, or patients, of some class.
    """
    extras.require("sklearn")
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    cases = [case for case in stages if case in features]
    labels = np.array([task.classes.index(stages[case]) for case in cases])
    counts = np.bincount(labels, minlength=len(task.classes))
    rare = [f"{task.classes[index]} {count}" for index, count in enumerate(counts) if count < FOLDS]
    if rare:
        cause = f"too few training cases with a liver mask: {', '.join(rare)}"
        fix = f"give at least {FOLDS} per class; masks may come from a segmentation baseline"
        raise unusable(BaselineCode.TOO_FEW_CASES, "staging", cause, fix)
    matrix = np.stack([features[case] for case in cases])
    owners = _patients(cases, matrix, groups or {})
    alone = {
        name: len({owners[i] for i in np.flatnonzero(labels == i_class)}) for i_class, name in enumerate(task.classes)
    }
    if few := [f"{name} {count}" for name, count in alone.items() if count < FOLDS]:
        cause = f"too few patients: {', '.join(few)}"
        raise unusable(BaselineCode.TOO_FEW_CASES, "staging", cause, f"give at least {FOLDS} patients per class")
    model = make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=2000))
    validation: dict[str, list[float]] = {name: [] for name in task.problems}
    given: dict[str, list[Floats]] = {name: [] for name in task.problems}
    for own in _splits(labels, owners):
        guess = cross_val_predict(model, matrix, labels, cv=own, method="predict_proba")
        for name, item in task.problems.items():
            positive = [task.classes.index(label) for label in item.positive]
            given[name].append(guess[:, positive].sum(axis=1))
            validation[name].append(_auc(np.isin(labels, positive), given[name][-1]))
    model.fit(matrix, labels)
    scaler, regression = model[0], model[1]
    return StagingModel(
        list(task.classes),
        scaler.mean_.tolist(),
        scaler.scale_.tolist(),
        regression.coef_.tolist(),
        regression.intercept_.tolist(),
        (counts / counts.sum()).tolist(),
        len(cases),
        {name: float(np.mean(values)) for name, values in validation.items()},
        {
            name: calibrate(np.isin(labels, [task.classes.index(label) for label in item.positive]), given[name])
            for name, item in task.problems.items()
        },
    )


def _patients(cases: Sequence[str], matrix: Floats, groups: Mapping[str, str]) -> list[str]:
    """Return whose every case is; cases with equal features are of the same patient as the first of them."""
    owner: dict[str, str] = {}
    first: dict[bytes, str] = {}

    def root(name: str) -> str:
        while owner.get(name, name) != name:
            name = owner[name]
        return name

    names = [groups.get(case, f"case {case}") for case in cases]
    for name, row in zip(names, matrix, strict=True):
        same = first.setdefault(row.tobytes(), name)
        owner[root(name)] = root(same)
    return [root(name) for name in names]


def _auc(truth: npt.NDArray[np.bool_], score: Floats) -> float:
    from medpodium.scoring.measures.pooled.curves import areas

    return float(areas(truth.astype(np.int64), score[:, None], np.ones((1, len(truth))))[0, 0])


def predict(
    task: ClassificationTask, model: StagingModel, livers: Livers, out: Path, progress: Progress | None = None
) -> tuple[int, list[Finding]]:
    """Write the challenge's table of probabilities for every case that has an image.

    Returns
    -------
    (cases, findings)
        A case without a usable mask gets the class shares of the training cases, and a warning.

    Raises
    ------
    UsageError
        If the model knows other classes than the task.
    """
    if model.classes != list(task.classes):
        fix = f"fit a model for the classes {', '.join(task.classes)}"
        raise refuse(BaselineCode.STAGING_MODEL, out, f"the model knows {', '.join(model.classes)}", fix)
    features, findings = collect(livers, progress)
    cases = list(_match(livers.images, livers.image_pattern))
    rows = []
    for case in cases:
        known = case in features
        values = model.probabilities(features[case][None])[0] if known else np.asarray(model.prior)
        rows.append([case, *task.settings[:1], *(f"{value:.6f}" for value in _answers(task, values))])
    header = [task.case_column, *(["Setting"] if task.settings else []), *_columns(task)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return len(cases), findings


def _by_class(task: ClassificationTask) -> bool:
    return not task.problems or any(item.column is None for item in task.problems.values())


def _columns(task: ClassificationTask) -> list[str]:
    if _by_class(task):
        return [task.columns.get(name, name) for name in task.classes]
    return [str(item.column) for item in task.problems.values()]


def _answers(task: ClassificationTask, values: Floats) -> Sequence[float]:
    if _by_class(task):
        return [float(value) for value in values]
    problems = task.problems.values()
    return [float(sum(values[task.classes.index(label)] for label in item.positive)) for item in problems]
