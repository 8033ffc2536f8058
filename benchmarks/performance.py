"""Measure everything that docs/performance.md says, and write it.

    python benchmarks/performance.py --peers-python ~/peers/bin/python     # writes docs/performance.md and .svg
    python benchmarks/performance.py --cases synthetic --sizes 64x128x128 --jobs 4

Ratios only: seconds are those of the machine. ``--jobs`` lets bad predictions be measured side by side, each beside a
good one of its own; give it no more than a quarter of the cores.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import scoring_cases
from patterns import PATTERNS

HERE = Path(__file__).resolve().parent
STRUCTURES = 4
CHALLENGE = """\
schema: 1
name: set
title: Set
tasks:
  seg:
    files: {{reference: "{{case}}.nii.gz", prediction: "{{case}}.nii.gz"}}
    empty: {{both: skip, reference: skip, prediction: worst}}
    structures: {{{structures}}}
    metrics:
      dice: {{kind: dice}}
      nsd: {{kind: nsd, tolerance_mm: 2}}
      hd95: {{kind: hd_percentile, worst: diagonal}}
recipes:
  main: {{steps: [{{mean: [case, structure]}}, {{rank: {{within: metric}}}}, {{mean: metric}}, rank]}}
ranking: {{seg: main}}
"""


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers-python", default=sys.executable, help="interpreter that has the peers")
    known = ["amos", *scoring_cases.STRUCTURES]
    parser.add_argument("--cases", nargs="*", default=known, choices=known)
    parser.add_argument("--peers", nargs="+", help="only these contenders (benchmarks/scoring.py)")
    parser.add_argument("--sizes", nargs="*", default=["64x128x128", "128x256x256", "256x384x384"])
    parser.add_argument("--peer-sizes", type=int, default=2, help="surface-distance runs on so many of the sizes")
    parser.add_argument("--set", type=int, default=50, help="cases of the whole verb; 0 leaves it out")
    parser.add_argument(
        "--set-sizes",
        nargs="+",
        default=["256x256x120", "512x512x120", "512x512x240", "512x512x400"],
        help="voxels of such a case",
    )
    parser.add_argument("--starts", type=int, default=25, help="rounds of a tiny case; 0 leaves it out")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "performance.md")
    options = parser.parse_args()
    parts = [_heading()]
    for case in options.cases:
        if case != "amos" or scoring_cases.AMOS.is_file():
            parts.append(_one_case(case, options))
    if options.sizes:
        parts.append(_bad(options))
    if options.set:
        parts.append(_verb(options.set, options.set_sizes))
    if options.starts:
        parts.append(_start(options.starts))
    options.out.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _heading() -> str:
    load = f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"
    machine = (
        f"{platform.machine()}, {os.cpu_count()} cores, load {load} at the start, Python {platform.python_version()}"
    )
    return (
        "# Performance\n\nWritten by `python benchmarks/performance.py`; run it to get the figures of your machine. "
        f"Ratios of CPU time, as seconds depend on the machine. Here: {machine}."
    )


def _run(script: str, *arguments: str) -> dict[str, Any]:
    """Run a benchmark and return what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        command = [sys.executable, str(HERE / script), *arguments, "--json", str(told)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not told.is_file():
            raise SystemExit(f"{' '.join(command)}\n{done.stderr[-2000:]}")
        found: dict[str, Any] = json.loads(told.read_text())
    return found


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _factor(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _one_case(case: str, options: argparse.Namespace) -> str:
    peers = ["--peers", "stream limit", "read limit", "medpodium", *options.peers] if options.peers else []
    found = _run("scoring.py", "--case", case, "--peers-python", options.peers_python, *peers)
    limit = found["results"]["read limit"]["cpu_s"]
    rows = []
    for name, own in found["results"].items():
        agreement = found["agreement"].get(name)
        gap = "" if agreement is None else f"{max(agreement['gaps'].values()):.0e}"
        factors = [_factor(own["factor"]), _factor(own["cpu_s"] / limit)]
        rows.append([name, own["versions"], own["computes"], *factors, f"{own['peak_mb']:.0f}", gap])
    heading = ["who", "version", "computes", "x medpodium", "x reading", "peak MB", "largest relative difference"]
    shape = " x ".join(map(str, found["case"]["shape"]))
    return (
        f"## One case: {case}, {shape} voxels, {len(found['case']['labels'])} structures\n\n"
        "From the two files to numbers. *Reading* decompresses both files and keeps them; the stream limit "
        "keeps nothing.\n\n" + _table(heading, rows)
    )


def _bad(options: argparse.Namespace) -> str:
    patterns = [name for name in PATTERNS if name != "good"]
    asked = [(size, name, at < options.peer_sizes) for at, size in enumerate(options.sizes) for name in patterns]

    def measured(size: str, name: str, peer: bool) -> dict[str, Any]:
        shape = ["--shape", *size.split("x"), "--structures", str(STRUCTURES), "--metrics", "surfels", "--files"]
        other = ["--peers-python", options.peers_python] if peer else []
        row: dict[str, Any] = _run("patterns.py", *shape, "--patterns", name, *other)["rows"][-1]
        return row

    with ThreadPoolExecutor(options.jobs) as pool:
        rows = dict(zip(asked, pool.map(lambda one: measured(*one), asked), strict=True))

    def cells(name: str, keys: Sequence[str]) -> list[str]:
        return [
            " / ".join(filter(None, (_factor(rows[size, own, peer][key]) for key in keys)))
            for size, own, peer in asked
            if own == name
        ]

    keys = ("x_good", "x_mb", "x_surface_distance")
    lines = [[name.replace("_", " "), *cells(name, keys)] for name in patterns]
    read = [[name.replace("_", " "), *cells(name, ["x_good_files"])] for name in patterns]
    figure = options.out.with_suffix(".svg")
    _draw({size: [rows[size, n, p]["x_good"] for s, n, p in asked if s == size] for size in options.sizes}, figure)
    return (
        f"## Bad predictions, {STRUCTURES} structures\n\n"
        "NSD and HD95 from arrays. In each cell: CPU time against a good prediction of that size (measured in turn, in "
        "one process), memory of the process against its, and CPU time against surface-distance on the same masks "
        "(below 1: faster).\n\n"
        + _table(["prediction", *options.sizes], lines)
        + "\n\nThe same from two gzipped NIfTI files, which are read, too: what a submission costs an organizer. CPU "
        "time against a good prediction of that size, files included.\n\n"
        + _table(["prediction", *options.sizes], read)
        + f"\n\n![CPU time of bad predictions against a good one, by size]({figure.name})"
    )


def _draw(factors: dict[str, list[float]], path: Path) -> None:
    from matplotlib.figure import Figure

    names = [name.replace("_", " ") for name in PATTERNS if name != "good"]
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    for at, (size, own) in enumerate(factors.items()):
        axes.barh(np.arange(len(own)) + 0.25 * at, own, height=0.25, label=size)
    axes.set_yticks(np.arange(len(names)) + 0.25, names)
    axes.set_xscale("log")
    axes.set_xlabel("CPU time against a good prediction")
    axes.legend()
    figure.savefig(path, metadata={"Date": None})


def _verb(cases: int, sizes: Sequence[str]) -> str:
    rows = []
    for size in sizes:
        shape = [int(number) for number in size.split("x")]
        with tempfile.TemporaryDirectory() as folder:
            rows.append([" x ".join(map(str, shape)), *_one_set(cases, (shape[0], shape[1], shape[2]), Path(folder))])
    heading = ["voxels", "wall s", "CPU s", "CPU s with one worker", "wall / half of that"]
    heading += ["CPU s of the cases alone", "wall / half of that"]
    title = f"## The whole verb: `score` of {cases} cases x 3 teams x 8 structures, two workers"
    words = "Medians of three rounds, start included: two workers, one worker, and the cases one after the other in a"
    words += " process that did nothing else; ratios are those within a round."
    return f"{title}\n\n{words}\n\n{_table(heading, rows)}"


def _one_set(cases: int, shape: tuple[int, int, int], folder: Path) -> list[str]:
    truth = scoring_cases.synthetic(shape, 8)
    shifts = {"ref": (0, 0, 0), "a": (1, 0, 0), "b": (0, 2, 1), "c": (1, 1, 1)}
    for name, shift in shifts.items():
        (folder / name).mkdir()
        for case in range(cases):
            own = np.roll(truth, np.add(shift, (3 * case % 40, 5 * case % 30, case % 9)), (0, 1, 2))
            image = nibabel.Nifti1Image(own, np.diag([0.8, 0.8, 2.5, 1.0]))
            nibabel.save(image, folder / name / f"c{case:03}.nii.gz")
    rules = ", ".join(f"s{label}: {{label: {label}}}" for label in range(1, 9))
    (folder / "set.yaml").write_text(CHALLENGE.format(structures=rules), encoding="utf-8")
    given = [part for team in "abc" for part in ("--predictions", f"{team}={folder / team}")]
    command = [sys.executable, "-m", "medpodium.cli", "score", str(folder / "set.yaml")]
    command += ["--references", str(folder / "ref"), *given, "--out", str(folder / "scores.csv"), "--workers"]
    rounds = []
    for _ in range(3):
        wall, cpu = _taken([*command, "2"])
        _, one = _taken([*command, "1"])
        alone = _in_process(folder, cases)
        rounds.append((wall, cpu, one, 2 * wall / one, alone, 2 * wall / alone))
    return [f"{np.median(values):.3g}" for values in zip(*rounds, strict=True)]


def _start(rounds: int) -> str:
    """Return what `score` takes where there is next to nothing to score, beside what its libraries take to import."""
    imports = "import click, numba, numpy, pandas, pydantic, rich.progress, ruamel.yaml"
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        mask = np.zeros((32, 32, 16), np.uint8)
        mask[4:20, 4:20, 3:9], mask[8:25, 6:22, 10:14] = 1, 2
        for name, own in (("ref", mask), ("a", np.roll(mask, 1, axis=0))):
            (folder / name).mkdir()
            nibabel.save(nibabel.Nifti1Image(own, np.diag([1.0, 1.0, 2.5, 1.0])), folder / name / "c.nii.gz")
        (folder / "set.yaml").write_text(CHALLENGE.format(structures="a: {label: 1}, b: {label: 2}"), encoding="utf-8")
        score = [sys.executable, "-m", "medpodium.cli", "score", str(folder / "set.yaml")]
        score += ["--references", str(folder / "ref"), "--predictions", f"a={folder / 'a'}"]
        score += ["--out", str(folder / "scores.csv")]
        commands = {
            "`score` of one case of 32 x 32 x 16 voxels, one submission": score,
            f"`{imports}`": [sys.executable, "-c", imports],
        }
        for command in commands.values():
            _taken(command)
        taken = {name: [] for name in commands}
        for _ in range(rounds):
            for name, command in commands.items():
                taken[name].append(_taken(command))
    rows = []
    whole = taken[f"`{imports}`"]
    for name, own in taken.items():
        walls, ratio = [wall for wall, _ in own], [one[0] / other[0] for one, other in zip(own, whole, strict=True)]
        cpu = np.median([cpu for _, cpu in own])
        rows.append([name, f"{np.median(walls):.2f}", f"{min(walls):.2f}", f"{cpu:.2f}", f"{np.median(ratio):.2f}"])
    heading = ["command", "wall s", "least wall s", "CPU s", "wall / that of the imports"]
    words = f"Medians of {rounds} rounds in turn, everything compiled and kept; the second line is what Python takes to"
    return (
        f"## The start\n\n{words} import the libraries one after the other, and do nothing.\n\n{_table(heading, rows)}"
    )


def _taken(command: list[str]) -> tuple[float, float]:
    """Return the seconds a command takes, and those of CPU time."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, cpu


def _in_process(folder: Path, cases: int) -> float:
    from medpodium.challenges import registry
    from medpodium.scoring.kinds.protocol import CaseJob
    from medpodium.scoring.kinds.segmentation.case import score_case

    task = registry.load(str(folder / "set.yaml")).tasks["seg"]
    names = [f"c{case:03}.nii.gz" for case in range(cases)]
    jobs = [
        CaseJob(name, folder / "ref" / name, {team: folder / team / name for team in "abc"}, task) for name in names
    ]
    score_case(jobs[0])
    start = time.process_time()
    for job in jobs:
        score_case(job)
    return time.process_time() - start


if __name__ == "__main__":
    main()
