"""Attacks found by reading how engines, runtimes, the kernel's filters and this watchdog work.

What no shell can try is a program of a few system calls, written by the assembler that our own container is written by.
"""

from __future__ import annotations

import gzip
import io
import os
import struct
import tarfile
from pathlib import Path
from typing import Any

from medpodium.containers.sandbox.assembly import Assembly, At

INFINITE = 2**64 - 1
INSIDE = "runsc"
"""The engine in which a call that is refused elsewhere reaches a kernel of the attacker's own."""


def calls(*wanted: tuple[Any, ...]) -> bytes:
    """Return a program that makes these system calls, and exits with 7 as soon as one is refused."""
    made = Assembly()
    for number, *arguments in wanted:
        made.call(number, *arguments)
        made.leave_on_error(7)
    made.call(60, 0)
    return made.program()


def old_call(number: int, first: int, words: bytes) -> bytes:
    """Return a program that makes a 32-bit call (``int 0x80``) with a number and an address of words."""
    made = Assembly()
    place = made.text(words)
    made.code += b"\xb8" + struct.pack("<I", number) + b"\xbb" + struct.pack("<I", first)
    made.code += b"\xb9" + struct.pack("<I", place) + b"\xcd\x80\x48\x98"
    made.code += b"\x48\xa3" + struct.pack("<Q", made.room(0))
    made.leave_on_error(7)
    # A kernel of its own may take the number for a 64-bit call; only the family of a socket says that there is one.
    made.call(55, At(made.room(0)), 1, 39, made.room(8), struct.pack("<I", 4))
    made.leave_on_error(7)
    made.call(60, 0)
    return made.program()


def shared_memory() -> bytes:
    """Return a program that leaves System V memory behind which no process has mapped."""
    made = Assembly()
    again = made.here()
    made.call(29, 0, 4 << 20, 0o1600, keep=made.room(0))
    made.leave_on_error(7)
    made.call(30, At(made.room(0)), 0, 0, keep=made.room(8))
    made.leave_on_error(7)
    made.fill(4 << 20)
    made.call(67, At(made.room(8)))
    made.back(again)
    return made.program()


def memory_files() -> bytes:
    """Return a program that fills files which are in no folder."""
    made = Assembly()
    again = made.here()
    made.call(319, b"x", 0, keep=made.room(0))
    made.leave_on_error(7)
    for _ in range(16):
        made.call(1, At(made.room(0)), 0x400000, 0x3000)
        made.call(8, At(made.room(0)), 512 << 10, 1)
    made.call(9, 0, 4 << 20, 3, 1, At(made.room(0)), 0)
    made.leave_on_error(7)
    made.fill(4 << 20)
    made.back(again)
    return made.program()


def pipes() -> bytes:
    """Return a program that keeps data in pipes nobody reads, for as long as it can."""
    made = Assembly()
    made.call(9, 0, 1 << 20, 3, 0x22, -1, 0, keep=made.room(8))
    made.leave_on_error(7)
    again = made.here()
    made.call(293, made.room(0), 0o4000)
    made.leave_on_error(7)
    made.call(1, 2, b".", 1)
    made.call(186, keep=made.room(16))
    made.code += b"\x8b\x04\x25" + struct.pack("<i", made.room(4))  # eax: the writing end
    made.code += b"\x48\xa3" + struct.pack("<Q", made.room(24))
    made.call(72, At(made.room(24)), 1031, 1 << 20)
    made.call(1, At(made.room(24)), At(made.room(8)), 1 << 20)
    made.back(again)
    return made.program()


KERNEL: dict[str, bytes] = {
    "k1-user-namespace": calls((272, 0x10000000)),
    "k1-mount-namespace": calls((272, 0x20000)),
    "k1-clone-namespaces": calls((56, 0x10000000 | 0x20000 | 17, 0, 0, 0, 0)),
    "k2-mount": calls((165, b"x", b"/tmp", b"tmpfs", 0, 0)),
    "k2-new-mount-api": calls((430, b"tmpfs", 0)),
    "k2-open-tree": calls((428, -100, b"/", 1)),
    "k2-unmount": calls((166, b"/output", 2)),
    "k2-change-root": calls((161, b"/tmp")),
    "k2-pivot-root": calls((155, b"/output", b"/output")),
    "k3-enter-namespace": calls((2, b"/proc/1/ns/mnt", 0), (308, 3, 0)),
    "k3-file-handle": calls((304, -100, struct.pack("<IiQ", 8, 1, 2), 0)),
    "k4-bpf": calls((321, 0, struct.pack("<IIII", 2, 4, 8, 1) + bytes(112), 72)),
    "k4-perf-events": calls((298, struct.pack("<IIQ", 1, 112, 0) + bytes(112), 0, -1, -1, 0)),
    "k4-userfaultfd": calls((323, 0)),
    "k4-fanotify": calls((300, 0, 0)),
    "k5-keyring": calls((248, b"user", b"secret", b"s", 1, -3 & INFINITE)),
    "k5-find-key": calls((249, b"user", b"secret", 0, 0)),
    "k6-reboot": calls((169, 0xFEE1DEAD, 672274793, 0, 0)),
    "k6-module": calls((175, b"x", 1, b"")),
    "k6-swap": calls((167, b"/output/case1.nii.gz", 0)),
    "k6-accounting": calls((163, b"/output/case1.nii.gz")),
    "k6-adjust-clock": calls((159, struct.pack("<I4xq", 0x4000, 0) + struct.pack("<q", 10001) * 12)),
    "k6-ports": calls((172, 3)),
    "k6-kernel-log": calls((103, 3, 0x403000, 4096)),
    "k7-real-time": calls((144, 0, 1, struct.pack("<i", 50))),
    "k7-priority": calls((141, 0, 0, -20)),
    "k7-disk-priority": calls((251, 1, 0, 1 << 13)),
    "k7-raise-limit": calls((302, 0, 1, struct.pack("<QQ", INFINITE, INFINITE), 0)),
    "k8-become-root": calls((105, 0)),
    "k8-groups": calls((116, 1, struct.pack("<I", 0))),
    "k8-capabilities": calls((126, struct.pack("<Ii", 0x20080522, 0), b"\xff" * 24)),
    "k9-virtual-sockets": calls((41, 40, 1, 0)),
    "k9-virtual-sockets-32-bit": old_call(102, 1, struct.pack("<III", 40, 1, 0)),
    "k9-cryptography-sockets": calls((41, 38, 5, 0)),
    "k9-raw-packets": calls((41, 17, 3, 768)),
    "k9-raw-internet": calls((41, 2, 3, 1)),
}
"""Programs; each must be refused, or reach no kernel but its own."""

HARMLESS_INSIDE = {
    "k1-user-namespace",
    "k1-mount-namespace",
    "k1-clone-namespaces",
    "k2-mount",
    "k2-unmount",
    "k2-change-root",
    "k5-keyring",
    "k5-find-key",
    "k6-kernel-log",
    "k7-real-time",
    "k7-priority",
    "k7-disk-priority",
    "k9-raw-internet",
    "k9-cryptography-sockets",
}

MEMORY: dict[str, bytes] = {
    "h1-system-v-memory": shared_memory(),
    "h2-files-in-memory": memory_files(),
    "h3-pipes": pipes(),
}


def deeper(attack: Any, tries: Any, honest: str, out: str) -> dict[str, Any]:
    """Return the attacks; ``attack`` makes one, ``tries`` a script that must be refused."""
    found = {
        name: attack(tries(f"/elf/{name}"), also={INSIDE: {"ok"}} if name in HARMLESS_INSIDE else {}) for name in KERNEL
    }
    for name in MEMORY:
        found[name] = attack(f"/elf/{name} || exit 7; sleep 60", {"oom", "crash", "timeout"})
    return found | {
        # The watchdog
        "w1-stopped": attack("busybox kill -STOP -1; kill -STOP $$; sleep 60", {"timeout"}),
        "w1-kills-all": attack("kill -9 -1; sleep 60", {"timeout", "crash"}),
        "w1-kills-init": attack(f"kill -9 1; kill -TERM 1; sleep 0.2; {honest}", {"crash", "ok"}),
        "w2-exit-137": attack("exit 137", {"crash"}),
        "w2-child-out-of-memory": attack("tail /dev/zero; exit 137", {"oom", "crash"}),
        "w2-child-out-of-memory-then-honest": attack(f"tail /dev/zero; {honest}", {"ok", "oom"}),
        "w2-exit-153": attack("exit 153", {"file-size-limit"}),
        "w2-exit-125": attack("exit 125", {"crash"}),
        "w3-oom-score": attack(tries("echo -1000 > /proc/self/oom_score_adj"), also={INSIDE: {"ok"}}),
        "w3-control-group": attack(
            # crun has a file system in memory there, for this container alone; a group is what the kernel puts files in
            tries("for f in /sys/fs/cgroup /sys/fs/cgroup/*; do mkdir $f/x && test -e $f/x/cgroup.procs && break; done")
        ),
        "w3-release-agent": attack(tries("for f in /sys/fs/cgroup/*/release_agent; do echo /run.sh > $f; done")),
        "w3-core-pattern": attack(tries("echo '|/run.sh' > /proc/sys/kernel/core_pattern")),
        "w3-overwrite-init": attack(tries("echo x > /proc/1/exe")),
        "w4-descriptors-of-the-runtime": attack(
            tries("busybox ls -l /proc/self/fd | grep -E ' ([4-9]|[0-9]{2,}) -> '")
        ),
        "w4-abstract-sockets": attack(tries("grep -a @ /proc/net/unix")),
        "w4-root-of-init": attack(tries("busybox ls /proc/1/root/../../../../etc/shadow /proc/1/cwd/../../etc/shadow")),
        "w5-log-through-init": attack(f"echo hello > /proc/1/fd/1; {honest}", {"ok", "crash"}),
        "w5-forged-log": attack(
            'printf \'{"log":"x\\\\n","stream":"stdout","time":"2000-01-01T00:00:00Z"}\\n\'; '
            f"printf '2000-01-01T00:00:00.000000000Z ready\\n'; {honest}",
            {"ok"},
        ),
        "w6-swaps-the-file": attack(
            f"{honest}; cd /output; (while true; do ln -sf /etc/passwd l; mv l case1.nii.gz; cp /input/* c; "
            "mv c case1.nii.gz; done) > /dev/null 2>&1 & sleep 0.5; exit 0",
            {
                "ok",
                "missing-output",
                "output-not-regular",
                "mask-header-truncated",
                "mask-data-truncated",
                "output-empty",
                "mask-file-too-small",
                "mask-data-corrupt",
            },
        ),
        "w6-holds-the-folder": attack(
            f"{honest}; cd /output; for i in 1 2 3 4 5 6 7 8; do (exec 9> h$i; setsid sleep 1000) & done; exit 0",
            {"ok", "pids-limit"},
            also={INSIDE: {"crash"}},  # its own threads count, and without a word it leaves with code 2
        ),
        "w6-lost-and-found": attack(f"mkdir /output/lost+found; echo x > /output/lost+found/x; {honest}", {"ok"}),
        "w6-closed-tree": attack(
            f"{honest}; cd /output; mkdir -p a/b/c; echo x > a/b/c/x; chmod 000 a/b/c a/b a",
            {"ok"},
        ),
        "w6-moves-the-folder": attack(tries("mv /output /tmp/o || busybox rmdir /output")),
        "w7-preallocates": attack(
            "for i in 1 2 3 4; do busybox fallocate -l 11000000 /output/$i || exit 7; done; sleep 60",
            {"output-too-large", "crash"},
        ),
        "w7-preallocates-scratch": attack(
            tries("busybox fallocate -l 20000000 /tmp/x || busybox fallocate -l 20000000 /dev/shm/x")
        ),
        "w7-fills-devices": attack(tries("dd if=/dev/zero of=/dev/x bs=1M count=100")),
        "w7-fills-other-folders": attack(
            "for d in /run /var/tmp /var/run /mnt /sys/fs/cgroup /proc; do "
            "dd if=/dev/zero of=$d/x bs=1M count=100; done; exit 7",
            {"crash", "oom"},
        ),
        "w7-synchronises": attack(
            "while true; do dd if=/dev/zero of=/output/x bs=64k count=8 conv=fsync; done", {"timeout"}
        ),
        # Settings of the image that an engine might take for its own
        "i5-runs-the-runtime": attack("", {"no-command", "crash", "cannot-start"}, links={"run.sh": "/proc/self/exe"}),
        **{
            f"i6-folder-of-descriptor-{number}": attack(
                tries("busybox cat ../../../../../../../etc/shadow"),
                {"cannot-start", "crash"},
                config={"WorkingDir": "/w/x"},
                links={"w": f"/proc/self/fd/{number}"},
            )
            for number in (7, 8, 9)
        },
        "i7-labels-of-the-engine": attack(
            tries("grep -q 'CapEff:.*[1-9a-f]' /proc/self/status"),
            config={
                "Labels": {
                    "medpodium": "x",
                    "medpodium.run": "x",
                    "io.podman.annotations.privileged": "TRUE",
                    "io.podman.annotations.seccomp": "unconfined",
                    "run.oci.keep_original_groups": "1",
                }
            },
        ),
        "i7-settings-of-a-container": attack(
            tries("grep -q 'CapEff:.*[1-9a-f]' /proc/self/status"),
            config={
                "Privileged": True,
                "HostConfig": {"Privileged": True, "Binds": ["/:/host"]},
                "Tty": True,
                "OpenStdin": True,
                "NetworkDisabled": False,
            },
        ),
        "i7-user-root": attack(tries("[ $(id -u) = 0 ]"), config={"User": "0:0"}),
        "i7-variables-of-a-megabyte": attack(
            honest, {"ok", "cannot-start", "no-command", "crash"}, config={"Env": ["PATH=/bin", f"A={'x' * 1_000_000}"]}
        ),
        "i8-device-in-a-layer": attack(tries("dd if=/disk of=/dev/null bs=512 count=1"), own_layer=device()),
        "i8-capabilities-in-a-layer": attack(
            tries("/capable grep -q 'CapEff:.*[1-9a-f]' /proc/self/status"), own_layer=capable()
        ),
    }


def device() -> bytes:
    """Return a layer with the device that holds the machine's disk."""
    number = Path("/").stat().st_dev
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo("disk")
        info.type, info.mode = tarfile.BLKTYPE, 0o666
        info.devmajor, info.devminor = os.major(number), os.minor(number)
        tar.addfile(info)
    return out.getvalue()


def capable() -> bytes:
    """Return a layer with a busybox that carries capabilities as a file attribute."""
    data = Path("/bin/busybox").read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("capable")
        info.mode, info.size = 0o755, len(data)
        value = struct.pack("<IIIII", 0x02000001, 0x7F7F7F7F, 0, 0x3F, 0).decode("latin-1")
        info.pax_headers = {"SCHILY.xattr.security.capability": value}
        tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def predictions(tiny: Any) -> dict[str, tuple[bytes, set[str], set[str]]]:
    """Return predictions that keep a reader busy or lead it astray, and what each may end and be scored as."""
    array = tiny.mask(0)
    honest = tiny.nifti(array)
    plain = gzip.decompress(honest)

    def changed(place: int, value: bytes) -> bytes:
        return gzip.compress(plain[:place] + value + plain[place + len(value) :], 1)

    named = b"\x1f\x8b\x08\x08" + bytes(5) + b"\xff" + b"n" * 5_000_000 + b"\0" + honest[10:]
    extension = gzip.compress(plain[:348] + b"\1\0\0\0" + struct.pack("<ii", 0, 4) + bytes(8) + plain[352:], 1)
    bad = {
        "mask-shape-invalid",
        "mask-format-mismatch",
        "mask-header-invalid",
        "mask-file-too-small",
        "mask-data-truncated",
    }
    made = {
        "x1-many-members": (gzip.compress(b"", 1) * 20_000 + honest, {"ok", *bad, "mask-data-corrupt"}),
        "x1-endless-name": (named, {"ok", *bad, "mask-data-corrupt"}),
        "x1-nested": (gzip.compress(honest, 1), {*bad}),
        "x2-offset-is-no-number": (changed(108, struct.pack("<f", float("nan"))), {"ok", *bad}),
        "x2-offset-beyond-everything": (changed(108, struct.pack("<f", 1e30)), {"ok", "mask-header-too-large", *bad}),
        "x2-negative-shape": (changed(42, struct.pack("<h", -5)), {*bad}),
        "x2-extension-without-length": (extension, {"ok", *bad}),
    }
    scores = {"ok", "failed:label-unknown"}  # where the voxels are taken from elsewhere
    return {name: (data, codes, scores) for name, (data, codes) in made.items()}
