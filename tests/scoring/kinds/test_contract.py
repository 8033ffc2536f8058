"""What every kind of task promises, whatever it predicts; one sample per kind says how its files are written.

A kind that computes scores and has no sample here fails the first test. The kind of docs/architecture.md has one, too:
its page's test runs this file in the copy of the package that has it.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK

from medpodium.challenges import registry
from medpodium.challenges.schema.kinds import KINDS
from medpodium.findings import Finding, Severity, UsageError
from medpodium.scoring import table
from medpodium.scoring.kinds.engine import Result, check_task, score_task
from medpodium.scoring.kinds.lookup import of

CASES = ("c1", "c2", "c3", "c4", "c5", "c6")
HEAD = "schema: 1\nname: mine\ntitle: Mine\ngroups: {centre: {levels: [north, south]}}\n"
TAIL = "recipes: {main: {steps: [{mean: [case, structure, metric]}, rank]}}\nranking: {t: main}\n"


class Sample(ABC):
    """How a kind's references and a team's answers are written.

    Attributes
    ----------
    task : str
        The task in a challenge file.
    broken : tuple of str
        Answers that cannot be used, each in its own way.
    spoilt : tuple of str
        Ways in which all of a team's answers can be worth nothing.
    nothing : str
        The answer that there is nothing; empty where a kind has no such answer.
    """

    task: str
    broken: tuple[str, ...]
    spoilt: tuple[str, ...]
    nothing = ""

    @abstractmethod
    def references(self, folder: Path) -> Path:
        """Write what is true of :data:`CASES`; return the path to give."""

    @abstractmethod
    def team(self, folder: Path, answers: Mapping[str, str], twice: str = "") -> Path:
        """Write a team's answers in this order: case to ``good``, ``other`` or one of ``broken``.

        ``twice`` names a case that is answered twice, in two ways.
        """

    @abstractmethod
    def spoil(self, folder: Path, how: str) -> Path:
        """Write a team whose answers are worth nothing, in one of the ways of ``spoilt``."""


class Masks(Sample):
    """One label map per case; the structure ``b`` is in some of them only."""

    task = """
    kind: segmentation
    structures: {a: {label: 1}, b: {label: 2}}
    empty: {both: 1, reference: 0, prediction: 0}
    metrics:
      dice: {kind: dice}
      there: {kind: presence_f1}
      fp: {kind: fp_volume, worst: 50, empty: {both: compute, reference: compute, prediction: compute}}
"""
    broken = ("no-bytes", "cut-off", "label-9", "label-300", "smaller", "other-spacing")
    spoilt = ("nothing", "foreign-files")
    nothing = "zeros"

    def labels(self, case: str, shift: int = 0) -> np.ndarray:
        number = CASES.index(case) if case in CASES else 0
        labels = np.zeros((6, 12, 12), np.uint16)
        labels[1:4, 2 : 5 + number % 3, 2 + shift : 8 + shift] = 1
        if number % 2:
            labels[4:6, 6:9, 4:9] = 2
        return labels

    def save(self, labels: np.ndarray, path: Path, spacing: float = 1.0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        image = SimpleITK.GetImageFromArray(labels)
        image.SetSpacing((spacing, spacing, 2.0))
        SimpleITK.WriteImage(image, str(path))

    def references(self, folder: Path) -> Path:
        for case in CASES:
            self.save(self.labels(case), folder / "references" / f"{case}.nii.gz")
        return folder / "references"

    def team(self, folder: Path, answers: Mapping[str, str], twice: str = "") -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for case, answer in answers.items():
            self.answer(folder / f"{case}.nii.gz", case, answer)
        if twice:
            self.answer(folder / f"{twice.upper()}.nii.gz", twice, "other")
        return folder

    def answer(self, path: Path, case: str, answer: str) -> None:
        labels = self.labels(case, {"other": 2}.get(answer, 1)) * (answer != "zeros")
        if answer.startswith("label-"):
            labels[0, 0, 0] = int(answer.removeprefix("label-"))
        self.save(labels[:-1] if answer == "smaller" else labels, path, 1.5 if answer == "other-spacing" else 1.0)
        if answer in ("no-bytes", "cut-off"):
            path.write_bytes(path.read_bytes()[: 0 if answer == "no-bytes" else 60])

    def spoil(self, folder: Path, how: str) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if how == "foreign-files":
            (folder / "notes.txt").write_text("hello", encoding="utf-8")
        return folder


class Tables(Sample):
    """One table for all cases."""

    header: str
    reference_header: str
    spoilt = ("nothing", "no-bytes", "header-only", "no-column", "two-tables", "no-text")

    @abstractmethod
    def true(self, case: str) -> str:
        """Return a case's row of the references, without the case."""

    @abstractmethod
    def said(self, case: str, answer: str) -> str:
        """Return a case's row of a team's table, without the case."""

    def write(self, path: Path, header: str, rows: list[str]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
        return path

    def references(self, folder: Path) -> Path:
        rows = [f"{case},{self.true(case)}" for case in CASES]
        self.write(folder / "references" / "references.csv", self.reference_header, rows)
        return folder / "references"

    def team(self, folder: Path, answers: Mapping[str, str], twice: str = "") -> Path:
        rows = [f"{case},{self.said(case, answer)}" for case, answer in answers.items()]
        rows += [f"{twice},{self.said(twice, 'other')}"] if twice else []
        self.write(folder / "predictions.csv", self.header, rows)
        return folder

    def spoil(self, folder: Path, how: str) -> Path:
        good = dict.fromkeys(CASES, "good")
        self.team(folder, good if how in ("no-column", "two-tables") else {})
        path = folder / "predictions.csv"
        if how == "nothing":
            path.unlink()
        elif how == "no-bytes":
            path.write_bytes(b"")
        elif how == "no-text":
            path.write_bytes(b"\xff\xfe\x00 no text")
        elif how == "two-tables":
            path.rename(folder / "one.csv")
            self.write(folder / "two.csv", self.header, [])
        elif how == "no-column":
            lines = path.read_text(encoding="utf-8").splitlines()
            self.write(path, lines[0].replace(self.header.split(",")[-1], "something"), lines[1:])
        return folder


class Classes(Tables):
    """Probabilities of three classes, and one problem."""

    task = """
    kind: classification
    classes: [S1, S2, S3]
    problems: {severe: {positive: [S3]}}
    metrics:
      accuracy: {kind: accuracy}
      auc: {kind: auc, problem: severe}
      right: {kind: correct}
      loss: {kind: case_log_loss}
"""
    header = "Case,S1,S2,S3"
    reference_header = "case,stage"
    broken = (",,", "a,b,c", "0.5,0.9,0.9", "nan,0.5,0.5", "-1,1,1", "inf,0,0")

    def true(self, case: str) -> str:
        return f"S{1 + CASES.index(case) % 3}"

    def said(self, case: str, answer: str) -> str:
        number = CASES.index(case) % 3 if case in CASES else 0
        if answer not in ("good", "other"):
            return answer
        right = number if answer == "good" else (number + 1) % 3
        return ",".join("0.8" if own == right else "0.1" for own in range(3))


class Findings(Tables):
    """Two labels, each of which a case has or has not."""

    task = """
    kind: labels
    labels: {edema: , mass: }
    metrics:
      exact: {kind: exact_match}
      hamming: {kind: hamming_loss}
      f1: {kind: sample_f1}
      each: {kind: auc}
      right: {kind: accuracy}
      macro: {kind: macro_f1}
      micro: {kind: micro_auc}
"""
    header = "case,edema,mass"
    reference_header = "case,edema,mass"
    broken = (",", "a,b", "nan,nan", "2,-1", "inf,inf")

    def true(self, case: str) -> str:
        number = CASES.index(case)
        return f"{number % 2},{number // 3}"

    def said(self, case: str, answer: str) -> str:
        number = CASES.index(case) if case in CASES else 0
        sides = number % 2, number // 3
        said = {"good": [0.1 + 0.8 * side for side in sides], "other": [0.6 - 0.3 * side for side in sides]}
        return ",".join(f"{own:g}" for own in said[answer]) if answer in said else answer


class Choices(Tables):
    """Questions with five options, each asked once, with the model's confidence."""

    task = """
    kind: answers
    options: [A, B, C, D, E]
    extraction: letter-last
    confidence: given
    metrics:
      right: {kind: correct}
      accuracy: {kind: accuracy}
      f1: {kind: macro_f1}
      mcc: {kind: mcc}
      shift: {kind: calibration_shift, ranked: false}
      ece: {kind: ece}
"""
    header = "case,confidence,prediction"
    reference_header = "case,answer"
    broken = ("0.5,", "0.5,F", "0.5,A or B", "0.5,I cannot tell.", "0.5,A mass is seen.", "0.5,none")

    def true(self, case: str) -> str:
        return "ABCDE"[CASES.index(case) % 5]

    def said(self, case: str, answer: str) -> str:
        number = CASES.index(case) if case in CASES else 0
        if answer not in ("good", "other"):
            return answer
        return f"0.{5 + number % 5},The answer is {'ABCDE'[(number + (answer == 'other')) % 5]}."


class Numbers(Tables):
    """A length in mm for every case."""

    task = """
    kind: values
    unit: mm
    metrics:
      error: {kind: absolute_error, worst: 50}
      signed: {kind: signed_error, worst: 50, ranked: false}
      percent: {kind: percentage_error, worst: 100}
      near: {kind: within, absolute: 2}
      mae: {kind: mae, worst: 50}
      median: {kind: median_error, worst: 50}
      rmse: {kind: rmse, worst: 50}
      bias: {kind: bias, worst: 50, ranked: false}
      upper: {kind: upper_limit, worst: 50, ranked: false}
      width: {kind: limits_width, worst: 200}
      r2: {kind: r2, worst: -10}
      pearson: {kind: pearson}
      spearman: {kind: spearman}
      concordance: {kind: concordance}
      icc: {kind: icc}
      success: {kind: success_rate, relative: 0.1}
"""
    header = "case,value"
    reference_header = "case,value"
    broken = ("", "long", "inf", "nan", "1e9999", '"1,234"')

    def true(self, case: str) -> str:
        return str(20 + 3.5 * CASES.index(case) ** 1.3)

    def said(self, case: str, answer: str) -> str:
        number = CASES.index(case) if case in CASES else 0
        return {"good": str(20.5 + 3.4 * number**1.3), "other": str(22 + 5 * number)}.get(answer, answer)


class Risks(Tables):
    """A risk for every case, some of which are censored."""

    task = """
    kind: survival
    curve: {15: s15, 25: s25}
    metrics:
      harrell: {kind: harrell_c}
      uno: {kind: uno_c, tau: 40}
      auc: {kind: time_auc, times: [15, 25]}
      ibs: {kind: integrated_brier}
"""
    header = "case,risk,s15,s25"
    reference_header = "case,time,event"
    broken = (",,", "high,1,1", "inf,1,1", "1,nan,1", "1,1,2", "1e9999,1,1")

    def true(self, case: str) -> str:
        number = CASES.index(case)
        return f"{10 + 5 * number},{int(number != 3)}"

    def said(self, case: str, answer: str) -> str:
        number = CASES.index(case) if case in CASES else 0
        return {"good": f"{9 - number},0.{9 - number},0.1", "other": f"{number * 1.5},0.5,0.5"}.get(answer, answer)


class Counts(Tables):
    """One whole number per case: the kind of docs/architecture.md."""

    task = """
    kind: counts
    metrics: {error: {kind: count_error, worst: 100}, exact: {kind: exact_counts}}
"""
    header = "case,count"
    reference_header = "case,count"
    broken = ("", "many", "1.5", "-1", "1e9999")
    nothing = "0"

    def true(self, case: str) -> str:
        return str(CASES.index(case))

    def said(self, case: str, answer: str) -> str:
        number = CASES.index(case) if case in CASES else 0
        return {"good": str(number + number % 2), "other": str(number + 3)}.get(answer, answer)


SAMPLES: dict[str, Sample] = {
    "segmentation": Masks(),
    "classification": Classes(),
    "labels": Findings(),
    "answers": Choices(),
    "values": Numbers(),
    "survival": Risks(),
    "counts": Counts(),
}
COMPUTED = [name for name, kind in KINDS.items() if kind.computed]
KEY = ["submission", "case", "structure", "metric"]


class Place:
    """A folder with a challenge of one kind, its references and whatever teams are written."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.sample = SAMPLES[kind]
        self.folder = folder
        (folder / "c.yaml").write_text(f"{HEAD}tasks:\n  t:{self.sample.task}{TAIL}", encoding="utf-8")
        self.challenge = registry.load(folder / "c.yaml")
        self.kind = of(self.challenge.tasks["t"])
        self.truth = self.sample.references(folder)
        self.teams: dict[str, Path] = {}

    def team(self, name: str, answers: Mapping[str, str] | None = None, twice: str = "") -> Path:
        answers = dict.fromkeys(CASES, "good") if answers is None else answers
        self.teams[name] = self.sample.team(self.folder / name, answers, twice)
        return self.teams[name]

    def spoil(self, name: str, how: str) -> Path:
        self.teams[name] = self.sample.spoil(self.folder / name, how)
        return self.teams[name]

    def score(self, *names: str, **options: object) -> Result:
        teams = {name: self.teams[name] for name in names or self.teams}
        options = {"workers": 1, **options}
        return score_task(self.challenge, "t", self.truth, teams, **options)  # type: ignore[arg-type]

    def check(self, name: str) -> list[Finding]:
        return check_task(self.challenge, "t", self.truth, self.teams[name])

    def answered(self, result: Result, name: str, case: str) -> set[str]:
        """Return the statuses of everything a team said of a case: rows of the scores, or of the observations."""
        found: set[str] = set()
        for frame in (result.scores, result.observations):
            if frame is not None:
                found |= set(frame.loc[(frame["submission"] == name) & (frame["case"] == case), "status"])
        return found

    def defects(self) -> dict[str, Path]:
        """Write a team for every defect of a single case, and one for everything that spoils all of them."""
        found = {}
        for number, answer in enumerate(self.sample.broken):
            found[f"broken-{number}"] = self.team(f"broken-{number}", {**dict.fromkeys(CASES, "good"), "c2": answer})
        found["missing"] = self.team("missing", dict.fromkeys(CASES[1:], "good"))
        found["twice"] = self.team("twice", twice="c2")
        for how in self.sample.spoilt:
            found[f"spoilt-{how}"] = self.spoil(f"spoilt-{how}", how)
        return found


@pytest.fixture(params=COMPUTED)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return Place(tmp_path, request.param)


def errors(findings: list[Finding]) -> set[str]:
    return {str(one.code) for one in findings if one.severity is Severity.ERROR}


def same(left: pd.DataFrame | None, right: pd.DataFrame | None) -> None:
    if left is None or right is None:
        assert left is right
        return
    pd.testing.assert_frame_equal(left.reset_index(drop=True), right.reset_index(drop=True), check_exact=True)


def own(frame: pd.DataFrame | None, name: str) -> pd.DataFrame | None:
    return None if frame is None else frame[frame["submission"] == name]


def test_every_kind_has_a_sample() -> None:
    assert set(COMPUTED) <= set(SAMPLES)


def test_clean_submission_has_no_error_anywhere(place: Place) -> None:
    place.team("good")
    result = place.score()
    assert errors(result.all_findings()) == errors(place.check("good")) == set()
    assert len(result.scores)
    for case in CASES:
        assert place.answered(result, "good", case) <= {table.OK, table.EMPTY_REFERENCE}
        assert place.answered(result, "good", case)


def test_every_score_and_observation_has_its_row(place: Place) -> None:
    """Whatever a team hands in, the table has the same cells for it: nothing is left out silently."""
    place.team("good")
    names = ["good", *place.defects()]
    result = place.score(*names)
    for frame, key in ((result.scores, KEY[1:]), (result.observations, KEY[1:3])):
        if frame is None:
            continue
        cells = {name: sorted(map(tuple, own(frame, name)[key].to_numpy())) for name in names}
        assert all(cells[name] == cells["good"] for name in names), names
        assert frame["status"].map(table.is_status).all()
        assert not frame.duplicated([KEY[0], *key]).any()


def test_missing_case_says_so_and_is_a_finding(place: Place) -> None:
    place.team("good")
    place.team("late", {case: "good" for case in CASES if case != "c3"})
    result = place.score()
    assert place.answered(result, "late", "c3") == {table.MISSING}
    assert errors(result.findings["late"])
    assert not errors(result.findings["good"])
    assert any("c3" in one.cause for one in result.findings["late"])


def test_failed_run_says_why(place: Place) -> None:
    place.team("good")
    place.team("late", {case: "good" for case in CASES if case != "c3"})
    resources = pd.DataFrame([{"submission": "late", "case": "c3", "metric": "status", "status": "failed:oom"}])
    result = place.score(resources=resources.assign(value=np.nan))
    assert place.answered(result, "late", "c3") == {"failed:oom"}
    same(own(result.scores, "good"), own(place.score().scores, "good"))


def test_case_answered_twice_counts_as_missing(place: Place) -> None:
    place.team("twice", twice="c2")
    result = place.score()
    assert place.answered(result, "twice", "c2") == {table.MISSING}
    assert place.answered(result, "twice", "c1") <= {table.OK, table.EMPTY_REFERENCE}
    assert errors(result.findings["twice"])


def test_unknown_case_is_a_finding_and_never_a_score(place: Place) -> None:
    place.team("good")
    before = place.score()
    place.team("good", {**dict.fromkeys(CASES, "good"), "stranger": "good"})
    result = place.score()
    assert any("stranger" in one.cause + one.where for one in result.findings["good"])
    same(result.scores, before.scores)
    same(result.observations, before.observations)
    assert {str(one.code) for one in place.check("good")} >= {str(one.code) for one in result.findings["good"]}


def test_case_without_a_reference_is_a_finding_and_never_a_score(place: Place) -> None:
    place.team("good", {**dict.fromkeys(CASES, "good"), "stranger": "good"})
    cases = pd.DataFrame({"case": [*CASES, "stranger"], "centre": ["north", "south"] * 3 + ["north"]})
    result = place.score(cases=cases)
    assert any("stranger" in one.cause for one in result.findings[""] if one.severity is Severity.ERROR)
    for frame in (result.scores, result.observations):
        if frame is not None:
            assert set(frame["case"]) <= {*CASES, ""}
    for case in CASES:
        assert place.answered(result, "good", case) <= {table.OK, table.EMPTY_REFERENCE}


@pytest.mark.parametrize("number", range(6))
def test_unusable_answer_costs_its_case_only(place: Place, number: int) -> None:
    if number >= len(place.sample.broken):
        assert number >= 5  # the kind has fewer ways
        return
    place.team("good")
    place.team("bad", {**dict.fromkeys(CASES, "good"), "c2": place.sample.broken[number]})
    result = place.score()
    (status,) = place.answered(result, "bad", "c2")
    assert status == table.MISSING or status.startswith(table.FAILED_PREFIX)
    assert errors(result.findings["bad"])
    for case in set(CASES) - {"c2"}:
        assert place.answered(result, "bad", case) <= {table.OK, table.EMPTY_REFERENCE}


def test_nothing_is_an_answer(place: Place) -> None:
    if not place.sample.nothing:
        return
    place.team("empty", dict.fromkeys(CASES, place.sample.nothing))
    result = place.score()
    assert not errors(result.all_findings())
    assert not errors(place.check("empty"))
    for case in CASES:
        assert place.answered(result, "empty", case) <= {table.OK, table.PENALISED, table.EMPTY_REFERENCE}
        assert place.answered(result, "empty", case)


def test_nobody_elses_scores_change(place: Place) -> None:
    place.team("good")
    alone = place.score()
    names = list(place.defects())
    result = place.score(*names[:3], "good", *names[3:])
    same(own(result.scores, "good"), alone.scores)
    same(own(result.observations, "good"), alone.observations)
    assert not errors(result.findings["good"])


def test_check_agrees_with_score(place: Place) -> None:
    for name in place.defects():
        scored, checked = (
            {(str(one.code), one.where) for one in found if one.severity is Severity.ERROR}
            for found in (place.score(name).findings[name], place.check(name))
        )
        assert scored, name
        # A check may know better why (a label that 8 bits would turn into another), but never about less.
        assert {where for _, where in scored} <= {where for _, where in checked}, name
        if name != "broken-3":
            assert scored <= checked, name


def test_order_changes_nothing(place: Place) -> None:
    place.team("one")
    place.team("two", dict(zip(CASES, itertools.cycle(["other", "good", "good"]), strict=False)))
    names = ["one", "two", *place.defects()]
    first = place.score(*names)
    for name in ("one", "two"):
        answers = {"one": dict.fromkeys(CASES, "good")}.get(name) or dict(
            zip(CASES, itertools.cycle(["other", "good", "good"]), strict=False)
        )
        for path in place.teams[name].iterdir():
            path.unlink()
        place.team(name, dict(reversed(answers.items())))
    again = place.score(*reversed(names))
    assert list(dict.fromkeys(again.scores["submission"])) == list(reversed(names))
    for left, right in ((first.scores, again.scores), (first.observations, again.observations)):
        if left is not None:
            key = [name for name in KEY if name in left.columns]
            same(left.sort_values(key), None if right is None else right.sort_values(key))


def test_workers_change_nothing(place: Place) -> None:
    place.team("good")
    names = ["good", *place.defects()]
    one, two = (place.score(*names, workers=count) for count in (1, 2))
    same(one.scores, two.scores)
    same(one.observations, two.observations)
    assert one.findings == two.findings


def test_pooled_scores_are_functions_of_case_weights(place: Place) -> None:
    """A case of weight zero is a case that was not there: the pool gives what scoring the others gives."""
    place.team("one")
    place.team("two", dict(zip(CASES, itertools.cycle(["other", "good", "good"]), strict=False)))
    place.team("late", {case: "good" for case in CASES if case != "c3"})
    result = place.score()
    if not KINDS[place.challenge.tasks["t"].kind].pooled:
        assert result.observations is None
        return
    assert result.observations is not None
    made = place.kind.pool(place.challenge, "t", result.observations)
    assert made is not None
    for left_out in (None, *CASES):
        kept = [case for case in CASES if case != left_out]
        again = place.score(cases=pd.DataFrame({"case": kept})).scores
        weights = np.array([[float(case in kept) for case in made.cases]])
        for cell, value in zip(made.cells, made.values(weights)[0], strict=True):
            rows = again[(again["submission"] == cell.submission) & (again["metric"] == cell.metric)]
            rows = rows[rows["structure"] == cell.structure]
            assert rows.loc[rows["case"] == "", "value"].tolist() == pytest.approx([value], abs=1e-12, nan_ok=True)


# -- values that were computed elsewhere --


TABLE = f"""{HEAD}tasks:
  t:
    kind: table
    metrics: {{m: {{kind: imported, missing: skip}}}}
{TAIL}"""


@pytest.mark.parametrize("verb", [score_task, check_task])
def test_kind_without_scores_says_what_to_do_instead(tmp_path: Path, verb: object) -> None:
    (tmp_path / "c.yaml").write_text(TABLE, encoding="utf-8")
    (tmp_path / "one").mkdir()
    challenge = registry.load(tmp_path / "c.yaml")
    given = {"one": tmp_path / "one"} if verb is score_task else tmp_path / "one"
    with pytest.raises(UsageError) as caught:
        verb(challenge, "t", tmp_path, given)  # type: ignore[operator]
    (finding,) = caught.value.findings
    assert "computed elsewhere" in finding.cause
    assert "medpodium import" in finding.fix
    assert "medpodium rank" in finding.fix
