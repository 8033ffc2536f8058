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
