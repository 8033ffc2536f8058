"""Hostile archives and images, refused before anything of them is loaded or run."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges.campaign.folder import check_team
from medpodium.challenges.registry import load
from medpodium.containers.intake import archive, image
from medpodium.findings import Severity, UsageError

MAX = 64 << 20


def tar_of(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info, data in members:
            info.size = len(data) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def traversal(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of((named("../../etc/cron.d/evil"), b"x")))


def absolute(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of((named("/etc/passwd"), b"x")))


def link_out(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of((named("layer.tar", tarfile.SYMTYPE, "../../../etc/shadow"), b"")))


def device(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of((named("disk", tarfile.BLKTYPE), b"")))


def pipe(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of((named("pipe", tarfile.FIFOTYPE), b"")))


def bomb(tiny: Any, path: Path) -> Path:
    return tiny.pack(path, {"zeros": bytes(400 << 20)})


def nested_bomb(tiny: Any, path: Path) -> Path:
    return tiny.archive(path, layers=[gzip.compress(bytes(80 << 20), 1)])


def many_members(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of(*((named(f"f{number}"), b"") for number in range(2_001))))


def header_bomb(tiny: Any, path: Path) -> Path:
    """An extended header that declares 8 GiB: reading it whole would take the machine's memory."""
    info = named("././@PaxHeader", tarfile.XHDTYPE)
    info.size = 8 << 30
    return tiny.compress(path, info.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 16))


def twice(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, tar_of((named("manifest.json"), b"[]"), (named("manifest.json"), b"[]")))


def no_manifest(tiny: Any, path: Path) -> Path:
    return tiny.pack(path, {"etc/passwd": b"root"})


def two_images(tiny: Any, path: Path) -> Path:
    return tiny.archive(path, manifest=[{"Config": "a", "Layers": []}, {"Config": "b", "Layers": []}])


def nested_json(tiny: Any, path: Path) -> Path:
    return tiny.pack(path, {"manifest.json": b"[" * 200_000})


def escaping_manifest(tiny: Any, path: Path) -> Path:
    return tiny.archive(path, manifest=[{"Config": "../../etc/passwd", "Layers": ["0/layer.tar"]}])


def other_layer(tiny: Any, path: Path) -> Path:
    good = tiny.archive(path.with_name("good.tar"))
    with tarfile.open(good) as tar:
        content = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    content["0/layer.tar"] = tiny.layer(tiny.script("echo swapped"))
    return tiny.pack(path, content)


def many_layers(tiny: Any, path: Path) -> Path:
    return tiny.archive(path, layers=[tiny.layer({f"f{n}": b"x"}, busybox=False) for n in range(120)])


def large_image(tiny: Any, path: Path) -> Path:
    return tiny.archive(path, layers=[tiny.layer({"big": bytes(70 << 20)}, busybox=False)])


def truncated(tiny: Any, path: Path) -> Path:
    good = tiny.archive(path)
    good.write_bytes(good.read_bytes()[:-5000])
    return good


def not_a_tar(tiny: Any, path: Path) -> Path:
    return tiny.compress(path, b"hello" * 1000)


def link_loop(tiny: Any, path: Path) -> Path:
    manifest = json.dumps([{"Config": "a", "Layers": ["a"]}]).encode()
    return tiny.compress(
        path,
        tar_of(
            (named("manifest.json"), manifest),
            (named("a", tarfile.SYMTYPE, "b"), b""),
            (named("b", tarfile.SYMTYPE, "a"), b""),
        ),
    )


HOSTILE: list[tuple[Callable[[Any, Path], Path], set[str]]] = [
    (traversal, {"archive-path"}),
    (absolute, {"archive-path"}),
    (link_out, {"archive-path"}),
    (device, {"archive-special-file"}),
    (pipe, {"archive-special-file"}),
    (bomb, {"archive-too-large"}),
    (nested_bomb, {"archive-too-large"}),
    (many_members, {"archive-too-many-files"}),
    (header_bomb, {"archive-unreadable"}),
    (twice, {"archive-duplicate-name"}),
    (no_manifest, {"archive-no-manifest"}),
    (two_images, {"archive-many-images"}),
    (nested_json, {"archive-config"}),
    (escaping_manifest, {"archive-path"}),
    (other_layer, {"archive-layer-hash"}),
    (many_layers, {"image-layers"}),
    (large_image, {"archive-too-large"}),
    (truncated, {"archive-unreadable"}),
    (not_a_tar, {"archive-unreadable"}),
    (link_loop, {"archive-config"}),
]


@pytest.mark.parametrize(("make", "codes"), HOSTILE, ids=[make.__name__ for make, _ in HOSTILE])
def test_hostile_archive_is_refused(
    make: Callable[[Any, Path], Path], codes: set[str], tiny: Any, tmp_path: Path
) -> None:
    path = make(tiny, tmp_path / "team.tar.gz")
    with pytest.raises(UsageError) as caught:
        archive.inspect(path, max_bytes=MAX, max_layers=8)
    found = caught.value.findings[0]
    assert str(found.code) in codes
    assert found.cause.isprintable()
    assert found.fix
    assert sorted(one.name for one in tmp_path.iterdir()) in (["team.tar.gz"], ["good.tar", "team.tar.gz"])


@pytest.mark.parametrize("ending", [".tar", ".tar.gz", ".tar.zst"])
def test_honest_archive_passes_whatever_its_compression(ending: str, tiny: Any, tmp_path: Path) -> None:
    held = archive.inspect(tiny.archive(tmp_path / f"team{ending}"), max_bytes=MAX, max_layers=8)
    assert held.digest.startswith("sha256:")
    assert len(held.layers) == 1
    assert held.tags == ("team:latest",)


def test_engine_gets_a_normalised_archive_with_one_tag_of_ours(tiny: Any, tmp_path: Path) -> None:
    path = tiny.archive(tmp_path / "team.tar.gz", tag="python:latest", members={"repositories": b"{}", "extra": b"x"})
    held = archive.inspect(path, max_bytes=MAX, max_layers=8)
    data = b"".join(archive.normalised(held, "medpodium/team:abc", max_bytes=MAX))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert manifest[0]["RepoTags"] == ["medpodium/team:abc"]
    assert sorted(names) == sorted([manifest[0]["Config"], *manifest[0]["Layers"], "manifest.json"])


CONFIGS: list[tuple[str, dict[str, Any], str, Severity]] = [
    ("preload", {"Env": ["LD_PRELOAD=/evil.so"]}, "image-env-loader", Severity.ERROR),
    ("audit", {"Env": ["LD_AUDIT=/evil.so"]}, "image-env-loader", Severity.ERROR),
    ("leaked-descriptor", {"WorkingDir": "/proc/self/fd/8"}, "image-workdir", Severity.ERROR),
    ("workdir-dots", {"WorkingDir": "/a/../proc/self/fd/8"}, "image-workdir", Severity.ERROR),
    ("workdir-sys", {"WorkingDir": "/sys/fs/cgroup"}, "image-workdir", Severity.ERROR),
    ("all-gpus", {"Env": ["NVIDIA_VISIBLE_DEVICES=all"]}, "image-env-gpu", Severity.NOTE),
    ("root", {"User": "0:0"}, "image-root-user", Severity.WARNING),
    ("root-by-default", {"User": ""}, "image-root-user", Severity.WARNING),
    ("volume", {"Volumes": {"/data": {}}}, "image-volume", Severity.WARNING),
    ("health", {"Healthcheck": {"Test": ["CMD", "/evil"]}}, "image-healthcheck", Severity.NOTE),
    ("stop-signal", {"StopSignal": "SIGCONT"}, "image-stop-signal", Severity.NOTE),
]


@pytest.mark.parametrize(("config", "code", "severity"), [row[1:] for row in CONFIGS], ids=[row[0] for row in CONFIGS])
def test_image_settings_are_linted(config: dict[str, Any], code: str, severity: Severity) -> None:
    found = {str(one.code): one.severity for one in image.lint_config({"User": "1000", **config})}
    assert found.get(code) is severity


def test_wrong_platform_size_and_missing_command_are_refused(tiny: Any, tmp_path: Path) -> None:
    protocol = load(tiny.challenge(tmp_path, command=None)).containers["default"]
    facts = {"os": "linux", "architecture": "arm64", "bytes": 1 << 40, "layers": 120, "config": {"User": "1000"}}
    codes = {str(one.code) for one in image.lint(facts, protocol)}
    assert codes == {"image-platform", "image-too-large", "image-layers", "image-no-command"}


@pytest.mark.parametrize(
    "name",
    [
        "<script>alert(1)</script>",
        "=cmd|' /C calc'!A1",
        "../../etc",
        "a/b",
        "\x1b[2J",
        "team\nother",
        "\\textbf{x}",
        "[x](javascript:1)",
        "",
        "x" * 65,
        "ünïcode",
        ".hidden",
        "-rf",
    ],
)
def test_team_names_that_attack_tables_and_pages_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_team(name)


@pytest.mark.docker
def test_refused_images_never_reach_the_engine(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    campaign = tiny.campaign(tmp_path, count=1)
    from medpodium.containers import athome

    for number, config in enumerate(({"Env": ["LD_PRELOAD=/x"]}, {"WorkingDir": "/proc/self/fd/7"})):
        path = tiny.archive(tmp_path / f"evil{number}.tar", config=config)
        with pytest.raises(UsageError):
            athome.submit(docker_engine, campaign, str(path), f"evil{number}", None)
    arm = tiny.archive(tmp_path / "arm.tar", top={"architecture": "arm64"})
    with pytest.raises(UsageError):
        athome.submit(docker_engine, campaign, str(arm), "arm", None)
    assert tiny.tags(docker_engine, "medpodium/evil", "medpodium/arm") == []
    assert campaign.submissions() == []
    campaign.close()


@pytest.mark.docker
def test_same_image_under_two_names_is_noticed(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    from medpodium.containers import athome

    campaign = tiny.campaign(tmp_path, count=1)
    path = tiny.archive(tmp_path / "one.tar.gz", tag="python:latest")
    athome.submit(docker_engine, campaign, str(path), "first", None)
    with pytest.raises(UsageError, match="duplicate-submission"):
        athome.submit(docker_engine, campaign, str(path), "second", None)
    _, found = athome.submit(docker_engine, campaign, str(path), "second", None, allow_duplicate=True)
    assert [str(one.code) for one in found if one.severity is Severity.WARNING] == ["duplicate-submission"]
    _, again = athome.submit(docker_engine, campaign, str(path), "first", None)
    assert "duplicate-submission" in {str(one.code) for one in again}
    assert len(campaign.submissions()) == 2
    image_tags = docker_engine.images.get(campaign.submissions()[0].digest).tags
    assert image_tags
    assert all(tag.startswith("medpodium/") for tag in image_tags), "a tag inside the archive reached the engine"
    campaign.close()
    for tag in image_tags:
        docker_engine.images.remove(tag)


def test_zip_of_struct_is_not_mistaken_for_a_tar(tmp_path: Path) -> None:
    path = tmp_path / "team.tar"
    path.write_bytes(b"PK\x03\x04" + struct.pack("<H", 20) + bytes(2000))
    with pytest.raises(UsageError):
        archive.inspect(path, max_bytes=MAX, max_layers=8)
