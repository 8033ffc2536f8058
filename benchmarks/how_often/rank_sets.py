"""Coverage of rank sets by simulation: a table that docs/statistics.md shows.

``python benchmarks/how_often/rank_sets.py`` prints it (some minutes per core; ``--simulations 100`` for a rough look),
``--write docs/statistics.md`` puts it between its two marker comments; with ``--only PATTERN`` or ``--absent`` only
some rows are computed and the others of the page stay. Every setting draws data sets from a known
truth, builds the rank sets exactly as ``medpodium rank`` does, and counts how often they hold all true ranks, or each
true rank. Beside them stands what the construction of R's csranks says to the same data (Mogstad, Romano, Shaikh and
Wilhelm 2024 with normal errors and fixed standard errors), so that both its coverage and its width can be compared.
"""

from __future__ import annotations

import argparse
import multiprocessing
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from settings import SETTINGS, Setting, draw, truth

from medpodium.scoring.evidence.bootstrap import bootstrap, one_blas_thread, stream
from medpodium.scoring.evidence.sets.construct import Draw, build, guaranteed
from medpodium.scoring.evidence.sets.ranks import RankSets

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
LEVEL = 0.95
MARKERS = ("<!-- coverage: made by benchmarks/how_often/rank_sets.py -->", "<!-- coverage: end -->")


@dataclass(frozen=True)
class Coverage:
    """What one setting gave.

    Parameters
    ----------
    built : str
        Construction of the sets.
    printed : str
        How often the product says that they hold.
    together, least : float
        Share of data sets in which all true ranks were in their simultaneous sets; smallest share over submissions in
        which its true rank was in its marginal set.
    width : float
        Mean number of ranks in a simultaneous set.
    rival, rival_width : float
        Coverage and width of the parametric construction (NaN: not computed).
    error : float
        Monte-Carlo standard error of a share of 0.95.
    """

    setting: Setting
    built: str
    printed: str
    together: float
    least: float
    width: float
    rival: float
    rival_width: float
    error: float


def simulate(setting: Setting, simulations: int, n_resamples: int, seed: int) -> Coverage:
    """Draw data sets and count how often their rank sets hold."""
    best, worst = truth(setting)
    number = len(best)
    together, rival = np.zeros(simulations, dtype=bool), np.zeros(simulations, dtype=bool)
    each = np.zeros((simulations, number), dtype=bool)
    widths = np.full((2, simulations), np.nan)
    built, printed = "", ""
    with one_blas_thread():
        for index in range(simulations):
            rng = stream(seed, f"coverage/{setting.name}/{number}x{setting.cases}", index)
            sets, values = _sets(setting, rng, n_resamples, seed + index)
            built, printed = sets.construction, sets.guarantee
            together[index] = _covers(sets.simultaneous, best, worst).all()
            each[index] = _covers(sets.marginal, best, worst)
            widths[0, index] = _width(sets.simultaneous)
            if setting.plain:
                parametric = parametric_sets(values, n_resamples, rng)
                rival[index] = _covers(parametric, best, worst).all()
                widths[1, index] = _width(parametric)
    error = float(np.sqrt(LEVEL * (1 - LEVEL) / simulations))
    own, other = widths.mean(axis=1).tolist()
    share = float(rival.mean()) if setting.plain else np.nan
    least = float(each.mean(axis=0).min())
    return Coverage(setting, built, printed, float(together.mean()), least, own, share, other, error)


def _sets(setting: Setting, rng: np.random.Generator, n_resamples: int, seed: int) -> tuple[RankSets, Floats]:
    prepared, units = draw(setting, rng)
    own = Draw(n_resamples, seed, setting.name)
    values = prepared.array.values[:, :, 0, 0].T if prepared.array.values.ndim == 4 else prepared.array.values.T
    sets = guaranteed(prepared, units, own)
    if sets is None:
        sets = build(prepared, units, bootstrap(prepared, n_resamples, seed=seed), own)
    return sets, values


def _covers(sets: Floats, best: Floats, worst: Floats) -> Bools:
    return (sets[0] <= best) & (sets[1] >= worst)


def _width(sets: Floats) -> float:
    return float((sets[1] - sets[0] + 1).mean())


def parametric_sets(values: Floats, n_resamples: int, rng: np.random.Generator) -> Floats:
    """Return simultaneous rank sets as R's csranks builds them: normal errors, fixed standard errors, step-down.

    Parameters
    ----------
    values : ndarray of float, shape (n_cases, n_submissions)

    Returns
    -------
    ndarray of float, shape (2, n_submissions)
    """
    cases, number = values.shape
    first, second = np.triu_indices(number, 1)
    centred = (values - values.mean(axis=0)) / np.sqrt(cases * (cases - 1))
    gaps = centred[:, first] - centred[:, second]
    error = np.sqrt((gaps**2).sum(axis=0))
    difference = values.mean(axis=0)[first] - values.mean(axis=0)[second]
    known = error > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        # standard normal weights of the centred cases have exactly the estimated covariance
        t = np.where(known, np.abs(rng.normal(size=(n_resamples, cases)) @ gaps) / error, 0.0)
        observed = np.where(known, np.abs(difference) / error, 0.0)
    rejected = np.zeros(len(first), dtype=bool)
    while not rejected.all():
        more = ~rejected & (observed > np.quantile(t[:, ~rejected].max(axis=1), LEVEL, method="higher"))
        if not more.any():
            break
        rejected |= more
    better = np.zeros((number, number), dtype=bool)
    better[first, second], better[second, first] = rejected & (difference > 0), rejected & (difference < 0)
    return np.array([1.0 + better.sum(axis=0), number - better.sum(axis=1).astype(np.float64)])


def _row(found: Coverage) -> str:
    setting = found.setting
    rival = "| |" if np.isnan(found.rival) else f"{found.rival:.3f} | {found.rival_width:.2f} |"
    return (
        f"| {setting.name} | {len(setting.means)} x {setting.cases} | {found.built} | "
        f"{found.printed} | {found.together:.3f} | {found.least:.3f} | {found.width:.2f} | {rival}"
    )


HEADING = (
    "| setting | teams x cases | built from | printed as | all ranks | least covered rank | mean width | "
    "csranks: all ranks | mean width |"
)


def _key(row: str) -> tuple[str, ...]:
    """Return the cells that name a row."""
    return tuple(cell.strip() for cell in row.split("|")[1:3])


def _name(setting: Setting) -> tuple[str, ...]:
    return setting.name, f"{len(setting.means)} x {setting.cases}"


def rows_of(text: str) -> dict[tuple[str, ...], str]:
    """Return the rows of the table on a page by what names them."""
    _, found, rest = text.partition(f"{HEADING}\n")
    rows = []
    for line in rest.splitlines()[1:] if found else []:
        if not line.startswith("|"):
            break
        rows.append(line)
    return {_key(row): row for row in rows}


def _width_words(rows: Iterable[str], error: float) -> str:
    """Say how wide the sets of plain means are beside those of csranks, where the latter hold."""
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in rows]
    trusted = [float(own[6]) / float(own[8]) for own in cells if own[7] and float(own[7]) >= LEVEL - 2 * error]
    if not trusted:
        return ""
    return (
        " Over the settings of plain means in which csranks' construction holds, the sets are "
        f"{np.median(trusted):.2f} times as wide as its ones (median; {min(trusted):.2f} to {max(trusted):.2f})."
    )


def table(found: Sequence[Coverage], simulations: int, n_resamples: int, page: str = "") -> str:
    """Return the table as Markdown: the rows found, and those of a page that were not computed anew."""
    error = float(np.sqrt(LEVEL * (1 - LEVEL) / simulations))
    head = (
        f"{simulations:,} data sets per setting, {n_resamples} resamples each; nominal level {LEVEL}, Monte-Carlo "
        f"standard error {error:.4f}."
    )
    kept = rows_of(page)
    if kept and head not in page:
        raise SystemExit("the page has rows of other numbers of data sets or resamples: write all of them anew")
    known = kept | {_name(one.setting): _row(one) for one in found}
    own = [known[name] for name in map(_name, SETTINGS) if name in known]
    body = "\n".join([HEADING, "|---" * (HEADING.count("|") - 1) + "|", *own])
    return f"{head}{_width_words(own, error)}\n\n{body}"


def between_markers(text: str, inside: str) -> str:
    """Return a text with other content between its two marker comments."""
    before, _, rest = text.partition(MARKERS[0])
    _, _, after = rest.partition(MARKERS[1])
    return f"{before}{MARKERS[0]}\n{inside}\n{MARKERS[1]}{after}"


def _one(job: tuple[Setting, int, int, int]) -> Coverage:
    return simulate(*job)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--only", default="", help="settings whose name (as in the table) matches this")
    parser.add_argument("--absent", action="store_true", help="only what the page of --write does not have")
    parser.add_argument("--write", type=Path, help="page with the two marker comments; rows that were not run are kept")
    chosen = parser.parse_args()
    page = chosen.write.read_text("utf-8") if chosen.write is not None else ""
    there = rows_of(page) if chosen.absent else {}
    wanted = [own for own in SETTINGS if re.search(chosen.only, ", ".join(_name(own))) and _name(own) not in there]
    jobs = [(own, chosen.simulations, chosen.resamples, chosen.seed) for own in wanted]
    found: list[Coverage] = []
    with multiprocessing.Pool(chosen.workers) as pool:
        for one in pool.imap(_one, jobs):
            found.append(one)
            print(_row(one), flush=True)
    # read again: others may have written other rows meanwhile
    page = chosen.write.read_text("utf-8") if chosen.write is not None and (chosen.only or chosen.absent) else ""
    text = table(found, chosen.simulations, chosen.resamples, page)
    print(text)
    if chosen.write is not None:
        chosen.write.write_text(between_markers(chosen.write.read_text("utf-8"), text), encoding="utf-8")


if __name__ == "__main__":
    main()
