"""medpodium: run, score, rank and report medical-image challenges from one definition file.

The names below are the public Python interface. They are loaded when first used, so that importing the package costs
nothing and needs neither Docker nor a GPU.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from medpodium.challenges.campaign.folder import open as open_campaign
    from medpodium.challenges.registry import load as load_challenge
    from medpodium.challenges.schema.definition import Challenge
    from medpodium.findings import Finding, MedpodiumError
    from medpodium.reports.ranked import rank
    from medpodium.reports.request import Request as ReportRequest
    from medpodium.reports.write import write_report
    from medpodium.scoring.kinds.engine import score_task
    from medpodium.scoring.masks.reader import read_mask
    from medpodium.scoring.measuring.many import measure_many
    from medpodium.scoring.measuring.reference import Reference, measure
    from medpodium.scoring.ranking.recipe import rank_scores
    from medpodium.scoring.table import read_scores, write_scores

__all__ = [
    "Challenge",
    "Finding",
    "MedpodiumError",
    "Reference",
    "ReportRequest",
    "load_challenge",
    "measure",
    "measure_many",
    "open_campaign",
    "rank",
    "rank_scores",
    "read_mask",
    "read_scores",
    "score_task",
    "write_report",
    "write_scores",
]

_HOME = {
    "Challenge": "challenges.schema.definition:Challenge",
    "Finding": "findings:Finding",
    "MedpodiumError": "findings:MedpodiumError",
    "Reference": "scoring.measuring.reference:Reference",
    "ReportRequest": "reports.request:Request",
    "load_challenge": "challenges.registry:load",
    "measure": "scoring.measuring.reference:measure",
    "measure_many": "scoring.measuring.many:measure_many",
    "open_campaign": "challenges.campaign.folder:open",
    "rank": "reports.ranked:rank",
    "rank_scores": "scoring.ranking.recipe:rank_scores",
    "read_mask": "scoring.masks.reader:read_mask",
    "read_scores": "scoring.table:read_scores",
    "score_task": "scoring.kinds.engine:score_task",
    "write_report": "reports.write:write_report",
    "write_scores": "scoring.table:write_scores",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, attribute = _HOME[name].partition(":")
    return getattr(import_module(f"{__name__}.{module}"), attribute)
