"""What every verb shares on the terminal: tables, findings, JSON, progress and exit codes."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import errno
import functools
import gc
import importlib
import json
import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click
from rich.console import Console
from rich.logging import RichHandler
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from medpodium.findings import Code, ExitCode, Finding, MedpodiumError, Severity, has_errors

# A cell of a notebook looks like a terminal to what it starts, and shows every state of a line that is drawn again.
_NOTEBOOK = "JPY_PARENT_PID" in os.environ
_WIDE = 140
"""Output that goes to a file, a pipe or a notebook is not squeezed into 80 columns."""
_PLAIN: dict[str, Any] = {"soft_wrap": True, "highlight": False, "emoji": False}
"""What is printed stays as it is: a team may be called ``:heart:``."""
out = Console(**_PLAIN, width=None if sys.stdout.isatty() and not _NOTEBOOK else _WIDE)
err = Console(**_PLAIN, stderr=True, width=None if sys.stderr.isatty() and not _NOTEBOOK else _WIDE)

_STYLE = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "cyan"}
_MACHINE = {
    getattr(errno, name)
    for name in "EACCES EPERM EROFS ENOSPC EDQUOT EIO EFBIG EMFILE ENFILE ESTALE ENODEV ENXIO ETIMEDOUT".split()  # noqa: SIM905
    if hasattr(errno, name)
}
"""What of a file's troubles is the machine's."""
_MACHINE_FIX = "look at the disk, its space and its rights, then run the same command again"
_FOLDED = 30
"""Longer texts of a table are folded where they do not fit; numbers, names and intervals never."""
_GAP = 2
"""Blanks between the columns of a table."""
_OBJECTS = 50_000
"""New objects after which unreachable ones are looked for: more take memory, fewer time (starting a verb makes
hundreds of thousands, and drops next to none)."""
_F = TypeVar("_F", bound=Callable[..., Any])


class UsageCode(Code):
    """What can be wrong with a command line."""

    USAGE = "usage"
    """A verb, option or argument is not known, lacking or of the wrong kind."""


class MachineCode(Code):
    """What can be wrong with the machine, for any verb."""

    DISK = "disk-error"
    """The disk refused to read or write."""


@contextlib.contextmanager
def seldom_collected() -> Iterator[None]:
    """Look for unreachable objects seldom: a verb makes many and drops few, and a search takes longer each time."""
    before = gc.get_threshold()
    gc.set_threshold(max(before[0], _OBJECTS) if before[0] else 0, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class LazyGroup(click.Group):
    """A group that imports a verb's module only when the verb is used.

    Parameters
    ----------
    verbs : dict of str to (str, str)
        Verb to (``module:attribute`` below the package, help line).
    welcome : str
        Shown instead of the help when nothing is asked.
    """

    def __init__(self, *args: Any, verbs: dict[str, tuple[str, str]], welcome: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs
        self._welcome = welcome

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb; one that is not known is told with those that look like it."""
        if args and args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs, n=2)
            hint = f"Did you mean {' or '.join(near)}?" if near else ""
            raise click.UsageError(f"no verb {args[0]!r}. {hint}", ctx)
        return super().resolve_command(ctx, args)

    @seldom_collected()
    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line; what is wrong with it is told as any other finding."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            done = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.exceptions.NoArgsIsHelpError as error:
            whole = error.ctx is None or error.ctx.parent is None
            click.echo(self._welcome if whole and self._welcome else error.ctx.get_help() if error.ctx else "")
            raise SystemExit(ExitCode.OK) from None
        except click.UsageError as error:
            print_findings([_usage(error)])
            raise SystemExit(ExitCode.USAGE) from None
        except click.ClickException as error:
            print_findings([Finding(UsageCode.USAGE, "command line", error.format_message(), "see --help")])
            raise SystemExit(error.exit_code) from None
        except click.Abort:
            err.print("Interrupted; run the same command again to go on.")
            raise SystemExit(130) from None
        raise SystemExit(done if isinstance(done, int) else 0)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the order they are used."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one verb."""
        if cmd_name not in self._verbs:
            return None
        module, _, attribute = self._verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(f"medpodium.{module}"), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl([(name, text) for name, (_, text) in self._verbs.items()])


def _usage(error: click.UsageError) -> Finding:
    """Return what is wrong with a command line, and where its help is."""
    where = error.ctx.command_path if error.ctx is not None else "medpodium"
    cause, _, hint = error.format_message().partition("Did you mean")
    near = f"did you mean{hint.rstrip('?. )')}? " if hint else ""
    cause = cause.strip().rstrip(".( ")
    return Finding(UsageCode.USAGE, where, cause[:1].lower() + cause[1:], f"{near}see '{where} --help'")


def json_option(function: _F) -> _F:
    """Add the ``--json`` flag (parameter ``as_json``) that every verb has."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")(function)


def plain(value: Any) -> Any:
    """Make a value strict JSON: NaN and infinities become null, paths and enums become strings.

    Parameters
    ----------
    value : object
        Anything built of mappings, sequences, numbers and strings (numpy scalars included).
    """
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Finding):
        return value.as_dict()
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return str(value)


def print_json(payload: Any) -> None:
    """Write one JSON document to stdout."""
    click.echo(json.dumps(plain(payload), indent=2, ensure_ascii=False, allow_nan=False))


def print_findings(findings: Iterable[Finding]) -> None:
    """Write findings to stderr, one block each: what, where, why, fix; with ``--quiet`` errors only."""
    for finding in findings:
        if _wants(_QUIET) and finding.severity is not Severity.ERROR:
            continue
        err.print(
            f"[{_STYLE[finding.severity]}]{finding.severity}[/] [bold]{escape(str(finding.code))}[/]  "
            f"{escape(finding.where)}\n    {escape(finding.cause)}\n    [green]fix:[/] {escape(finding.fix)}"
        )


def print_first(findings: Iterable[Finding]) -> None:
    """Write to stdout, before anything else, what a reader of the table below has to know."""
    for finding in findings:
        out.print(f"{finding.cause} ({finding.fix})", markup=False, highlight=False, soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> None:
    """Write a table to stdout; floats with four decimals, missing values as a dash.

    Nothing is ever cut off: where a table is wider than the terminal, columns that say the same in every row are told
    in a line below it, long texts are folded, and what is still too wide goes over the edge.

    Parameters
    ----------
    columns : sequence of str
        Headings.
    rows : iterable of sequence
        A value per column.
    title : str, optional
        Line above the table.
    """
    names, texts = list(columns), [[cell(value) for value in row] for row in rows]
    alike: list[str] = []
    if len(texts) > 1 and sum(max(map(len, own)) + _GAP for own in zip(names, *texts, strict=True)) > out.width + _GAP:
        alike = [f"{name} {own[0]}" for name, *own in zip(names, *texts, strict=True) if name and len(set(own)) == 1]
        kept = [at for at, own in enumerate(zip(*texts, strict=True)) if not names[at] or len(set(own)) > 1]
        names, texts = [names[at] for at in kept], [[row[at] for at in kept] for row in texts]
    if title:
        out.print(title, markup=False, style="italic")
    table = Table(header_style="bold", box=None, pad_edge=False)
    widths = [max(map(len, own)) for own in zip(names, *texts, strict=True)]
    for name, width in zip(names, widths, strict=True):
        table.add_column(name, no_wrap=width <= _FOLDED, min_width=min(width, _FOLDED), overflow="fold")
    for row in texts:
        table.add_row(*map(escape, row))
    if names:
        least = sum(min(width, _FOLDED) + _GAP + 1 for width in widths)  # rich keeps a blank or two for itself
        (out if least <= out.width else Console(**_PLAIN, file=out.file, width=least)).print(table, soft_wrap=False)
    if alike:
        out.print(f"in every row: {', '.join(alike)}", markup=False, highlight=False)


def cell(value: Any) -> str:
    """Format one table cell."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, float):
        if value.is_integer() and abs(value) < 1e15:
            return f"{value:.0f}"
        return f"{value:.4f}" if abs(value) >= 5e-5 else f"{value:.1e}"
    return str(value)


def estimate(value: float, low: float, high: float) -> str:
    """Format a number with the ends of its confidence interval; the number alone where it has none."""
    shown = [cell(float(end)) for end in (value, low, high)]
    return shown[0] if math.isnan(low) or math.isnan(high) else f"{shown[0]} [{shown[1]}, {shown[2]}]"


def named_folders(values: tuple[str, ...], option: str) -> dict[str, Path]:
    """Split ``TEAM=PATH`` arguments.

    Raises
    ------
    click.BadParameter
        If one has no ``=``, or a team occurs twice.
    """
    found: dict[str, Path] = {}
    for value in values:
        name, equals, path = value.partition("=")
        if not equals or not name.strip() or not path:
            raise click.BadParameter(f"{value!r} is not TEAM=PATH", param_hint=option)
        name = name.strip()
        if name in found:
            raise click.BadParameter(f"team {name!r} is given twice", param_hint=option)
        found[name] = Path(path)
    return found


def progress() -> Progress:
    """Return a progress bar on stderr; it vanishes when done and stays silent when nobody watches, or wants to."""
    return Progress(
        TextColumn("{task.description}", markup=False),  # names of data sets and folds stand in it
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=_NOTEBOOK or not sys.stderr.isatty() or _wants(_QUIET),
    )


def finish(findings: Iterable[Finding]) -> NoReturn:
    """End a verb with the exit code its findings ask for."""
    raise SystemExit(ExitCode.FINDINGS if has_errors(findings) else ExitCode.OK)


def gathered(model: type[Any], name: str = "options") -> Callable[[_F], _F]:
    """Hand those parameters of a verb that a dataclass has fields for to it as one object.

    Parameters
    ----------
    model : type
        The dataclass; fields that the verb has no parameter for keep their defaults.
    name : str
        Parameter of the verb that takes the object.
    """
    names = [field.name for field in dataclasses.fields(model)]

    def decorate(function: _F) -> _F:
        @functools.wraps(function)
        def wrapper(**parameters: Any) -> Any:
            own = {one: parameters.pop(one) for one in names if one in parameters}
            return function(**parameters, **{name: model(**own)})

        return wrapper  # type: ignore[return-value]

    return decorate


def guarded(function: _F) -> _F:
    """Turn :class:`MedpodiumError` into printed findings and an exit code, Ctrl-C into 130; add how much to say."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            with _told_at_length():
                return function(*args, **kwargs)
        except MedpodiumError as error:
            if kwargs.get("as_json"):
                print_json({"findings": list(error.findings)})
            print_findings(error.findings)
            raise SystemExit(error.exit_code) from None
        except OSError as error:
            if error.errno not in _MACHINE:
                raise
            problem = Finding(
                MachineCode.DISK, str(error.filename or "disk"), error.strerror or str(error), _MACHINE_FIX
            )
            if kwargs.get("as_json"):
                print_json({"findings": [problem]})
            print_findings([problem])
            raise SystemExit(ExitCode.INFRASTRUCTURE) from None
        except KeyboardInterrupt:
            err.print("Interrupted; run the same command again to go on.")
            raise SystemExit(130) from None

    for key, short, text in _SAID:
        switch = click.option(
            f"-{short}", f"--{key}", is_flag=True, expose_value=False, is_eager=True, callback=_remember, help=text
        )
        wrapper = switch(wrapper)
    return wrapper  # type: ignore[return-value]


_QUIET, _VERBOSE = "quiet", "verbose"
_SAID = (
    (_VERBOSE, "v", "Say more: messages of libraries, where an error arose, seconds and memory."),
    (_QUIET, "q", "Say less: results and errors only, no progress, notes or warnings."),
)


def _remember(context: click.Context, option: click.Parameter, value: bool) -> None:
    context.meta[f"medpodium.{option.name}"] = value


def _wants(key: str) -> bool:
    context = click.get_current_context(silent=True)
    return context is not None and bool(context.meta.get(f"medpodium.{key}"))


@contextlib.contextmanager
def _told_at_length() -> Iterator[None]:
    """With ``--verbose``, say on stderr where an error arose, and what a verb took in the end."""
    if not _wants(_VERBOSE):
        yield
        return
    handler = RichHandler(console=err, show_path=False)
    root, begun = logging.getLogger(), time.perf_counter()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    except (MedpodiumError, OSError):
        err.print_exception(width=err.width)
        raise
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        took = f"{time.perf_counter() - begun:.1f} s, {sum(os.times()[:4]):.1f} s of CPU time since the start"
        err.print(f"took {took}{_peak()}", highlight=False)


def _peak() -> str:
    """Return what to say of the largest amount of memory, where the system tells."""
    try:
        import resource
    except ImportError:  # not on Windows
        return ""
    return f", at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB of memory in this process"
