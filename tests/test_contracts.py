"""The house keeps its contracts: arrows point down, folders and modules stay small, and no room asks what a task is."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from itertools import permutations
from pathlib import Path
from types import ModuleType

import grimp
import pytest

import medpodium
from medpodium.challenges.schema.kinds import KINDS

ROOT = Path(medpodium.__file__).resolve().parent
ASIDE = {"tests", "benchmarks", "build", "docs"}
MOST_MODULES, MOST_LINES = 14, 420
ONE_SYSTEM = {"resource", "fcntl", "pwd", "grp", "termios", "pty", "tty", "syslog", "msvcrt", "winreg", "_winapi"}
"""Standard modules that only some systems have."""
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def modules() -> list[Path]:
    """Return every module of the package, relative to its root."""
    found = (path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
    return sorted(path for path in found if not ASIDE & set(path.parts) and not path.parts[0].startswith("."))


def lint(house: Path) -> tuple[int, str]:
    """Run import-linter with the contracts of a copy of the package, on that copy."""
    done = subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"],
        cwd=house,
        env={**os.environ, "PYTHONPATH": str(house.parent), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def house(recipes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(recipes.copy_package(tmp_path_factory.mktemp("contracts")))


def test_every_contract_is_kept(house: Path) -> None:
    code, said = lint(house)
    assert code == 0, said
    assert "0 broken" in said


WRONG = [
    ("findings.py", "from medpodium import console", "Floors of the house"),
    ("challenges/schema/base.py", "import medpodium.challenges.registry", "Floors of challenges"),
    ("scoring/measures/overlap.py", "from medpodium.scoring import policy", "Floors of scoring"),
    ("containers/sandbox/engine.py", "import medpodium.containers.run.runner", "Floors of containers"),
    ("reports/figures/layout.py", "import medpodium.reports.formats.html", "Floors of reports"),
    ("baselines/nnunet/plans.py", "import medpodium.baselines.transfer.suite", "Floors of baselines"),
    ("scoring/kinds/table/kind.py", "import medpodium.scoring.kinds.segmentation.kind", "Kinds of task"),
    ("reports/formats/html.py", "import medpodium.reports.formats.latex", "Report formats"),
    ("containers/platforms/synapse/scorer.py", "import medpodium.containers.platforms.codabench", "Platforms"),
    ("scoring/masks/codes.py", "import medpodium.scoring.masks.reader", "No circle"),
    ("challenges/registry.py", "from medpodium.scoring import table", "Floors of the house"),
    ("scoring/ranking/axes.py", "import medpodium.scoring.evidence.stability", "Floors of scoring"),
    ("scoring/table.py", "def late():\n    from medpodium.reports import write", "Floors of the house"),
    ("scoring/cellar.py", "", "Floors of scoring"),
    ("reports/model/text.py", "import medpodium.baselines.options", "Floors of the house"),
]
"""Module, a line too much in it (or a module that stands on no floor), and the contract that has to say so."""


def batches() -> list[list[tuple[str, str, str]]]:
    """Return the wrong lines so that no contract is broken twice at once: reading the package takes seconds."""
    made: list[list[tuple[str, str, str]]] = []
    for wrong in WRONG:
        free = (batch for batch in made if wrong[2] not in {other[2] for other in batch})
        batch = next(free, None)
        if batch is None:
            made.append([wrong])
        else:
            batch.append(wrong)
    return made


@pytest.mark.parametrize("batch", batches())
def test_wrong_import_breaks_its_contract(house: Path, batch: list[tuple[str, str, str]]) -> None:
    """Each line is named by the contract it breaks."""
    before = {path: (house / path).read_bytes() if (house / path).exists() else None for path, _, _ in batch}
    try:
        for path, line, _ in batch:
            with (house / path).open("a", encoding="utf-8") as file:
                file.write(f"\n\n{line}\n")
        code, said = lint(house)
    finally:
        for path, content in before.items():
            if content is None:
                (house / path).unlink()
            else:
                (house / path).write_bytes(content)
    assert code == 1, said
    broken = {own for own in said.splitlines() if own.endswith("BROKEN")}
    for path, _, contract in batch:
        assert any(own.startswith(contract) for own in broken), said
        (told,) = re.findall(rf"^{contract}[^\n]*\n-+\n(.*?)(?=^[^\n]+\n-+\n|\Z)", said, re.M | re.S)
        assert re.search(rf"\b{Path(path).stem}\b", told), said


def test_kinds_do_not_know_each_other() -> None:
    """Those that no contract names, too."""
    graph = grimp.build_graph("medpodium", cache_dir=None)
    for one, other in permutations(KINDS, 2):
        names = [f"medpodium.scoring.kinds.{name}" for name in (one, other)]
        assert not graph.find_shortest_chain(*names, as_packages=True), (one, other)


def test_no_room_asks_what_a_task_is() -> None:
    """Only a kind's own folder knows its task's class; everybody else asks the kind."""
    classes = {kind.model.__name__ for kind in KINDS.values()}
    asked = []
    for path in modules():
        if path.parts[:2] == ("scoring", "kinds") and len(path.parts) > 3:
            continue
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            call = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "isinstance"
            names = {one.id for one in ast.walk(node.args[1]) if isinstance(one, ast.Name)} if call else set()
            kinds = {one.value for one in ast.walk(node) if isinstance(one, ast.Constant)} & set(KINDS)
            field = node.left if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) else None
            # "table" is the kind of a container's output, too
            of_task = field is not None and field.attr == "kind" and ("task" in ast.unparse(field) or kinds - {"table"})
            if names & classes or (of_task and kinds):
                asked.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert not asked, asked


def test_folders_and_modules_are_small() -> None:
    folders: dict[Path, int] = {}
    for path in modules():
        if path.name != "__init__.py":
            folders[path.parent] = folders.get(path.parent, 0) + 1
    crowded = {str(folder): count for folder, count in folders.items() if count > MOST_MODULES}
    assert not crowded, f"more than {MOST_MODULES} modules are two rooms: {crowded}"
    lines = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in modules()}
    long = {path: count for path, count in lines.items() if count > MOST_LINES}
    assert not long, f"more than {MOST_LINES} lines are two modules: {long}"


def test_modules_of_one_system_are_imported_where_they_are_used() -> None:
    """A module that one system lacks, imported with the others, ends every verb there before it begins."""
    found = []
    for path in modules():
        for node in ast.parse((ROOT / path).read_text(encoding="utf-8")).body:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found += [f"{path}:{node.lineno}: {name}" for name in names if name.partition(".")[0] in ONE_SYSTEM]
    assert not found, found
