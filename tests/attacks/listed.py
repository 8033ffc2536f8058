"""What hostile containers try: scripts, files and settings, and what each may end as."""

from __future__ import annotations

import gzip
from dataclasses import dataclass, field
from typing import Any

import numpy as np

BLOCKED = {"crash"}
"""The script left with exit code 7 because what it tried was refused."""
OUT = "/output/case1.nii.gz"
HONEST = "cp /input/case1_0000.nii.gz /output/case1.nii.gz"


@dataclass
class Attack:
    """A script and what it may end as: codes of the run, or statuses of the scores where the run is ``ok``.

    ``says`` has to match its last words, where only they tell that the right thing stopped it. ``files`` and
    ``links`` are in the image; ``own_layer`` is a layer on top, made by the attacker. ``also`` are further codes with
    one engine, where what is refused elsewhere gains nothing there, because the kernel is the attacker's own.
    """

    script: str
    codes: set[str] = field(default_factory=lambda: BLOCKED)
    files: dict[str, bytes] = field(default_factory=dict)
    config: dict[str, Any] = field(default_factory=dict)
    scores: set[str] | None = None
    says: str = ""
    links: dict[str, str] = field(default_factory=dict)
    own_layer: bytes = b""
    also: dict[str, set[str]] = field(default_factory=dict)


def tries(*commands: str) -> str:
    """Return a script that submits an honest prediction only if every one of these commands works."""
    return "".join(f"({command}) || exit 7\n" for command in commands) + HONEST


def request(address: str) -> str:
    """Return a command that asks a web server."""
    return f"printf 'GET /latest/meta-data/ HTTP/1.0\\r\\n\\r\\n' | nc -w 1 {address} 80"


def drops() -> str:
    """Return a script that submits a file of the image as the prediction."""
    return f"cp /payload/$ATTACK {OUT}"


RUNTIME = {
    # Exfiltration and reading
    "n1-dns": Attack(tries("nslookup example.com 8.8.8.8"), says="unreachable|No route"),
    "n1-http": Attack(tries(request("1.1.1.1")), says="unreachable|No route"),
    "n1-gateway": Attack(tries("nc -w 1 172.17.0.1 22 < /dev/null"), says="unreachable|No route"),
    "n1-interfaces": Attack(tries("ls /sys/class/net | grep -v lo")),
    "n2-metadata": Attack(tries(request("169.254.169.254")), says="unreachable|No route"),
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
    "t9-device-node": Attack(tries("mknod /tmp/disk b 8 0 && dd if=/tmp/disk of=/dev/null bs=512 count=1")),
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
    "o2-pipe": Attack(f"mkfifo {OUT}", {"output-not-regular"}, also={"runsc": {"missing-output"}}),
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
    "d7-no-command": Attack("", {"no-command"}, config={}, also={"podman": {"crash"}}),
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
        "r7-gzip-bomb": {"p.nii.gz": gzip.compress(honest, 1) + 400 * gzip.compress(bytes(1 << 20), 9)},
        "r9-huge-header": {"p.nii.gz": tiny.nifti(array, dim=(30000, 30000, 30000))},
        "t9-root-by-setuid": {},
    }
