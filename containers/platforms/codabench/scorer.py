"""Score on Codabench: ``input/ref`` and ``input/res`` in, ``output/scores.json`` and the score table out."""

from __future__ import annotations

import html
import sys
from pathlib import Path

from medpodium.containers.platforms import bundle
from medpodium.containers.platforms.codabench import limits
from medpodium.findings import Finding, MedpodiumError
from medpodium.scoring import table
from medpodium.scoring.exchange.platforms import payload
from medpodium.scoring.exchange.platforms.payload import LEADERBOARD, SCORE_TABLE
from medpodium.scoring.exchange.platforms.unpack import inner_folder

DETAILS = "detailed_results.html"


def run(folder: Path, out: Path) -> dict[str, float]:
    """Score one submission.

    Parameters
    ----------
    folder : Path
        Holds ``ref`` (rules and references) and ``res`` (the participant's files).
    out : Path
        Gets ``scores.json`` (leaderboard), ``score_table.csv`` (every score) and ``detailed_results.html``.

    Returns
    -------
    dict of str to float
        Leaderboard column to mean; a column without any value is left out.
    """
    rules = bundle.load(folder / "ref")
    place = inner_folder(folder / "res")
    result = bundle.score(rules, place)
    means = payload.aggregates(bundle.settle(rules, result))
    wanted = limits.keys(rules.challenge, rules.task)
    known = ((name, means[own]["mean"]) for own, name in wanted.items() if own in means)
    scores, left_out = limits.storable((name, mean) for name, mean in known if mean is not None)
    out.mkdir(parents=True, exist_ok=True)
    # participants can download this folder: it must not hold the observations, which give the hidden classes away
    table.write_scores(result.scores, out / SCORE_TABLE)
    (out / DETAILS).write_text(details([*result.all_findings(), *left_out], means), encoding="utf-8", newline="\n")
    payload.write_json(scores, out / LEADERBOARD)
    return scores


def details(findings: list[Finding], means: dict[str, dict[str, float]]) -> str:
    """Return a page with the means and everything found; nothing a participant wrote is left unescaped."""

    def row(*cells: object) -> str:
        return "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>"

    scores = "".join(row(name, item["mean"], item["n"]) for name, item in means.items())
    found = "".join(row(one.severity, one.code, Path(one.where).name, one.cause, one.fix) for one in findings)
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Scores</title><h1>Scores</h1>'
        f"<table><tr><th>score</th><th>mean</th><th>values</th></tr>{scores}</table><h1>Findings</h1>"
        f"<table><tr><th>severity</th><th>code</th><th>file</th><th>cause</th><th>fix</th></tr>{found}</table></html>\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Entry point: ``INPUT_DIR OUTPUT_DIR``, Codabench's own folders when left out."""
    given = sys.argv[1:] if arguments is None else arguments
    folder, out = (given + ["/app/input", "/app/output"][len(given) :])[:2]
    try:
        scores = run(Path(folder), Path(out))
    except MedpodiumError as error:
        sys.stderr.write(f"{error}\n")
        return int(error.exit_code)
    sys.stdout.write(f"{len(scores)} scores written\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
