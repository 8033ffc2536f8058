"""Tables on a terminal of any width: nothing is cut off, and nothing is told wrong."""

from __future__ import annotations

import io
import logging
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from medpodium import console
from medpodium.findings import Finding, Severity, UsageError

WORDS = st.text("abcdefgh", min_size=1, max_size=12)
LONG = st.lists(WORDS, min_size=4, max_size=9).map(" ".join)
CELLS = st.one_of(WORDS, st.integers(0, 10**9), st.floats(0, 1e6), st.none(), LONG)


def printed(width: int, columns: list[str], rows: list[list[object]], title: str | None = None) -> str:
    """Return what is written to a terminal of this width."""
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "out", Console(file=stream, width=width, soft_wrap=True, highlight=False))
        console.print_table(columns, rows, title)
    return stream.getvalue()


@st.composite
def tables(draw: st.DrawFn) -> tuple[int, list[str], list[list[object]]]:
    names = draw(st.lists(WORDS, min_size=1, max_size=9, unique=True))
    every = draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), min_size=1, max_size=4))
    for at in range(1, len(names)):
        if draw(st.booleans()):
            for row in every:
                row[at] = every[0][at]
    return draw(st.integers(20, 160)), names, every


@settings(max_examples=150, deadline=None)
@given(tables())
def test_nothing_is_cut_off(drawn: tuple[int, list[str], list[list[object]]]) -> None:
    width, names, rows = drawn
    text = printed(width, names, rows)
    assert "…" not in text
    words = set(text.replace(",", " ").split())
    for at, name in enumerate(names):
        assert name in words
        for row in rows:
            own = console.cell(row[at])
            if len(own) <= 30:  # a number, a name or an interval stands in one piece
                assert own in text
            else:
                assert set(own.split()) <= words


@given(tables())
def test_what_fits_stays_as_it_is(drawn: tuple[int, list[str], list[list[object]]]) -> None:
    _, names, rows = drawn
    lines = printed(2000, names, rows).splitlines()
    assert len(lines) == len(rows) + 1
    assert lines[0].split() == names


def test_columns_that_say_the_same_are_told_once_where_there_is_no_room() -> None:
    rows = [
        [name, value, 0, "95 % unless rare failures differ"] for name, value in (("aurora", 0.5), ("borealis", 0.25))
    ]
    text = printed(40, ["team", "value", "missing", "guarantee"], rows, title="A title that is longer than its table")
    assert text.splitlines() == [
        "A title that is longer than its table",
        "team      value ",
        "aurora    0.5000",
        "borealis  0.2500",
        "in every row: missing 0, guarantee 95 % unless rare failures differ",
    ]


@click.command()
@click.argument("name")
@console.guarded
def spoken(name: str) -> None:
    """Warn, log, and fail where asked to."""
    logging.getLogger("library").info("the library speaks")
    click.echo(f"result {name}")
    console.print_findings([Finding(console.UsageCode.USAGE, "here", "a warning", "none", Severity.WARNING)])
    if name == "bad":
        raise UsageError(Finding(console.UsageCode.USAGE, "there", "an error", "give another name"))


def say(*words: str) -> tuple[int, str, str]:
    """Run the verb; return exit code, results and what stands beside them."""
    stream = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(console, "err", Console(file=stream, width=200, soft_wrap=True, highlight=False))
        done = CliRunner().invoke(spoken, words)
    return done.exit_code, done.stdout, stream.getvalue()


@pytest.mark.parametrize("words", [("-q",), ("--quiet",)])
def test_quiet_keeps_results_errors_and_exit_codes(words: tuple[str, ...]) -> None:
    assert say("good", *words) == (0, "result good\n", "")
    code, results, beside = say(*words, "bad")
    assert (code, results) == (2, "result bad\n")
    assert "an error" in beside
    assert "give another name" in beside
    assert "a warning" not in beside


@pytest.mark.parametrize("words", [("-v",), ("--verbose",)])
def test_verbose_says_where_an_error_arose_and_what_it_took(words: tuple[str, ...]) -> None:
    code, _, beside = say("bad", *words)
    assert code == 2
    assert all(text in beside for text in ("the library speaks", "raise UsageError", "a warning", "an error"))
    assert "MiB of memory" in beside
    code, results, beside = say("good")  # one run leaves nothing behind for the next
    assert (code, results) == (0, "result good\n")
    assert "a warning" in beside
    assert not any(text in beside for text in ("library", "Traceback", "MiB"))


def test_names_are_printed_as_they_are() -> None:
    """No word between colons becomes a picture."""
    names = [":heart:", "a:warning:b", "[bold]x[/bold]"]
    script = (
        "import sys; from medpodium import console; console.print_table(['submission'], [[n] for n in sys.argv[1:]])"
    )
    done = subprocess.run([sys.executable, "-c", script, *names], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.split() == ["submission", *names]


def test_a_progress_bar_prints_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(console, "err", Console(file=stream, width=100, force_terminal=True))
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with console.progress() as bar:
        bar.add_task("CT :heart: [b]x[/b] [/i]", total=3)
        bar.refresh()
    assert "CT :heart: [b]x[/b] [/i]" in stream.getvalue()
