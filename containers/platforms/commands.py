"""The verb ``export``: the scorer of a challenge in the form other platforms want, and scores for challengeR."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medpodium import console

if TYPE_CHECKING:
    from medpodium.containers.platforms.source import Source

_HOME = "containers.platforms.commands"
_PLATFORMS = {
    "grand-challenge": (f"{_HOME}:grand_challenge", "Evaluation container, phase settings, pack context."),
    "codabench": (f"{_HOME}:codabench", "Bundle to upload: scoring program, reference data, leaderboard."),
    "synapse": (f"{_HOME}:synapse", "Scripts validate.py and score.py in the ORCA convention."),
    "medperf": (f"{_HOME}:medperf", "Evaluator container with its container_config.yaml."),
    "evalai": (f"{_HOME}:evalai", "challenge_config.yaml, evaluation script and annotations."),
    "challenger": (f"{_HOME}:challenger", "Scores as challengeR's long CSV, with the R lines that read it."),
}
_PATH = click.Path(path_type=Path)


@dataclass(frozen=True)
class Asked:
    """What every export is asked for; see :class:`~medpodium.containers.platforms.source.Source`."""

    challenge: str
    references: Path
    task: str | None
    variant: str | None
    cases: Path | None

    def read(self) -> Source:
        """Return the rules, and what is to be exported of them."""
        from medpodium.challenges import registry
        from medpodium.containers.platforms.source import Source
        from medpodium.scoring.kinds.lookup import pick_task

        loaded = registry.load(self.challenge, variant=self.variant)
        return Source(loaded, pick_task(loaded, self.task), self.references, self.cases)


@click.group("export", cls=console.LazyGroup, verbs=_PLATFORMS)
def export(**_: object) -> None:
    """Write a challenge's scorer for other platforms; all of them score exactly as 'medpodium score' does."""


def _rules(function: Any) -> Any:
    function = click.option("--task", help="Task to export, where the challenge has several.")(function)
    function = click.option("--variant", help="Scoring variant, for instance as-published.")(function)
    function = click.option("--cases", type=_PATH, help="CSV with a column 'case' and one per group.")(function)
    text = "Folder of references (or the CSV of classes). They go into the export: keep it private."
    return click.option("--references", required=True, type=_PATH, help=text)(function)


def _tell(written: list[Path], as_json: bool) -> None:
    if as_json:
        console.print_json({"written": written})
    else:
        for path in written:
            console.out.print(str(path), markup=False)


@click.command(
    "grand-challenge",
    epilog="Example: medpodium export grand-challenge flare-pancancer/2023 --references hidden/ --out evaluation/",
)
@click.argument("challenge")
@_rules
@click.option("--out", required=True, type=_PATH, help="New folder.")
@click.option("--base-image", default="python:3.11-slim", show_default=True, help="Image with Python 3.10 or newer.")
@click.option("--input-slug", help="Slug of the phase's input socket.")
@click.option("--output-slug", help="Slug of the phase's output socket.")
@click.option("--uploads", is_flag=True, help="The phase takes predictions (zip or CSV), not algorithms.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
def grand_challenge(
    asked: Asked,
    out: Path,
    base_image: str,
    input_slug: str | None,
    output_slug: str | None,
    uploads: bool,
    as_json: bool,
) -> None:
    """Write an evaluation container for grand-challenge, with ground truth, phase settings and pack context."""
    from medpodium.containers.platforms.grand_challenge import export as platform

    written = platform.export(
        asked.read(),
        out,
        base_image=base_image,
        input_slug=input_slug,
        output_slug=output_slug,
        uploads=uploads,
    )
    _tell(written, as_json)


@click.command(epilog="Example: medpodium export codabench flare-pancancer/2023 --references hidden/ --out bundle.zip")
@click.argument("challenge")
@_rules
@click.option("--out", required=True, type=_PATH, help="Zip file to write.")
@click.option("--docker-image", default="python:3.11", show_default=True, help="Image the scoring program runs in.")
@click.option("--start", metavar="YYYY-MM-DD", help="First day of the phase; today when left out.")
@click.option("--submissions", default=10, show_default=True, type=click.IntRange(1), help="Submissions per person.")
@click.option("--minutes", default=240, show_default=True, type=click.IntRange(1), help="Time limit of one scoring.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
def codabench(
    asked: Asked, out: Path, docker_image: str, start: str | None, submissions: int, minutes: int, as_json: bool
) -> None:
    """Write a competition bundle for Codabench (competition.yaml version 2)."""
    from medpodium.containers.platforms.codabench import export as platform

    written = platform.export(
        asked.read(),
        out,
        docker_image=docker_image,
        start=start,
        submissions=submissions,
        minutes=minutes,
    )
    _tell([written], as_json)


@click.command(
    epilog="Example: medpodium export synapse liqa --task LiFS-contrast --references stages.csv --out synapse/"
)
@click.argument("challenge")
@_rules
@click.option("--out", required=True, type=_PATH, help="New folder.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
def synapse(asked: Asked, out: Path, as_json: bool) -> None:
    """Write validate.py and score.py for a Synapse evaluation queue."""
    from medpodium.containers.platforms.synapse import export as platform

    _tell(platform.export(asked.read(), out), as_json)


@click.command(epilog="Example: medpodium export medperf feta/2022 --references hidden/ --out medperf/")
@click.argument("challenge")
@_rules
@click.option("--out", required=True, type=_PATH, help="New folder.")
@click.option("--image", default="medpodium-evaluator:1", show_default=True, help="Name the image will be pushed as.")
@click.option("--base-image", default="python:3.11-slim", show_default=True, help="Image with Python 3.10 or newer.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
def medperf(asked: Asked, out: Path, image: str, base_image: str, as_json: bool) -> None:
    """Write an evaluator (metrics) container for MedPerf, and the labels in the layout it reads."""
    from medpodium.containers.platforms.medperf import export as platform

    written = platform.export(asked.read(), out, image=image, base_image=base_image)
    _tell(written, as_json)


@click.command(epilog="Example: medpodium export evalai feta/2022 --references hidden/ --out evalai/")
@click.argument("challenge")
@_rules
@click.option("--out", required=True, type=_PATH, help="New folder.")
@click.option("--start", metavar="YYYY-MM-DD", help="First day; today when left out.")
@click.option("--end", metavar="YYYY-MM-DD", help="Last day; a year later when left out.")
@click.option("--submissions", default=10, show_default=True, type=click.IntRange(1), help="Submissions per team.")
@console.json_option
@console.guarded
@console.gathered(Asked, "asked")
def evalai(asked: Asked, out: Path, start: str | None, end: str | None, submissions: int, as_json: bool) -> None:
    """Write a challenge for EvalAI: configuration, pages, evaluation script and annotations."""
    from medpodium.containers.platforms.evalai import export as platform

    written = platform.export(asked.read(), out, start=start, end=end, submissions=submissions)
    _tell(written, as_json)


@click.command(epilog="Example: medpodium export challenger feta/2022 --scores scores.csv --out challenger/")
@click.argument("challenge")
@click.option("--scores", required=True, type=_PATH, help="Score table: .csv or .parquet.")
@click.option("--out", required=True, type=_PATH, help="New folder.")
@console.json_option
@console.guarded
def challenger(challenge: str, scores: Path, out: Path, as_json: bool) -> None:
    """Write scores as challengeR's long CSV, one file per metric, and the R lines that read them."""
    from medpodium.challenges import registry
    from medpodium.scoring import table
    from medpodium.scoring.exchange import challenger_files as platform

    _tell(platform.export(table.read_scores(scores), registry.load(challenge), out), as_json)
