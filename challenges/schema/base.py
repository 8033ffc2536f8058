"""Common ground of every model in a challenge file."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """A frozen mapping of the challenge file: unknown fields are errors, unconfirmed facts are marked.

    ``unconfirmed`` says why a fact has no primary source: one sentence about the whole mapping, or a mapping
    from a field's name to the sentence about that field.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

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
