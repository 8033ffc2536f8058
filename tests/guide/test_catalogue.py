"""Every finding can be explained: each code has a meaning or a cause, and a fix, read from the sources."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import medpodium
from medpodium.cli import main
from medpodium.guide.catalogue import catalogue, sources

ROOT = Path(medpodium.__file__).parent


def test_every_code_says_what_is_wrong_and_what_to_do() -> None:
    known = catalogue()
    assert len(known) > 400
    assert not [code for code, told in known.items() if not told.causes and not told.meaning]
    assert not [code for code, told in known.items() if not told.fixes]


def test_no_code_is_declared_that_nothing_finds() -> None:
    text = {path: path.read_text(encoding="utf-8") for path in sources()}
    used = {pair for content in text.values() for pair in re.findall(r"\b(\w+)\.([A-Z][A-Z_0-9]*)\b", content)}
    dead = []
    for content in text.values():
        for owner, body in re.findall(r"^class (\w+)\(Code\):(.*?)(?=^\S|\Z)", content, re.S | re.M):
            members = re.findall(r'^    ([A-Z][A-Z_0-9]*) = "', body, re.M)
            assert members, owner
            dead += [f"{owner}.{name}" for name in members if (owner, name) not in used]
    assert not dead


def test_texts_are_read_wherever_a_code_stands_beside_them(tmp_path: Path) -> None:
    """Calls, tuples, tables, branches, pieces: a module that has them all, and what a reader of it would say."""
    (tmp_path / "room.py").write_text(
        '''
class RoomCode(Code):
    """What can be wrong in a room."""

    DARK = "room-dark"
    COLD = "room-cold"
    """Nobody can work there."""
    SMALL = "room-small"
    WET = "room-wet"
    LOUD = "room-loud"
    """Nobody can hear there.

    Close the door.
    """
    HIGH = "room-high"


FIXES = {RoomCode.COLD: "light the stove"}


def look(lamp, width, people):
    if lamp.broken:
        cause = f"the lamp {lamp.name!r} is broken"
    else:
        cause = "the lamp is off"
    cause += " at night"
    yield Finding(RoomCode.DARK, f"room {lamp.room}", cause, "switch it on", Severity.WARNING)
    yield RoomCode.SMALL, f"{width:.1f} m for {len(people)} people", "take the hall"
    level = Severity.ERROR if people else Severity.WARNING
    yield Finding(RoomCode.HIGH, f"room {lamp.room}", lamp.why, "bring a ladder", level)
    raise refuse(RoomCode.WET, "a roof", str(lamp), "mend the roof")
''',
        encoding="utf-8",
    )
    found = catalogue(tmp_path)
    assert set(found) == {"room-dark", "room-cold", "room-small", "room-wet", "room-loud", "room-high"}
    assert found["room-dark"].causes == ["the lamp <name> is broken at night", "the lamp is off at night"]
    assert found["room-dark"].fixes == ["switch it on"]
    assert found["room-cold"].meaning == "Nobody can work there."
    assert found["room-cold"].fixes == ["light the stove"]
    assert found["room-small"].causes == ["<width> m for <people> people"]
    assert found["room-small"].fixes == ["take the hall"]
    assert (found["room-loud"].meaning, found["room-loud"].fixes) == ("Nobody can hear there.", ["Close the door."])
    assert (found["room-high"].causes, found["room-high"].fixes) == ([], ["bring a ladder"])
    assert (found["room-wet"].causes, found["room-wet"].fixes) == ([], ["mend the roof"])


def test_explain_tells_one_code_all_codes_and_near_ones() -> None:
    run = CliRunner().invoke
    done = run(main, ["explain", "image-no-command"])
    assert done.exit_code == 0
    assert "ENTRYPOINT" in done.output
    everything = run(main, ["explain"]).output
    assert all(code in everything for code in catalogue())
    assert json.loads(run(main, ["explain", "image-no-command", "--json"]).output)["room"] == "containers"
    wrong = run(main, ["explain", "image-no-comand"])
    assert wrong.exit_code == 2
    assert "did you mean image-no-command" in wrong.output


@pytest.mark.parametrize(
    ("arguments", "where", "text"),
    [
        (["scor"], "medpodium", "did you mean score"),
        (["score", "--challange", "x"], "medpodium score", "no such option"),
        (["rank", "--bootstrap", "many", "flare-pancancer", "x.csv"], "medpodium rank", "'many' is not a valid"),
        (["explain", "a", "b"], "medpodium explain", "unexpected extra argument"),
    ],
)
def test_a_wrong_command_line_is_a_finding_like_any_other(arguments: list[str], where: str, text: str) -> None:
    done = CliRunner().invoke(main, arguments, prog_name="medpodium")
    assert done.exit_code == 2
    assert f"usage  {where}\n" in done.stderr
    assert text in done.stderr
    assert f"see '{where} --help'" in done.stderr
    assert not done.stdout


def test_without_arguments_the_first_steps_of_all_users_are_shown() -> None:
    done = CliRunner().invoke(main, [])
    assert done.exit_code == 0
    for line in ("medpodium demo", "medpodium init", "medpodium check image", "medpodium report"):
        assert line in done.stdout
    inner = CliRunner().invoke(main, ["analyse"])
    assert inner.exit_code == 0
    assert "subgroups" in inner.stdout
