"""Figures are drawn by whoever has time: the bytes do not tell who it was, and a process that dies costs no figure."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges import registry
from medpodium.reports import write
from medpodium.reports.formats import draw
from medpodium.reports.formats.pool import FigurePool, draw_all
from medpodium.reports.model import gather, sections
from medpodium.reports.model.document import Document, Figure, Plot, Section, figures_of
from medpodium.reports.model.results import TaskResults
from medpodium.reports.request import Request
from medpodium.scoring.table import read_scores


@pytest.fixture(scope="module")
def scores(hostile: tuple[Path, Path], tiny: Path) -> Path:
    assert hostile
    return tiny.with_name("hostile.csv")


@pytest.fixture(scope="module")
def document(tiny: Path, scores: Path) -> Document:
    results = gather.gather(registry.load(str(tiny)), read_scores(scores), bootstrap=20)
    whole = sections.assemble(results, every=False)
    return replace(whole, sections=(Section("some", "Some", tuple(whole.figures()[:6])),), supplement=())


def _files(document: Document) -> dict[str, Any]:
    return {figure.id: figure.files for figure in document.figures()}


def _until(ready: Callable[[], bool]) -> None:
    end = time.monotonic() + 120
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_nothing_shows_which_process_drew_a_figure(document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    endings = ("svg", "pdf", "png")
    here = _files(draw_all(document, endings, workers=1))
    with FigurePool(endings, workers=3) as pool:
        pool.begin(document.figures())
        _until(lambda: all(job.done.is_set() for job in pool._jobs.values()))
        monkeypatch.setattr(draw, "draw", None)  # nothing is left to draw here
        assert _files(pool.finish(document)) == here
    assert all(files["svg"] and files["pdf"] and files["png"] for files in here.values())


def test_a_process_that_dies_costs_no_figure(document: Document) -> None:
    with FigurePool(("svg",), workers=3) as pool:
        for process in pool._processes:
            process.kill()
        drawn = pool.finish(document)
    assert _files(drawn) == _files(draw_all(document, ("svg",), workers=1))


def test_what_no_other_process_can_draw_is_drawn_here_and_its_error_is_its_own(document: Document) -> None:
    first = document.figures()[0]

    def wrong(**_: object) -> None:
        raise ZeroDivisionError("told here")

    local = replace(first, plot=Plot(lambda: first.plot.make(), {}))
    broken = replace(first, plot=Plot(wrong, {}))
    for figure, fits in ((local, True), (broken, False)):
        own = replace(document, sections=(Section("one", "One", (figure,)),))
        with FigurePool(("svg",), workers=2) as pool:
            pool.begin(own.figures())
            _until(lambda pool=pool: all(job.done.is_set() for job in pool._jobs.values()))  # type: ignore[misc]
            if fits:
                assert _files(pool.finish(own)) == _files(draw_all(own, ("svg",), workers=1))
            else:
                with pytest.raises(ZeroDivisionError, match="told here"):
                    pool.finish(own)


def test_figures_are_begun_before_there_is_evidence_and_once(
    tiny: Path, scores: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    begun: list[list[Figure]] = []
    known: list[bool] = []
    early_sections = sections.early_sections

    def early(task: TaskResults, every: bool) -> sections.Early:
        known.append(bool(task.evidence))
        return early_sections(task, every)

    begin = FigurePool.begin

    def noted(self: FigurePool, figures: Any) -> None:
        begun.append(list(figures))
        begin(self, begun[-1])
        assert len(self._jobs) == len({figure.id for part in begun for figure in part})  # none is drawn twice

    monkeypatch.setattr(sections, "early_sections", early)
    monkeypatch.setattr(FigurePool, "begin", noted)
    before = gc.get_threshold(), gc.get_freeze_count()
    write.write_report(Request(str(tiny), scores, bootstrap=20, workers=1), tmp_path / "out")
    assert known == [False]
    assert {figure.id.split("-")[0] for figure in begun[0]} >= {"dots", "podium", "places"}
    assert (gc.get_threshold(), gc.get_freeze_count()) == before


def test_early_sections_say_what_late_ones_say(tiny: Path, scores: Path) -> None:
    early: dict[str, sections.Early] = {}

    def ranked(task: TaskResults) -> None:
        early[task.name] = sections.early_sections(task, every=True)

    results = gather.gather(registry.load(str(tiny)), read_scores(scores), bootstrap=20, ranked=ranked)
    told, again = sections.assemble(results, early=early), sections.assemble(results)
    assert [section.title for _, section in told.walk()] == [section.title for _, section in again.walk()]
    pairs = zip(told.figures(), again.figures(), strict=True)
    assert all(one.id == two.id and one.caption == two.caption and one.data.equals(two.data) for one, two in pairs)
    taken = {id(figure.plot) for one in early.values() for figure in figures_of(list(one.sections.values()))}
    assert taken <= {id(figure.plot) for figure in told.figures()}


def test_fonts_of_a_pdf_hold_no_tables_for_setting_text(document: Document) -> None:
    from fontTools import subset

    known = list(subset.Options._drop_tables_default)
    with draw._small_fonts():
        assert {"GSUB", "GPOS"} <= set(subset.Options().drop_tables)
    assert list(subset.Options._drop_tables_default) == known
