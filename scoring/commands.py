"""The verb ``score``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import click

from medpodium import console
from medpodium.findings import ExitCode
from medpodium.scoring.scheduling.options import Where, choose, scheduler_options

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge
    from medpodium.scoring.kinds.engine import Result
    from medpodium.scoring.rescoring import Done
    from medpodium.scoring.scheduling.scheduler import Scheduler

_SUMMARY = "medpodium.scoring.measuring.summary"
_INTERVALS = "scipy.special"
"""What is needed only once all cases are scored; intervals need several."""


@dataclass(frozen=True)
class Request:
    """What is to be scored, as the options of the verb name it.

    Parameters
    ----------
    predictions : tuple of str
        ``TEAM=PATH`` of every submission.
    references, out, cases, resources : Path, optional
        Files and folders.
    task, variant : str, optional
        Which task, and which scoring variant.
    skip_broken : bool
        Whether cases with a broken reference are left out instead of stopping everything.
    add : bool
        Whether scores of other tasks in the table stay.
    anew : bool
        Whether scores of a campaign that stand are computed again, too.
    case_budget : str, optional
        What one prediction of one case may take.
    """

    predictions: tuple[str, ...]
    references: Path | None
    out: Path | None
    task: str | None
    variant: str | None
    cases: Path | None
    resources: Path | None
    skip_broken: bool
    add: bool
    anew: bool
    case_budget: str | None

    @property
    def teams(self) -> dict[str, Path]:
        """Predictions of every submission."""
        return console.named_folders(self.predictions, "--predictions")


@click.command(
    epilog="Example: medpodium score flare-pancancer/2023 --references hidden/ --predictions aurora=out/aurora "
    "--predictions borealis=out/borealis --out scores.csv"
)
@click.argument("challenge", metavar="CHALLENGE|CAMPAIGN")
@click.option("--references", type=click.Path(path_type=Path), help="Folder of references (or a CSV of classes).")
@click.option(
    "--predictions", multiple=True, metavar="TEAM=PATH", help="One submission's predictions; repeat per team."
)
@click.option("--out", type=click.Path(path_type=Path), help="Score table to write: .csv or .parquet.")
@click.option("--task", help="Task to score, where the challenge has several.")
@click.option("--variant", help="Scoring variant, for instance as-published.")
@click.option("--cases", type=click.Path(path_type=Path), help="CSV with a column 'case' and one per group.")
@click.option("--resources", type=click.Path(path_type=Path), help="CSV of measured values: running time, memory.")
@click.option(
    "--case-budget", metavar="60s,4GB", help="A prediction that takes more CPU time or memory on a case has failed it."
)
@click.option("--workers", type=click.IntRange(1), help="Threads or processes; by default what cores and memory allow.")
@click.option("--skip-broken", is_flag=True, help="Leave cases with a broken reference out, for everybody, and go on.")
@click.option("--add", is_flag=True, help="Keep the scores of other tasks that the table has already.")
@click.option("--anew", is_flag=True, help="Score everything of a campaign again, not only what has changed.")
@click.option("--audit", is_flag=True, help="Score again with the reference libraries and print the differences.")
@scheduler_options
@console.json_option
@console.guarded
@console.gathered(Where, "where")
@console.gathered(Request, "request")
def score(challenge: str, request: Request, where: Where, audit: bool, as_json: bool) -> None:
    """Score predictions against references and write the long score table.

    A missing or unusable prediction is a row with the declared penalty, never a smaller mean. CAMPAIGN is a folder
    made by 'medpodium init'; it knows its references and predictions, and only what has changed since they were scored
    last is scored again.

    All references are read first: if one of them is broken, nothing is scored and everything found is listed (exit
    code 1). A case on which the scorer itself fails is scored for nobody; the others are written (exit code 3).
    """
    folder = Path(challenge)
    again = None
    with _lean(), choose(where) as place:
        if _is_campaign(folder):
            done = _score_campaign(folder, request, place)
            loaded, result, out, again = done.challenge, done.result, done.out, (done.again, done.kept)
        else:
            loaded, result, out = _score(challenge, request, place)
    rows: list[dict[str, Any]] = []
    if audit:
        from medpodium.scoring.kinds.segmentation.audit import audit_segmentation

        rows = audit_segmentation(loaded, result.scores, _given(request.references, "references"), request.teams)
    if as_json:
        from medpodium.scoring.measuring.summary import summary_rows

        console.print_json(
            {
                "out": out,
                **({"again": again[0], "kept": again[1]} if again else {}),
                "summary": summary_rows(loaded, result.scores, result.observations),
                "findings": result.findings,
                "audit": rows,
            }
        )
    else:
        _print(loaded, result, out, rows)
        if again is not None and again[1]:
            words = f"{again[0]} results (a team on a case) scored now, {again[1]} stand as they were"
            console.out.print(words, markup=False)
    if result.unscored:
        raise SystemExit(ExitCode.INFRASTRUCTURE)
    console.finish(result.all_findings())


@contextmanager
def _lean() -> Iterator[None]:
    """Have what is imported within the block leave out what takes time to start and has nothing to do here.

    Threads of NumPy's algebra, and a search through everything installed for extensions of pydantic.
    """
    asked = {"OPENBLAS_NUM_THREADS": "1", "PYDANTIC_DISABLE_PLUGINS": "__all__"}
    own = {name: value for name, value in asked.items() if name not in os.environ}
    os.environ.update(own)
    try:
        yield
    finally:
        for name in own:
            os.environ.pop(name, None)


class _Meanwhile:
    """Import modules on a thread of its own within a block: who waits for cases leaves the interpreter to it.

    Only for modules that import each other in no circle, so that threads which import cannot wait in one.
    """

    def __init__(self) -> None:
        self._thread: Thread | None = None

    def begin(self, modules: Sequence[str]) -> None:
        """Import; call it once."""
        thread = Thread(target=self._fetch, args=(modules,), name="imports")
        thread.start()
        self._thread = thread  # now: one that an interrupt keeps from starting cannot be waited for

    def _fetch(self, modules: Sequence[str]) -> None:
        with suppress(ImportError):  # told to whoever needs it
            for module in modules:
                import_module(module)

    def __enter__(self) -> _Meanwhile:
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is not None:
            self._thread.join()


def _added(result: Result, out: Path) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Return the new scores and observations after those of other tasks that are there."""
    from medpodium.scoring import observations, table

    if not out.is_file():
        return result.scores, result.observations
    new = set(result.scores["task"])
    old, before = table.read_scores(out), observations.read_beside(out)
    kept = None if before is None else before[~before["task"].isin(new)]
    return (
        table.concatenate([old[~old["task"].isin(new)], result.scores]),
        observations.concatenate([kept if kept is not None and len(kept) else None, result.observations]),
    )


def _given(path: Path | None, option: str) -> Path:
    if path is None:
        raise click.UsageError(f"Missing option '--{option}'.")
    return path


def _is_campaign(path: Path) -> bool:
    if not path.is_dir():  # a name or a file: the room of campaigns need not be opened
        return False
    from medpodium.challenges.campaign.folder import is_campaign

    return is_campaign(path)


def _score_campaign(folder: Path, request: Request, place: Scheduler) -> Done:
    from medpodium.scoring.rescoring import Ask, score_campaign

    if request.add and request.out is not None:
        raise click.UsageError("--add is for tables outside of a campaign: its own table keeps the other tasks anyway.")
    if request.case_budget is not None:
        raise click.UsageError("--case-budget is for loose folders: a campaign's challenge file declares case_budget.")
    return score_campaign(folder, Ask(request.task, request.out, place, request.skip_broken, request.anew))


def _score(reference: str, request: Request, place: Scheduler) -> tuple[Challenge, Result, Path]:
    from medpodium.challenges import registry
    from medpodium.scoring import definitions, groups
    from medpodium.scoring.kinds.engine import score_task
    from medpodium.scoring.kinds.lookup import pick_task

    loaded = registry.load(reference, variant=request.variant)
    task = pick_task(loaded, request.task)
    if request.case_budget is not None:
        loaded = _with_budget(loaded, task, request.case_budget)
    references, out = _given(request.references, "references"), _given(request.out, "out")
    if (references / "dataset.json").is_file():
        from medpodium.scoring.exchange.nnunet_results import references_of

        references = references_of(references)
    cases = None if request.cases is None else groups.read_cases(request.cases)
    resources = None if request.resources is None else groups.read_resources(request.resources)
    with ExitStack() as shown, _Meanwhile() as meanwhile:
        bar = console.progress()
        line = bar.add_task("scoring cases", total=None)
        begun = False

        def tell(done: int, total: int) -> None:
            nonlocal begun
            if not begun:  # not before: these have threads, and processes are copied while there is one
                begun = True
                shown.enter_context(bar)
                meanwhile.begin([_SUMMARY, _INTERVALS] if total > 1 else [_SUMMARY])
            bar.update(line, completed=done, total=total)

        result = score_task(
            loaded,
            task,
            references,
            request.teams,
            cases=cases,
            resources=resources,
            scheduler=place,
            skip_broken=request.skip_broken,
            progress=tell,
        )
    scores, observed = _added(result, out) if request.add else (result.scores, result.observations)
    definitions.write(loaded, scores, observed, out)
    return loaded, result, out


def _with_budget(challenge: Challenge, task: str, text: str) -> Challenge:
    """Return the challenge with another budget of a case."""
    from medpodium.challenges.schema.task import parse_budget

    own = challenge.tasks[task]
    if "case_budget" not in type(own).model_fields:
        raise click.UsageError(f"--case-budget is for segmentations, and task {task!r} is of the kind {own.kind}.")
    try:
        declared = parse_budget(text)
    except ValueError as error:
        raise click.UsageError(f"--case-budget: {error}.") from None
    limited: Any = own.model_copy(update={"case_budget": declared})
    return challenge.model_copy(update={"tasks": {**challenge.tasks, task: limited}})


def _print(challenge: Challenge, result: Result, out: Path, audit: list[dict[str, Any]]) -> None:
    from medpodium.scoring.measuring.summary import print_summary, summary_rows

    rows = summary_rows(challenge, result.scores, result.observations)
    console.print_findings(result.all_findings())
    if rows:
        print_summary(rows, "Scores per submission and metric")
    if audit:
        console.print_table(
            list(audit[0]), [list(row.values()) for row in audit], title="Audit against other libraries"
        )
    console.out.print(f"{len(result.scores)} scores written to {out}", markup=False)
