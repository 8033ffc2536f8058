"""LiQA / CARE-Liver 2025: published awards, the lattice of AUC values, and accuracies of constant answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.scoring.exchange.leaderboards import read_leaderboard
from medpodium.scoring.kinds.engine import score_task
from medpodium.scoring.measures.pooled import curves, labels
from medpodium.scoring.ranking.recipe import rank_scores

COLUMNS = {
    "acc_s4_vs_s123_pct": "acc_s4",
    "auc_s4_vs_s123_pct": "auc_s4",
    "acc_s1_vs_s234_pct": "acc_s1",
    "auc_s1_vs_s234_pct": "auc_s1",
}
SETTINGS = {"Contrast": "lifs-contrast", "NonContrast": "lifs-noncontrast"}
COUNTS = {("ID", "s4"): (57, 63), ("ID", "s1"): (41, 79), ("OOD", "s4"): (23, 47), ("OOD", "s1"): (5, 65)}


def leaderboard(shared: Path, setting: str) -> pd.DataFrame:
    scores, findings = read_leaderboard(
        shared / "data/published/care2025_liver_lifs_leaderboard.csv",
        registry.load("liqa/2025"),
        SETTINGS[setting],
        metrics=COLUMNS,
        groups={"domain": "domain"},
        where={"setting": setting},
        scale=0.01,
    )
    assert findings == []
    return scores


def area(truth: np.ndarray, score: np.ndarray) -> float:
    return float(curves.areas(truth.astype(np.int64), score[:, None], np.ones((1, len(truth))))[0, 0])


def rank(shared: Path, setting: str, recipe: str | None = None) -> pd.DataFrame:
    challenge = registry.load("liqa/2025")
    task = SETTINGS[setting]
    metrics = challenge.tasks[task].metrics
    _, rules = challenge.recipe_for(task, recipe)
    ranking = rank_scores(
        leaderboard(shared, setting), rules.steps, {name: spec.better for name, spec in metrics.items()}, task=task
    )
    return ranking.table()


@pytest.mark.parametrize(("setting", "value", "runner_up"), [("Contrast", 75.20, 71.23), ("NonContrast", 75.82, 72.87)])
def test_recipe_gives_the_published_awards(shared: Path, setting: str, value: float, runner_up: float) -> None:
    awards = pd.read_csv(shared / "data/published/care2025_liver_awards.csv", index_col="award")
    printed = {"Contrast": "LiFS (Contrast)", "NonContrast": "LiFS (Non-Contrast)"}[setting]
    own = rank(shared, setting)
    assert own["submission"].iloc[0] == awards.at[printed, "team_on_leaderboard"]
    assert own["rank"].tolist()[:2] == [1, 2]
    assert own["value"].iloc[0] * 100 == pytest.approx(value, abs=0.0051)
    assert own["value"].iloc[1] * 100 == pytest.approx(runner_up, abs=0.0051)


def test_mean_of_metric_ranks_would_give_another_winner(shared: Path) -> None:
    own = rank(shared, "NonContrast", "mean-of-metric-ranks").set_index("submission")
    assert own["rank"].idxmin() == "Team space"
    assert own.at["Team space", "value"] == 2.4375  # 2.438 in the fact sheet
    assert own.at["Sigma", "value"] == 3.375
    assert rank(shared, "Contrast", "mean-of-metric-ranks")["submission"].iloc[0] == "Sigma"


def test_published_auc_values_lie_on_the_lattice_of_their_counts(shared: Path) -> None:
    table = pd.read_csv(shared / "data/published/care2025_liver_lifs_leaderboard.csv")
    table = table[table["team"] != "BioDreamer"]  # fits no number of cases; see the fact sheet
    checked = 0
    for row in table.itertuples():
        for problem, column in (("s4", "auc_s4_vs_s123_pct"), ("s1", "auc_s1_vs_s234_pct")):
            positives, negatives = COUNTS[str(row.domain), problem]
            steps = getattr(row, column) / 100 * 2 * positives * negatives
            assert abs(steps - round(steps)) <= 0.00005 * 2 * positives * negatives + 1e-9
            checked += 1
    assert checked == 44


def test_our_auc_lies_on_the_same_lattice() -> None:
    rng = np.random.default_rng(3)
    for positives, negatives in COUNTS.values():
        truth = np.array([True] * positives + [False] * negatives)
        for _ in range(20):
            value = area(truth, rng.integers(0, 12, len(truth)) / 12)
            steps = value * 2 * positives * negatives
            assert steps == pytest.approx(round(steps), abs=1e-7)


@pytest.mark.parametrize(
    ("positives", "negatives", "constant", "percent"),
    [(65, 5, 0.9, 92.86), (23, 47, 0.9, 32.86), (57, 63, 0.9, 47.50), (79, 41, 0.9, 65.83)],
)
def test_constant_answers(positives: int, negatives: int, constant: float, percent: float) -> None:
    truth = np.array([True] * positives + [False] * negatives)
    given = np.full((len(truth), 1), int(constant >= 0.5))
    accuracy = labels.accuracies(truth.astype(np.int64), given, np.ones((1, len(truth))))[0, 0]
    assert round(accuracy * 100, 2) == percent
    assert area(truth, np.full(len(truth), constant)) == 0.5


def test_constant_accuracies_are_on_the_leaderboard(shared: Path) -> None:
    table = pd.read_csv(shared / "data/published/care2025_liver_lifs_leaderboard.csv")
    radio = table[table["team"] == "NW-Radio"]
    assert set(radio[radio["domain"] == "ID"]["acc_s4_vs_s123_pct"]) == {47.50}
    assert set(radio[radio["domain"] == "ID"]["acc_s1_vs_s234_pct"]) == {65.83}
    assert set(radio[radio["domain"] == "OOD"]["acc_s4_vs_s123_pct"]) == {32.86}
    out = table[table["domain"] == "OOD"]
    assert (out["acc_s1_vs_s234_pct"] == 92.86).sum() == 5


@pytest.fixture(scope="module")
def test_set() -> pd.DataFrame:
    """Return 120 cases of the seen centres and 70 of centre C with the published counts of S4 and S1."""
    id_stages = ["S4"] * 57 + ["S1"] * 41 + ["S2"] * 12 + ["S3"] * 10
    ood_stages = ["S4"] * 23 + ["S1"] * 5 + ["S2"] * 21 + ["S3"] * 21
    rows = [
        {"case": f"{index:04d}-{center}", "stage": stage, "center": center}
        for stages, centers in ((id_stages, ("A", "B1", "B2")), (ood_stages, ("C",)))
        for index, stage in enumerate(stages)
        for center in [centers[index % len(centers)]]
    ]
    frame = pd.DataFrame(rows)
    assert frame["case"].is_unique
    return frame


def score(
    tmp_path: Path,
    test_set: pd.DataFrame,
    tables: Mapping[str, str],
    edition: str = "2025",
    task: str = "lifs-contrast",
) -> tuple[pd.DataFrame, dict[str, list[str]]]:
    test_set.rename(columns={"case": "Case"}).to_csv(tmp_path / "stages.csv", index=False)
    files = {}
    for team, text in tables.items():
        files[team] = tmp_path / f"{team}.csv"
        files[team].write_text(text, encoding="utf-8")
    result = score_task(registry.load(f"liqa/{edition}"), task, tmp_path / "stages.csv", files)
    values = result.scores.set_index(["submission", "domain", "metric"])[["value", "status"]]
    return values, {team: [str(item.code) for item in found] for team, found in result.findings.items()}


def answers_2025(test_set: pd.DataFrame, s4: np.ndarray, s1: np.ndarray, setting: str = "Contrast") -> str:
    lines = ["Case,Setting,Subtask1_prob_S4,Subtask2_prob_S1"]
    lines += [
        f"{case},{setting},{a!r},{b!r}" for case, a, b in zip(test_set["case"], s4.tolist(), s1.tolist(), strict=True)
    ]
    return "\n".join(lines)


def test_staging_pools_domains_as_published(tmp_path: Path, test_set: pd.DataFrame) -> None:
    rng = np.random.default_rng(0)
    s4, s1 = rng.random(190).round(3), rng.random(190).round(3)
    values, found = score(tmp_path, test_set, {"team": answers_2025(test_set, s4, s1)})
    assert found["team"] == []
    for domain, centers in (("id", ["A", "B1", "B2"]), ("ood", ["C"])):
        inside = test_set["center"].isin(centers).to_numpy()
        for problem, given in (("S4", s4), ("S1", s1)):
            truth = (test_set["stage"] == problem).to_numpy()[inside]
            own = given[inside]
            correct = ((own >= 0.5) == truth).mean()
            pairs = own[truth][:, None] - own[~truth][None, :]
            by_pairs = ((pairs > 0).sum() + 0.5 * (pairs == 0).sum()) / pairs.size
            key = problem.lower()
            assert values.at[("team", domain, f"acc_{key}"), "value"] == pytest.approx(correct, abs=1e-12)
            assert values.at[("team", domain, f"auc_{key}"), "value"] == pytest.approx(by_pairs, abs=1e-12)


def test_missing_cases_are_penalised_not_dropped(tmp_path: Path, test_set: pd.DataFrame) -> None:
    perfect4 = (test_set["stage"] == "S4").to_numpy(float)
    perfect1 = (test_set["stage"] == "S1").to_numpy(float)
    full = answers_2025(test_set, perfect4, perfect1)
    lines = full.split("\n")
    short = "\n".join([lines[0], *lines[13:]])  # the first twelve cases, all S4 and in domain
    odd = "\n".join([lines[0], lines[1].replace(",1.0,", ",1.7,"), *lines[2:], "9999-Z,Contrast,0.5,0.5"])
    values, found = score(tmp_path, test_set, {"full": full, "short": short, "odd": odd})
    assert values.at[("full", "id", "acc_s4"), "value"] == 1.0
    assert values.at[("full", "id", "auc_s4"), "status"] == "ok"
    assert values.at[("short", "id", "acc_s4"), "value"] == pytest.approx(108 / 120)
    assert values.at[("short", "id", "auc_s4"), "value"] == pytest.approx(45 / 57)
    assert values.at[("short", "id", "acc_s4"), "status"] == "penalised"
    assert values.at[("short", "ood", "acc_s4"), "value"] == 1.0
    assert values.at[("odd", "id", "acc_s4"), "value"] == pytest.approx(119 / 120)
    assert "prediction-missing" in found["short"]
    assert {"probability-out-of-range", "prediction-missing", "prediction-of-unknown-case"} <= set(found["odd"])


def test_2026_format_settings_and_sums(tmp_path: Path, test_set: pd.DataFrame) -> None:
    lines = ["Case,Modality Input,S1,S2,S3,S4"]
    for row in test_set.itertuples():
        chances = [0.1] * 4
        chances[int(str(row.stage)[1]) - 1] = 0.7
        inputs = '"DWI, T1, T2"' if row.center == "A" else '"T1, GED4"'
        lines.append(f"{row.case},{inputs}," + ",".join(f"{chance:.4f}" for chance in chances))
    team = "\n".join(lines)
    bad = team.replace("0.7000", "0.9000", 1)
    table = {"team": team, "bad": bad}
    values, found = score(tmp_path, test_set, table, "2026", "lifs-contrast")
    # centre A was answered without contrast, so its 40 cases are missing in the contrast setting
    right = int((test_set["center"].isin(["B1", "B2"])).sum())
    assert values.at[("team", "id", "acc_s4"), "value"] == pytest.approx(right / 120)
    assert values.at[("team", "ood", "acc_s1"), "value"] == 1.0
    plain, found_plain = score(tmp_path, test_set, table, "2026", "lifs-noncontrast")
    assert plain.at[("team", "id", "acc_s4"), "value"] == pytest.approx((120 - right) / 120)
    assert plain.at[("team", "ood", "acc_s4"), "status"] == "missing"
    assert "probability-sum" in {*found["bad"], *found_plain["bad"]}


def test_leak_paths_are_warned_about(tmp_path: Path, test_set: pd.DataFrame, shared: Path) -> None:
    named = test_set.assign(case=test_set["case"] + "-" + test_set["stage"])
    text = answers_2025(named, np.full(190, 0.2), np.full(190, 0.2))
    _, found = score(tmp_path, named, {"team": text})
    assert "leak-class-in-name" in found[""]
    assert "answers-on-one-side" in found["team"]
    # centre B1 of the training set: DWI is missing in 11/39 S1, 11/29 S2, 3/11 S3, 2/91 S4
    counts = pd.read_csv(shared / "data/published/care2025_liver_train_modality_counts.csv")
    row = counts[(counts["center"] == "B1") & (counts["modality"] == "DWI_800")].iloc[0]
    totals = pd.read_csv(shared / "data/published/care2025_liver_train_stage_counts.csv", index_col="center").loc["B1"]
    rows = []
    for stage in ("S1", "S2", "S3", "S4"):
        for index in range(int(totals[stage])):
            missing = "" if index < int(row[stage]) else "DWI"
            rows.append({"case": f"{len(rows):04d}-B1", "stage": stage, "center": "B1", "missing": missing})
    cases = pd.DataFrame(rows)
    text = answers_2025(cases, np.linspace(0, 1, len(cases)), np.linspace(0, 1, len(cases)))
    _, found = score(tmp_path, cases, {"team": text})
    assert "leak-informative-missing" in found[""]
    assert "leak-class-in-name" not in found[""]


def test_segmentation_recipe_means_ranks_over_metrics_and_domains() -> None:
    # the published LiSeg leaderboard is not among the reference data, so the rule is checked by hand
    scores = pd.DataFrame(
        [
            {
                "submission": team,
                "case": f"{domain}-{index}",
                "structure": "liver",
                "metric": metric,
                "value": value,
                "domain": domain,
            }
            for team, dice, hd in (
                ("A", (0.97, 0.96), (20.0, 15.0)),
                ("B", (0.96, 0.97), (21.0, 16.0)),
                ("C", (0.9, 0.9), (30.0, 30.0)),
            )
            for domain, d, h in (("id", dice[0], hd[0]), ("ood", dice[1], hd[1]))
            for index in range(3)
            for metric, value in (("dice", d), ("hd", h))
        ]
    ).assign(challenge="liqa", edition="2025", task="liseg-ged4", status="ok")
    challenge = registry.load("liqa/2025")
    steps = challenge.recipe_for("liseg-ged4")[1].steps
    own = rank_scores(scores, steps, {"dice": "higher", "hd": "lower"}, task="liseg-ged4").table()
    assert own["value"].tolist() == [1.25, 1.75, 3.0]
    assert own["submission"].tolist() == ["A", "B", "C"]
