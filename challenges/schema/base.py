"""Common ground of every model in a challenge file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

NAME = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Location = tuple[str | int, ...]
"""Keys and indices that lead to a field of a challenge file."""


class Model(BaseModel):
    """A frozen mapping of the challenge file: unknown fields are errors, unconfirmed facts are marked.

    ``unconfirmed`` says why a fact has no primary source: one sentence about the whole mapping, or a mapping
    from a field's name to the sentence about that field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, defer_build=True)

    unconfirmed: str | dict[str, str] | None = None


def unconfirmed_facts(node: object, path: str = "") -> Iterator[tuple[str, object, str]]:
    """Walk a model and yield every fact that no primary source confirms.

    Yields
    ------
    (path, value, why) : tuple of str, object, str
        Dotted path of the field, its value (``None`` for a whole mapping) and the reason given.
    """
    if isinstance(node, BaseModel):
        why = getattr(node, "unconfirmed", None)
        if isinstance(why, str):
            yield path, None, why
        elif why:
            for field, reason in why.items():
                yield f"{path}.{field}".lstrip("."), getattr(node, field, None), reason
        for name in type(node).model_fields:
            yield from unconfirmed_facts(getattr(node, name), f"{path}.{name}".lstrip("."))
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from unconfirmed_facts(value, f"{path}.{key}".lstrip("."))
    elif isinstance(node, (list, tuple)):
        for index, value in enumerate(node):
            yield from unconfirmed_facts(value, f"{path}[{index}]")


def reworded(error: ValidationError, word: Callable[[ErrorDetails], tuple[Location, str]]) -> ValidationError:
    """Return the error with other words.

    Parameters
    ----------
    error : pydantic.ValidationError
        As pydantic raised it.
    word : callable
        Gives the location and the message of one problem.
    """
    lines: list[InitErrorDetails] = []
    for problem in error.errors(include_url=False):
        place, text = word(problem)
        # The text goes in as it is: pydantic only fills in braces where it is given a context.
        kind = PydanticCustomError(problem["type"], text)
        lines.append(InitErrorDetails(type=kind, loc=place, input=problem["input"]))
    return ValidationError.from_exception_data(error.title, lines)


def nearest(name: object, known: Collection[str]) -> str:
    """Return `` (did you mean ...?)`` for a name close to a known one, nothing else."""
    near = difflib.get_close_matches(str(name), known, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""
