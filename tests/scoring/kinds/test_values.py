"""The kind ``values``: errors by hand, every format, what is missing, and slips that are told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.challenges import registry
from medpodium.cli import main
from medpodium.scoring import table
from medpodium.scoring.kinds.engine import Result, check_task, score_task

RULES = """
schema: 1
name: mine
title: Mine
groups: {site: {levels: [north, south]}}
tasks:
  t:
    kind: values
    groups: [site]
    quantities: {femur: {unit: mm, low: 0, high: 500}, head: {unit: mm, column: hc}}
    metrics:
      error: {kind: absolute_error, worst: 90}
      signed: {kind: signed_error, worst: 90, ranked: false}
      relative: {kind: relative_error, worst: 1}
      near: {kind: within, absolute: 0.1, relative: 0.1}
      rmse: {kind: rmse, worst: 90}
      skipped: {kind: mae, missing: skip, worst: 90}
      success: {kind: success_rate, absolute: 2}
recipes: {main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}}
ranking: {t: main}
"""


def score(folder: Path, truth: Path, team: Path) -> Result:
    (folder / "c.yaml").write_text(RULES, encoding="utf-8")
    return score_task(registry.load(folder / "c.yaml"), "t", truth, {"team": team}, workers=1)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


TRUTH = "case,femur,hc,site\na,40,200,north\nb,0.2,100,south\nc,50,,north\nd,60,300,south\n"


def cell(result: Result, case: str, structure: str, metric: str) -> tuple[float, str]:
    rows = result.scores.set_index(["case", "structure", "metric"])
    return rows.at[(case, structure, metric), "value"], rows.at[(case, structure, metric), "status"]


def test_errors_by_hand_and_what_is_missing(tmp_path: Path) -> None:
    team = write(tmp_path / "team.csv", "case,femur,hc\na,44,190\nb,0.3,\nc,49,7\nd,many,310\n")
    result = score(tmp_path, write(tmp_path / "truth.csv", TRUTH), team)
    assert cell(result, "a", "femur", "error") == (4.0, table.OK)
    assert cell(result, "a", "head", "signed") == (-10.0, table.OK)
    assert cell(result, "a", "head", "relative") == (0.05, table.OK)
    assert cell(result, "a", "femur", "near") == (1.0, table.OK)  # the larger margin, 10 % of 40
    assert cell(result, "b", "femur", "near") == (1.0, table.OK)  # .3 is within .1 of .2
    assert cell(result, "b", "head", "error") == (90.0, table.MISSING)
    assert cell(result, "d", "femur", "error") == (90.0, table.MISSING)
    assert ("c", "head", "error") not in result.scores.set_index(["case", "structure", "metric"]).index
    assert cell(result, "", "femur", "rmse")[0] == pytest.approx(np.sqrt((16 + 0.01 + 1 + 8100) / 4))
    assert cell(result, "", "femur", "skipped")[0] == pytest.approx((4 + 0.1 + 1) / 3)
    assert cell(result, "", "head", "success") == (0.0, table.PENALISED)
    assert cell(result, "", "femur", "success") == (0.5, table.PENALISED)
    causes = " ".join(one.cause for one in result.findings["team"])
    assert "'many' is no finite number" in causes
    assert "1 numbers are missing (first b: head)" in causes or "2 numbers are missing (first b: head)" in causes


def records(path: Path) -> list[dict[str, object]]:
    return json.loads(pd.read_csv(path).to_json(orient="records"))


def test_every_format_and_layout_gives_the_same_scores(tmp_path: Path) -> None:
    truth = write(tmp_path / "truth.csv", TRUTH)
    team = write(tmp_path / "team.csv", "case,femur,hc\na,44,190\nb,0.3,120\nc,49,7\nd,61,310\n")
    known = score(tmp_path, truth, team).scores
    rows = records(team)
    frame = pd.DataFrame(rows)
    places = [
        write(tmp_path / "x.tsv", frame.to_csv(sep="\t", index=False)),
        write(tmp_path / "x.jsonl", "\n".join(json.dumps(row) for row in rows)),
        write(tmp_path / "x.json", json.dumps(rows)),
        tmp_path / "x.parquet",
        write(tmp_path / "comma.csv", frame.to_csv(sep=";", decimal=",", index=False)),
    ]
    frame.to_parquet(tmp_path / "x.parquet")
    long = frame.rename(columns={"hc": "head"}).melt("case", var_name="quantity", value_name="value")
    places.append(write(tmp_path / "long.csv", long.to_csv(index=False)))
    for place in places:
        again = score(tmp_path, truth, place)
        assert not again.findings.get("team"), place.name
        pd.testing.assert_frame_equal(again.scores, known, check_exact=True)


def slips(tmp_path: Path, change: object) -> list[str]:
    rng = np.random.default_rng(5)
    true = np.stack([rng.normal(60, 8, 30), rng.normal(220, 30, 30)], axis=1)
    said = change(true + rng.normal(0, [1, 4], true.shape))  # type: ignore[operator]
    names = [f"c{at:02d}" for at in range(30)]
    for name, values in (("truth", true), ("team", said)):
        frame = pd.DataFrame({"case": names, "femur": values[:, 0], "hc": values[:, 1]})
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
    (tmp_path / "c.yaml").write_text(RULES, encoding="utf-8")
    challenge = registry.load(tmp_path / "c.yaml")
    found = check_task(challenge, "t", tmp_path / "truth.csv", tmp_path / "team.csv")
    scored = score_task(challenge, "t", tmp_path / "truth.csv", {"team": tmp_path / "team.csv"}, workers=1)
    assert found == scored.findings["team"]
    return [str(one.code) for one in found]


def exchanged(values: np.ndarray) -> np.ndarray:
    values[[3, 9]] = values[[9, 3]]
    return values


SLIPS = {
    "none": (lambda own: own, []),
    "biased": (lambda own: own * 1.3 + 5, []),
    "everybody the same": (lambda own: np.tile(own.mean(axis=0), (30, 1)), []),
    "cm": (lambda own: own / 10, ["values-in-another-unit"]),
    "inches": (lambda own: own / [25.4, 1], ["values-in-another-unit"]),
    "columns": (lambda own: own[:, ::-1], ["values-columns-swapped"]),
    "rows": (lambda own: np.roll(own, 1, axis=0), ["values-cases-mixed-up"]),
    "two cases": (exchanged, ["values-cases-mixed-up"]),
}


@pytest.mark.parametrize("name", SLIPS)
def test_slips_are_told_and_poor_numbers_are_not(name: str, tmp_path: Path) -> None:
    change, expected = SLIPS[name]
    assert slips(tmp_path, change) == expected


def test_references_that_hold_no_number_stop_the_verb(tmp_path: Path) -> None:
    write(tmp_path / "c.yaml", RULES)
    write(tmp_path / "truth.csv", TRUTH.replace("200", "about 200"))
    write(tmp_path / "team.csv", "case,femur,hc\na,44,190\n")
    command = ["score", str(tmp_path / "c.yaml"), "--references", str(tmp_path / "truth.csv"), "--out"]
    command += [str(tmp_path / "s.csv"), "--predictions", f"team={tmp_path / 'team.csv'}"]
    done = CliRunner().invoke(main, command)
    assert done.exit_code == 1
    assert "values-reference-unusable" in done.output


def test_a_lacking_column_costs_its_quantity_only(tmp_path: Path) -> None:
    team = write(tmp_path / "team.csv", "case,femur\na,40\nb,0.2\nc,50\nd,60\n")
    result = score(tmp_path, write(tmp_path / "truth.csv", TRUTH), team)
    assert cell(result, "a", "femur", "error") == (0.0, table.OK)
    assert cell(result, "a", "head", "error") == (90.0, table.MISSING)
    assert "values-column-missing" in {str(one.code) for one in result.findings["team"]}


def test_feta_biometry_is_scored_to_what_its_tables_import_to(tmp_path: Path) -> None:
    header = "participant_id\tLCC\tHV\tbBIP\tsBIP\tTCD"
    truth = write(tmp_path / "biometry.tsv", f"{header}\nsub-001\t40\t20\t80\t90\t30\nsub-002\t40\t\t80\t90\t30\n")
    team = tmp_path / "team"
    write(team / "sub-001_biom.csv", f"{header}\nsub-001\t42\t20\t76\t90\t33\n")
    write(team / "sub-002_biom.csv", f"{header}\nsub-002\t40\t20\tabc\t90\t\n")
    out = tmp_path / "s.csv"
    command = ["score", "feta/2024", "--task", "biometry", "--references", str(truth), "--predictions", f"team={team}"]
    done = CliRunner().invoke(main, [*command, "--out", str(out)])
    assert done.exit_code == 1, done.output  # two numbers are missing
    found = pd.read_csv(out, keep_default_na=False).query("metric == 'percentage_error'")
    imported = tmp_path / "i.csv"
    command = ["import", "biometry", "--reference", str(truth), "--predictions", f"team={team}", "--out"]
    assert CliRunner().invoke(main, [*command, str(imported)]).exit_code == 1
    other = pd.read_csv(imported, keep_default_na=False)
    merged = found.merge(other, on=["case", "structure"], suffixes=("", "_imported"))
    assert len(merged) == len(found) == len(other) == 9
    ok = merged["status"] == "ok"
    assert merged.loc[ok, "value"].astype(float).tolist() == merged.loc[ok, "value_imported"].astype(float).tolist()
    assert (merged["status"] == merged["status_imported"]).all()
    assert found.loc[found["status"] == "missing", "value"].astype(float).tolist() == [100.0, 100.0]
