"""What a report says is in the data; what is missing is marked."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Bias
from medpodium.findings import UsageError
from medpodium.reports import write
from medpodium.reports.formats.paged import parts
from medpodium.reports.model import bias, gather, sections, text
from medpodium.reports.model.document import Column, Document, Table
from medpodium.reports.model.results import Results
from medpodium.reports.model.tables import status_title
from medpodium.reports.request import Asked, Request
from medpodium.scoring.table import normalise

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))


def _results(tiny: Path, names: list[str], **options: object) -> Results:
    step = float(options.pop("step", 0.08))  # type: ignore[arg-type]
    scores = normalise(teams.make_scores(names, step=step), "test")
    return gather.gather(registry.load(tiny), scores, **{"bootstrap": 120, **options})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def clear(tiny: Path) -> Results:
    return _results(tiny, ["good", "middling", "poor"], step=0.2)


def _words(document: Document) -> str:
    from medpodium.reports.model.document import Items, Paragraph

    found = []
    for block in document.blocks():
        if isinstance(block, Paragraph):
            found.append(block.text)
        if isinstance(block, Items):
            found += block.items
    return "\n".join(found)


def test_a_clear_winner_is_called_one(clear: Results) -> None:
    assert text.headline(clear.tasks[0]) == (
        "good ranks first of 3 in Organs, and the data rule out every other submission as first "
        "(confidence level 95 % unless rare failures differ)."
    )


def test_without_evidence_nothing_is_claimed(tiny: Path) -> None:
    task = _results(tiny, ["good", "middling", "poor"], bootstrap=0).tasks[0]
    assert text.headline(task) == "good ranks first of 3 in Organs; how certain this is was not computed."
    assert "bootstrap" not in " ".join(text.statistics_sentences(_results(tiny, ["a", "b"], bootstrap=0), task)).lower()


def test_rivals_are_named_when_the_data_do_not_separate(tiny: Path) -> None:
    sentence = text.headline(_results(tiny, ["one", "two", "three"], step=0.001).tasks[0])
    assert "do not rule out" in sentence
    assert "rule out every other" not in sentence


def test_a_single_submission_is_not_best_of_anything(tiny: Path) -> None:
    results = _results(tiny, ["alone"])
    assert text.headline(results.tasks[0]) == "alone is the only submission to Organs."
    assert sections.assemble(results).podium == ()


def test_every_skip_and_penalty_is_counted(clear: Results) -> None:
    words = _words(sections.assemble(clear, every=False))
    assert "Of 168 scores of Organs, 3 did not come from a computed value: 3 missing." in words


def test_methods_say_metrics_recipe_policy_and_seed(clear: Results) -> None:
    words = _words(sections.assemble(clear, every=False))
    for part in (
        "14 test cases",
        "2|P∩R|",
        "mean over the structures was taken",
        "got the worst value",
        "seed 0",
        "120 bootstrap",
    ):
        assert part in words


def test_unconfirmed_facts_are_listed(clear: Results) -> None:
    tables = {table.id: table for table in sections.assemble(clear, every=False).tables()}
    assert tables["unconfirmed"].rows == (("tasks.organs.metrics.dice.missing", "worst", "Nobody wrote it down"),)


def test_the_checklist_covers_every_field_and_marks_what_is_missing(clear: Results) -> None:
    assert bias.fields_covered() == set(Bias.model_fields) - {"unconfirmed"}
    rows = {row[2]: row[3] for row in bias.checklist(clear).rows}
    assert rows["Organizers"] == "not stated"
    assert rows["Imaging modality"] == "CT"
    assert rows["Test cases"] == "14 cases"


def test_per_structure_means_are_the_means(clear: Results) -> None:
    table = next(table for table in sections.assemble(clear, every=False).tables() if table.id == "scores-organs-dice")
    raw = teams.make_scores(["good", "middling", "poor"], step=0.2)
    truth = raw[raw["metric"] == "dice"].groupby(["submission", "structure"])["value"].mean()
    told = table.frame().set_index(["submission", "structure"])["mean"]
    pd.testing.assert_series_equal(told.sort_index(), truth.sort_index(), check_names=False, rtol=1e-12)


def test_figures_ask_for_in_the_design_are_there(clear: Results) -> None:
    made = {figure.id.split("-")[0] for figure in sections.assemble(clear).figures()}
    assert made >= {
        "dots", "podium", "places", "difficulty", "blob", "tau", "significance", "methods", "sets",
        "critical", "multiverse", "subsampling", "gap", "subgroup", "failures", "cost",
    }  # fmt: skip


def test_every_figure_has_words_and_data(clear: Results) -> None:
    figures = sections.assemble(clear).figures()
    assert len({figure.id for figure in figures}) == len(figures)
    for figure in figures:
        assert figure.alt
        assert figure.caption
        assert len(figure.data)


def test_anonymous_reports_hold_no_name(tiny: Path, tmp_path: Path) -> None:
    scores = tmp_path / "s.csv"
    teams.make_scores(["Zebrafish", "Quokka", "Wombat"]).to_csv(scores, index=False)
    request = Request(
        str(tiny),
        scores,
        ("html", "latex", "markdown"),
        anonymous=True,
        bootstrap=20,
        site=tmp_path / "site",
        workers=1,
    )
    write.write_report(request, tmp_path / "out")
    import gzip

    for path in [*(tmp_path / "out").rglob("*"), *(tmp_path / "site").rglob("*")]:
        if path.is_file():
            content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            assert not any(name in content for name in (b"Zebrafish", b"Quokka", b"Wombat")), path
    assert "Team 01" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")


def test_bad_requests_are_findings(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown format 'odt'"):
        Request.of(Asked(str(tiny), formats="html,odt"))
    with pytest.raises(UsageError, match="no score table"):
        write.write_report(Request(str(tiny), None, ("html",)), tmp_path)
    other = tmp_path / "other.csv"
    teams.make_scores(["a"]).assign(task="elsewhere").to_csv(other, index=False)
    with pytest.raises(UsageError, match="both scored and ranked"):
        write.write_report(Request(str(tiny), other, ("html",)), tmp_path)


def test_wide_tables_are_cut_and_nothing_is_lost() -> None:
    columns = (Column("Submission", "team"), *(Column(f"s{at}", "number") for at in range(19)))
    table = Table("t", "T", columns, (("a", *map(float, range(19))), ("b", *map(float, range(19)))))
    pieces = parts(table)
    assert [len(piece.columns) for piece in pieces] == [8, 8, 6]
    assert [column.title for piece in pieces for column in piece.columns[1:]] == [f"s{at}" for at in range(19)]
    assert all(piece.columns[0].kind == "team" for piece in pieces)


@pytest.mark.parametrize(
    ("value", "shown"), [(0.0, "0 %"), (0.001, "<1 %"), (0.5, "50 %"), (0.999, ">99 %"), (1.0, "100 %")]
)
def test_shares_are_none_or_all_only_when_exact(value: float, shown: str) -> None:
    assert Column("share", "percent", 0).show(value) == shown


@pytest.mark.parametrize(
    ("pair", "shown"),
    [((0.0, 0.544), "0.000–0.544"), ((1.0, 3.0), "1–3"), ((2.0, 2.0), "2"), ((0.0, 3263.4), "0.000–3,263")],
)
def test_both_ends_of_an_interval_have_the_decimals_of_its_column(pair: tuple[float, float], shown: str) -> None:
    assert Column("Quartiles", "interval", 3).show(pair) == shown


def test_numbers_of_captions_are_fields_in_word_and_pictures_stay_with_them(hostile: tuple[Path, Path]) -> None:
    import docx
    from docx.oxml.ns import qn

    for name, series in (("report", ""), ("supplement", "_S")):
        made = docx.Document(str(hostile[0] / f"{name}.docx"))
        shown = {}
        for paragraph in made.paragraphs:
            codes = "".join(one.text for one in paragraph._p.iter(qn("w:instrText")))
            if paragraph.style.name == "Caption" and codes:
                assert paragraph.paragraph_format.keep_together
                shown.setdefault(codes.split()[1], []).append((codes.split()[2], paragraph.text.split(".")[0]))
        assert set(shown) == {f"Figure{series}", f"Table{series}"}
        for what, told in shown.items():
            new = [text.split(" (")[0] for how, text in told if how != "\\\\c"]
            kind, mark = what.split("_")[0], series.strip("_")
            assert new == [f"{kind} {mark}{at}" for at in range(1, len(new) + 1)]
        pictures = [one for one in made.paragraphs if list(one._p.iter(qn("w:drawing")))]
        assert pictures
        assert all(one.paragraph_format.keep_with_next for one in pictures)


def test_one_is_singular_and_reasons_are_words(clear: Results) -> None:
    said = _words(sections.assemble(clear, every=False))
    assert "Only the metric Dice similarity coefficient was kept." in said
    assert status_title("failed:not-extracted") == "failed: not extracted"


def test_slopes_say_how_many_cases_count(tiny: Path) -> None:
    """Six of fourteen cases hold none of the structures: they are nobody's mean."""
    scores = normalise(teams.make_scores(["good", "poor"], step=0.2), "test")
    empty = scores["case"].isin([f"c{at:02d}" for at in range(6)]) & (scores["metric"] == "dice")
    scores.loc[empty, ["value", "status"]] = [float("nan"), "empty-reference"]
    rules = teams.CHALLENGE.replace("both: best, reference: worst", "both: skip, reference: skip")
    path = tiny.with_name("skipping.yaml")
    path.write_text(rules, encoding="utf-8")
    results = gather.gather(registry.load(path), scores, bootstrap=20)
    captions = {one.id: one.caption for one in sections.assemble(results, every=False).figures()}
    assert "Mean over the 4 and 4 cases" in captions["slope-organs-domain-dice"]


def test_every_piece_of_a_published_board_says_rank_and_name() -> None:
    columns = (Column("Published rank", "integer"), Column("Submission", "team"))
    columns += tuple(Column(f"Metric {at}", "number") for at in range(12))
    board = Table("board", "Board", columns, ((1, "first", *[0.5] * 12),))
    pieces = parts(board)
    assert len(pieces) > 1
    assert all([column.title for column in piece.columns[:2]] == ["Published rank", "Submission"] for piece in pieces)
