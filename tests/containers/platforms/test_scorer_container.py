"""The grand-challenge scorer as a container, run under the platform's contract on a real engine.

No registry can be reached, so the base image is made from the Python that runs the tests: its interpreter, the
libraries of the scorer and the system libraries they load, imported as one layer.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import pytest

from medpodium.containers.platforms import bundle
from medpodium.scoring.exchange.platforms import payload

pytestmark = [pytest.mark.docker, pytest.mark.slow]
BASE = "medpodium-test-python:local"


def _libraries() -> set[str]:
    """Return the distributions the scorer needs, with everything they require here."""
    todo, found = [*bundle.LIBRARIES, *bundle.OPTIONAL_LIBRARIES], set()
    while todo:
        name = re.split(r"[ ;<>=!~\[(]", todo.pop())[0].lower().replace("_", "-")
        try:
            needed = [text for text in distribution(name).requires or [] if "extra ==" not in text]
        except PackageNotFoundError:
            continue
        if name not in found:
            found.add(name)
            todo += needed
    return found


def _files() -> dict[str, Path]:
    """Return the image's files: path in the image to file here."""
    prefix = Path(sys.base_prefix)
    standard = Path(sysconfig.get_path("stdlib", vars={"base": sys.base_prefix, "installed_base": sys.base_prefix}))
    skip = {"site-packages", "test", "tests", "idlelib", "tkinter", "ensurepip", "turtledemo", "__pycache__", "lib2to3"}
    found = {"usr/local/bin/python": Path(sys.executable).resolve()}
    inside = f"usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}"
    for path in standard.rglob("*"):
        relative = path.relative_to(standard)
        if path.is_file() and not skip & set(relative.parts) and "config-" not in str(relative):
            found[f"{inside}/{relative.as_posix()}"] = path
    for name in sorted(_libraries()):
        for item in distribution(name).files or []:
            path = Path(str(item.locate()))
            unwanted = {"tests", "__pycache__"} & set(item.parts) or ".." in item.parts
            if path.is_file() and not unwanted:
                found[f"{inside}/site-packages/{item.as_posix()}"] = path
    shared = [path for path in found.values() if ".so" in path.name or path.name.startswith("python")]
    found |= {
        str(path).lstrip("/"): path for path in _loaded([*shared, Path("/bin/sh"), *prefix.glob("lib/libpython*")])
    }
    found["bin/sh"] = Path("/bin/sh").resolve()
    return found


def _loaded(binaries: list[Path]) -> set[Path]:
    """Return the system libraries that binaries load."""
    found: set[Path] = set()
    for start in range(0, len(binaries), 200):
        part = [str(path) for path in binaries[start : start + 200]]
        done = subprocess.run(["ldd", *part], capture_output=True, text=True, check=False)
        found |= {Path(name) for name in re.findall(r"(?:=>\s|^\s+)(/\S+) \(0x", done.stdout, re.MULTILINE)}
    return {path for path in found if "site-packages" not in str(path)}


@pytest.fixture(scope="session")
def base_image(docker_engine: Any) -> Any:
    environment = ["ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PYTHONHOME=/usr/local"]
    paths = {str(path.parent) for path in Path(sys.base_prefix).glob("lib/libpython*.so*")}
    if paths:
        environment.append(f"ENV LD_LIBRARY_PATH={':'.join(sorted(paths))}")
    changes = [argument for line in environment for argument in ("--change", line)]
    command = ["docker", "import", *changes, "-", BASE]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as engine:
        assert engine.stdin is not None
        with tarfile.open(fileobj=engine.stdin, mode="w|", bufsize=1 << 20) as tar:  # half a gigabyte less on the disk
            for name, path in sorted(_files().items()):
                tar.add(path.resolve(), name, recursive=False)
            for folder in ("tmp", "opt", "input", "output"):
                entry = tarfile.TarInfo(folder)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777
                tar.addfile(entry)
            users = b"root:x:0:0::/:/bin/sh\n"
            entry = tarfile.TarInfo("etc/passwd")
            entry.size = len(users)
            tar.addfile(entry, io.BytesIO(users))
    assert engine.returncode == 0
    yield BASE
    subprocess.run(["docker", "rmi", "--force", BASE], check=False, capture_output=True)


@pytest.fixture(scope="session")
def image(base_image: str, tiny: Any, run: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("export") / "evaluation"
    arguments = ("export", "grand-challenge", tiny.rules, "--references", tiny.references, "--cases", tiny.cases)
    run(*arguments, "--out", out, "--base-image", base_image)
    name = "medpodium-test-evaluation:local"
    command = ["docker", "build", "--network", "none", "--tag", name, str(out)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    yield name, out
    subprocess.run(["docker", "rmi", "--force", name], check=False, capture_output=True)


def _evaluate(image: tuple[str, Path], jobs: Path, output: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run as the platform does: no network, read-only input, no privileges, the image's own user."""
    name, out = image
    output.mkdir()
    output.chmod(0o777)
    for path in (jobs, *jobs.rglob("*"), *(out / "ground_truth").rglob("*"), out / "ground_truth", *jobs.parents[:1]):
        path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o644))
    command = ["docker", "run", "--rm", "--network", "none", "--cap-drop", "ALL", "--read-only"]
    command += ["--security-opt", "no-new-privileges", "--pids-limit", "512", "--memory", "4g"]
    command += ["--tmpfs", "/tmp:rw,exec,size=1g,mode=1777", "-v", f"{jobs}:/input:ro", "-v", f"{output}:/output"]
    command += ["-v", f"{out / 'ground_truth'}:/opt/ml/input/data/ground_truth:ro", *more, name]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=900)


def test_scores_of_the_container_are_those_of_the_verb(
    image: tuple[str, Path], tiny: Any, jobs: Path, partial: Any, same: Any, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    done = _evaluate(image, jobs, output)
    assert done.returncode == 0, done.stdout + done.stderr
    text = (output / "metrics.json").read_text(encoding="utf-8")
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    assert (output / "metrics.json").stat().st_uid == 10001
    metrics = json.loads(text)
    folder, failed = partial
    expected = tiny.score(tmp_path / "expected.csv", "--resources", failed, predictions=folder)
    assert same(payload.read_payload(output / "metrics.json"), expected)
    assert {"job-failed", "job-missing", "job-of-unknown-case"} <= {one["code"] for one in metrics["findings"]}
    for name in ("numpy", "numba"):
        assert metrics["about"][name] == distribution(name).version


def test_unusable_input_ends_with_a_message_and_no_metrics(image: tuple[str, Path], jobs: Path, tmp_path: Path) -> None:
    (jobs / "predictions.json").write_text("{", encoding="utf-8")
    output = tmp_path / "output"
    done = _evaluate(image, jobs, output)
    assert done.returncode == 2
    assert "predictions-json-unusable" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(output.iterdir())
    shutil.rmtree(output)
