"""The command line as a user meets it: help, exit codes, JSON, and the main job on real masks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import pandas as pd
import pytest
import SimpleITK
from click.testing import CliRunner
from scipy import ndimage

from medpodium import console
from medpodium.cli import main
from medpodium.scoring import commands, definitions
from medpodium.scoring.kinds import engine
from medpodium.scoring.kinds.engine import Result
from medpodium.scoring.scheduling.scheduler import LocalScheduler

VERBS = [
    "challenges", "show", "lint", "demo", "check", "template", "init", "submit", "run", "status",
    "score", "rank", "report", "verify", "baseline", "export", "import", "explain", "doctor",
]  # fmt: skip


def _run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "medpodium.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)


def test_help_lists_every_verb() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert result.exit_code == 0
    for verb in VERBS:
        assert f"\n  {verb} " in result.output, verb


@pytest.mark.parametrize("verb", [*VERBS, "check predictions", "check image"])
def test_help_of_every_verb_has_an_example(verb: str) -> None:
    result = CliRunner().invoke(main, [*verb.split(), "--help"])
    assert result.exit_code == 0, result.output
    if verb in ("check", "baseline", "export", "import"):
        return
    assert re.search(r"Examples?: medpodium", result.output)
    assert all(option in result.output for option in ("--json", "-q, --quiet", "-v, --verbose"))


@pytest.mark.parametrize(
    "statement", ["import medpodium", "from medpodium.cli import main; main(['--help'], standalone_mode=False)"]
)
def test_start_is_quick_and_loads_nothing_heavy(statement: str) -> None:
    code = f"{statement}\nimport sys\nprint('LOADED', *sys.modules)"
    started = os.times()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    finished = os.times()
    loaded = set(done.stdout.partition("LOADED")[2].split())
    assert not loaded & {"torch", "docker", "numba", "SimpleITK", "pandas", "numpy", "scipy", "matplotlib", "pydantic"}
    # CPU time: the machine may be busy with other tests.
    cpu = finished.children_user + finished.children_system - started.children_user - started.children_system
    assert cpu < 0.5


def test_cases_are_scored_before_tables_are_loaded() -> None:
    """What only the summary needs is imported while compiled code works (a second of two processors)."""
    code = """
import sys
import medpodium.scoring.rescoring, medpodium.scoring.groups, medpodium.scoring.kinds.engine
import medpodium.scoring.exchange.nnunet_results, medpodium.scoring.kinds.segmentation.case
print('LOADED', *sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stdout.partition("LOADED")[2].split()
    assert "numpy" in loaded
    assert not set(loaded) & {"pandas", "numba", "scipy.special", "medpodium.scoring.evidence.bootstrap"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["show", "flare-pancancr"], 2, "did you mean flare-pancancer?"),
        (["score", "flare-pancancer", "--predictions", "a=b"], 2, "--references"),
        (["score", "flare-pancancer", "--references", "x", "--predictions", "ab", "--out", "s.csv"], 2, "TEAM=PATH"),
        (["score", "liqa", "--references", "x", "--predictions", "a=.", "--out", "s.csv"], 2, "liseg-ged4"),
        (["rank", "flare-pancancer", "nowhere.csv", "--out", "l.csv"], 2, "nowhere.csv"),
        (["lint", "nowhere.yaml"], 2, "nowhere.yaml"),
    ],
)
def test_wrong_use_names_value_and_fix(arguments: list[str], code: int, words: str) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == code, result.output
    assert words in result.output
    assert "Traceback" not in result.output


def test_json_of_challenges_and_show() -> None:
    listed = json.loads(_run("challenges", "--json").stdout)
    names = {row["name"] for row in listed["challenges"]}
    assert {"flare-pancancer", "touchstone", "feta", "liqa", "stunet-transfer"} <= names
    shown = json.loads(_run("show", "flare-pancancer/2023", "--json").stdout)
    assert shown["definition"]["tasks"]["segmentation"]["structures"]["liver"]["tolerance_mm"] == 5.0
    assert any("running_time" in fact["field"] for fact in shown["unconfirmed"])


def test_unconfirmed_facts_are_visible() -> None:
    text = _run("show", "flare-pancancer/2023").stdout
    assert "Unconfirmed" in text
    assert "running_time" in text.partition("Unconfirmed")[2]


AMOS = """
schema: 1
name: amos-like
title: Fifteen abdominal organs
tasks:
  seg:
    empty: {{both: 1, reference: 0, prediction: 0}}
    structures: {{{structures}}}
    metrics:
      dice: {{kind: dice}}
      nsd: {{kind: nsd, tolerance_mm: 2}}
      hd95: {{kind: hd_percentile, worst: diagonal, empty: {{both: 0, reference: worst, prediction: worst}}}}
      assd: {{kind: assd, worst: diagonal, empty: {{both: 0, reference: worst, prediction: worst}}}}
recipes:
  rank-then-mean:
    steps:
      - rank: {{within: [case, structure, metric]}}
      - mean: [case, structure, metric]
      - rank
ranking: {{seg: rank-then-mean}}
"""


def _perturbed(labels: np.ndarray, team: str) -> np.ndarray:
    if team == "shifted":
        return np.roll(labels, 2, axis=2)
    if team == "eroded":
        return np.where(ndimage.grey_erosion(labels, footprint=np.ones((1, 3, 3))) == labels, labels, 0).astype(
            np.uint8
        )
    if team == "missed":
        return np.where(np.isin(labels, [4, 12, 13]), 0, labels).astype(np.uint8)
    return labels


def test_main_job_on_a_real_label_map(shared: Path, tmp_path: Path) -> None:
    """Score, rank and report four perturbed teams against a real label map, in a folder with spaces and umlauts."""
    folder = tmp_path / "Prüfung eins"
    image = SimpleITK.ReadImage(str(shared / "data" / "masks" / "amos" / "amos_0001.nii.gz"))
    labels = SimpleITK.GetArrayFromImage(image).astype(np.uint8)
    for team in ("reference", "perfect", "shifted", "eroded", "missed"):
        (folder / team).mkdir(parents=True)
        copy = SimpleITK.GetImageFromArray(_perturbed(labels, team))
        copy.CopyInformation(image)
        SimpleITK.WriteImage(copy, str(folder / team / "amos_0001.nii.gz"), useCompression=True, compressionLevel=1)
    structures = ", ".join(f"organ{label}: {{label: {label}}}" for label in range(1, 16))
    definition = folder / "amos.yaml"
    definition.write_text(AMOS.format(structures=structures), encoding="utf-8")
    scores, leaderboard, report = folder / "scores.csv", folder / "leaderboard.csv", folder / "Bericht"
    teams = [f"--predictions={team}={folder / team}" for team in ("perfect", "shifted", "eroded", "missed")]
    done = _run("score", definition, "--references", folder / "reference", *teams, "--out", scores, "--json")
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(scores, float_precision="round_trip")
    assert len(table) == 4 * 15 * 4
    assert (table[table["submission"] == "perfect"].groupby("metric")["value"].nunique() == 1).all()
    missed = table[(table["submission"] == "missed") & table["structure"].isin(["organ4", "organ12", "organ13"])]
    assert set(missed["status"]) == {"penalised"}
    # Dice recounted with numpy alone.
    shifted = np.roll(labels, 2, axis=2)
    for label in range(1, 16):
        expected = (
            2 * ((labels == label) & (shifted == label)).sum() / ((labels == label).sum() + (shifted == label).sum())
        )
        row = table.query(f"submission == 'shifted' and structure == 'organ{label}' and metric == 'dice'")
        assert row["value"].item() == expected
    done = _run("rank", definition, scores, "--out", leaderboard, "--bootstrap", "50")
    assert done.returncode in (0, 1), done.stderr
    ranks = pd.read_csv(leaderboard)
    assert {"rank", "submission"} <= set(ranks.columns)
    assert ranks.sort_values("rank")["submission"].iloc[0] == "perfect"
    done = _run("report", definition, scores, "--out", report)
    assert done.returncode in (0, 1), done.stderr
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "perfect" in page
    assert "<script src" not in page


def test_totalsegmentator_examples_against_each_other(shared: Path, tmp_path: Path) -> None:
    masks = shared / "data" / "masks" / "totalsegmentator"
    for team, file in {
        "reference": "example_seg",
        "a": "example_seg",
        "b": "example_seg_fast",
        "c": "example_seg_roi_subset",
    }.items():
        (tmp_path / team).mkdir()
        (tmp_path / team / "ct.nii.gz").write_bytes((masks / f"{file}.nii.gz").read_bytes())
    labels = np.unique(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(masks / "example_seg.nii.gz"))))
    structures = ", ".join(f"s{label}: {{label: {label}}}" for label in labels if label)
    definition = tmp_path / "ts.yaml"
    text = AMOS.format(structures=structures).replace("    empty:", "    unknown_labels: ignore\n    empty:", 1)
    definition.write_text(text, encoding="utf-8")
    scores = tmp_path / "scores.parquet"
    teams = [f"--predictions={team}={tmp_path / team}" for team in "abc"]
    done = _run("score", definition, "--references", tmp_path / "reference", *teams, "--out", scores)
    assert done.returncode in (0, 1), done.stderr
    table = pd.read_parquet(scores)
    mean = table[table["metric"] == "dice"].groupby("submission")["value"].mean()
    assert mean["a"] == 1.0
    assert mean["a"] > mean["b"] > mean["c"]


def test_check_predictions_names_a_flip(tmp_path: Path) -> None:
    from medpodium.challenges.demo import make as demo

    places = demo.make(tmp_path, cases=6)
    done = _run(
        "check", "predictions", "flare-pancancer/2023", "--references", places["references"],
        "--predictions", places["predictions/cirrus"], "--json",
    )  # fmt: skip
    findings = json.loads(done.stdout)["findings"]
    flipped = [item for item in findings if item["code"] == "prediction-looks-flipped"]
    assert len(flipped) == 1
    assert "DEMO_0005" in flipped[0]["where"]
    assert "along x" in flipped[0]["cause"]


def test_demo_ends_with_leaderboard_and_page(tmp_path: Path) -> None:
    done = _run("demo", tmp_path / "demo", "--cases", "6", "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert Path(shown["report"]).stat().st_size > 1000
    ranks = pd.read_csv(shown["leaderboard"])
    assert sorted(ranks["submission"]) == ["aurora", "borealis", "cirrus"]


def test_parameters_are_gathered_into_a_dataclass() -> None:
    @dataclass(frozen=True)
    class Asked:
        number: int
        name: str = "nobody"
        place: str = "here"

    @click.command()
    @click.option("--number", type=int, default=1)
    @click.option("--name")
    @click.option("--other", default="other")
    @console.gathered(Asked, "asked")
    def verb(asked: Asked, other: str) -> None:
        """Help."""
        click.echo(f"{asked} {other}")

    done = CliRunner().invoke(verb, ["--number", "3", "--name", "x"])
    assert done.exit_code == 0, done.output
    assert "number=3, name='x', place='here') other" in done.output
    assert "--number" in CliRunner().invoke(verb, ["--help"]).output


def test_tables_are_imported_once_others_check_references(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Before that, a second thread would keep the command from copying itself."""
    told: list[str] = []
    begun: list[tuple[str, Sequence[str]]] = []
    numbers = iter((1, 2))

    def scored(*_: object, progress: Callable[[int, int], None], **__: object) -> Result:
        cases = next(numbers)
        for step in ("checked 0", "checked 1", "scored 0", "scored 1"):
            told.append(step)
            progress(int(step[-1]), cases)
        return Result(pd.DataFrame(columns=["task", "metric"]), {})

    monkeypatch.setattr(commands._Meanwhile, "begin", lambda _, modules: begun.append((told[-1], modules)))
    monkeypatch.setattr(engine, "score_task", scored)
    monkeypatch.setattr(definitions, "write", lambda *_: [])
    request = commands.Request(
        (), tmp_path, tmp_path / "scores.csv", None, None, None, None, skip_broken=False, add=False, anew=False,
        case_budget=None,
    )  # fmt: skip
    for _ in range(2):
        commands._score("flare-pancancer", request, LocalScheduler())
    (first, for_one), (second, for_several) = begun
    assert (first, second) == ("checked 0", "checked 0")
    assert [*for_one, "scipy.special"] == list(for_several)  # one case has no interval


TINY = """
schema: 1
name: tiny
title: One case of a few voxels
tasks:
  t:
    empty: {both: skip, reference: skip, prediction: worst}
    structures: {a: {label: 1}}
    metrics: {dice: {kind: dice}, hd95: {kind: hd_percentile, worst: diagonal}}
recipes: {main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}}
ranking: {t: main}
"""
SCORED = """
import atexit, os, sys
from medpodium.cli import main
asked = ("OPENBLAS_NUM_THREADS", "PYDANTIC_DISABLE_PLUGINS")
atexit.register(lambda: print("ASKED", *[os.environ.get(name) for name in asked]))
atexit.register(lambda: print("MODULES", *sys.modules))
main()
"""


def test_one_tiny_case_waits_for_nothing_it_has_no_use_for(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY, encoding="utf-8")
    for folder, size in (("reference", 4), ("a", 3)):
        (tmp_path / folder).mkdir()
        mask = np.zeros((8, 8, 8), np.uint8)
        mask[1:5, 1:5, 1 : 1 + size] = 1
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(mask), str(tmp_path / folder / "c.nii.gz"))
    words = ["score", "tiny.yaml", "--references", "reference", "--predictions", "a=a", "--out", "scores.csv"]
    asked = ("OPENBLAS_NUM_THREADS", "PYDANTIC_DISABLE_PLUGINS")
    environ = {name: value for name, value in os.environ.items() if name not in asked}
    done = subprocess.run(
        [sys.executable, "-c", SCORED, *words], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    said = {line.split(" ")[0]: line.split(" ")[1:] for line in done.stdout.splitlines()}
    schema = "medpodium.challenges.schema"
    useless = {"scipy.special", "scipy.stats", "medpodium.challenges.campaign.folder", "medpodium.scoring.rescoring"}
    useless |= {f"{schema}.{kind}" for kind in ("answers", "classification", "values", "tabular", "baseline")}
    assert not useless & set(said["MODULES"])
    assert said["ASKED"] == ["None", "None"]  # what is started later has all threads it wants
    scores = pd.read_csv(tmp_path / "scores.csv").set_index("metric")["value"]
    assert scores["dice"] == pytest.approx(2 * 48 / (48 + 64))
    assert scores["hd95"] == 1.0


def test_the_end_of_a_command_searches_nothing() -> None:
    """What is alive when a command ends is not searched for unreachable objects, of which there are next to none."""
    script = "import atexit, gc; atexit.register(lambda: print(gc.get_freeze_count())); import medpodium.cli"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert int(done.stdout) > 10_000
