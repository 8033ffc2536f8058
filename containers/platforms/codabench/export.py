"""Export a challenge as a Codabench bundle: pages, phases, scoring program, reference data and leaderboard."""

from __future__ import annotations

import struct
import tempfile
import zipfile
import zlib
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medpodium.challenges.schema.definition import Challenge
from medpodium.challenges.sources import package_version
from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.codabench import limits
from medpodium.containers.platforms.source import Source
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.kinds.lookup import of

DEFAULT_IMAGE = "python:3.11"
_EPOCH = (1980, 1, 1, 0, 0, 0)


def export(
    source: Source,
    out: Path,
    *,
    docker_image: str = DEFAULT_IMAGE,
    start: str | None = None,
    submissions: int = 10,
    minutes: int = 240,
) -> Path:
    """Write the bundle to upload.

    Parameters
    ----------
    source : Source
        Rules, references, cases.
    out : Path
        Zip file to write.
    docker_image : str
        Image the scoring program runs in; libraries it lacks are installed with pip when it starts.
    start : str, optional
        First day of the phase, ``YYYY-MM-DD``; today when left out.
    submissions : int
        How often a participant may submit.
    minutes : int
        Time limit of scoring one submission.
    """
    challenge, task = source.challenge, source.task
    limits.check_image(docker_image)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as name:
        work = Path(name)
        truth, program = work / "reference_data", work / "scoring_program"
        source.write_truth(truth)
        program.mkdir()
        bundle.write_program(program)
        values = {"imports": bundle.imports(challenge.tasks[task]), "version": package_version()}
        (program / "score.py").write_text(bundle.template("codabench.score.py.j2", values), encoding="utf-8")
        command = "command: python3 /app/program/score.py /app/input /app/output\n"
        (program / "metadata.yaml").write_text(command, encoding="utf-8")
        top = work / "bundle"
        top.mkdir()
        pack(truth, top / "reference_data.zip")
        pack(program, top / "scoring_program.zip")
        texts = {"challenge": challenge, "task": task, "columns": payload.columns(challenge, task)}
        texts["keys"] = limits.keys(challenge, task)
        texts |= {"asked": of(challenge.tasks[task]).answer_columns(challenge.tasks[task])}
        for page in ("overview", "evaluation", "terms"):
            (top / f"{page}.md").write_text(bundle.template(f"codabench.{page}.md.j2", texts), encoding="utf-8")
        (top / "logo.png").write_bytes(_logo())
        with (top / "competition.yaml").open("w", encoding="utf-8", newline="\n") as stream:
            from ruamel.yaml import YAML

            day = start or datetime.now(timezone.utc).date().isoformat()
            YAML(typ="safe", pure=True).dump(
                competition(challenge, task, docker_image, day, submissions, minutes), stream
            )
        part = out.with_name(f".{out.name}.part")
        pack(top, part)
        part.replace(out)
    return out


def competition(
    challenge: Challenge, task: str, docker_image: str, start: str, submissions: int, minutes: int
) -> dict[str, Any]:
    """Return the content of ``competition.yaml`` (version 2)."""
    description = challenge.summary or challenge.title
    columns = payload.columns(challenge, task)
    titles = limits.cut([column.title for column in columns], limits.COLUMN_TITLE)
    keys = limits.keys(challenge, task)
    leaderboard = [
        {
            "title": titles[index],
            "key": keys[column.key],
            "index": index,
            "sorting": "asc" if column.ascending else "desc",
            "precision": 4,
            "hidden": False,
        }
        for index, column in enumerate(columns)
    ]
    return {
        "version": 2,
        "title": limits.cut([challenge.title], limits.COMPETITION_TITLE)[0],
        "description": description,
        "image": "logo.png",
        "terms": "terms.md",
        "docker_image": docker_image,
        "pages": [{"title": "Overview", "file": "overview.md"}, {"title": "Evaluation", "file": "evaluation.md"}],
        "tasks": [
            {
                "index": 0,
                "name": limits.cut([f"{challenge.reference}: {task}"], limits.TASK_NAME)[0],
                "description": description,
                "is_public": False,
                "reference_data": "reference_data.zip",
                "scoring_program": "scoring_program.zip",
            }
        ],
        "phases": [
            {
                "index": 0,
                "name": "Test",
                "description": "Hidden test set",
                "start": start,
                "tasks": [0],
                "max_submissions": submissions,
                "max_submissions_per_day": submissions,
                "execution_time_limit": minutes * 60,
            }
        ],
        "leaderboards": [
            {"index": 0, "title": "Results", "key": "main", "submission_rule": "Force_Last", "columns": leaderboard}
        ],
    }


def pack(folder: Path, out: Path) -> None:
    """Zip a folder's content; the same content gives the same bytes."""
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix(), _EPOCH)
            entry.external_attr = 0o100644 << 16
            packed = path.suffix in (".gz", ".zip", ".png")
            entry.compress_type = zipfile.ZIP_STORED if packed else zipfile.ZIP_DEFLATED
            with path.open("rb") as source, file.open(entry, "w", force_zip64=True) as target:
                while piece := source.read(1 << 20):
                    target.write(piece)


def _logo(size: int = 64) -> bytes:
    """Return a plain square as PNG; the platform wants a logo, the organizers have their own."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    rows = (b"\x00" + b"\x1f\x4e\x79" * size) * size
    parts = chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(rows, 9)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)
