"""Common ground of every model in a challenge file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Annotated, Any, NamedTuple, Protocol, get_args

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticCustomError,
    PydanticKnownError,
    core_schema,
)

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


@cache
def model_at(place: str) -> type[BaseModel]:
    """Return a model by the module below ``challenges.schema`` and its name in it: ``values:SurvivalTask``."""
    module, name = place.split(":")
    model: type[BaseModel] = getattr(import_module(f"medpodium.challenges.schema.{module}"), name)
    return model


@dataclass(frozen=True)
class Later:
    """Mark a field whose model is imported and built when a file has one.

    Parameters
    ----------
    place : str
        As :func:`model_at` takes it.
    """

    place: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check a value by the model."""
        return core_schema.no_info_plain_validator_function(lambda value: model_at(self.place).model_validate(value))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return the model's."""
        return handler(core_schema.definitions_schema(_built(model_at(self.place)), []))


class OfKind(Protocol):
    """What stands behind the name of a kind."""

    @property
    def model(self) -> type[BaseModel]:
        """Its model."""


@dataclass(frozen=True, eq=False)
class ByKind:
    """Mark a field that is one of several models, told apart by their field ``kind``.

    As pydantic's discriminator, but a model is built when a file has one: nobody waits for those that it has not, which
    is most of the time that a small challenge takes to load. Locations of errors name no kind.

    Parameters
    ----------
    kinds : mapping of str to OfKind, optional
        The models by their kinds; those of the union that is marked when left out.
    default : str, optional
        Kind meant when none is named.

    Examples
    --------
    ``Annotated[Cat | Dog, ByKind()]``
    """

    kinds: Mapping[str, OfKind] | None = None
    default: str | None = None

    def __get_pydantic_core_schema__(self, union: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Check a value by the model of its kind."""
        known = _by_kind(union) if self.kinds is None else self.kinds

        def check(value: Any) -> Any:
            if isinstance(value, BaseModel):
                kind = getattr(value, "kind", None)
            elif not isinstance(value, Mapping):
                raise PydanticKnownError("dict_type")
            elif "kind" in value or self.default is not None:
                kind = value.get("kind", self.default)
            else:
                raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
            if not isinstance(kind, str) or kind not in known:
                expected = ", ".join(map(repr, known))
                told = {"discriminator": "'kind'", "tag": str(kind), "expected_tags": expected}
                raise PydanticKnownError("union_tag_invalid", told)
            return known[kind].model.model_validate(value)

        return core_schema.no_info_plain_validator_function(check, metadata={"known": known})

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Return what pydantic's discriminator would say."""
        known: Mapping[str, OfKind] = schema["metadata"]["known"]
        choices: dict[Any, CoreSchema] = {kind: _built(behind.model) for kind, behind in known.items()}
        return handler(core_schema.tagged_union_schema(choices, discriminator="kind"))


class _Imported(NamedTuple):
    """A model that is there already."""

    model: type[BaseModel]


def _by_kind(union: Any) -> dict[str, _Imported]:
    models = get_args(union) or (union,)
    kinds = {model: get_args(model.model_fields["kind"].annotation) for model in models}
    return {str(kind): _Imported(model) for model, own in kinds.items() for kind in own}


def _built(model: type[BaseModel]) -> CoreSchema:
    model.model_rebuild()
    return model.__pydantic_core_schema__


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
