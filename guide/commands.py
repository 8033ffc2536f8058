"""The verbs ``explain`` and ``doctor``."""

from __future__ import annotations

import difflib

import click

from medpodium import console
from medpodium.findings import Code, Finding, Severity, UsageError


class GuideCode(Code):
    """What can be wrong with a question to the program about itself."""

    UNKNOWN_CODE = "code-unknown"


@click.command(epilog="Example: medpodium explain geometry-mismatch")
@click.argument("code", required=False)
@console.json_option
@console.guarded
def explain(code: str | None, as_json: bool) -> None:
    """Tell what a finding means, why it is printed and what to do; without CODE, list all of them."""
    from dataclasses import asdict

    from medpodium.guide.catalogue import catalogue

    known = catalogue()
    if code is None:
        if as_json:
            console.print_json({name: asdict(told) for name, told in known.items()})
            return
        rows = [
            (name, told.room, (told.meaning or next(iter(told.causes), told.about))) for name, told in known.items()
        ]
        console.print_table(["code", "room", "meaning"], rows)
        return
    if code not in known:
        near = difflib.get_close_matches(code, known, n=3) or [name for name in known if code in name][:3]
        fix = f"did you mean {' or '.join(near)}?" if near else "'medpodium explain' lists all codes"
        raise UsageError(Finding(GuideCode.UNKNOWN_CODE, "CODE", f"no finding has the code {code!r}", fix))
    told = known[code]
    if as_json:
        console.print_json(asdict(told))
        return
    console.out.print(f"[bold]{code}[/]", highlight=False)
    console.out.print(told.meaning or told.about, markup=False, highlight=False)
    for title, texts in (("It is printed as", told.causes), ("What to do", told.fixes)):
        if texts:
            console.out.print(f"\n[bold]{title}[/]", highlight=False)
        for text in texts:
            console.out.print(f"  - {text}", markup=False, highlight=False)


@click.command(epilog="Example: medpodium doctor")
@console.json_option
@console.guarded
def doctor(as_json: bool) -> None:
    """Look at this machine: what works, what will not, and how to change that.

    Exit code 1 if something that scoring needs is broken; what only some verbs need is a warning.
    """
    from dataclasses import asdict

    from medpodium.guide.machine import examine

    looks = examine()
    if as_json:
        console.print_json({"checks": [asdict(look) for look in looks]})
    else:
        style = {Severity.ERROR: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "green"}
        word = {Severity.ERROR: "broken", Severity.WARNING: "lacking", Severity.NOTE: "ok"}
        for look in looks:
            head = f"[{style[look.state]}]{word[look.state]:>7}[/]  [bold]{look.name}[/]  "
            console.out.print(head, end="", highlight=False)
            console.out.print(look.found, markup=False, highlight=False)
            if look.state is not Severity.NOTE:
                console.out.print(f"         without it: {look.needed_for}", markup=False, highlight=False)
                console.out.print(f"         fix: {look.fix}", markup=False, highlight=False)
    raise SystemExit(1 if any(look.state is Severity.ERROR for look in looks) else 0)
