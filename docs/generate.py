"""Writes the pages of the reference from the code itself: verbs, findings, the challenge file, Python, challenges.

Nothing of it is kept in the repository, so nothing of it can be older than the code.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

import medpodium
from medpodium.challenges import registry
from medpodium.challenges.schema.definition import Challenge
from medpodium.cli import main
from medpodium.guide.catalogue import Explanation, catalogue

_ROOT = Path(medpodium.__file__).resolve().parent
_LONG = 60
"""Longer defaults are whole models, which have tables of their own."""
_ROOMS = {
    "baselines": "Baselines",
    "challenges": "Challenge files and campaigns",
    "console": "Command line",
    "containers": "Containers",
    "guide": "Questions to the program about itself",
    "reports": "Reports",
    "scoring": "Scoring and ranking",
}


def write(folder: Path) -> None:
    """Write all pages of the reference into a folder, and remove what was there.

    Parameters
    ----------
    folder : Path
        ``reference`` beside the pages that are written by hand.
    """
    shutil.rmtree(folder, ignore_errors=True)
    pages = {
        "verbs.md": "".join(_verbs()),
        "findings.md": "".join(_findings()),
        "challenge-file.md": "".join(_challenge_file()),
        "python.md": "".join(_python()),
        "changelog.md": (_ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "contributing.md": _relinked((_ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")),
        **{f"challenges/{path.parent.name}.md": path.read_text(encoding="utf-8") for path in _readmes()},
    }
    pages["challenges.md"] = "".join(_challenges())
    pages["metrics-of-challenges.md"] = "".join(_metrics_of_challenges())
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def has_engine() -> bool:
    """Return whether the tutorial that needs containers can run; where everything must be shown, it has to."""
    if os.environ.get("CI"):
        return True
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0


def _relinked(text: str) -> str:
    """Return a page of the repository's root with its links as they are from here."""
    return text.replace("](docs/", "](../")


def _readmes() -> list[Path]:
    return sorted((_ROOT / "challenges").glob("*/README.md"))


def _challenges() -> Iterator[str]:
    yield "# Built-in challenges\n\n"
    yield "What each definition says, where every fact comes from, and what no source confirms.\n\n"
    yield "```{toctree}\n:maxdepth: 1\n\n"
    for path in _readmes():
        yield f"challenges/{path.parent.name}\n"
    yield "```\n"


def _metrics_of_challenges() -> Iterator[str]:
    """Yield which built-in challenge uses which metric, from the definitions of all editions."""
    used: dict[str, dict[str, set[str]]] = {}
    titles: dict[str, str] = {}
    for name in registry.names():
        source, _ = registry.locate(name)
        for edition in source.editions:
            for task in registry.resolve(source, edition).tasks.values():
                for metric in task.metrics.values():
                    if metric.kind == "imported":
                        continue
                    titles.setdefault(metric.kind, metric.info.title)
                    found = used.setdefault(metric.kind, {}).setdefault(name, set())
                    found.add(", ".join(metric.parameters()))
    yield "# Which challenge uses which metric\n\n"
    yield "From the definitions of the built-in challenges, all editions; in brackets what else is declared.\n\n"
    yield "| metric | kind | challenges |\n|---|---|---|\n"
    for kind in sorted(used):
        cells = [
            f"{name} ({_cell('; '.join(sorted(own - {''})))})" if own - {""} else name
            for name, own in used[kind].items()
        ]
        yield f"| {_cell(titles[kind])} | `{kind}` | {', '.join(cells)} |\n"
    yield "\n"


def _verbs() -> Iterator[str]:
    yield "# Every verb\n\n"
    yield "As `medpodium VERB --help` tells it. Exit codes: 0 ok, 1 findings, 2 usage, 3 infrastructure.\n\n"
    yield from _commands(main, ["medpodium"])


def _commands(group: click.Group, words: list[str]) -> Iterator[str]:
    context = click.Context(group, info_name=words[-1])
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        path = [*words, name]
        yield f"{'#' * len(path)} {' '.join(path[1:])}\n\n"
        yield from _command(command, path)
        if isinstance(command, click.Group):
            yield from _commands(command, path)


def _command(command: click.Command, path: list[str]) -> Iterator[str]:
    context = click.Context(command, info_name=" ".join(path))
    pieces = " ".join(piece for piece in command.collect_usage_pieces(context))
    yield f"```text\n{' '.join(path)} {pieces}\n```\n\n"
    yield f"{_prose(command.help or '')}\n\n"
    rows = [own for one in command.params if isinstance(one, click.Option) and (own := one.get_help_record(context))]
    if rows:
        yield "| option | what it does |\n|---|---|\n"
        for option, text in rows:
            yield f"| `{_cell(option)}` | {_cell(text)} |\n"
        yield "\n"
    epilog = " ".join((command.epilog or "").split())
    if epilog.startswith("Example: "):
        yield f"```bash\n{epilog.removeprefix('Example: ')}\n```\n\n"
    elif epilog:
        yield f"{epilog}\n\n"


def _prose(text: str) -> str:
    """Return a help text as Markdown: paragraphs without their line breaks."""
    parts = (part.replace("\b", "").strip() for part in text.replace("\f", "").split("\n\n"))
    return "\n\n".join(_escaped(" ".join(part.split())) for part in parts)


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _findings() -> Iterator[str]:
    yield "# Every finding\n\n"
    yield "A finding says where, what is wrong and what to do; `medpodium explain CODE` prints the same. Words in "
    yield "angle brackets stand for values.\n\n"
    known = catalogue()
    for room, title in _ROOMS.items():
        own = [told for told in known.values() if told.room == room]
        if own:
            yield f"## {title}\n\n"
        for told in own:
            yield from _finding(told)


def _finding(told: Explanation) -> Iterator[str]:
    yield f"### {told.code}\n\n"
    if told.meaning:
        yield f"{_escaped(told.meaning)}\n\n"
    for title, texts in (("Printed as", told.causes), ("What to do", told.fixes)):
        if texts:
            yield f"{title}:\n\n" + "".join(f"* {_escaped(text)}\n" for text in texts) + "\n"


def _challenge_file() -> Iterator[str]:
    schema = Challenge.model_json_schema()
    yield "# Every field of a challenge file\n\n"
    yield "[Your own challenge](../own-challenge.md) shows how to write one; this page lists all there is. "
    yield "`medpodium lint` says what is wrong with a file, with line numbers.\n\n"
    yield from _model("Challenge", schema)
    for name, own in sorted(schema["$defs"].items()):
        if own.get("properties"):
            yield from _model(name, own)


def _model(name: str, own: dict[str, Any]) -> Iterator[str]:
    about, fields = _numpydoc(own.get("description", ""))
    yield f"({name.lower()})=\n## {name}\n\n{_escaped(about)}\n\n"
    yield "| field | value | when left out | meaning |\n|---|---|---|---|\n"
    needed = set(own.get("required", ()))
    for field, said in own["properties"].items():
        default = said.get("default")
        shown = "nothing" if default in (None, "", [], {}) else f"`{_cell(str(default))}`"
        left_out = "needed" if field in needed else shown if len(shown) < _LONG else "as declared there"
        yield f"| `{field}` | {_type(said)} | {left_out} | {_cell(fields.get(field, ''))} |\n"
    yield "\n"


def _type(said: dict[str, Any]) -> str:
    """Return what a value may be, with links to the models."""
    if "$ref" in said:
        name = said["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})" if name[:1].isupper() and name != "JsonValue" else "anything"
    if "const" in said:
        return f"`{said['const']}`"
    if "enum" in said:
        return ", ".join(f"`{one}`" for one in said["enum"])
    for several in ("anyOf", "oneOf"):
        if several in said:
            kinds = (_type(one) for one in said[several] if one.get("type") != "null")
            return " or ".join(dict.fromkeys(kinds))
    kind = said.get("type", "anything")
    if kind == "array":
        return f"list of {_type(said['items'])}" if isinstance(said.get("items"), dict) else "list"
    if kind == "object" and isinstance(said.get("additionalProperties"), dict):
        return f"names to {_type(said['additionalProperties'])}"
    return {"string": "text", "boolean": "true or false", "integer": "whole number", "object": "names to values"}.get(
        kind, str(kind)
    )


def _numpydoc(text: str) -> tuple[str, dict[str, str]]:
    """Return the text of a docstring before its sections, and what it says of each parameter."""
    head, _, section = text.partition("\nParameters\n----------\n")
    fields: dict[str, str] = {}
    names: list[str] = []
    for line in section.split("\n"):
        if line.startswith("---"):
            break
        if line.strip() and not line.startswith(" "):
            names = [name.strip() for name in line.partition(" : ")[0].split(",")]
        elif names:
            for name in names:
                fields[name] = f"{fields.get(name, '')} {line.strip()}".strip()
    return " ".join(head.split()), fields


def _python() -> Iterator[str]:
    yield "# From Python\n\nThe public interface, all of it: what is not listed here may change without notice.\n\n"
    for name in medpodium.__all__:
        kind = "class" if name[0].isupper() else "function"
        # the fields of a challenge have a page of their own, and make no readable signature
        shown = "Challenge()" if name == "Challenge" else name
        options = "\n   :members:" if kind == "class" and name != "Challenge" else ""
        yield f"## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: medpodium.{shown}{options}\n```\n\n"
