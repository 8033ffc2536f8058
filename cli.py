"""The ``medpodium`` command: finds the verb, loads only the room it needs, and runs it.

Verbs live in their rooms (``<room>/commands.py``), so that ``medpodium --help`` reads names from the table below and
imports none of the heavy libraries.
"""

from __future__ import annotations

import atexit
import gc
from typing import Any

import click

from medpodium import console

_VERBS: dict[str, tuple[str, str]] = {
    "challenges": ("challenges.commands:challenges", "List the built-in challenges."),
    "show": ("challenges.commands:show", "Show everything a challenge file says."),
    "lint": ("challenges.commands:lint", "Check a challenge file against every rule."),
    "demo": ("challenges.demo.commands:demo", "Make, score, rank and report a small synthetic challenge."),
    "measure": ("scoring.measuring.commands:measure", "Compare masks without a challenge file."),
    "check": ("containers.check_commands:check", "Check predictions or a container image before submitting."),
    "template": ("containers.commands:template", "Write a runnable container template for a challenge."),
    "init": ("containers.commands:init", "Start a campaign folder for a hidden test set."),
    "submit": ("containers.commands:submit", "Take in a team's container image."),
    "run": ("containers.commands:run", "Run all submissions of a campaign in the sandbox."),
    "status": ("containers.watch_commands:status", "Show how far a campaign is, and what is out of date."),
    "watch": ("containers.watch_commands:watch", "Watch a campaign run, from its ledger alone."),
    "campaign": (
        "containers.campaign_commands:campaign",
        "Withdraw, rerun, add cases, correct, archive: recorded.",
    ),
    "score": ("scoring.commands:score", "Score predictions against references."),
    "import": ("scoring.exchange.commands:import_scores", "Read published score tables and foreign data sets."),
    "rank": ("scoring.rank_commands:rank", "Rank submissions, with evidence."),
    "analyse": ("scoring.analysis_commands:analyse", "Subgroups, pairwise tests, transfer suites."),
    "export": ("containers.platforms.commands:export", "Write the scorer for grand-challenge, Codabench, Synapse."),
    "report": ("reports.commands:report", "Write the report of a ranking."),
    "baseline": ("baselines.commands:baseline", "Train, run and package reference methods (nnU-Net, STU-Net)."),
    "explain": ("guide.commands:explain", "What a finding means and what to do about it."),
    "doctor": ("guide.commands:doctor", "What this machine lacks, and how to change that."),
    "verify": ("reports.commands:verify", "Recompute a report's numbers from its scores."),
}

_WELCOME = """\
Look around      medpodium demo
                 medpodium measure reference.nii.gz prediction.nii.gz
Organize         medpodium lint mine.yaml
                 medpodium init mine.yaml campaign/ --cases hidden/images --references hidden/labels
                 medpodium doctor
Take part        medpodium check predictions CHALLENGE --references val/labels --predictions out/
                 medpodium check image CHALLENGE team.tar.gz --cases val/images --references val/labels
Write the paper  medpodium rank CHALLENGE scores.csv --evidence evidence/
                 medpodium report CHALLENGE scores.csv --out report/

All verbs: medpodium --help. One verb: medpodium VERB --help. A finding: medpodium explain CODE.
"""

# At its end Python searches all objects several times for unreachable ones, which took a quarter of a small `score`;
# the memory goes back as a whole anyway.
atexit.register(gc.freeze)


@click.group(
    cls=console.LazyGroup,
    verbs=_VERBS,
    welcome=_WELCOME,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="Exit codes: 0 ok, 1 findings, 2 usage, 3 infrastructure. Start with: medpodium demo",
)
@click.version_option(package_name="medpodium")
def main(**_: Any) -> None:
    """Run, score, rank and report medical-image challenges from one definition file.

    CHALLENGE is always a built-in name (flare-pancancer), a name with an edition (feta/2022), or the path of your
    own YAML file; add @VARIANT for another scoring variant (flare-pancancer/2023@as-published).
    """


if __name__ == "__main__":
    main()
