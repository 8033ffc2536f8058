"""What a judge said, round by round: who it was, what no score could be read from, and whether its rounds agree."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from medpodium.challenges.schema.answers import AnswersTask
from medpodium.findings import Finding
from medpodium.scoring import table
from medpodium.scoring.kinds.answers.replies import Replies, parse_score
from medpodium.scoring.kinds.protocol import Observing
from medpodium.scoring.observations import case_groups, complete

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge
    from medpodium.scoring.kinds.views import Views

UNPARSED = f"{table.FAILED_PREFIX}unparsed"
_SHOWN = 80


def judged_by(task: AnswersTask, replies: Mapping[str, Replies]) -> dict[tuple[str, str], str]:
    """Return who judged, and how many rounds hold a score, by document and criterion; nothing where nobody judged."""
    found = {}
    for name, own in replies.items() if task.form == "rubric" else ():
        for piece, rounds in own.pieces.items():
            criterion = task.criteria[piece]
            judges = ", ".join(dict.fromkeys(reply.judge for reply in rounds if reply.judge)) or "judge not named"
            parsed = sum(not math.isnan(parse_score(reply.text, criterion.low, criterion.high)) for reply in rounds)
            found[name, piece] = f"{judges}; {parsed} of {len(rounds)} rounds"
    return found


def observe_rounds(task: AnswersTask, seen: Observing, findings: list[Finding]) -> pd.DataFrame:
    """Return one row per submission, document, criterion and round.

    ``structure`` is the JSON list of criterion, number of the round (from 1) and judge, ``count`` the score, and a
    round from which none can be read has the status ``failed:unparsed``.
    """
    import pandas as pd

    rows = []
    for submission, own in seen.predictions.items():
        for case in seen.references.cases:
            replies = own.by_case.get(case)
            for piece, criterion in task.criteria.items():
                rounds = () if replies is None else replies.pieces.get(piece, ())
                if not rounds:
                    rows.append((submission, case, _key(piece, 1, ""), "", math.nan, table.MISSING))
                for number, reply in enumerate(rounds, start=1):
                    score = parse_score(reply.text, criterion.low, criterion.high)
                    status = UNPARSED if math.isnan(score) else table.OK
                    key = _key(piece, number, reply.judge)
                    rows.append((submission, case, key, reply.text[:_SHOWN], score, status))
    columns = ["submission", "case", "structure", "answer", "count", "status"]
    frame = pd.DataFrame(rows, columns=columns).assign(truth="")
    return complete(frame, seen.challenge, seen.name, seen.groups, findings)


def _key(piece: str, number: int, judge: str) -> str:
    return json.dumps([piece, number, judge], ensure_ascii=False)


def rounds_views(challenge: Challenge, name: str, own: pd.DataFrame) -> Views | None:
    """Return the rounds of every criterion as raters of the documents."""
    import numpy as np

    from medpodium.scoring.kinds.views import Rounds, Views

    task = challenge.tasks[name]
    if not isinstance(task, AnswersTask):
        return None
    cases, submissions = sorted(own["case"].unique()), sorted(own["submission"].unique())
    place = {case: at for at, case in enumerate(cases)}
    column = {team: at for at, team in enumerate(submissions)}
    keys = {text: json.loads(text) for text in own["structure"].unique()}
    most = max((key[1] for key in keys.values()), default=1)
    scores = {piece: np.full((len(cases), len(submissions), most), np.nan) for piece in task.criteria}
    given = {piece: np.zeros((len(cases), len(submissions), most), dtype=bool) for piece in task.criteria}
    judges: dict[tuple[str, str], dict[str, None]] = {}
    for team, case, text, score, status in own[["submission", "case", "structure", "count", "status"]].itertuples(
        index=False, name=None
    ):
        piece, number, judge = keys[text]
        at = (place[case], column[team], number - 1)
        scores[piece][at] = score
        given[piece][at] = status in (table.OK, UNPARSED)
        if judge:
            judges.setdefault((team, piece), {})[judge] = None
    parts = [
        Rounds(
            piece,
            item.title or piece,
            np.arange(len(cases)),
            scores[piece],
            given[piece],
            tuple(", ".join(judges.get((team, piece), {})) for team in submissions),
        )
        for piece, item in task.criteria.items()
    ]
    return Views(tuple(cases), tuple(submissions), case_groups(own, cases), tuple(parts))
