"""One campaign on one engine: an honest team, every attacker, another honest team; and what was on the disk meanwhile.

All attackers share three layers, packed as one archive: an attacker's own script is chosen by a variable of its image.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import os
import re
import sys
import tarfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

HERE = Path(__file__).resolve().parent
LIMITS = {"docker": 4.0, "crun": 4.0, "podman": 5.0, "runsc": 8.0}
"""Wall limit of a run in s: a runtime that intercepts every call is slower."""
OUTPUT = 16 << 20
DISPATCH = '#!/bin/sh\n. "/attacks/$ATTACK"\n'


def limit(engine: str) -> float:
    """Return the wall limit of a run in s; a machine that is busy with other things may ask for more."""
    return LIMITS[engine] * float(os.environ.get("MEDPODIUM_ATTACK_PATIENCE", "1"))


def load(name: str) -> ModuleType:
    """Return a module of the tests by its place below ``tests``."""
    key = f"medpodium_tests_{name.replace('/', '_')}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, HERE.parent / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


listed, deeper = load("attacks/listed"), load("attacks/deeper")
Attack = listed.Attack


def attacks(tiny: Any, *, files: bool = True) -> dict[str, Any]:
    """Return every attack by name, with the files it needs."""
    found = dict(listed.RUNTIME)
    found |= deeper.deeper(Attack, listed.tries, listed.HONEST, listed.OUT)
    found |= listed.content(tiny)
    for name, (data, codes, scores) in deeper.predictions(tiny).items():
        found[name] = Attack(listed.drops(), codes, {"p.nii.gz": data}, scores=scores)
    for name, more in listed.payloads(tiny).items() if files else ():
        found[name].files.update(more)
    return found


def common(tiny: Any, wanted: dict[str, Any]) -> bytes:
    """Return the layer that all attackers share: scripts, programs, predictions and a set-user-id program."""
    files = {"run.sh": DISPATCH.encode()}
    for name, attack in wanted.items():
        files[f"attacks/{name}"] = attack.script.encode() + b"\n"
        if "p.nii.gz" in attack.files:
            files[f"payload/{name}"] = attack.files["p.nii.gz"]
    files |= {f"elf/{name}": data for name, data in {**deeper.KERNEL, **deeper.MEMORY}.items()}
    blob = tiny.layer({**files, "suid": tiny.BUSYBOX.read_bytes()}, busybox=False, folders=False)
    out = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(blob)) as source, tarfile.open(fileobj=out, mode="w") as target:
        for member in source:
            member.mode = 0o4755 if member.name == "suid" else member.mode
            target.addfile(member, source.extractfile(member) if member.isreg() else None)
    return out.getvalue()


def pack(tiny: Any, path: Path, wanted: dict[str, Any], prefix: str) -> dict[str, str]:
    """Write one archive with the images of all attackers; return what each is called in the engine."""
    content, manifest, called = {}, [], {}

    def add(blob: bytes) -> tuple[str, str]:
        digest = hashlib.sha256(blob).hexdigest()
        content[f"{digest[:20]}/layer.tar"] = blob
        return f"sha256:{digest}", f"{digest[:20]}/layer.tar"

    base, shared = add(tiny.layer({})), add(common(tiny, wanted))
    for name, attack in wanted.items():
        layers = [base, shared] if name != "d7-no-command" else [base]
        files = {key: data for key, data in attack.files.items() if key != "p.nii.gz"}
        if files or attack.links:
            layers.append(add(tiny.layer(files, busybox=False, links=attack.links, folders=False)))
        if attack.own_layer:
            layers.append(add(attack.own_layer))
        settings = {"User": "1000:1000", "Cmd": ["/run.sh"], **attack.config}
        settings["Env"] = [*settings.get("Env", ["PATH=/bin"]), f"ATTACK={name}"]
        document = {
            "architecture": "amd64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": settings,
            "rootfs": {"type": "layers", "diff_ids": [digest for digest, _ in layers]},
            "history": [{"created": "2024-01-01T00:00:00Z"} for _ in layers],
        }
        raw = json.dumps(document).encode()
        config = f"{hashlib.sha256(raw).hexdigest()}.json"
        content[config] = raw
        called[name] = f"{prefix}/{name}:1"
        manifest.append({"Config": config, "RepoTags": [called[name]], "Layers": [place for _, place in layers]})
    content["manifest.json"] = json.dumps(manifest).encode()
    tiny.pack(path, content)
    return called


@dataclass
class Arena:
    """A campaign after everybody was run.

    Parameters
    ----------
    engine : Engine
        Where.
    campaign : Campaign
        Opened.
    attacks : dict of str to Attack
        Who took part.
    table, scores : DataFrame
        What came of it.
    before : dict of str to str
        Hashes of the hidden files before anybody ran.
    most : int
        Bytes on the disk at the worst moment, beyond what lay there before: staged files, outputs, logs, volumes.
    seconds : float
        How long the runs took.
    bounded : bool
        Whether outputs lay in file systems of their own.
    """

    engine: Any
    campaign: Any
    attacks: dict[str, Any]
    table: Any
    scores: Any
    before: dict[str, str]
    most: int
    seconds: float
    bounded: bool
    called: dict[str, str] = field(default_factory=dict)

    def code(self, name: str) -> str:
        """Return what an attack ended as."""
        found = self.table.loc[name]["code"]
        return found if isinstance(found, str) else "ok"

    def problem(self, name: str) -> str:
        """Return in what an attack did not end as it has to; nothing if it did."""
        attack, row, code = self.attacks[name], self.table.loc[name], self.code(name)
        cause = str(row["cause"])
        allowed = attack.codes | attack.also.get(self.engine.name, set())
        statuses = set(self.scores[self.scores["submission"] == name]["status"])
        wrong = []
        if code not in allowed:
            wrong.append(f"ended as {code} ({cause}), not as one of {sorted(allowed)}")
        elif code == "crash" and attack.codes == listed.BLOCKED and "exit 7" in attack.script:
            wrong += [
                f"{text} is not in {cause!r}" for text in ("exit code 7", attack.says) if not re.search(text, cause)
            ]
        if not row["running_time"] < limit(self.engine.name) + 10:
            wrong.append(f"ran for {row['running_time']} s")
        if code == "ok" and not statuses <= (attack.scores or {"ok"}):
            wrong.append(f"scored as {statuses}")
        if code != "ok" and (statuses != {f"failed:{code}"} or not row["fix"] or not cause.isprintable()):
            wrong.append(f"told as {statuses}, {row['fix']!r}, {cause!r}")
        return "; ".join(wrong)

    def left_behind(self) -> list[str]:
        """Return what is not as it was before, on the host and in the engine."""
        folder = self.campaign.root.parent
        wrong = []
        if fingerprint(folder / "images") | fingerprint(folder / "labels") != self.before:
            wrong.append("hidden files differ")
        wrong += [str(path) for path in (self.campaign.root / "work").iterdir()]
        if str(self.campaign.root) in Path("/proc/self/mountinfo").read_text():
            wrong.append("something is mounted")
        labels = {"label": f"medpodium.campaign={self.campaign.secret[:16]}"}
        wrong += [one.id for one in self.engine.client.containers.list(all=True, filters=labels)]
        wrong += [one.name for one in self.engine.client.volumes.list() if one.attrs.get("Labels")]
        return wrong

    def harm(self, quiet: Arena) -> list[str]:
        """Return in what an honest team's predictions or scores differ from those of a campaign without attackers."""
        wrong = []
        for team in ("honest-first", "honest-last"):
            mine, other = (one.scores[one.scores["submission"] == team].reset_index(drop=True) for one in (self, quiet))
            if not mine.equals(other) or set(mine["status"]) != {"ok"}:
                wrong.append(f"scores of {team}")
            here, there = (fingerprint(one.campaign.predictions_dirs()[team]) for one in (self, quiet))
            if not here or [*here.values()] != [*there.values()]:
                wrong.append(f"predictions of {team}")
        return wrong

    def close(self) -> None:
        """Remove the images and let go of the campaign."""
        self.campaign.close()
        for name in self.called.values():
            with suppress(Exception):
                self.engine.client.images.remove(name, force=True)


def fingerprint(folder: Path) -> dict[str, str]:
    """Return the hash of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def fight(tiny: Any, engine: Any, folder: Path, wanted: dict[str, Any]) -> Arena:
    """Run an honest team, the attackers and another honest team, and score them."""
    with _described(engine):
        return _judge(_run(tiny, engine, folder, wanted))


@contextmanager
def _described(engine: Any) -> Iterator[None]:
    """Have an engine describe itself once: some take seconds for that, each time somebody submits."""
    from medpodium.containers import athome

    real, facts = athome.engine.describe, athome.engine.describe(engine.client)
    athome.engine.describe = lambda client: facts
    try:
        yield
    finally:
        athome.engine.describe = real


def fight_at_once(tiny: Any, engine: Any, folder: Path, wanted: dict[str, Any], lanes: int = 2) -> list[Arena]:
    """Run the attackers in some campaigns at the same time, each between honest teams of its own: most only wait.

    Neighbours stay together: some attacks look for what the one before has left.
    """
    names, size = [*wanted], -(-len(wanted) // lanes)
    parts = [{name: wanted[name] for name in names[start : start + size]} for start in range(0, len(names), size)]
    clients = [engine, *(load("containers/engines").again(engine) for _ in parts[1:])]
    with _described(engine), ThreadPoolExecutor(len(parts)) as pool:
        ran = list(pool.map(lambda at: _run(tiny, clients[at], folder / f"lane{at}", parts[at]), range(len(parts))))
    return [_judge(one) for one in ran]


@dataclass
class _Ran:
    """A campaign in which everybody was run, closed again: who judges it may be another thread."""

    engine: Any
    root: Path
    attacks: dict[str, Any]
    before: dict[str, str]
    most: int
    seconds: float
    bounded: bool
    called: dict[str, str]


def _run(tiny: Any, engine: Any, folder: Path, wanted: dict[str, Any]) -> _Ran:
    from medpodium.containers import athome
    from medpodium.containers.run.runner import Options, Runner

    limits = {"time": f"{limit(engine.name):g} s", "pids": "128" if engine.runtime == "runsc" else "64"}
    campaign = tiny.campaign(folder, count=1, limits=limits)
    before = fingerprint(folder / "images") | fingerprint(folder / "labels")
    archives = folder / "archives"
    called: dict[str, str] = {}
    if wanted:
        called = pack(tiny, archives / "all.tar", wanted, f"arena-{os.urandom(4).hex()}")
        with (archives / "all.tar").open("rb") as stream:
            for _ in engine.client.api.load_image(stream):
                pass  # what engines say of many images in one archive differs
        (archives / "all.tar").unlink()
    teams = {
        "honest-first": str(honest(tiny, archives / "honest-first.tar", 1)),
        **called,
        "honest-last": str(honest(tiny, archives / "honest-last.tar", 2)),
    }
    entries = [athome.submit(engine.client, campaign, source, team, None)[0] for team, source in teams.items()]
    for name in called.values():
        with suppress(Exception):
            engine.client.images.remove(name)  # our own tag holds it
    runner = Runner(engine.client, campaign, Options(runtime=engine.runtime))
    with load("containers/disk").Disk(campaign.root / "work", *engine.data) as disk:
        began = time.monotonic()
        with runner.session():
            runner.run(entries)
        seconds = time.monotonic() - began
    for one in campaign.submissions():
        with suppress(Exception):
            engine.client.images.remove(one.detail["image"]["tag"])
    campaign.close()
    return _Ran(engine, campaign.root, wanted, before, disk.most, seconds, runner.machine.bounded, called)


def _judge(ran: _Ran) -> Arena:
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.scoring.campaign import score

    campaign = campaigns.open(ran.root)
    scores, table = score(campaign, "segmentation").scores, campaign.resources().set_index("submission")
    facts = (ran.before, ran.most, ran.seconds, ran.bounded, ran.called)
    return Arena(ran.engine, campaign, ran.attacks, table, scores, *facts)


def honest(tiny: Any, path: Path, number: int) -> Path:
    """Write the archive of an honest team; the number makes the image another one."""
    base = tiny.layer({})
    return tiny.archive(path, layers=[base, tiny.layer(tiny.script(f"# {number}\n{tiny.GOOD}"), busybox=False)])
