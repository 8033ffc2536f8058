"""The public names, and that options have types."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import medpodium

ROOT = Path(medpodium.__file__).parent

ROOMS = ("challenges", "scoring", "compat", "containers", "baselines", "reports")


@pytest.mark.parametrize("name", medpodium.__all__)
def test_public_name_loads(name: str) -> None:
    assert callable(getattr(medpodium, name))
    assert getattr(medpodium, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        medpodium.scores  # noqa: B018


def test_options_have_types() -> None:
    """What a verb was asked for travels as a dataclass: nothing is looked up by name in a dictionary of anything."""
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.FunctionDef):
                    continue
                where = f"{path.relative_to(ROOT)}: {node.name}"
                verb = any("guarded" in ast.unparse(one) for one in node.decorator_list)
                assert not (verb and node.args.kwarg), f"{where} takes **{node.args.kwarg.arg}"
                for one in (*node.args.args, *node.args.kwonlyargs):
                    told = ast.unparse(one.annotation) if one.annotation else ""
                    loose = "options" in one.arg and told.startswith(("dict[", "Mapping["))
                    assert not loose, f"{where} takes {one.arg}: {told}"


def test_readme_example_uses_public_names() -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    example = text.partition("```python")[2].partition("```")[0]
    used = {
        node.attr
        for node in ast.walk(ast.parse(example))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "medpodium"
    }
    assert used
    assert used <= set(medpodium.__all__)
