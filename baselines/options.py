"""Values of the command line: numbers per axis, folds, and name=value pairs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

_AXES = 3


class PerAxis(click.ParamType):  # type: ignore[type-arg]
    """Three numbers in z, y, x order, separated by commas."""

    name = "z,y,x"

    def __init__(self, kind: type[int] | type[float]) -> None:
        self.kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        """Return a tuple of three numbers."""
        if isinstance(value, tuple):
            return value
        try:
            found = tuple(self.kind(item) for item in str(value).split(","))
        except ValueError:
            found = ()
        if len(found) != _AXES:
            self.fail(f"{value!r} is not three numbers such as {'2.5,1.5,1.5' if self.kind is float else '48,128,160'}")
        return found


class FoldList(click.ParamType):  # type: ignore[type-arg]
    """Fold numbers separated by commas, or ``all``."""

    name = "folds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[int | str]:
        """Return the folds as a list."""
        if isinstance(value, list):
            return value
        try:
            return [item if item == "all" else int(item) for item in str(value).split(",")]
        except ValueError:
            self.fail(f"{value!r} is neither 'all' nor numbers such as 0,1,2")


def pairs(values: Iterable[str], option: str) -> dict[str, str]:
    """Split ``NAME=VALUE`` arguments.

    Raises
    ------
    click.BadParameter
        If one has no ``=``, or a name occurs twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, text = value.partition("=")
        if not equals or not name or not text or name in found:
            raise click.BadParameter(f"{value!r} is not NAME=VALUE, or the name occurs twice", param_hint=option)
        found[name] = text
    return found
