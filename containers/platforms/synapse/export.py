"""Export a challenge's scorer for Synapse: ``validate.py`` and ``score.py`` in the ORCA convention."""

from __future__ import annotations

from pathlib import Path

from medpodium.challenges.sources import package_version
from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.source import Source
from medpodium.scoring.exchange import files

SCRIPTS = ("validate", "score")


def export(source: Source, out: Path) -> list[Path]:
    """Write the scripts, the ground truth folder and a Dockerfile for them.

    Parameters
    ----------
    source : Source
        Rules, references, cases.
    out : Path
        A folder that is absent or empty.
    """
    challenge, task = source.challenge, source.task
    files.new_folder(out)
    source.write_truth(out / "groundtruth")
    bundle.write_program(out)
    imports = bundle.imports(challenge.tasks[task])
    values = {"version": package_version(), "title": challenge.title, "task": task, "imports": imports}
    for script in SCRIPTS:
        text = bundle.template("synapse.script.py.j2", {**values, "script": script})
        (out / f"{script}.py").write_text(text, encoding="utf-8", newline="\n")
    (out / "Dockerfile").write_text(bundle.template("synapse.Dockerfile.j2", values), encoding="utf-8", newline="\n")
    (out / ".dockerignore").write_text("groundtruth\n", encoding="utf-8", newline="\n")
    (out / "README.md").write_text(bundle.template("synapse.README.md.j2", values), encoding="utf-8", newline="\n")
    return sorted(out.iterdir())
