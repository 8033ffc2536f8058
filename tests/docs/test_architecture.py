"""The page on the architecture: its recipes work in a copy of the package, and its picture is up to date."""

from __future__ import annotations

import html
import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pandas as pd
import pytest

from medpodium.scoring import table
from medpodium.scoring.exchange.platforms.unpack import unpack

DOCS = Path(__file__).resolve().parents[2] / "docs"
KIND = {
    "challenges/schema/counts.py",
    "challenges/schema/kinds.py",
    "scoring/kinds/counts/__init__.py",
    "scoring/kinds/counts/kind.py",
}
METRIC = {
    "challenges/schema/metrics/structure.py",
    "scoring/measures/overlap.py",
    "scoring/kinds/segmentation/measures.py",
}
FOREIGN = re.compile(r"(?i)\bmasks?\b|voxel|contour|segment|lesion|structure|\bclass\b|probabilities|\bslice")
"""Words of other kinds that have no place in a text about counts."""


def said(text: str) -> str:
    """Return what a reader of a page sees: no markup, no style, no script."""
    bare = re.sub(r"<(script|style)\b.*?</\1>", " ", text, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", bare)))


def foreign(text: str) -> list[str]:
    """Return every word of another kind with what stands around it."""
    return [text[max(0, match.start() - 40) : match.end() + 40] for match in FOREIGN.finditer(text)]


# -- add a kind of task --

TRUTH = {"case_01": 3, "case_02": 0, "case_03": 7, "case_04": 12, "case_05": 5, "case_06": 1}
ANSWERS = {
    "aurora": {**TRUTH, "case_02": 2},
    "borealis": {case: count + 1 for case, count in TRUTH.items() if case != "case_03"} | {"case_01": 3},
}
WORST = 100
"""As the page's challenge file declares for a missing answer."""


def write_counts(folder: Path, name: str, counts: dict[str, int], sites: bool = False) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["case,count,site"] if sites else ["case,count"]
    for number, (case, count) in enumerate(counts.items()):
        rows.append(f"{case},{count}" + (f",{('north', 'south')[number % 2]}" if sites else ""))
    (folder / name).write_text("\n".join(rows) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def counts(recipes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, dict[str, str]]:
    """Follow "Add a kind of task"; return the copy, the folder of the challenge, and what each verb printed."""
    folder = tmp_path_factory.mktemp("kind")
    house = recipes.copy_package(folder / "house")
    write_counts(folder / "references", "references.csv", TRUTH, sites=True)
    for team, answers in ANSWERS.items():
        write_counts(folder / team, "predictions.csv", answers)
    applied, printed = set(), {}
    for language, text in recipes.blocks("Add a kind of task"):
        if language == "console":
            assert recipes.changed(house) == applied == KIND
            for line in text.strip().split("\n"):
                verb = line.removeprefix("$ medpodium ").split(" ")[0]
                printed[verb] = recipes.run_line(house, folder, line)
        elif language == "yaml":
            recipes.apply(folder, text)
        else:
            applied.add(recipes.apply(house, text))
    return house, folder, printed


@pytest.mark.slow
def test_new_kind_takes_one_folder_and_one_entry(
    counts: tuple[Path, Path, dict[str, str]], recipes: ModuleType
) -> None:
    house, _, printed = counts
    assert recipes.changed(house) == KIND
    assert list(printed) == ["lint", "show", "check", "score", "rank", "report", "verify", "export"]


@pytest.mark.slow
def test_the_pages_code_keeps_the_house_style(
    counts: tuple[Path, Path, dict[str, str]], rate: tuple[Path, Path], require: Any
) -> None:
    require(importlib.util.find_spec("ruff") is not None, "ruff (medpodium[dev])")
    for house, files in ((counts[0], KIND), (rate[0], METRIC)):
        for words in (["check"], ["format", "--check"]):
            subprocess.run([sys.executable, "-m", "ruff", *words, "--no-cache", *sorted(files)], cwd=house, check=True)


@pytest.mark.slow
def test_new_kind_is_scored_as_its_formulas_say(counts: tuple[Path, Path, dict[str, str]]) -> None:
    scores = table.read_scores(counts[1] / "scores.csv")
    found = {(row.submission, row.case, row.metric): (row.value, row.status) for row in scores.itertuples(index=False)}
    for team, answers in ANSWERS.items():
        for case, count in TRUTH.items():
            right = (abs(answers[case] - count), table.OK) if case in answers else (WORST, table.MISSING)
            assert found.pop((team, case, "error")) == right
    assert found == {
        ("aurora", "", "exact"): (5 / 6, table.OK),
        ("borealis", "", "exact"): (1 / 6, table.PENALISED),
    }
    observed = pd.read_parquet(counts[1] / "scores.observations.parquet").set_index(["submission", "case"])
    assert len(observed) == 2 * len(TRUTH)
    assert observed.loc[("borealis", "case_03"), ["truth", "answer", "status"]].tolist() == ["7", "", "missing"]
    assert observed.loc[("aurora", "case_02"), ["truth", "answer", "count", "site"]].tolist() == [
        "0",
        "2",
        2.0,
        "south",
    ]


@pytest.mark.slow
def test_new_kind_is_ranked_with_evidence_for_both_metrics(counts: tuple[Path, Path, dict[str, str]]) -> None:
    _, folder, printed = counts
    board = pd.read_csv(folder / "leaderboard.csv").sort_values("rank")
    assert board["submission"].tolist() == ["aurora", "borealis"]
    assert board["mean_case:error"].tolist() == pytest.approx([2 / 6, (4 + WORST) / 6])
    assert "stay fixed while the cases are resampled" not in printed["rank"] + printed["report"]
    tests = pd.read_csv(folder / "evidence" / "significance.csv")
    assert set(tests["metric"]) == {"error", "exact"}
    sets = pd.read_csv(folder / "evidence" / "confidence_sets.csv")
    assert set(sets["submission"]) == {"aurora", "borealis"}


@pytest.mark.slow
def test_new_kind_is_told_in_its_own_words(counts: tuple[Path, Path, dict[str, str]]) -> None:
    _, folder, printed = counts
    page = said((folder / "report" / "index.html").read_text(encoding="utf-8"))
    assert "Count error" in page
    assert "share of cases with P = R" in page
    assert foreign(page) == []
    for verb, text in printed.items():
        assert foreign(text) == [], verb


@pytest.mark.slow
def test_new_kind_checks_what_scoring_would_find(
    counts: tuple[Path, Path, dict[str, str]], recipes: ModuleType
) -> None:
    house, folder, printed = counts
    assert "0 findings" in printed["check"]
    text = recipes.run(
        house, folder, "check", "predictions", "cells.yaml", "--references", "references",
        "--predictions", "borealis", "--json", code=1,
    )  # fmt: skip
    assert [one["code"] for one in json.loads(text)["findings"]] == ["prediction-missing"]


@pytest.mark.slow
def test_new_kind_is_scored_on_codabench_as_at_home(counts: tuple[Path, Path, dict[str, str]], tmp_path: Path) -> None:
    _, folder, _ = counts
    unpack(folder / "bundle.zip", tmp_path / "bundle")
    pages = "".join(path.read_text(encoding="utf-8") for path in sorted((tmp_path / "bundle").glob("*.md")))
    assert "`predictions.csv`" in pages
    assert "`case`, `count`" in pages
    assert foreign(pages) == []
    app = tmp_path / "app"
    unpack(tmp_path / "bundle" / "scoring_program.zip", app / "program")
    unpack(tmp_path / "bundle" / "reference_data.zip", app / "input" / "ref")
    write_counts(app / "input" / "res", "predictions.csv", ANSWERS["borealis"])
    (app / "output").mkdir()
    command = [sys.executable, "-I", str(app / "program" / "score.py"), str(app / "input"), str(app / "output")]
    subprocess.run(command, check=True, cwd=app / "program")
    scores = json.loads((app / "output" / "scores.json").read_text(encoding="utf-8"))
    assert scores == {"error": pytest.approx((4 + WORST) / 6), "exact": pytest.approx(1 / 6)}
    here = table.read_scores(folder / "scores.csv")
    there = table.read_scores(app / "output" / "score_table.csv")
    key = ["case", "metric", "value", "status"]
    mine = here[here["submission"] == "borealis"].sort_values(key).reset_index(drop=True)
    pd.testing.assert_frame_equal(mine[key], there[key].sort_values(key).reset_index(drop=True), check_exact=True)
    assert "observations" not in " ".join(path.name for path in (app / "output").iterdir())


@pytest.mark.slow
def test_new_kind_keeps_the_promises_of_every_kind(
    counts: tuple[Path, Path, dict[str, str]], recipes: ModuleType
) -> None:
    command = [*recipes.PYTHON, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "counts or sample"]
    done = subprocess.run(
        [*command, str(DOCS.parent / "tests" / "scoring" / "kinds" / "test_contract.py")],
        cwd=DOCS.parent, env=recipes.environment(counts[0]), capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 15  # type: ignore[index]


COUNTING = """echo case,count > /output/predictions.csv
for f in /input/*.txt; do b=${f##*/}; n=$(wc -l < $f); echo "${b%.txt},$((n ADD))" >> /output/predictions.csv; done"""


@pytest.mark.slow
@pytest.mark.docker
def test_new_kind_goes_through_a_container_campaign(
    counts: tuple[Path, Path, dict[str, str]], recipes: ModuleType, tiny: Any, docker_engine: Any, tmp_path: Path
) -> None:
    house, folder, _ = counts
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    for case, count in TRUTH.items():
        (inputs / f"{case}.txt").write_text("cell\n" * count, encoding="utf-8")
    scripts = {
        "cells-exact": COUNTING.replace("ADD", "+ 0"),
        "cells-more": COUNTING.replace("ADD", "+ 1"),
        "cells-crash": "echo no >&2; exit 3",
    }

    def run(*words: object, code: int = 0) -> str:
        return str(recipes.run(house, tmp_path, *words, code=code))

    run("init", folder / "cells.yaml", "campaign", "--cases", "inputs", "--references", folder / "references")
    for team, script in scripts.items():
        archive = tiny.archive(tmp_path / f"{team}.tar.gz", script)
        run("submit", "campaign", archive, "--team", team)
    try:
        run("run", "campaign")
    finally:
        tiny.clean(docker_engine, "medpodium/cells-")
    told = run("score", "campaign", code=1)  # the crash is a finding
    assert re.search(r"cells-exact +exact +1 +1 ", told)  # one value over all cases: mean 1 of 1
    run("rank", "campaign", "--bootstrap", 20, "--out", "board.csv")
    run("report", "campaign", "--bootstrap", 20, "--out", "report")
    path = next(one for one in (tmp_path / "campaign").glob("scores.*") if "observations" not in one.name)
    run("verify", "report", "--scores", path)
    scores = table.read_scores(path)
    errors = scores[scores["metric"] == "error"].set_index(["submission", "case"])
    assert (errors.loc["cells-exact", "value"] == 0).all()
    assert (errors.loc["cells-more", "value"] == 1).all()
    assert (errors.loc["cells-crash", "value"] == WORST).all()
    assert set(errors.loc["cells-crash", "status"]) == {"failed:crash"}
    exact = scores[scores["metric"] == "exact"].set_index("submission")
    assert exact.loc["cells-exact", "value"] == 1
    assert exact.loc["cells-more", "value"] == 0
    board = pd.read_csv(tmp_path / "board.csv").sort_values("rank")
    assert board["submission"].tolist() == ["cells-exact", "cells-more", "cells-crash"]
    page = said((tmp_path / "report" / "index.html").read_text(encoding="utf-8"))
    assert foreign(page) == []


# -- add a metric --

MASKS = """
schema: 1
name: mine
title: Mine
tasks:
  seg:
    structures: {a: {label: 1}}
    empty: {both: skip, reference: skip, prediction: worst}
    metrics: {missed: {kind: false_negative_rate}}
recipes: {mean: {steps: [{mean: [case, structure, metric]}, rank]}}
ranking: {seg: mean}
"""


@pytest.fixture(scope="module")
def rate(recipes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Follow "Add a metric"; return the copy and a folder with a challenge that uses it."""
    folder = tmp_path_factory.mktemp("metric")
    house = recipes.copy_package(folder / "house")
    applied = {recipes.apply(house, text) for _, text in recipes.blocks("Add a metric")}
    assert recipes.changed(house) == applied == METRIC
    (folder / "mine.yaml").write_text(MASKS, encoding="utf-8")
    return house, folder


@pytest.mark.slow
def test_new_metric_is_known_everywhere(rate: tuple[Path, Path], recipes: ModuleType) -> None:
    house, folder = rate
    assert "0 findings" in recipes.run(house, folder, "lint", "mine.yaml")
    text = recipes.run(house, folder, "show", "mine.yaml")
    assert "False negative rate" in text
    assert "lower is better" in text
    program = "from medpodium.challenges.schema.definition import Challenge as C; import json; "
    done = subprocess.run(
        [sys.executable, "-c", program + "print(json.dumps(C.model_json_schema()))"],
        cwd=folder, env=recipes.environment(house), capture_output=True, encoding="utf-8", check=True,
    )  # fmt: skip
    assert "false_negative_rate" in json.loads(done.stdout)["$defs"]["OverlapMetric"]["properties"]["kind"]["enum"]


@pytest.mark.slow
def test_new_metric_is_computed(rate: tuple[Path, Path], recipes: ModuleType, tiny: Any) -> None:
    import numpy as np

    house, folder = rate
    reference = np.zeros((8, 10, 10), np.uint8)
    reference[2:6, 2:6, 2:7] = 1  # 80 voxels
    prediction = np.zeros_like(reference)
    prediction[2:5, 2:6, 2:9] = 1  # holds three of four slices: 60 of them
    empty = np.zeros_like(reference)
    for team, masks in (("references", (reference, reference)), ("aurora", (prediction, empty))):
        (folder / team).mkdir()
        for number, mask in enumerate(masks, start=1):
            (folder / team / f"c{number}.nii.gz").write_bytes(tiny.nifti(mask))
    recipes.run(
        house, folder, "score", "mine.yaml", "--references", "references", "--predictions", "aurora=aurora",
        "--workers", 1, "--out", "scores.csv",
    )  # fmt: skip
    scores = table.read_scores(folder / "scores.csv")
    rows = [(row.case, row.structure, row.metric, row.value, row.status) for row in scores.itertuples(index=False)]
    assert rows == [("c1", "a", "missed", 20 / 80, table.OK), ("c2", "a", "missed", 1.0, table.PENALISED)]


# -- the picture and the paths --


def test_picture_is_what_the_imports_say() -> None:
    spec = importlib.util.spec_from_file_location("draw_architecture", DOCS / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert module.draw() == (DOCS / "architecture.svg").read_text(encoding="utf-8"), (
        "the rooms or their imports changed: run python docs/draw_architecture.py and look at the picture"
    )


PATH = re.compile(r"`((?:challenges|scoring|containers|baselines|reports|tests|docs|benchmarks)/[\w./-]*)`")
COMMAND = re.compile(r"(?:python |\()((?:benchmarks|docs|tests)/[\w./-]+\.\w+)")
TEST = re.compile(r"`(test_\w+\.py)`")


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *(f"docs/{one.name}" for one in sorted(DOCS.glob("*.md")))]
)
def test_every_path_a_page_names_exists(page: str) -> None:
    root = DOCS.parent
    text = re.sub(r"^```.*?^```$", "", (root / page).read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = {*PATH.findall(text), *COMMAND.findall(text)}
    lost = sorted(path for path in named if not (root / path).exists() and "NAME" not in path)
    lost += sorted(name for name in set(TEST.findall(text)) if not list((root / "tests").rglob(name)))
    assert not lost, f"{page} names what is not there"
