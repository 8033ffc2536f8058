"""The starter kit of every built-in challenge is built with docker and passes ``check image``."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medpodium.challenges import registry
from medpodium.containers.template import write as template
from medpodium.findings import UsageError

BASE = "medpodium-test-python:latest"
KITS = [
    ("flare-pancancer", "default"),
    ("feta", "per-subject"),
    ("feta", "whole-set"),
    ("liqa", "lifs"),
    ("touchstone", "bodymaps"),
]


def libraries(programs: Iterable[Path]) -> set[Path]:
    """Return the shared libraries that programs are linked with."""
    found: set[Path] = set()
    for program in programs:
        listed = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
        for word in listed.split():
            if word.startswith("/") and Path(word).is_file():
                found.add(Path(os.path.normpath(word)))
    return found


@pytest.fixture(scope="module")
def base(tiny: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Make a base image of this machine's Python and numpy: no registry is needed."""
    python = Path(sys.base_prefix) / "lib" / f"python3.{sys.version_info.minor}"
    program = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
    packages = Path(np.__file__).resolve().parents[1]
    native = [*python.rglob("lib-dynload/*.so"), *packages.glob("numpy/**/*.so"), *packages.glob("numpy.libs/*.so*")]
    shell = Path("/bin/bash")
    out = io.BytesIO()
    skip = ("test", "tests", "__pycache__", "idlelib", "tkinter", "ensurepip", "site-packages", "dist-packages")

    def kept(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(info.name).name in skip else info

    with tarfile.open(fileobj=out, mode="w", dereference=True) as tar:
        tar.add(python, f"{python}", filter=kept)
        for name in ("numpy", "numpy.libs"):
            if (packages / name).is_dir():
                tar.add(packages / name, f"{python}/site-packages/{name}", filter=kept)
        for path in sorted({program, shell, *libraries([program, shell, *native])}):
            if packages not in path.parents:  # numpy's own libraries are beside it already
                tar.add(path, str(path))
    links = {"bin/python3": str(program), "usr/bin/python3": str(program)}
    layers = [tiny.layer({}), out.getvalue(), tiny.layer({}, busybox=False, links=links)]
    path = tmp_path_factory.mktemp("base") / "base.tar"
    tiny.archive(path, layers=layers, tag=BASE, config={"Env": ["PATH=/bin:/usr/bin"], "User": "", "Cmd": []})
    with path.open("rb") as stream:
        docker_engine.images.load(stream)
    yield BASE
    docker_engine.images.remove(BASE, force=True)


def write_case(tiny: Any, protocol: Any, folder: Path) -> None:
    """Write two cases as a protocol's source patterns say."""
    from medpodium.challenges.naming.patterns import format_name

    values = {"vendor": "Vendor-A", "rec": "mial"}
    for number in (1, 2):
        image = tiny.nifti(tiny.mask(number).astype(np.int16) * 50)
        for _, rule in protocol.input_files:
            path = folder / format_name(rule.source, {**values, "case": f"sub-{number:03d}"})
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image)


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize(("name", "container"), KITS, ids=[f"{name}-{container}" for name, container in KITS])
def test_kit_passes_check_image(
    name: str, container: str, base: str, tiny: Any, docker_engine: Any, tmp_path: Path
) -> None:
    from medpodium.containers.athome import check_image

    loaded = registry.load(name)
    template.write(loaded, tmp_path / "kit", task=container, base=base)
    tag = f"medpodium-test-kit-{name}-{container}:latest"
    docker_engine.images.build(path=str(tmp_path / "kit"), tag=tag, network_mode="none", rm=True, forcerm=True)
    write_case(tiny, loaded.containers[container], tmp_path / "cases")
    try:
        verdict = check_image(docker_engine, loaded, tag, tmp_path / "cases", task=container)
    finally:
        docker_engine.images.remove(tag, force=True)
    failures = [one for one in verdict.findings if one.severity == "error"]
    assert verdict.passed, failures
    assert [row["status"] for row in verdict.cases] == ["ok"] * len(verdict.cases)
    assert "docker run --rm --network=none" in verdict.command


def test_kit_is_not_written_over_something(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        template.write(registry.load("feta"), tmp_path)


@pytest.mark.parametrize(("name", "container"), KITS, ids=[f"{name}-{container}" for name, container in KITS])
def test_kit_names_tag_and_archive_as_the_challenge_asks(name: str, container: str, tmp_path: Path) -> None:
    import re

    loaded = registry.load(name)
    template.write(loaded, tmp_path / "kit", task=container)
    text = (tmp_path / "kit" / "README.md").read_text()
    saved = re.search(r"docker save (\S+) \| gzip > (\S+)`", text)
    assert saved is not None
    protocol = loaded.containers[container]
    if protocol.image_name is not None:
        assert re.fullmatch(protocol.image_name.replace("{team}", "team"), saved[1])
    if protocol.archive_name is not None:
        assert re.fullmatch(protocol.archive_name.replace("{team}", "team"), saved[2])
