"""What a page lets its reader explore is what the report prints, and nothing of it is lost or leaked."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.reports.formats import html
from medpodium.reports.model import gather, scores
from medpodium.reports.model.interactive.explore import Explored, altered
from medpodium.scoring.table import read_scores


@pytest.fixture(scope="module")
def explored(hostile: tuple[Path, Path]) -> dict[str, Any]:
    """Return what the page of hostile names lets its reader explore, read out of the page."""
    page = (hostile[0] / "index.html").read_text(encoding="utf-8")
    packed = re.search(r'id="explore-data" data-packed>([A-Za-z0-9+/=]+)</script>', page)
    assert packed is not None
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed[1])))
    return found


@pytest.fixture(scope="module")
def table(tiny: Path, hostile: tuple[Path, Path]) -> Path:
    """Return the path of the score table of hostile names."""
    assert hostile
    return tiny.with_name("hostile.csv")


@pytest.fixture(scope="module")
def raw(table: Path) -> pd.DataFrame:
    """Return the score table as it was written, without any of the package's readers."""
    return pd.read_csv(table, keep_default_na=False)


def _mean(raw: pd.DataFrame, team: str, structures: tuple[str, ...], domain: str = "") -> tuple[float, int]:
    own = raw[(raw["submission"] == team) & (raw["metric"] == "dice") & raw["structure"].isin(structures)]
    own = own[own["domain"] == domain] if domain else own
    per_case = own.groupby("case")["value"].mean()
    return float(per_case.mean()), len(per_case)


def test_means_of_everything_and_of_every_group_are_those_of_the_score_table(
    explored: dict[str, Any], raw: pd.DataFrame
) -> None:
    (task,) = explored["tasks"]
    (group,) = task["groups"]
    assert (group["title"], group["levels"]) == ("Domain", ["seen", "unseen"])
    told = 0
    for panel in task["panels"]:
        if panel["metric"] != "Dice similarity coefficient" and "dice" not in panel["id"]:
            continue
        parts = (panel["structure"].lower(),) if panel["structure"] else ("liver", "spleen", "kidney")
        for key, domain in (("", ""), ("0:0", "seen"), ("0:1", "unseen")):
            for name, row in zip(task["order"], panel["subsets"][key], strict=True):
                mean, number = _mean(raw, name, parts, domain)
                assert row[0] == number
                assert row[1] == pytest.approx(mean, abs=1e-12)
                assert row[4].startswith(f"{mean:.{panel['digits']}f}")
                told += 1
    assert told == 4 * 3 * 7


def test_single_scores_are_those_of_the_score_table_and_a_missing_one_is_told_as_a_penalty(
    explored: dict[str, Any], raw: pd.DataFrame
) -> None:
    (task,) = explored["tasks"]
    panel = next(one for one in task["panels"] if one["structure"] == "Liver")
    for at, name in enumerate(task["order"]):
        own = raw[(raw["submission"] == name) & (raw["structure"] == "liver")].set_index("case")
        for case, value in zip(panel["cases"], panel["values"][at], strict=True):
            assert value == pytest.approx(
                own.loc[task["cases"][case], "value"], abs=5.1 * 10.0 ** -(panel["digits"] + 4)
            )
        missing = set(own.index[own["status"] != "ok"])
        assert {task["cases"][panel["cases"][one]] for one in panel["fined"][at]} == missing


def test_printed_numbers_are_the_reports_own(tiny: Path, table: Path) -> None:
    results = gather.gather(registry.load(str(tiny)), read_scores(table), bootstrap=60, seed=1)
    (told,) = json.loads(Explored(results).text)["tasks"]
    (task,) = results.tasks
    panel = next(one for one in task.overall if one.metric == "dice")
    told_of = scores.spread_table(task, panel, "x", "x")
    printed = {row[0]: (told_of.columns[1].show(row[1]), told_of.columns[3].show(row[3])) for row in told_of.rows}
    own = next(one for one in told["panels"] if one["id"] == panel.id)
    assert {name: (row[4], row[5]) for name, row in zip(told["order"], own["subsets"][""], strict=True)} == printed
    group = scores.per_group(task, "domain", "dice")
    assert group is not None
    for at in (0, 1):
        shown = {row[0]: group.columns[at + 1].show(row[at + 1]) for row in group.rows}
        assert {name: row[4] for name, row in zip(told["order"], own["subsets"][f"0:{at}"], strict=True)} == shown
    differences = task.table("score_differences", panel)
    assert len(own["pairs"]) == len(differences) == 7 * 6 / 2
    first = differences.iloc[0]
    pair = next(
        one for one in own["pairs"] if {told["order"][at] for at in one[:2]} == {first.submission, first.versus}
    )
    sign = 1 if told["order"][pair[0]] == first.submission else -1
    assert float(pair[2].split(" [")[0]) == pytest.approx(sign * first.difference, abs=0.51 * 10.0 ** -own["digits"])


def test_a_kind_whose_scores_tell_the_truth_keeps_single_cases_to_itself(tmp_path: Path) -> None:
    path = tmp_path / "ages.yaml"
    path.write_text(AGES, encoding="utf-8")
    key = {"challenge": "ages", "edition": "1", "task": "age", "structure": "age", "metric": "error", "status": "ok"}
    frame = pd.DataFrame(
        {**key, "submission": team, "case": f"secret{case}", "value": float(case + at)}
        for at, team in enumerate(("one", "two"))
        for case in range(6)
    )
    frame.to_csv(tmp_path / "scores.csv", index=False)
    results = gather.gather(registry.load(str(path)), read_scores(tmp_path / "scores.csv"), bootstrap=0)
    text = Explored(results).text
    assert "secret" not in text
    (task,) = json.loads(text)["tasks"]
    (panel,) = task["panels"]
    assert [row[1] for row in panel["subsets"][""]] == [2.5, 3.5]
    assert "values" not in panel


AGES = """\
schema: 1
name: ages
title: Ages
tasks:
  age:
    kind: values
    quantities: {age: {unit: years}}
    metrics: {error: {kind: absolute_error, worst: 100}}
recipes: {mean: {steps: [{mean: structure}, {mean: case}, {mean: metric}, {rank: {ties: min}}]}}
ranking: {age: mean}
"""


def test_more_scores_than_a_page_carries_leave_numbers_but_no_cases(
    tiny: Path, table: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = gather.gather(registry.load(str(tiny)), read_scores(table), bootstrap=0)
    monkeypatch.setattr("medpodium.reports.model.interactive.explore.MOST", 7 * 14)
    (task,) = json.loads(Explored(results).text)["tasks"]
    assert [("values" in panel) for panel in task["panels"]] == [True, *[False] * (len(task["panels"]) - 1)]
    assert all(not math.isnan(row[1]) for panel in task["panels"] for row in panel["subsets"][""])
    assert np.isfinite(task["panels"][-1]["subsets"]["0:1"][0][1])


def test_verify_notices_an_edited_number_that_is_explored(
    hostile: tuple[Path, Path], explored: dict[str, Any], tmp_path: Path
) -> None:
    told = json.loads(json.dumps(explored))
    assert altered(told, explored) == ""
    row = told["tasks"][0]["panels"][0]["subsets"]["0:1"][2]
    row[4] = row[4].replace("0.", "0.0", 1)
    assert "subsets: 0:1 3 5" in altered(told, explored)
    page = (hostile[0] / "index.html").read_text(encoding="utf-8")
    assert json.loads(html.explored_text(page)) == explored


def test_vendored_scripts_are_those_of_the_list_with_their_licences() -> None:
    folder = Path(html.__file__).parents[1] / "vendor"
    rows = re.findall(
        r"^\| `(\S+)` \|.*`(\S+LICENSE)` \| `([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.M
    )
    assert {row[0] for row in rows} == {path.name for path in folder.glob("*.js")}
    for name, licence, digest in rows:
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        assert len((folder / licence).read_text(encoding="utf-8")) > 500
        assert "</script" not in (folder / name).read_text(encoding="utf-8").lower(), "it could not stand in a page"
