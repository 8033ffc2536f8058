"""A small challenge with hostile team names, and its report in every format, made once."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import pytest

from medpodium.reports import write
from medpodium.reports.request import Request

teams = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("teams.py"))))


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of the challenge file."""
    path = tmp_path_factory.mktemp("tiny") / "tiny challenge ü.yaml"
    path.write_text(teams.CHALLENGE, encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def hostile(tiny: Path) -> tuple[Path, Path]:
    """Return (report folder in every format, site folder) of a challenge whose teams have hostile names."""
    scores = tiny.with_name("hostile.csv")
    teams.make_scores([*teams.HOSTILE.values(), "plain", "sixth", "seventh"]).to_csv(scores, index=False)
    out, site = tiny.parent / "report", tiny.parent / "site"
    request = Request(
        str(tiny), scores, ("html", "pdf", "latex", "markdown", "docx"), bootstrap=60, seed=1, site=site, workers=1
    )
    write.write_report(request, out)
    return out, site
