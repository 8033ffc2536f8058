"""The hash of the sources: changes with every file that scores depend on, and with nothing else."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import medpodium
from medpodium.challenges import sources


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    package = tmp_path / "elsewhere" / "medpodium"
    for room in ("challenges", "scoring", "reports"):
        shutil.copytree(
            Path(medpodium.__file__).parent / room, package / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    return package


def test_a_copy_elsewhere_has_the_same_hash(copy: Path) -> None:
    assert sources.hash_of(copy) == sources.source_hash()
    assert len(sources.source_hash()) == 64


@pytest.mark.parametrize(
    "name", ["scoring/policy.py", "challenges/schema/metrics/spec.py", "scoring/measures/overlap.py"]
)
def test_one_changed_file_changes_it(copy: Path, name: str) -> None:
    path = copy / name
    path.write_bytes(path.read_bytes() + b"\n")
    assert sources.hash_of(copy) != sources.source_hash()


def test_added_and_renamed_files_change_it(copy: Path) -> None:
    found = {sources.source_hash()}
    (copy / "scoring" / "new.py").write_text("")
    found.add(sources.hash_of(copy))
    (copy / "scoring" / "new.py").rename(copy / "scoring" / "other.py")
    found.add(sources.hash_of(copy))
    assert len(found) == 3


def test_line_endings_compiled_files_and_other_rooms_do_not(copy: Path) -> None:
    path = copy / "scoring" / "policy.py"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (copy / "scoring" / "__pycache__").mkdir()
    (copy / "scoring" / "__pycache__" / "policy.pyc").write_bytes(b"x")
    (copy / "reports" / "write.py").write_text("")
    assert sources.hash_of(copy) == sources.source_hash()


def test_nothing_is_read_before_it_is_asked_for() -> None:
    code = (
        "import medpodium.cli, medpodium.challenges.sources as sources;"
        "assert sources.source_hash.cache_info().currsize == 0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
