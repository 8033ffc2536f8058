"""A few attacks of every kind on Podman and gVisor, brought up for this test; ``table.py`` runs all of them there."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.docker

FAST = """
    n1-http n5-docker-socket t1-change-input t9-root-by-setuid r1-fork-storm r2-memory r4-huge-file r5-many-files
    r17-fill-volume o1-link-to-host d7-no-command i1-input-is-a-file k2-mount h1-system-v-memory w1-stopped
    w2-child-out-of-memory i8-device-in-a-layer k1-user-namespace k9-virtual-sockets k9-virtual-sockets-32-bit
    w3-control-group
""".split()  # noqa: SIM905 - reads better so


@pytest.fixture(scope="module", params=["podman", "runsc"])
def engine(request: pytest.FixtureRequest, arenas: Any, require: Any) -> Any:
    """Bring an engine up, below a short path: Podman takes none of more than 50 characters."""
    engines = arenas.load("containers/engines")
    require(not engines.missing(request.param), f"{request.param} ({', '.join(engines.missing(request.param))})")
    root = Path(tempfile.mkdtemp(prefix="engine-"))
    made = engines.start(request.param, root / request.param)
    yield made
    made.close()
    shutil.rmtree(root, ignore_errors=True)


def test_attacks_end_as_they_must_and_honest_teams_as_without(tiny: Any, arenas: Any, engine: Any) -> None:
    every = arenas.attacks(tiny, files=False)
    loud = arenas.fight(tiny, engine, engine.folder / "loud", {name: every[name] for name in FAST})
    quiet = arenas.fight(tiny, engine, engine.folder / "quiet", {})
    assert {name: text for name in FAST if (text := loud.problem(name))} == {}
    assert loud.bounded
    assert loud.harm(quiet) == []
    assert loud.left_behind() == []
    assert loud.most <= arenas.OUTPUT + (16 << 20)
    loud.close()
    quiet.close()


def test_runtime_that_needs_more_processes_than_are_allowed_is_refused_at_once(tiny: Any, engine: Any) -> None:
    """gVisor's own threads count: with few of them, programs die in the middle without a word."""
    from medpodium.challenges.registry import load
    from medpodium.containers.sandbox import probe
    from medpodium.containers.sandbox.profile import sandbox
    from medpodium.findings import InfrastructureError

    work = engine.folder / "few" / "work"
    work.mkdir(parents=True)
    protocol = load(tiny.challenge(engine.folder / "few", limits={"pids": "64"})).containers["default"]
    box = sandbox(protocol, "", (), {}, runtime=engine.runtime)
    if engine.runtime == "runsc":
        with pytest.raises(InfrastructureError, match="at least 128"):
            probe.ask(engine.client, work, box, {})
    else:
        assert probe.ask(engine.client, work, box, {}).user is None
    assert list(work.iterdir()) == []
