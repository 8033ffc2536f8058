"""The grand-challenge scorer without a container: matching of jobs, phase settings, odd input, round trip."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from medpodium.containers.platforms.grand_challenge import scorer
from medpodium.findings import UsageError
from medpodium.scoring.exchange.platforms import payload


@pytest.fixture
def exported(tiny: Any, run: Any, tmp_path: Path) -> Path:
    out = tmp_path / "evaluation"
    run("export", "grand-challenge", tiny.rules, "--references", tiny.references, "--cases", tiny.cases, "--out", out)
    return out


def _reject(constant: str) -> float:
    raise AssertionError(f"{constant} in JSON")


def _strict(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"), parse_constant=_reject)


def test_same_scores_as_the_verb_and_back_again(
    exported: Path, tiny: Any, jobs: Path, partial: Any, run: Any, same: Any, tmp_path: Path
) -> None:
    scorer.evaluate(jobs, exported / "ground_truth", tmp_path / "output")
    metrics = _strict(tmp_path / "output" / "metrics.json")
    folder, failed = partial
    expected = tiny.score(tmp_path / "expected.csv", "--resources", failed, predictions=folder)
    assert same(payload.read_payload(tmp_path / "output" / "metrics.json"), expected)
    run("import", "grand-challenge", tmp_path / "output" / "metrics.json", "--out", tmp_path / "back.csv")
    assert (tmp_path / "back.csv").read_bytes() == (tmp_path / "expected.csv").read_bytes()
    codes = {one["code"] for one in metrics["findings"]}
    assert {"job-failed", "job-missing", "job-of-unknown-case"} <= codes
    by_case = {item["case"]: {score["status"] for score in item["scores"]} for item in metrics["results"]}
    assert by_case["case_02"] <= {"failed:job-failed", "skipped", "empty-reference"}
    assert "missing" in by_case["case_04"]
    values = expected.loc[expected["metric"] == "dice", "value"].dropna()
    assert metrics["aggregates"]["dice"]["mean"] == math.fsum(values) / len(values)


def test_predictions_folder_from_jobs(tiny: Any, jobs: Path, partial: Any, run: Any, same: Any, tmp_path: Path) -> None:
    out = tmp_path / "predictions"
    arguments = ("import", "grand-challenge", jobs, "--challenge", tiny.rules, "--cases", tiny.cases, "--out", out)
    report = json.loads(run(*arguments, "--json", code=1).stdout)
    assert report["cases"] == ["case_01", "case_03", "case_05"]
    expected = tiny.score(tmp_path / "a.csv", predictions=partial[0])
    assert same(tiny.score(tmp_path / "b.csv", predictions=out), expected)


def test_conversion_keeps_every_score(tiny: Any, jobs: Path, partial: Any, run: Any, same: Any, tmp_path: Path) -> None:
    rules = tmp_path / "nifti.yaml"
    text = tiny.rules.read_text(encoding="utf-8").replace('"{case}{extension}"', '"{case}.nii.gz"')
    rules.write_text(text, encoding="utf-8")
    out = tmp_path / "predictions"
    run("import", "grand-challenge", jobs, "--challenge", rules, "--cases", tiny.cases, "--out", out, code=1)
    assert sorted(path.name for path in out.iterdir()) == [f"case_0{n}.nii.gz" for n in (1, 3, 5)]
    expected = tiny.score(tmp_path / "a.csv", predictions=partial[0])
    assert same(tiny.score(tmp_path / "b.csv", predictions=out), expected)


def test_phase_settings_point_at_numbers_that_exist(exported: Path, jobs: Path, tmp_path: Path) -> None:
    settings = _strict(exported / "phase_settings.json")
    metrics = scorer.evaluate(jobs, exported / "ground_truth", tmp_path / "output")

    def at(path: str) -> Any:
        found: Any = metrics
        for part in path.split("."):
            found = found[part]
        return found

    assert settings["score_default_sort"] == "desc"
    assert settings["scoring_method_choice"] in ("abs", "avg", "med")
    assert settings["result_display_choice"] in ("all", "rec", "bst")
    assert isinstance(at(settings["score_jsonpath"]), float)
    columns = settings["extra_results_columns"]
    # two more means, and three metrics of four structures
    assert len(columns) == 2 + 12
    for column in columns:
        assert set(column) == {"path", "order", "title", "error_path", "exclude_from_ranking"}
        at(column["path"])
    orders = {column["title"]: column["order"] for column in columns}
    assert orders["HD95 (mean)"] == "asc"


def test_pack_context_has_the_fields_the_starter_kit_needs(exported: Path) -> None:
    challenge = _strict(exported / "pack-context.json")["challenge"]
    assert {"slug", "url", "archives", "phases"} <= set(challenge)
    phase = challenge["phases"][0]
    fields = {
        "slug",
        "archive",
        "algorithm_interfaces",
        "evaluation_additional_inputs",
        "evaluation_additional_outputs",
    }
    assert fields <= set(phase)
    assert phase["archive"] in challenge["archives"]
    sockets = [one for item in phase["algorithm_interfaces"] for one in (*item["inputs"], *item["outputs"])]
    for socket in sockets:
        assert {"slug", "kind", "super_kind", "relative_path", "example_value"} <= set(socket)


def test_files_of_the_image(exported: Path, tiny: Any) -> None:
    dockerfile = (exported / "Dockerfile").read_text(encoding="utf-8")
    assert "\nUSER 10001:10001\n" in dockerfile
    assert "tiny/1" not in dockerfile
    assert not list((exported / "medpodium").rglob("*.nii.gz"))
    truth = sorted(path.name for path in (exported / "ground_truth" / "references").iterdir())
    assert truth == [f"case_0{n}.nii.gz" for n in range(1, 6)]
    pins = (exported / "requirements.txt").read_text(encoding="utf-8").split()
    assert any(pin.startswith("numpy==") for pin in pins)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda job: job["outputs"].clear(), "output-ambiguous"),
        (lambda job: job["outputs"].append(dict(job["outputs"][0])), "output-ambiguous"),
        (lambda job: job["outputs"][0]["interface"].update(relative_path="../../../etc"), "path-unsafe"),
        (lambda job: job["outputs"][0]["interface"].update(relative_path="images/none"), "output-missing"),
        (lambda job: job.update(pk="nowhere"), "output-missing"),
    ],
)
def test_odd_jobs_fail_their_case_only(exported: Path, jobs: Path, tmp_path: Path, change: Any, code: str) -> None:
    path = jobs / "predictions.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    change(entries[0])
    path.write_text(json.dumps(entries), encoding="utf-8")
    metrics = scorer.evaluate(jobs, exported / "ground_truth", tmp_path / "output")
    status = {item["case"]: {one["status"] for one in item["scores"]} for item in metrics["results"]}
    assert f"failed:{code}" in status["case_05"]
    assert status["case_01"] == {"ok"}


def test_two_jobs_for_one_case(exported: Path, jobs: Path, tmp_path: Path) -> None:
    path = jobs / "predictions.json"
    entries = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps([*entries, entries[0]]), encoding="utf-8")
    metrics = scorer.evaluate(jobs, exported / "ground_truth", tmp_path / "output")
    status = {item["case"]: {one["status"] for one in item["scores"]} for item in metrics["results"]}
    assert "failed:job-twice" in status["case_05"]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"a": NaN', "\x00"])
def test_unreadable_predictions_json(exported: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "predictions.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"predictions-json-unusable"):
        scorer.evaluate(tmp_path, exported / "ground_truth", tmp_path / "output")


def test_changed_rules_are_refused(exported: Path, jobs: Path, tmp_path: Path) -> None:
    path = exported / "ground_truth" / "challenge.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("2.0", "3.0"), encoding="utf-8")
    with pytest.raises(UsageError, match=r"changed after the export"):
        scorer.evaluate(jobs, exported / "ground_truth", tmp_path / "output")


TIMED = """
      time: {kind: running_time, worst: 100.0, missing: 100.0, failed: 100.0}
recipes:"""


def test_how_long_jobs_ran_is_scored(tiny: Any, jobs: Path, run: Any, tmp_path: Path) -> None:
    """0.1.0 left running times out, although the platform tells them (ISO 8601, as Django writes it)."""
    rules = tmp_path / "timed.yaml"
    rules.write_text(tiny.rules.read_text(encoding="utf-8").replace("\nrecipes:", TIMED), encoding="utf-8")
    entries = json.loads((jobs / "predictions.json").read_text(encoding="utf-8"))
    told = {"case_05": "P0DT00H01M23.500000S", "case_01": "P1DT00H00M00S", "case_03": None, "case_02": "P0DT00H00M09S"}
    for entry in entries:
        name = entry["inputs"][0]["image"]["name"].removesuffix("_0000.mha")
        entry["exec_duration"] = told.get(name)
    (jobs / "predictions.json").write_text(json.dumps(entries), encoding="utf-8")
    out = tmp_path / "evaluation"
    run("export", "grand-challenge", rules, "--references", tiny.references, "--cases", tiny.cases, "--out", out)
    settings = json.loads((out / "phase_settings.json").read_text(encoding="utf-8"))
    assert "aggregates.time.mean" in [one["path"] for one in settings["extra_results_columns"]]
    scorer.evaluate(jobs, out / "ground_truth", tmp_path / "output")
    metrics = _strict(tmp_path / "output" / "metrics.json")
    found = {
        item["case"]: score["value"]
        for item in metrics["results"]
        for score in item["scores"]
        if score["metric"] == "time"
    }
    # 1 min 23.5 s and a day, as told; not told, failed and absent as declared
    assert found == {"case_05": 83.5, "case_01": 86400.0, "case_03": 100.0, "case_02": 100.0, "case_04": 100.0}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("P0DT00H00M00.250000S", 0.25),
        ("1 02:03:04.5", 93784.5),
        ("00:00:07", 7.0),
        (12, 12.0),
        ("P", None),
        ("x", None),
    ],
)
def test_durations(text: Any, seconds: float | None) -> None:
    from medpodium.scoring.exchange.platforms.grand_challenge import duration

    assert duration(text) == seconds


def test_phases_that_take_predictions(tiny: Any, run: Any, same: Any, tmp_path: Path) -> None:
    """The platform unpacks a zip into /input, beside files of its own."""
    out = tmp_path / "evaluation"
    words = ("export", "grand-challenge", tiny.rules, "--references", tiny.references, "--cases", tiny.cases)
    run(*words, "--out", out, "--uploads")
    settings = json.loads((out / "phase_settings.json").read_text(encoding="utf-8"))
    assert settings["submission_kind"] == "Predictions"
    assert not (out / "pack-context.json").exists()
    expected = tiny.score(tmp_path / "expected.csv")
    for inner in ("", "my predictions"):
        folder = tmp_path / f"input{len(inner)}"
        (folder / inner).mkdir(parents=True)
        for path in tiny.predictions.iterdir():
            (folder / inner / path.name).write_bytes(path.read_bytes())
        for name in ("inputs.json", "predictions.zip"):
            (folder / name).write_bytes(b"[]")
        if not inner:  # a submission cannot turn itself into jobs
            (folder / "predictions.json").write_text("[]", encoding="utf-8")
        scorer.evaluate(folder, out / "ground_truth", tmp_path / f"output{len(inner)}")
        assert same(payload.read_payload(tmp_path / f"output{len(inner)}" / "metrics.json"), expected)
