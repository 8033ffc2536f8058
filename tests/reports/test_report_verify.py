"""Two runs give the same bytes; `verify` finds what was changed."""

from __future__ import annotations

import gzip
import json
import runpy
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.challenges.sources import source_hash
from medpodium.findings import UsageError
from medpodium.reports import commands, inputs, verification, write
from medpodium.reports.codes import ReportCode
from medpodium.reports.request import Request

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))


@pytest.fixture(scope="module")
def report(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("verify")
    teams.make_scores(["a", "b", "c"]).to_csv(folder / "scores.csv", index=False)
    _write(tiny, folder / "scores.csv", folder / "report")
    return folder / "report"


def _write(challenge: Path, scores: Path, out: Path) -> None:
    write.write_report(Request(str(challenge), scores, ("html", "latex"), bootstrap=40, seed=5, workers=1), out)


def test_two_runs_from_one_seed_are_byte_identical(tiny: Path, report: Path, tmp_path: Path) -> None:
    _write(tiny, report.parent / "scores.csv", tmp_path / "again")
    first = {path.relative_to(report): path.read_bytes() for path in report.rglob("*") if path.is_file()}
    second = {
        path.relative_to(tmp_path / "again"): path.read_bytes()
        for path in (tmp_path / "again").rglob("*")
        if path.is_file()
    }
    assert first.keys() == second.keys()
    assert [str(name) for name in first if first[name] != second[name]] == []
    assert any(name.suffix == ".pdf" for name in first)


def test_the_recorded_command_writes_the_same_report(
    tiny: Path, report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (tiny, report.parent / "scores.csv"):
        shutil.copy(path, tmp_path)
    monkeypatch.chdir(tmp_path)
    program, verb, *words = shlex.split(json.loads((report / "manifest.json").read_text())["settings"]["command"])
    assert (program, verb) == ("medpodium", "report")
    answer = CliRunner().invoke(commands.report, words)
    assert answer.exit_code in (0, 1), answer.output
    recorded, again = (json.loads((folder / "manifest.json").read_text()) for folder in (report, tmp_path / "report"))
    assert again == recorded


def test_an_untouched_report_verifies(report: Path) -> None:
    outcome = verification.verify(report)
    assert outcome.findings == ()
    assert outcome.counts["tables"] > 20
    assert outcome.counts["numbers"] > 500


def test_figures_of_what_was_measured_do_not_shift_what_is_compared(
    report: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A campaign's memory over time stands among the figures; nobody can recompute it, and the others are found."""
    scores = report.parent / "scores.csv"
    known = inputs.read_inputs(Request(str(tiny), scores))
    curves = pd.DataFrame(
        {"submission": "a", "case": "c1", "seconds": [0.0, 1.0], "megabytes": 5.0, "what": "Host memory"}
    )
    monkeypatch.setattr(inputs, "read_inputs", lambda _: replace(known, curves=curves))
    asked = Request(str(tiny), scores, ("html", "markdown"), bootstrap=40, seed=5, workers=1)
    write.write_report(asked, tmp_path / "report")
    assert "Host memory over time" in (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    outcome = verification.verify(tmp_path / "report")
    assert outcome.findings == ()
    assert outcome.counts["pages"] == 3, "the page, the Markdown and its readme"


def test_a_changed_number_is_found_with_place_and_both_values(report: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(report, folder)
    path = folder / "data" / "leaderboard-organs.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[1] = lines[1].replace(lines[1].split(",")[1], "9.0", 1)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = verification.verify(folder).findings
    assert {finding.code for finding in found} == {ReportCode.FILE_CHANGED, ReportCode.NUMBER_DIFFERS}
    differing = next(finding for finding in found if finding.code is ReportCode.NUMBER_DIFFERS)
    assert "9.0" in differing.cause
    assert "1.0" in differing.cause


def test_changed_scores_are_found(report: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(report, folder)
    path = folder / "data" / "scores.csv.gz"
    rows = gzip.decompress(path.read_bytes()).decode().splitlines()
    fields = rows[1].split(",")
    rows[1] = rows[1].replace(fields[7], "0.123")
    path.write_bytes(gzip.compress("\n".join(rows).encode()))
    found = verification.verify(folder).findings
    assert sum(finding.code is ReportCode.NUMBER_DIFFERS for finding in found) > 3


def test_a_missing_file_and_a_folder_that_is_no_report(report: Path, tmp_path: Path) -> None:
    folder = tmp_path / "r"
    shutil.copytree(report, folder)
    (folder / "index.html").unlink()
    assert [str(finding.code) for finding in verification.verify(folder).findings] == ["report-file-missing"]
    with pytest.raises(UsageError, match="manifest"):
        verification.verify(tmp_path)


def test_the_manifest_names_versions_seed_and_hashes_but_no_path(report: Path) -> None:
    text = (report / "manifest.json").read_text(encoding="utf-8")
    about = json.loads(text)
    assert about["settings"]["seed"] == 5
    assert set(about["made_with"]) >= {"medpodium", "python", "numpy", "matplotlib"}
    assert about["made_with"]["sources_sha256"] == source_hash()
    assert len(about["inputs"]["scores"]["sha256"]) == 64
    assert str(report.parent) not in text


def test_the_verbs_speak_json_and_exit_with_their_code(report: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(commands.verify, [str(report), "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["findings"] == []
    wrong = CliRunner().invoke(commands.verify, [str(tmp_path)])
    assert wrong.exit_code == 2
    assert "report-no-manifest" in wrong.output
