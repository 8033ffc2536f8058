"""Run every attack on engines brought up for it, and write what they ended as into the threat model.

    python tests/attacks/table.py docker crun runsc podman     # as root; some minutes per engine
    python tests/attacks/table.py                              # only write the page anew, from the recorded results

What each engine did is kept in ``results.json`` beside this file, so that the page is the record and not a memory.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.json"
PAGE = HERE.parents[1] / "docs" / "threat-model.md"
BEGIN, END = "<!-- attacks: begin -->", "<!-- attacks: end -->"
TITLES = {"docker": "Docker, runc", "crun": "Docker, crun", "runsc": "Docker, gVisor", "podman": "Podman, crun"}


def read() -> dict[str, Any]:
    """Return the recorded results."""
    return json.loads(RESULTS.read_text(encoding="utf-8"))


def render(results: dict[str, Any]) -> str:
    """Return the part of the page that tells the results."""
    engines = [name for name in TITLES if name in results["engines"]]
    lines = [
        "| engine | version | attacks | as they must | got through | late | most on the disk | honest teams |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name in engines:
        one = results["engines"][name]
        lines.append(
            f"| {TITLES[name]} | {one['version']} | {one['attacks']} | {one['as_they_must']} | {one['escapes']} "
            f"| {one['late']} | {one['most_mib']:.0f} MiB | {'identical' if one['honest_identical'] else 'differ'} |"
        )
    lines += ["", f"| attack | {' | '.join(TITLES[name] for name in engines)} |", "|---" * (len(engines) + 1) + "|"]
    for attack, ends in results["attacks"].items():
        lines.append(f"| `{attack}` | {' | '.join(_cell(ends.get(name, '')) for name in engines)} |")
    return "\n".join([BEGIN, "", *lines, "", END])


def _cell(code: str) -> str:
    return {"crash": "refused", "ok": "gains nothing"}.get(code, code)


def write_page(results: dict[str, Any]) -> None:
    """Put the results between the page's marks."""
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(before + render(results) + after, encoding="utf-8")


def fight(name: str, results: dict[str, Any]) -> list[str]:
    """Run everything on one engine and note it; returns what did not end as it has to."""
    spec = importlib.util.spec_from_file_location("medpodium_tests_attacks_arena", HERE / "arena.py")
    assert spec is not None
    assert spec.loader is not None
    arenas = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(arenas)
    tiny, engines = arenas.load("containers/tiny"), arenas.load("containers/engines")
    if lacking := engines.missing(name):
        raise SystemExit(f"{name} needs {', '.join(lacking)}")
    wanted = arenas.attacks(tiny)
    with tempfile.TemporaryDirectory(prefix="attacks-", ignore_cleanup_errors=True) as folder:
        engine = engines.start(name, Path(folder) / "engine")
        try:
            made = arenas.fight(tiny, engine, engine.folder / "loud", wanted)
            quiet = arenas.fight(tiny, engine, engine.folder / "quiet", {})
            bad = {one: text for one in wanted if (text := made.problem(one))}
            wrong = [f"{name}: {one}: {text}" for one, text in bad.items()]
            wrong += [f"{name}: left behind: {one}" for one in made.left_behind()]
            wrong += [f"{name}: {one}" for one in made.harm(quiet)]
            info = engine.client.version()
            parts = {part["Name"].lower(): part["Version"] for part in info.get("Components") or []}
            version = parts.get("engine") or parts.get("podman engine") or info.get("Version", "")
            results["engines"][name] = {
                "version": f"{version}{_runtime(name)}",
                "attacks": len(wanted),
                "as_they_must": len(wanted) - len(bad),
                "escapes": sum(made.code(one) == "ok" and one in bad for one in wanted),
                "late": int((made.table["running_time"] >= arenas.limit(name) + 10).sum()),
                "most_mib": made.most / 2**20,
                "bounded": made.bounded,
                "honest_identical": not made.harm(quiet),
            }
            for one in wanted:
                results["attacks"].setdefault(one, {})[name] = made.code(one)
            made.close()
            quiet.close()
        finally:
            engine.close()
    results["attacks"] = {one: results["attacks"][one] for one in wanted}
    return wrong


def _runtime(name: str) -> str:
    import shutil
    import subprocess

    program = {"docker": "runc", "podman": "crun"}.get(name, name)
    if shutil.which(program) is None:
        return ""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout.split("\n")[0]
    return f", {program} {said.split()[-1].removeprefix('release-')}"


def main(names: list[str]) -> int:
    """Run the engines named, and write the record and the page."""
    results = read() if RESULTS.exists() else {"engines": {}, "attacks": {}}
    wrong = []
    for name in names:
        wrong += fight(name, results)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    write_page(results)
    print("\n".join(wrong) or "as it has to be")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
