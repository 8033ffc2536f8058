"""Nothing is skipped in CI: neither a test, by whatever means, nor a file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CASES = {
    "skip": "import pytest\n\ndef test() -> None:\n    pytest.skip('no reason')\n",
    "mark": "import pytest\n\n@pytest.mark.skipif(True, reason='no reason')\ndef test() -> None: ...\n",
    "module": "import pytest\n\npytest.importorskip('no_such_module')\n\ndef test() -> None: ...\n",
    "need": "def test(require) -> None:\n    require(False, 'this')\n",
}


@pytest.mark.parametrize("ci", [False, True])
@pytest.mark.parametrize("case", list(CASES))
def test_a_skip_is_a_failure_in_ci_only(case: str, ci: bool, tmp_path: Path) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    (tmp_path / "test_it.py").write_text(CASES[case])
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    environment = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)]
    if ci:
        environment["CI"] = "true"
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert (answer.returncode in (1, 2)) == ci, answer.stdout
    assert ("nothing may be skipped in CI" in answer.stdout) == ci
    assert ("1 skipped" in answer.stdout) != ci
