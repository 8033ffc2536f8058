"""The documentation site: nothing a user meets lacks a place in the reference, and no page a place in the site."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType

import click
import pytest

import medpodium
from medpodium.challenges.schema.definition import Challenge
from medpodium.cli import main
from medpodium.guide.catalogue import catalogue

DOCS = Path(medpodium.__file__).parent / "docs"


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_reference", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("site") / "reference"
    _module().write(folder)
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in folder.rglob("*.md")}


def _paths(group: click.Group, before: str = "") -> list[tuple[str, click.Command]]:
    found = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((f"{before}{name}", command))
        if isinstance(command, click.Group):
            found += _paths(command, f"{before}{name} ")
    return found


def test_every_verb_has_its_heading_its_options_and_its_example(pages: dict[str, str]) -> None:
    text = pages["verbs.md"]
    verbs = _paths(main)
    assert len(verbs) > 30
    for path, command in verbs:
        parts = re.split(rf"^#+ {re.escape(path)}$", text, flags=re.M)
        assert len(parts) == 2, path
        own = re.split(r"^#+ ", parts[1], flags=re.M)[0]
        for option in (one for one in command.params if isinstance(one, click.Option) and not one.hidden):
            assert option.opts[0] in own, (path, option.opts)


def test_every_finding_and_every_public_name_has_its_heading(pages: dict[str, str]) -> None:
    headings = set(re.findall(r"^### (\S+)$", pages["findings.md"], re.M))
    assert headings == set(catalogue())
    assert re.findall(r"^## (\S+)$", pages["python.md"], re.M) == list(medpodium.__all__)


def test_every_field_of_a_challenge_file_is_listed(pages: dict[str, str]) -> None:
    text = pages["challenge-file.md"]
    for name, own in Challenge.model_json_schema()["$defs"].items():
        for field in own.get("properties", {}):
            part = text.split(f"\n## {name}\n")[1].split("\n## ")[0]
            assert f"| `{field}` |" in part, (name, field)


def test_every_page_has_a_place_in_the_site_and_every_built_in_challenge_a_page(pages: dict[str, str]) -> None:
    placed = {"index"}
    for page in ("index", "tutorials", "how-to", "background", "reference"):
        text = (DOCS / f"{page}.md").read_text(encoding="utf-8")
        for block in re.findall(r"```\{toctree\}(.*?)```", text, re.S):
            placed |= {line for line in block.split("\n") if line and not line.startswith(":")}
    assert placed == {path.stem for path in DOCS.glob("*.md")} | {
        f"tutorials/{path.stem}" for path in (DOCS / "tutorials").glob("*.ipynb")
    } | {f"reference/{name.removesuffix('.md')}" for name in pages if "/" not in name}
    assert {name for name in pages if name.startswith("challenges/")} == {
        f"challenges/{path.parent.name}.md" for path in (DOCS.parent / "challenges").glob("*/README.md")
    }


@pytest.mark.parametrize("path", sorted((DOCS / "tutorials").glob("*.ipynb")), ids=lambda path: path.stem)
def test_tutorials_hold_no_outputs_so_that_building_the_site_runs_them(path: Path) -> None:
    cells = [cell for cell in json.loads(path.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert not [cell["id"] for cell in cells if cell["outputs"] or cell["execution_count"]]
