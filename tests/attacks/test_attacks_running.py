"""Hostile containers, all in one campaign with an honest team before and after them.

Every attack ends as a typed failure (or as a success that gained nothing), within its limit and ten seconds; the host
is as before, and the honest teams' predictions and scores are those of a campaign without attackers.
"""

from __future__ import annotations

import gzip
import hashlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.docker

LIMIT = 3.0
BLOCKED = {"crash"}
"""The script left with exit code 7 because what it tried was refused."""
OUT = "/output/case1.nii.gz"
HONEST = "cp /input/case1_0000.nii.gz /output/case1.nii.gz"


@dataclass
class Attack:
    """A script and what it may end as: codes of the run, or statuses of the scores where the run is ``ok``.

    ``says`` has to be among its last words, where only they tell that the right thing stopped it.
    """

    script: str
    codes: set[str] = field(default_factory=lambda: BLOCKED)
    files: dict[str, bytes] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    scores: set[str] | None = None
    says: str = ""
    links: dict[str, str] = field(default_factory=dict)


def tries(*commands: str) -> str:
    """Return a script that submits an honest prediction only if every one of these commands works."""
    return "".join(f"({command}) || exit 7\n" for command in commands) + HONEST


def request(address: str) -> str:
    """Return a command that asks a web server."""
    return f"printf 'GET /latest/meta-data/ HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 80"


def drops(name: str = "p.nii.gz") -> str:
    """Return a script that submits a file of the image as the prediction."""
    return f"cp /{name} {OUT}"


RUNTIME = {
    # Exfiltration and reading
    "n1-dns": Attack(tries("nslookup example.com 8.8.8.8"), says="unreachable"),
    "n1-http": Attack(tries(request("1.1.1.1")), says="unreachable"),
    "n1-gateway": Attack(tries("nc -w 1 172.17.0.1 22 < /dev/null"), says="unreachable"),
    "n1-interfaces": Attack(tries("ls /sys/class/net | grep -v lo")),
    "n2-metadata": Attack(tries(request("169.254.169.254")), says="unreachable"),
    "n3-other-cases": Attack(tries("find /input -type f | grep -v case1_0000")),
    "n4-labels": Attack(tries("find / -xdev \\( -name labels -o -name '*.sqlite' -o -name references \\) | grep .")),
    "n4-mount-table": Attack(tries("grep -E 'images|labels|case1' /proc/self/mountinfo")),
    "n5-docker-socket": Attack(tries("find / -name 'docker*.sock' -o -name 'podman*.sock' | grep .")),
    "n6a-leave-secrets": Attack(
        f"echo s > /tmp/secret; echo s > /dev/shm/secret; echo s > /vol/secret; {HONEST}",
        {"ok"},
        config={"Volumes": {"/vol": {}}},
    ),
    "n6b-find-secrets": Attack(
        tries("find /tmp /dev/shm /vol -name secret | grep ."), config={"Volumes": {"/vol": {}}}
    ),
    "n7-voxels-in-log": Attack(f"od -x /input/case1_0000.nii.gz; {HONEST}", {"ok"}),
    "n8-voxels-in-header": Attack(drops(), {"ok"}),
    "n10-environment": Attack(
        tries("cat /proc/*/environ | tr '\\0' '\\n' | grep -iE 'secret|token|password|medpodium'")
    ),
    "n12-host-processes": Attack(tries("ls /proc | grep -E '^[0-9]{3,}$'")),
    # Tampering and privileges
    "t1-change-input": Attack(tries("echo x > /input/case1_0000.nii.gz")),
    "t1-remove-input": Attack(tries("rm -f /input/case1_0000.nii.gz")),
    "t1-remount": Attack(tries("mount -o remount,rw /input")),
    "t2-write-scores": Attack(
        f"echo '{{\"dice\": 1}}' > /output/predictions.json; echo 1 > /output/scores.csv; {HONEST}", {"ok"}
    ),
    "t3-other-case": Attack(f"{HONEST}; cp {OUT} /output/case2.nii.gz; cp {OUT} /output/case9.nii.gz", {"ok"}),
    "t5-pickle": Attack(
        drops(), {"mask-format-mismatch"}, {"p.nii.gz": b"\x80\x04\x8c\x05posix\x94\x8c\x06system\x94"}
    ),
    "t5-npz": Attack(drops(), {"mask-format-mismatch"}, {"p.nii.gz": b"PK\x03\x04" + bytes(200)}),
    "t6-html-file-name": Attack(f"touch '/output/<img src=x onerror=alert(1)>'; {HONEST}", {"ok"}),
    "t6-formula-file-name": Attack(f"touch '/output/=cmd|calc!A1.csv'; {HONEST}", {"ok"}),
    "t7-terminal-escapes": Attack("printf '\\033]0;owned\\007\\033[2J\\r fake line'; exit 7"),
    "t8-hard-link": Attack(f"{HONEST}; ln {OUT} /output/second", {"output-hard-link"}),
    "t9-system-file": Attack(tries("echo root::0:0::/:/bin/sh > /etc/passwd")),
    "t9-sysrq": Attack(tries("echo c > /proc/sysrq-trigger")),
    "t9-kernel-setting": Attack(tries("echo 1 > /proc/sys/kernel/panic")),
    "t9-clock": Attack(tries("date -s 2030-01-01; date | grep 2030")),
    "t9-host-name": Attack(tries("hostname evil")),
    "t9-device-node": Attack(tries("mknod /tmp/disk b 8 0")),
    "t9-root-by-setuid": Attack(tries("[ $(/suid awk 'BEGIN { system(\"id -u\") }') = 0 ]")),
    "t9-kernel-log": Attack(tries("dd if=/dev/kmsg of=/dev/null count=1")),
    # Resources
    "r1-fork-storm": Attack("f() { f | f & f; }; f; sleep 60", {"pids-limit", "timeout", "crash", "oom", "no-command"}),
    "r2-memory": Attack("tail /dev/zero", {"oom"}),
    "r4-huge-file": Attack("dd if=/dev/zero of=/output/big bs=1M count=500", {"file-size-limit", "output-too-large"}),
    "r4-many-large-files": Attack(
        "for i in 1 2 3 4 5 6 7 8 9; do dd if=/dev/zero of=/output/$i bs=1M count=5; done; sleep 60",
        {"output-too-large"},
    ),
    "r5-many-files": Attack("i=0; while true; do i=$((i+1)); echo > /output/f$i; done", {"too-many-files"}),
    "r6-sparse-terabyte": Attack("truncate -s 1T /output/case1.nii.gz || exit 7", {"crash", "file-size-limit"}),
    "r6-sparse": Attack("truncate -s 11M /output/case1.nii.gz", {"output-sparse"}),
    "r7-gzip-bomb": Attack(drops(), {"mask-shape-too-large", "mask-data-trailing", "mask-data-beyond-volume", "ok"}),
    "r9-huge-header": Attack(drops(), {"mask-shape-too-large", "mask-data-truncated", "mask-file-too-small"}),
    "r10-deep-tree": Attack(
        f"{HONEST}; cd /output; i=0; while [ $i -lt 190 ]; do mkdir d && cd d || break; i=$((i+1)); done",
        {"too-many-files"},
    ),
    "r10-newline-name": Attack(f"touch \"/output/a$(printf '\\nb')\"; {HONEST}", {"ok"}),
    "r10-bytes-name": Attack(f"touch \"/output/$(printf 'a\\377b')\"; {HONEST}", {"ok"}),
    "r10-long-name": Attack(f"touch /output/{'x' * 255}; {HONEST}", {"ok"}),
    "r11-log-flood": Attack("yes hello", {"timeout"}),
    "r11-endless-line": Attack("tr '\\0' a < /dev/zero", {"timeout"}),
    "r11-nul-bytes": Attack("head -c 300000 /dev/zero; exit 7"),
    "r12-ignore-signals": Attack(
        "trap '' TERM INT HUP; while true; do sleep 1; done", {"timeout"}, config={"StopSignal": "SIGCONT"}
    ),
    "r13-daemon": Attack(f"{HONEST}; setsid sleep 1000 > /dev/null 2>&1 & sleep 0.2; exit 0", {"ok"}),
    "r14-sleep": Attack("sleep 100000", {"timeout"}),
    "r14-busy": Attack("while true; do true; done", {"timeout"}),
    "r16-fill-shm": Attack(tries("dd if=/dev/zero of=/dev/shm/x bs=1M count=20")),
    "r17-fill-tmp": Attack(tries("dd if=/dev/zero of=/tmp/x bs=1M count=20")),
    "r17-fill-volume": Attack(tries("dd if=/dev/zero of=/vol/x bs=1M count=40"), config={"Volumes": {"/vol": {}}}),
    "r24-health-check": Attack(
        "sleep 1; exit 7", config={"Healthcheck": {"Test": ["CMD", "/bin/yes"], "Interval": 1000000000}}
    ),
    # Shape of the outputs
    "o1-link-to-host": Attack(f"ln -s /etc/shadow {OUT}", {"output-not-regular"}),
    "o1-link-to-input": Attack(f"ln -s /input/case1_0000.nii.gz {OUT}", {"output-not-regular"}),
    "o1-linked-folder": Attack("ln -s / /output/root; exit 7"),
    "o2-pipe": Attack(f"mkfifo {OUT}", {"output-not-regular"}),
    "o3-device": Attack(tries(f"mknod {OUT} c 1 5")),
    "o4-mode-000": Attack(f"{HONEST}; chmod 000 {OUT}", {"ok", "output-unreadable"}),
    "o4-closed-folder": Attack(f"{HONEST}; chmod 000 /output", {"ok", "missing-output"}),
    "o5-empty-file": Attack(f"touch {OUT}", {"output-empty"}),
    "o6-truncated": Attack(
        f"head -c 60 /input/case1_0000.nii.gz > {OUT}",
        {"mask-header-truncated", "mask-data-truncated", "mask-data-corrupt"},
    ),
    "o7-wrong-ending": Attack("cp /input/case1_0000.nii.gz /output/case1.mha", {"missing-output"}),
    "o8-missing": Attack("true", {"missing-output"}),
    "o10-names-by-case": Attack(f"{HONEST}; cp {OUT} /output/CASE1.nii.gz", {"missing-output", "ok"}),
    "o11-folder-as-file": Attack(f"mkdir {OUT}", {"missing-output"}),
    "d5-nothing-but-zero": Attack("exit 0", {"missing-output"}),
    "d6-complete-but-failed": Attack(f"{HONEST}; exit 7"),
    "d7-no-command": Attack("", {"no-command"}, config={}),
    # Images that make the runtime stumble
    "i1-input-is-a-file": Attack(HONEST, {"cannot-start"}, {"input": b"x"}),
    "i2-proc-is-a-link": Attack(HONEST, {"cannot-start", "ok"}, links={"proc": "/output"}),
    "i3-output-is-a-link": Attack(HONEST, {"cannot-start", "missing-output", "ok"}, links={"output": "/../../etc"}),
    "i4-passwd-without-users": Attack(HONEST, {"ok"}, {"etc/passwd": b"\xff\xfe\0:::::"}),
}
"""Name to attack; the predictions of ``drops`` are added by :func:`content`."""


def content(tiny: Any) -> dict[str, Attack]:
    """Return the attacks that are in the prediction itself; scoring judges them."""
    array = tiny.mask(0)
    geometry = {"failed:geometry-shape-differs", "failed:geometry-axes-swapped"}
    bad: dict[str, tuple[bytes, set[str], set[str]]] = {
        "c1-shape": (tiny.nifti(array[:-1]), {"ok"}, geometry),
        "c1-spacing": (tiny.nifti(array, (1.0, 1.0, 5.0)), {"ok"}, {"failed:geometry-spacing-differs"}),
        "c1-origin": (tiny.nifti(array, origin=(0, 0, 40)), {"ok"}, {"failed:geometry-origin-differs"}),
        "c2-negative-origin": (tiny.nifti(array, origin=(-500, 0, 0)), {"ok"}, {"failed:geometry-origin-differs"}),
        "c1-float-noise": (tiny.nifti(array, (1.0 + 1e-7, 1.0, 2.0)), {"ok"}, {"ok"}),
        "c3-flipped-axis": (
            tiny.nifti(array, signs=(-1, 1, 1)),
            {"ok"},
            {"failed:geometry-axis-flipped", "failed:geometry-direction-differs"},
        ),
        "c4-unknown-label": (tiny.nifti(array * 7), {"ok"}, {"failed:label-unknown"}),
        "c5-float-labels": (
            tiny.nifti(array * np.float32(0.9)),
            {"mask-value-not-integral", "mask-probability-map"},
            set(),
        ),
        "c6-nan": (tiny.nifti(np.where(array > 0, np.nan, 0.0).astype(np.float32)), {"mask-value-nan"}, set()),
        "c7-wraps": (
            tiny.nifti(array.astype(np.int64) * 256),
            {"ok", "mask-label-wraps", "mask-type-wide"},
            {"failed:label-unknown", "failed:mask-label-wraps"},
        ),
        "c9-scaling": (tiny.nifti(array, slope=0.5), {"mask-value-not-integral", "mask-probability-map"}, set()),
        "c14-probabilities": (
            tiny.nifti((array * np.float32(0.37)).astype(np.float32)),
            {"mask-probability-map", "mask-value-not-integral"},
            set(),
        ),
    }
    return {
        name: Attack(drops(), codes, {"p.nii.gz": data}, scores=scores or None)
        for name, (data, codes, scores) in bad.items()
    }


CONTENT = """
    c1-shape c1-spacing c1-origin c2-negative-origin c1-float-noise c3-flipped-axis c4-unknown-label c5-float-labels
    c6-nan c7-wraps c9-scaling c14-probabilities
""".split()  # noqa: SIM905 - reads better so


def payloads(tiny: Any) -> dict[str, dict[str, bytes]]:
    """Return the files of the attacks that drop one."""
    array = tiny.mask(0)
    honest = gzip.decompress(tiny.nifti(array, descrip=b"HIDDEN VOXELS 123"))
    extended = honest[:348] + b"\1\0\0\0" + (64).to_bytes(4, "little") + (6).to_bytes(4, "little") + b"SECRET" * 9
    extended = extended.ljust(416, b"\0") + honest[352:]
    extended = extended[:108] + np.float32(416).tobytes() + extended[112:]
    return {
        "n8-voxels-in-header": {"p.nii.gz": gzip.compress(extended, 1)},
        "r7-gzip-bomb": {"p.nii.gz": gzip.compress(honest + bytes(400 << 20), 9)},
        "r9-huge-header": {"p.nii.gz": tiny.nifti(array, dim=(30000, 30000, 30000))},
        "t9-root-by-setuid": {},
    }


@dataclass
class Arena:
    """A campaign after everybody was run."""

    campaign: Any
    attacks: dict[str, Attack]
    table: Any
    scores: Any
    before: dict[str, str]
    client: Any


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def submit_all(tiny: Any, folder: Path, attacks: dict[str, Attack]) -> dict[str, Path]:
    """Write the archives: an honest team first, the attackers, an honest team last."""
    base = tiny.layer({})
    archives = {
        "honest-first": tiny.archive(folder / "honest-first.tar", tiny.GOOD, layers=[base, honest_layer(tiny, 1)])
    }
    for name, attack in attacks.items():
        files = {**tiny.script(attack.script), **attack.files}
        if name == "d7-no-command":
            files = {"other.sh": b"#!/bin/sh\n"}
        if name == "t9-root-by-setuid":
            files["suid"] = tiny.BUSYBOX.read_bytes()
        blob = tiny.layer(files, busybox=False, links=attack.links, folders=False)
        if name == "t9-root-by-setuid":
            blob = setuid(blob, "suid")
        archives[name] = tiny.archive(folder / f"{name}.tar", layers=[base, blob], config=attack.config)
    last = tiny.archive(folder / "honest-last.tar", tiny.GOOD, layers=[base, honest_layer(tiny, 2)])
    return {**archives, "honest-last": last}


def honest_layer(tiny: Any, number: int) -> bytes:
    """Return the layer of an honest team; the number makes the image another one."""
    return tiny.layer(tiny.script(f"# {number}\n{tiny.GOOD}"), busybox=False)


def setuid(blob: bytes, name: str) -> bytes:
    """Return a layer in which a file belongs to root and is set-user-id."""
    import io
    import tarfile

    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(blob)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            member.mode = 0o4755 if member.name == name else member.mode
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return out.getvalue()


@pytest.fixture(scope="module")
def arena(tiny: Any, docker_engine: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Run everybody once."""
    from medpodium.scoring.campaign import score

    folder = tmp_path_factory.mktemp("arena")
    attacks = RUNTIME | content(tiny)
    for name, files in payloads(tiny).items():
        attacks[name].files.update(files)
    campaign = tiny.campaign(folder, count=1, limits={"time": f"{LIMIT:g} s"})
    before = fingerprint(folder / "images") | fingerprint(folder / "labels")
    tiny.run(docker_engine, campaign, submit_all(tiny, folder / "archives", attacks))
    scores = score(campaign, "segmentation").scores
    yield Arena(campaign, attacks, campaign.resources().set_index("submission"), scores, before, docker_engine)
    campaign.close()


@pytest.mark.parametrize("name", [*RUNTIME, *CONTENT])
def test_attack_ends_as_typed_failure(arena: Arena, name: str) -> None:
    attack, row = arena.attacks[name], arena.table.loc[name]
    code = row["code"] if isinstance(row["code"], str) else "ok"
    assert code in attack.codes, f"{code}: {row['cause']}"
    if attack.codes == BLOCKED:
        assert "exit code 7" in row["cause"]
        assert attack.says in row["cause"]
    assert row["running_time"] < LIMIT + 10
    statuses = set(arena.scores[arena.scores["submission"] == name]["status"])
    if code == "ok":
        assert statuses <= (attack.scores or {"ok"}), statuses
    else:
        assert statuses == {f"failed:{code}"}
        assert isinstance(row["fix"], str)
        assert row["fix"]
        assert row["cause"].isprintable()


def test_honest_teams_are_as_in_a_campaign_without_attackers(
    arena: Arena, tiny: Any, docker_engine: Any, tmp_path: Path
) -> None:
    from medpodium.scoring.campaign import score

    quiet = tiny.campaign(tmp_path, count=1, limits={"time": f"{LIMIT:g} s"})
    tiny.run(docker_engine, quiet, submit_all(tiny, tmp_path / "archives", {}))
    expected = score(quiet, "segmentation").scores
    for team in ("honest-first", "honest-last"):
        mine = arena.scores[arena.scores["submission"] == team].reset_index(drop=True)
        other = expected[expected["submission"] == team].reset_index(drop=True)
        assert mine.equals(other)
        assert set(mine["status"]) == {"ok"}
        here, there = arena.campaign.predictions_dirs()[team], quiet.predictions_dirs()[team]
        assert [*fingerprint(here).values()] == [*fingerprint(there).values()]
    quiet.close()


def test_host_is_as_before(arena: Arena, tiny: Any) -> None:
    root = arena.campaign.root
    folder = root.parent
    assert fingerprint(folder / "images") | fingerprint(folder / "labels") == arena.before
    assert list((root / "work").iterdir()) == []
    labels = {"label": f"medpodium.campaign={arena.campaign.secret[:16]}"}
    assert arena.client.containers.list(all=True, filters=labels) == []
    assert not [one for one in arena.client.volumes.list() if one.attrs.get("Labels")]
    assert subprocess.run(["hostname"], capture_output=True, text=True, check=True).stdout.strip() != "evil"
    assert tiny.tags(arena.client, "medpodium/n1", "medpodium/r1") == []


def test_nothing_hidden_survives_collection(arena: Arena) -> None:
    team = arena.campaign.predictions_dirs()["n8-voxels-in-header"]
    raw = gzip.decompress((team / "case1.nii.gz").read_bytes())
    assert b"SECRET" not in raw
    assert b"HIDDEN" not in raw
    assert {path.name for path in arena.campaign.predictions_dirs()["t2-write-scores"].rglob("*")} == {"case1.nii.gz"}


def test_logs_are_capped_and_harmless(arena: Arena) -> None:
    limit = 64 << 10
    for name in ("r11-log-flood", "r11-endless-line", "r11-nul-bytes", "t7-terminal-escapes"):
        submission = arena.campaign.submissions(team=name)[0]
        logs = list(arena.campaign.runs_dir(submission).rglob("log.txt"))
        assert len(logs) == 1
        data = logs[0].read_bytes()
        assert len(data) <= 6 * limit  # an escaped control character takes up to six bytes
        assert not [byte for byte in data if byte < 32 and byte != 10]


def test_own_findings_name_what_was_ignored(arena: Arena) -> None:
    for name, code in (("t3-other-case", "unexpected-output"), ("r10-newline-name", "output-bad-name")):
        submission = arena.campaign.submissions(team=name)[0]
        notes = arena.campaign.ledger.results(submission.id)[0].detail["notes"]
        assert code in {note["code"] for note in notes}
        assert all(note["where"].isprintable() and note["cause"].isprintable() for note in notes)


def test_threat_model_names_every_attack() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "threat-model.md").read_text(encoding="utf-8")
    missing = [name for name in [*RUNTIME, *CONTENT] if f"`{name}`" not in page]
    assert missing == []
