"""Models that are imported and built when a file has one: as pydantic's own discriminator, but for the waiting."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from medpodium.challenges.schema.base import ByKind, Later, Model, model_at


class Cat(Model):
    """One of two."""

    kind: Literal["cat", "tomcat"]
    lives: int = Field(default=9, ge=0)


class Collar(Model):
    """Worn by some."""

    colour: str


class Dog(Model):
    """The other one."""

    kind: Literal["dog"]
    collars: list[Collar] = Field(default_factory=list)


OWN: TypeAdapter[Any] = TypeAdapter(dict[str, Annotated[Cat | Dog, ByKind()]])
PYDANTIC: TypeAdapter[Any] = TypeAdapter(dict[str, Annotated[Cat | Dog, Field(discriminator="kind")]])
LEAF = st.one_of(st.none(), st.integers(-2, 9), st.sampled_from(["cat", "tomcat", "dog", "cow", "red", ""]))
FIELDS = st.sampled_from(["kind", "lives", "collars", "colour", "tail"])
VALUE = st.recursive(LEAF, lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(FIELDS, inner)))
ANIMAL = st.fixed_dictionaries(
    {},
    optional={"kind": LEAF, "lives": LEAF, "collars": st.lists(st.fixed_dictionaries({"colour": LEAF})), "tail": LEAF},
)


def _checked(adapter: TypeAdapter[Any], value: object) -> object:
    """Return what became of a value, or every problem without pydantic's name of the kind in its place."""
    try:
        found = adapter.validate_python(value)
    except ValidationError as error:
        return {
            (tuple(part for at, part in enumerate(problem["loc"]) if at != 1 or part not in ("cat", "tomcat", "dog")),
             "" if problem["type"] in ("model_attributes_type", "dict_type") else problem["msg"])
            for problem in error.errors()
        }  # fmt: skip
    return found, adapter.dump_python(found, mode="json"), adapter.dump_json(found, exclude_defaults=True)


@given(st.dictionaries(st.sampled_from("ab"), st.one_of(ANIMAL, VALUE), max_size=2))
def test_kinds_are_told_apart_as_by_pydantic(value: dict[str, object]) -> None:
    assert _checked(OWN, value) == _checked(PYDANTIC, value)


def test_json_schema_is_pydantics() -> None:
    assert OWN.json_schema() == PYDANTIC.json_schema()


def test_instance_stays_the_same() -> None:
    dog = Dog(kind="dog")
    assert OWN.validate_python({"a": dog})["a"] is dog


def test_only_what_a_file_has_is_built() -> None:
    class Bird(Model):
        kind: Literal["bird"]

    class Fish(Model):
        kind: Literal["fish"] = "fish"

    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[Bird | Fish, ByKind(default="fish")])
    assert adapter.validate_python({}) == Fish()
    assert Fish.__pydantic_complete__
    assert not Bird.__pydantic_complete__


def test_model_of_another_module() -> None:
    class House(BaseModel):
        baselines: dict[str, Annotated[Model, Later("baseline:Baseline")]]

    found = House.model_validate({"baselines": {"a": {"method": "U-Net", "folds": [1]}}})
    assert type(found.baselines["a"]) is model_at("baseline:Baseline")
    with pytest.raises(ValidationError) as caught:
        House.model_validate({"baselines": {"a": {"method": "U-Net", "folds": ["none"]}}})
    assert {problem["loc"][:4] for problem in caught.value.errors()} == {("baselines", "a", "folds", 0)}
    schema = House.model_json_schema()
    assert schema["properties"]["baselines"]["additionalProperties"] == {"$ref": "#/$defs/Baseline"}
    assert "folds" in schema["$defs"]["Baseline"]["properties"]
