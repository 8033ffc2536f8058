"""The public names, and the rule that arrows between rooms point one way."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import medpodium

ROOT = Path(medpodium.__file__).parent

ALLOWED = {
    "challenges": {"challenges"},
    "scoring": {"scoring", "challenges"},
    "containers": {"containers", "scoring", "challenges"},
    "baselines": {"baselines", "containers", "scoring", "challenges"},
    "reports": {"reports", "containers", "scoring", "challenges"},
}


@pytest.mark.parametrize("name", medpodium.__all__)
def test_public_name_loads(name: str) -> None:
    assert callable(getattr(medpodium, name))
    assert getattr(medpodium, name).__doc__


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        medpodium.scores  # noqa: B018


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("medpodium.")}
    return found


@pytest.mark.parametrize("room", ALLOWED)
def test_arrows_point_one_way(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        # The verbs are the command line's part of a room.
        if path.name.endswith("commands.py"):
            continue
        strangers = (_imports(path) & set(ALLOWED)) - ALLOWED[room]
        assert not strangers, f"{path.relative_to(ROOT)} imports {strangers}"


def test_options_have_types() -> None:
    """What a verb was asked for travels as a dataclass: nothing is looked up by name in a dictionary of anything."""
    for room in ALLOWED:
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
