"""Submissions by digest from a real registry on loopback: the intake of archives, and nothing taken on trust."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from medpodium.cli import main
from medpodium.scoring import table

pytestmark = pytest.mark.docker

SECRET = "$2b$04$7xphHTEJy6bXGWSg6Ehi4O0xcjfzLto5NPO5PBGKdv8CmN/EAY99i"
"""bcrypt of ``secret``; the registry reads no other kind."""
INDEX = "application/vnd.oci.image.index.v1+json"


def start(folder: Path, *, password: bool = False) -> tuple[subprocess.Popen[bytes], str]:
    """Start a registry on a free port of loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    settings: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "storage")}},
        "http": {"addr": host},
    }
    if password:
        (folder / "users").write_text(f"team:{SECRET}\n", encoding="utf-8")
        settings["auth"] = {"htpasswd": {"realm": "here", "path": str(folder / "users")}}
    (folder / "config.yml").write_text(json.dumps(settings), encoding="utf-8")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["docker-registry", "serve", str(folder / "config.yml")], stdout=log, stderr=log)
    for _ in range(100):
        try:
            requests.get(f"http://{host}/v2/", timeout=1)
            return process, host
        except requests.ConnectionError:
            time.sleep(0.1)
    process.kill()
    raise AssertionError((folder / "log").read_text())


@pytest.fixture(scope="module")
def registries(require: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Start an open registry and one with a password."""
    require(shutil.which("docker-registry") is not None, "docker-registry (a package of Debian)")
    started = {}
    try:
        for name in ("open", "closed"):
            folder = tmp_path_factory.mktemp(name)
            process, host = start(folder, password=name == "closed")
            started[name] = (process, host, folder)
        yield {name: (host, folder) for name, (_, host, folder) in started.items()}
    finally:
        for process, _, _ in started.values():
            process.terminate()
            process.wait()


@pytest.fixture(scope="module")
def push(tiny: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Return what pushes a script as an image, removes it from the engine, and returns its name with the digest."""

    def pushed(host: str, team: str, script: str | None = None, **auth: Any) -> str:
        path = tiny.archive(tmp_path_factory.mktemp("pushed") / "it.tar", script or tiny.GOOD + f"; : {team}")
        (image,) = docker_engine.images.load(path.read_bytes())
        repository = f"{host}/{team}"
        image.tag(repository, "v1")
        answer = docker_engine.images.push(repository, "v1", stream=True, decode=True, **auth)
        (digest,) = [line["aux"]["Digest"] for line in answer if "aux" in line and "Digest" in line["aux"]]
        for tag in docker_engine.images.get(image.id).tags:
            docker_engine.images.remove(tag, force=True)
        return f"{repository}@{digest}"

    return pushed


def medpodium(*words: object) -> Any:
    return CliRunner().invoke(main, [str(word) for word in words])


def campaign(tiny: Any, folder: Path, count: int = 1, **limits: str) -> Path:
    """Make a campaign by the command line."""
    rules = tiny.challenge(folder, limits=limits)
    images, references = tiny.cases(folder, count)
    result = medpodium("init", rules, folder / "campaign", "--cases", images, "--references", references)
    assert result.exit_code == 0, result.output
    return folder / "campaign"


def test_a_digest_is_submitted_run_and_scored(
    tiny: Any, docker_engine: Any, registries: Any, push: Callable[..., str], tmp_path: Path
) -> None:
    """0.1.0 refused it unless somebody had pulled the image by hand."""
    name = push(registries["open"][0], "aurora")
    campaign(tiny, tmp_path, 2)
    result = medpodium("submit", tmp_path / "campaign", name, "--team", "aurora")
    assert result.exit_code == 0, result.output
    # the registry is not needed any more: the archive is in the campaign, should the engine lose the image
    tiny.clean(docker_engine, "medpodium/aurora")
    result = medpodium("run", tmp_path / "campaign")
    assert "2 runs done, 0 of them failed" in result.output, result.output
    assert medpodium("score", tmp_path / "campaign", "--out", tmp_path / "scores.csv").exit_code == 0
    assert (table.read_scores(tmp_path / "scores.csv")["value"] == 1.0).all()
    tiny.clean(docker_engine, "medpodium/aurora")


def test_what_a_registry_gives_is_checked(
    tiny: Any, docker_engine: Any, registries: Any, push: Callable[..., str], tmp_path: Path
) -> None:
    host, storage = registries["open"]
    name = push(host, "borealis")
    campaign(tiny, tmp_path, image="4 MiB")

    def refused(source: str, code: str, folder: Path = tmp_path / "campaign") -> None:
        result = medpodium("submit", folder, source, "--team", "borealis")
        assert result.exit_code == 2, result.output
        assert code in result.output
        assert not list(folder.rglob("*.part"))

    refused(name.partition("@")[0] + ":v1", "registry-tag")
    refused(name[:-4] + ("0000" if not name.endswith("0000") else "1111"), "registry-refused")
    refused(name.replace(host, "127.0.0.1:9"), "registry-unreachable")
    digest = name.partition("@")[2]
    manifest = requests.get(
        f"http://{host}/v2/borealis/manifests/{digest}",
        headers={"Accept": "application/vnd.docker.distribution.manifest.v2+json"},
        timeout=5,
    ).json()
    layer = manifest["layers"][0]["digest"].partition(":")[2]
    blob = storage / "storage" / "docker/registry/v2/blobs/sha256" / layer[:2] / layer / "data"
    content = blob.read_bytes()
    try:
        blob.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        refused(name, "registry-digest-differs")
        blob.write_bytes(content[:-100])
        refused(name, "registry-")
    finally:
        blob.write_bytes(content)
    refused(name, "image-too-large", campaign(tiny, tmp_path / "small", image="64 KiB"))
    assert medpodium("submit", tmp_path / "campaign", name, "--team", "borealis").exit_code == 0
    tiny.clean(docker_engine, "medpodium/borealis")


def test_an_index_gives_the_image_for_this_processor_and_passwords_are_docker_logins(
    tiny: Any,
    docker_engine: Any,
    registries: Any,
    push: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host, _ = registries["closed"]
    login = {"username": "team", "password": "secret"}
    name = push(host, "corona", auth_config=login)
    digest = name.partition("@")[2]
    url, auth = f"http://{host}/v2/corona/manifests", ("team", "secret")
    size = len(requests.get(f"{url}/{digest}", auth=auth, timeout=5).content)
    entry = {"mediaType": "application/vnd.docker.distribution.manifest.v2+json", "digest": digest, "size": size}
    platforms = [{"os": "linux", "architecture": "arm64"}, {"os": "linux", "architecture": "amd64"}]
    for number, chosen in enumerate(([platforms[1]], platforms[:1])):
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**entry, "platform": one} for one in chosen]}
        answer = requests.put(
            f"{url}/all{number}", data=json.dumps(index), headers={"Content-Type": INDEX}, auth=auth, timeout=5
        )
        assert answer.status_code == 201, answer.text
        source = f"{host}/corona@{answer.headers['Docker-Content-Digest']}"
        folder = campaign(tiny, tmp_path / str(number))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "nobody"))
        result = medpodium("submit", folder, source, "--team", "corona")
        assert result.exit_code == 2
        assert "401" in result.output
        (tmp_path / "login").mkdir(exist_ok=True)
        stored = {"auths": {host: {"auth": base64.b64encode(b"team:secret").decode()}}}
        (tmp_path / "login" / "config.json").write_text(json.dumps(stored), encoding="utf-8")
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "login"))
        result = medpodium("submit", folder, source, "--team", "corona")
        assert result.exit_code == (0 if platforms[1] in chosen else 2), result.output
        assert ("no image for linux/amd64" in result.output) == (platforms[1] not in chosen)
    tiny.clean(docker_engine, "medpodium/corona")


@pytest.mark.parametrize(
    ("text", "host", "repository"),
    [
        ("registry.example.org/a/b@sha256:", "registry.example.org", "a/b"),
        ("localhost:5000/team:v1@sha256:", "localhost:5000", "team"),
        ("team/image@sha256:", "registry-1.docker.io", "team/image"),
        ("python@sha256:", "registry-1.docker.io", "library/python"),
        ("docker.io/library/python:3@sha256:", "registry-1.docker.io", "library/python"),
    ],
)
def test_names_are_read_as_docker_reads_them(text: str, host: str, repository: str) -> None:
    from medpodium.containers.intake import registry

    found = registry.parse(text + "0" * 64)
    assert found is not None
    assert (found.host, found.repository) == (host, repository)
    assert found.base.startswith("http://" if host.startswith("localhost") else "https://")
    for broken in (text, text + "0" * 63, text + "g" * 64, "a b@sha256:" + "0" * 64, "-x@sha256:" + "0" * 64):
        assert registry.parse(broken) is None
