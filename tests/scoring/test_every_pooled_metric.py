"""Every pooled metric of tables, through its kind: weights equal repeated rows, computed by independent programs.

What is compared is what a bootstrap sees: the pool that a kind makes of its observations, asked with the counts of a
resample, against scikit-learn, scipy, or the definition written out, on rows that are really repeated.
"""

from __future__ import annotations

import os
import typing
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from medpodium.challenges import registry
from medpodium.challenges.schema.kinds import KINDS
from medpodium.scoring.kinds.engine import score_task
from medpodium.scoring.kinds.lookup import of

sklearn = pytest.importorskip("sklearn.metrics")
SETS = int(os.environ.get("MEDPODIUM_RANDOM_SETS", "6"))
"""Resamples per kind; 1,000 were tried once, a few are enough to see that nothing broke."""
Value = Callable[[pd.DataFrame], float]
CLASSES = ["A", "B", "C", "D"]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def pooled_kinds(name: str) -> set[str]:
    """Return the kinds of pooled metrics that a task of this kind may declare."""

    def families(of_type: object) -> Iterator[type]:
        if hasattr(of_type, "known"):
            yield typing.cast("type", of_type)
        for part in typing.get_args(of_type):
            yield from families(part)

    known = families(KINDS[name].model.model_fields["metrics"].annotation)
    return {kind for family in known for kind, info in family.known.items() if info.scope == "pooled"}  # type: ignore[attr-defined]


def by_hand_ece(right: np.ndarray, sure: np.ndarray, bins: int) -> float:
    at = np.clip(np.ceil(sure * bins - 1e-12).astype(int) - 1, 0, bins - 1)
    return sum(abs((right - sure)[at == own].sum()) for own in range(bins)) / len(sure)


def by_hand_mass(right: np.ndarray, sure: np.ndarray, bins: int) -> float:
    """Return the error of bins of equally many cases; a case on an edge counts in both, in parts."""
    many = bins * len(sure)  # every case in so many equal parts that no edge cuts one
    order = np.argsort(sure, kind="stable")
    gap = np.repeat((right - sure)[order], bins) / many
    return sum(abs(part.sum()) for part in np.split(gap, bins))


def of_labels(true: str, said: str, labels: list[str]) -> dict[str, Value]:
    return {
        "accuracy": lambda own: sklearn.accuracy_score(own[true], own[said]),
        "balanced_accuracy": lambda own: sklearn.balanced_accuracy_score(own[true], own[said]),
        "macro_f1": lambda own: sklearn.f1_score(own[true], own[said], average="macro"),
        "micro_f1": lambda own: sklearn.f1_score(own[true], own[said], average="micro"),
        "weighted_f1": lambda own: sklearn.f1_score(own[true], own[said], average="weighted"),
        "mcc": lambda own: sklearn.matthews_corrcoef(own[true], own[said]),
        "kappa": lambda own: sklearn.cohen_kappa_score(own[true], own[said], labels=labels),
        "linear_kappa": lambda own: sklearn.cohen_kappa_score(own[true], own[said], labels=labels, weights="linear"),
        "quadratic_kappa": lambda own: sklearn.cohen_kappa_score(
            own[true], own[said], labels=labels, weights="quadratic"
        ),
    }


def answers() -> tuple[str, str, pd.DataFrame, dict[str, Value]]:
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"case": [f"q{at:02d}" for at in range(40)], "answer": rng.choice(CLASSES, 40)})
    right = rng.random(40) < 0.6
    frame["prediction"] = np.where(right, frame["answer"], rng.choice(CLASSES, 40))
    frame["confidence"] = np.round(rng.random(40), 1)
    frame["hit"] = (frame["prediction"] == frame["answer"]).astype(float)
    expected: dict[str, Value] = {
        **of_labels("answer", "prediction", CLASSES),
        "brier": lambda own: sklearn.brier_score_loss(own["hit"], own["confidence"]),
        "log_loss": lambda own: sklearn.log_loss(own["hit"], own["confidence"], labels=[0, 1]),
        "confidence_auc": lambda own: sklearn.roc_auc_score(own["hit"], own["confidence"]),
        "calibration_shift": lambda own: own["confidence"].mean() - own["hit"].mean(),
        "shift_size": lambda own: abs(own["confidence"].mean() - own["hit"].mean()),
        "ece": lambda own: by_hand_ece(own["hit"].to_numpy(), own["confidence"].to_numpy(), 10),
        "ece, bins: 4, binning: mass": lambda own: by_hand_mass(own["hit"].to_numpy(), own["confidence"].to_numpy(), 4),
    }
    return "answers", "options: [A, B, C, D], confidence: given", frame, expected


def best_sensitivity(own: pd.DataFrame) -> float:
    false, true, _ = sklearn.roc_curve(own["answer"] == "D", own["p(D)"], drop_intermediate=False)
    return float(true[false <= 0.2 + 1e-12].max())


def classification() -> tuple[str, str, pd.DataFrame, dict[str, Value]]:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 4, 40)
    logits = np.round(rng.normal(0, 1, (40, 4)) + 1.2 * np.eye(4)[truth], 1)
    given = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    frame = pd.DataFrame({"case": [f"c{at:02d}" for at in range(40)], "answer": np.array(CLASSES)[truth]})
    columns = [f"p({name})" for name in CLASSES]
    frame[columns] = given
    frame["prediction"] = np.array(CLASSES)[given.argmax(axis=1)]
    frame["sure"], frame["hit"] = given.max(axis=1), given.argmax(axis=1) == truth

    def sides(own: pd.DataFrame) -> np.ndarray:
        return np.stack([own["answer"] == name for name in CLASSES], axis=1).astype(int)

    def late(own: pd.DataFrame) -> np.ndarray:
        return (own["answer"] == "D").to_numpy()

    def positive(own: pd.DataFrame) -> np.ndarray:
        return (own["p(D)"] >= 0.5).to_numpy()

    def ranked(own: pd.DataFrame) -> float:
        steps = [
            ((own[columns[: at + 1]].sum(axis=1) - own["answer"].isin(CLASSES[: at + 1])) ** 2).mean()
            for at in range(3)
        ]
        return sum(steps) / 3

    names = {name: at for at, name in enumerate(CLASSES)}
    problem = ", problem: late"
    expected: dict[str, Value] = {
        **of_labels("answer", "prediction", CLASSES),
        "grade_error, worst: 3": lambda own: (own["answer"].map(names) - own["prediction"].map(names)).abs().mean(),
        f"accuracy{problem}": lambda own: sklearn.accuracy_score(late(own), positive(own)),
        f"auc{problem}": lambda own: sklearn.roc_auc_score(late(own), own["p(D)"]),
        f"average_precision{problem}": lambda own: sklearn.average_precision_score(late(own), own["p(D)"]),
        f"sensitivity{problem}": lambda own: sklearn.recall_score(late(own), positive(own)),
        f"specificity{problem}": lambda own: sklearn.recall_score(late(own), positive(own), pos_label=0),
        f"balanced_accuracy{problem}": lambda own: sklearn.balanced_accuracy_score(late(own), positive(own)),
        f"brier{problem}": lambda own: sklearn.brier_score_loss(late(own), own["p(D)"]),
        f"log_loss{problem}": lambda own: sklearn.log_loss(late(own), own["p(D)"], labels=[False, True]),
        f"sensitivity_at_specificity{problem}, specificity: 0.8": best_sensitivity,
        f"ece{problem}": lambda own: by_hand_ece(late(own).astype(float), own["p(D)"].to_numpy(), 10),
        "ece": lambda own: by_hand_ece(own["hit"].to_numpy(float), own["sure"].to_numpy(), 10),
        "ece, bins: 5, binning: mass": lambda own: by_hand_mass(own["hit"].to_numpy(float), own["sure"].to_numpy(), 5),
        "macro_auc": lambda own: sklearn.roc_auc_score(sides(own), own[columns], average="macro"),
        "weighted_auc": lambda own: sklearn.roc_auc_score(sides(own), own[columns], average="weighted"),
        "micro_auc": lambda own: sklearn.roc_auc_score(sides(own), own[columns], average="micro"),
        "macro_average_precision": lambda own: sklearn.average_precision_score(sides(own), own[columns]),
        "micro_average_precision": lambda own: sklearn.average_precision_score(
            sides(own), own[columns], average="micro"
        ),
        "multiclass_brier": lambda own: ((own[columns].to_numpy() - sides(own)) ** 2).sum(axis=1).mean(),
        "multiclass_log_loss": lambda own: sklearn.log_loss(own["answer"], own[columns], labels=CLASSES),
        "rps": ranked,
    }
    named = "{" + ", ".join(f"{name}: {column}" for name, column in zip(CLASSES, columns, strict=True)) + "}"
    task = (
        f"classes: [A, B, C, D], problems: {{late: {{positive: [D]}}}}, columns: {named}, case_column: case, "
        "reference_column: answer"
    )
    return "classification", task, frame.drop(columns=["prediction", "sure", "hit"]).assign(
        prediction=frame["prediction"], sure=frame["sure"], hit=frame["hit"]
    ), expected  # fmt: skip


def values() -> tuple[str, str, pd.DataFrame, dict[str, Value]]:
    rng = np.random.default_rng(3)
    true = np.round(rng.normal(50, 10, 40), 1)
    frame = pd.DataFrame({"case": [f"v{at:02d}" for at in range(40)], "value": true})
    frame["said"] = np.round(true + rng.normal(1, 4, 40), 1)

    def apart(own: pd.DataFrame) -> pd.Series:
        return own["said"] - own["value"]

    def agreement(own: pd.DataFrame) -> float:
        """Return ICC(A,1) from the mean squares of a two-way table (McGraw and Wong 1996)."""
        table = own[["value", "said"]].to_numpy()
        n, whole = len(table), table.mean()
        rows = 2 * ((table.mean(axis=1) - whole) ** 2).sum() / (n - 1)
        columns = n * ((table.mean(axis=0) - whole) ** 2).sum()
        rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + whole
        error = (rest**2).sum() / (n - 1)
        return float((rows - error) / (rows + error + 2 * (columns - error) / n))

    def lin(own: pd.DataFrame) -> float:
        one, other = own["value"], own["said"]
        shared = ((one - one.mean()) * (other - other.mean())).mean()
        return float(2 * shared / (one.var(ddof=0) + other.var(ddof=0) + (one.mean() - other.mean()) ** 2))

    expected: dict[str, Value] = {
        "mae, worst: 99": lambda own: sklearn.mean_absolute_error(own["value"], own["said"]),
        "median_error, worst: 99": lambda own: sklearn.median_absolute_error(own["value"], own["said"]),
        "rmse, worst: 99": lambda own: sklearn.root_mean_squared_error(own["value"], own["said"]),
        "bias, worst: 99": lambda own: apart(own).mean(),
        "lower_limit, worst: 99": lambda own: apart(own).mean() - 1.96 * apart(own).std(),
        "upper_limit, worst: 99": lambda own: apart(own).mean() + 1.96 * apart(own).std(),
        "limits_width, worst: 99": lambda own: 2 * 1.96 * apart(own).std(),
        "r2, worst: -1": lambda own: sklearn.r2_score(own["value"], own["said"]),
        "pearson": lambda own: stats.pearsonr(own["value"], own["said"]).statistic,
        "spearman": lambda own: stats.spearmanr(own["value"], own["said"]).statistic,
        "concordance": lin,
        "icc": agreement,
        "success_rate, absolute: 2, relative: 0.05": lambda own: (
            apart(own).abs() <= np.maximum(2, 0.05 * own["value"].abs()) + 1e-9
        ).mean(),
    }
    return "values", "unit: mm", frame, expected


def survival() -> tuple[str, str, pd.DataFrame, dict[str, Value]]:
    rng = np.random.default_rng(4)
    frame = pd.DataFrame({"case": [f"s{at:02d}" for at in range(40)]})
    frame["time"] = np.ceil(rng.exponential(10, 40) * 2) / 2
    frame["event"] = (rng.random(40) < 0.6).astype(int)
    frame["risk"] = np.round(-frame["time"] / 10 + rng.normal(0, 1, 40), 1)

    def kept(own: pd.DataFrame) -> np.ndarray:
        """Return the chance of being free of censoring until every own time, factor by factor."""
        time, event = own["time"].to_numpy(), own["event"].to_numpy()
        factor, chance = {}, 1.0
        for at in sorted(set(time)):
            here = time == at
            at_risk = (time >= at).sum() - (here & (event == 1)).sum()
            chance *= 1 - (here & (event == 0)).sum() / at_risk if at_risk else 1.0
            factor[at] = chance
        return np.array([factor[at] for at in time])

    def concordance(own: pd.DataFrame, weigh: np.ndarray) -> float:
        time, event, risk = (own[name].to_numpy() for name in ("time", "event", "risk"))
        first, then = time[:, None], time[None, :]
        pairs = (event[:, None] == 1) & ((first < then) | ((first == then) & (event[None, :] == 0)))
        won = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
        return float((pairs * won * weigh[:, None]).sum() / (pairs * weigh[:, None]).sum())

    def uno(own: pd.DataFrame) -> float:
        free = kept(own)
        return concordance(own, np.where(free > 0, 1 / np.where(free > 0, free, 1) ** 2, 0))

    def area(own: pd.DataFrame) -> float:
        free, time, risk = kept(own), own["time"].to_numpy(), own["risk"].to_numpy()
        weigh = np.where((own["event"] == 1) & (time <= 8) & (free > 0), 1 / np.where(free > 0, free, 1), 0)
        later = time > 8
        won = (risk[:, None] > risk) + 0.5 * (risk[:, None] == risk)
        return float((weigh[:, None] * won * later).sum() / (weigh.sum() * later.sum()))

    def brier(own: pd.DataFrame, at: float) -> float:
        """Return the Brier score at a time, weighed for censoring (Graf 1999), case by case."""
        free, time, event = kept(own), own["time"].to_numpy(), own["event"].to_numpy()
        until = free[time == time[time <= at].max()][0] if (time <= at).any() else 1.0
        total = 0.0
        for chance, own_time, ill, said in zip(free, time, event, own[f"s{at}"], strict=True):
            if own_time <= at and ill and chance > 0:
                total += said**2 / chance
            elif own_time > at and until > 0:
                total += (1 - said) ** 2 / until
        return total / len(own)

    def integrated(own: pd.DataFrame) -> float:
        each = [brier(own, at) for at in (4, 8, 16)]
        return ((each[0] + each[1]) / 2 * 4 + (each[1] + each[2]) / 2 * 8) / 12

    for at in (4, 8, 16):
        frame[f"s{at}"] = np.round(np.exp(-at / 10 * np.exp(frame["risk"] / 2)), 2)
    expected: dict[str, Value] = {
        "integrated_brier": integrated,
        "integrated_brier, times: [8]": lambda own: brier(own, 8),
        "harrell_c": lambda own: concordance(own, np.ones(len(own))),
        "uno_c": uno,
        "time_auc, times: [8]": area,
    }
    return "survival", "unit: months, curve: {4: s4, 8: s8, 16: s16}", frame, expected


def labels() -> tuple[str, str, pd.DataFrame, dict[str, Value]]:
    rng = np.random.default_rng(6)
    names = ["edema", "mass", "effusion"]
    truth = (rng.random((40, 3)) < (0.5, 0.3, 0.4)).astype(int)
    frame = pd.DataFrame({"case": [f"l{at:02d}" for at in range(40)]})
    frame[names] = truth
    sure = [f"p({name})" for name in names]
    frame[sure] = np.round(np.clip(rng.normal(0.25 + 0.4 * truth, 0.25), 0, 1), 2)

    def sides(own: pd.DataFrame) -> np.ndarray:
        return (own[sure].to_numpy() >= 0.5).astype(int)

    def f1(average: str) -> Value:
        return lambda own: sklearn.f1_score(own[names], sides(own), average=average, zero_division=np.nan)

    def area(average: str) -> Value:
        return lambda own: sklearn.roc_auc_score(own[names], own[sure], average=average)

    def precision(average: str) -> Value:
        return lambda own: sklearn.average_precision_score(own[names], own[sure], average=average)

    def of_one(measure: Callable[..., float], **options: float) -> Value:
        return lambda own: measure(own["truth"], (own["sure"] >= 0.5).astype(int), **options)

    expected: dict[str, Value] = {
        "accuracy": of_one(sklearn.accuracy_score),
        "balanced_accuracy": of_one(sklearn.balanced_accuracy_score),
        "sensitivity": of_one(sklearn.recall_score),
        "specificity": of_one(sklearn.recall_score, pos_label=0),
        "f1": of_one(sklearn.f1_score),
        "mcc": of_one(sklearn.matthews_corrcoef),
        "auc": lambda own: sklearn.roc_auc_score(own["truth"], own["sure"]),
        "average_precision": lambda own: sklearn.average_precision_score(own["truth"], own["sure"]),
        "brier": lambda own: sklearn.brier_score_loss(own["truth"], own["sure"]),
        "log_loss": lambda own: sklearn.log_loss(own["truth"], own["sure"], labels=[0, 1]),
        "macro_f1": f1("macro"),
        "micro_f1": f1("micro"),
        "weighted_f1": f1("weighted"),
        "macro_auc": area("macro"),
        "weighted_auc": area("weighted"),
        "micro_auc": area("micro"),
        "macro_average_precision": precision("macro"),
        "micro_average_precision": precision("micro"),
    }
    return "labels", "labels: {edema: , mass: , effusion: }", frame, expected


CASES = {one.__name__: one for one in (answers, classification, labels, values, survival)}


def test_no_pooled_metric_of_tables_is_left_out() -> None:
    for name, make in CASES.items():
        assert {key.partition(",")[0] for key in make()[3]} == pooled_kinds(name), name


@pytest.mark.parametrize("name", CASES)
def test_weights_are_repeated_rows(name: str, tmp_path: Path) -> None:
    kind, task, frame, expected = CASES[name]()
    keys = {f"m{at}": key for at, key in enumerate(expected)}
    metrics = ", ".join(f"{key}: {{kind: {text}}}" for key, text in keys.items())
    text = "schema: 1\nname: every\ntitle: Every\nedition: '1'\ntasks:\n"
    text += f"  t: {{kind: {kind}, {task}, metrics: {{{metrics}}}}}\n"
    text += "recipes: {main: {steps: [{select: {metric: m0}}, {mean: [case, structure, metric]}, rank]}}\n"
    (tmp_path / "c.yaml").write_text(f"{text}ranking: {{t: main}}\n", encoding="utf-8")
    references = {
        "answers": ["answer"], "classification": ["answer"], "values": ["value"], "survival": ["time", "event"],
        "labels": ["edema", "mass", "effusion"],
    }[name]  # fmt: skip
    frame[["case", *references]].to_csv(tmp_path / "references.csv", index=False)
    left = frame.drop(columns=["prediction", "answer"] if name == "classification" else references)
    if name == "labels":
        left = left.rename(columns=lambda column: column.removeprefix("p(").removesuffix(")"))
    left.rename(columns={"said": "value"}).to_csv(tmp_path / "team.csv", index=False)
    challenge = registry.load(tmp_path / "c.yaml")
    scored = score_task(challenge, "t", tmp_path / "references.csv", {"team": tmp_path / "team.csv"})
    assert scored.observations is not None
    pool = of(challenge.tasks["t"]).pool(challenge, "t", scored.observations)
    assert pool is not None
    assert set(keys) == {cell.metric for cell in pool.cells}
    order = frame.set_index("case").loc[list(pool.cases)].reset_index()
    rng = np.random.default_rng(5)
    counts = np.vstack(
        [np.ones((1, len(order))), rng.multinomial(len(order), np.full(len(order), 1 / len(order)), SETS)]
    )
    found = pool.compute(counts.astype(float))
    compared = 0
    for row, own in zip(found, counts.astype(int), strict=True):
        repeated = order.loc[np.repeat(np.arange(len(order)), own)]
        for cell, value in zip(pool.cells, row, strict=True):
            part = repeated
            if cell.structure:
                part = repeated.assign(truth=repeated[cell.structure], sure=repeated[f"p({cell.structure})"])
            try:
                true = expected[keys[cell.metric]](part)
            except ValueError:  # scikit-learn on one class only
                true = np.nan
            assert value == pytest.approx(true, abs=1e-9, nan_ok=True), (keys[cell.metric], own.tolist())
            compared += bool(np.isfinite(true))
    assert compared > 0.9 * found.size
    # what is printed is the value of every case once
    printed = scored.scores[scored.scores["case"] == ""].set_index(["metric", "structure"])["value"]
    for cell, value in zip(pool.cells, found[0], strict=True):
        assert printed[cell.metric, cell.structure] == pytest.approx(value, abs=1e-12)
