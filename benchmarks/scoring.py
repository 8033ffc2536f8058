"""Score one case with medpodium and with its peers, side by side: CPU time, peak memory, and whether values agree.

    python benchmarks/scoring.py                       # the AMOS case if it is there, else the synthetic one
    python benchmarks/scoring.py --case synthetic      # 512 x 512 x 300 voxels, 14 structures
    python benchmarks/scoring.py --case classes          # the same with 117
    python benchmarks/scoring.py --peers medpodium "read limit" --repeats 15
    python benchmarks/scoring.py --peers-python ~/peers/bin/python   # peers live in an environment of their own

Every contender starts from the two files. The quick ones run several rounds in turn (so that a busy machine slows all
alike) and their median counts; the slow ones run once. Memory is the peak of a fresh process that does nothing else.
A peer's factor is against the runs of medpodium right before and after it. ``read limit`` reads both files and does
nothing else: nobody who keeps both masks can be faster. ``stream limit`` does not even keep what it decompresses.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import contenders
import scoring_cases


def main() -> int:
    """Run the benchmark; the exit code is 1 if values that should agree do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = ["amos", *scoring_cases.STRUCTURES]
    parser.add_argument("--case", choices=known, help="which case (default: amos where present)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of the quick contenders")
    parser.add_argument("--peers", nargs="+", choices=list(contenders.ALL), help="only these contenders")
    parser.add_argument("--peers-python", help="interpreter with the peers that are not installed beside medpodium")
    parser.add_argument("--no-memory", action="store_true", help="skip the runs that measure peak memory")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(_alone(options.child, options.folder)))
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _compare(options, Path(folder))


def _compare(options: argparse.Namespace, folder: Path) -> int:
    case = scoring_cases.prepare(options.case, folder)
    print(f"{case.name}: {case.shape} voxels of {case.spacing_xyz} mm, {len(case.labels)} structures, "
          f"two masks of {case.mask_megabytes:.0f} MB", flush=True)  # fmt: skip
    names = options.peers or list(contenders.ALL)
    python = options.peers_python
    here = [name for name in names if _installed(name)]
    there = [name for name in names if name not in here and python and _installed(name, python)]
    values = {name: contenders.ALL[name].run(case) for name in here if contenders.ALL[name].quick}  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in [*here, *there]}
    for _ in range(options.repeats):
        for name in values:
            seconds[name].append(_timed(name, case)[0])
    factors: dict[str, float] = {}
    memory = {name: math.nan if options.no_memory else _memory(name, folder) for name in here}
    for name in [*(name for name in here if name not in values), *there]:
        print(f"running {name} ...", file=sys.stderr, flush=True)
        beside = [_timed("medpodium", case)[0]]
        if name in there:
            found = _child(name, folder, python)
            spent, memory[name], values[name] = found["cpu_s"], found["peak_mb"], _with_labels(found["values"])
        else:
            spent, values[name] = _timed(name, case)
        beside += [_timed("medpodium", case)[0]]
        seconds[name].append(spent)
        factors[name] = spent / statistics.mean(beside)
    for name in seconds:
        factors.setdefault(name, statistics.median(seconds[name]) / statistics.median(seconds["medpodium"]))
    results: dict[str, dict[str, object]] = {
        name: {
            "cpu_s": statistics.median(seconds[name]),
            "factor": factors[name],
            "peak_mb": memory[name],
            "computes": contenders.ALL[name].what,
            "versions": _versions(name, python if name in there else sys.executable),
        }
        for name in seconds
    }
    _print_table(names, results, case)
    gaps = _print_agreement(values)
    if options.json:
        load = os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan
        told = {"case": asdict(case), "results": results, "agreement": gaps, "load": load, "cores": os.cpu_count()}
        options.json.write_text(json.dumps(told, indent=1))
    return 1 if any(not gap["agrees"] for gap in gaps.values()) else 0


def _with_labels(values: dict[str, dict[str, float]]) -> contenders.Values:
    return {int(label): own for label, own in values.items()}


def _versions(name: str, python: str) -> str:
    """Return the versions of what a contender is made of, as its interpreter knows them."""
    packages = {"surface_distance": "surface-distance", "nnunetv2": "nnunetv2", "medpy": "MedPy"}
    needs = [packages.get(need, need) for need in contenders.ALL[name].needs[:1]]
    if not needs:
        return ""
    code = "import sys, importlib.metadata as m; print(*(f'{n} {m.version(n)}' for n in sys.argv[1:]))"
    done = subprocess.run([python, "-c", code, *needs], capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _installed(name: str, python: str | None = None) -> bool:
    needs = contenders.ALL[name].needs
    if python is None:
        return all(importlib.util.find_spec(module) is not None for module in needs)
    code = "import sys, importlib.util as u; sys.exit(any(u.find_spec(n) is None for n in sys.argv[1:]))"
    return subprocess.run([python, "-c", code, *needs], check=False).returncode == 0


def _timed(name: str, case: scoring_cases.Case) -> tuple[float, contenders.Values]:
    start = time.process_time()
    values = contenders.ALL[name].run(case)
    return time.process_time() - start, values


def _memory(name: str, folder: Path) -> float:
    return float(_child(name, folder, sys.executable)["peak_mb"])


def _child(name: str, folder: Path, python: str) -> dict[str, Any]:
    command = [python, str(Path(__file__).resolve()), "--child", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name}: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _alone(name: str, folder: Path) -> dict[str, Any]:
    """Run one contender in this fresh process and report its time, its values and its peak memory."""
    case = scoring_cases.load(folder)
    for module in contenders.ALL[name].needs:
        importlib.import_module(module)  # imports do not count
    start = time.process_time()
    values = contenders.ALL[name].run(case)
    return {"cpu_s": time.process_time() - start, "values": values, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    """Return the largest resident memory of this process."""
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: getrusage would report the parent's peak where that is higher
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return float(psutil.Process().memory_info().peak_wset) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _print_table(names: list[str], results: dict[str, dict[str, object]], case: scoring_cases.Case) -> None:
    def cpu(name: str) -> float:
        return float(str(results[name]["cpu_s"])) if name in results else math.nan

    limit = cpu("read limit")
    print(f"\n{'':32}{'CPU s':>9}{'x read limit':>14}{'x medpodium':>13}{'peak MB':>10}  computes")
    for name in names:
        if name not in results:
            print(f"{name:32}  not installed")
            continue
        own = results[name]
        print(f"{name:32}{cpu(name):9.3f}{cpu(name) / limit:14.1f}{own['factor']:13.2f}"
              f"{own['peak_mb']:10.0f}  {own['computes']} {own['versions']}")  # fmt: skip
    print(f"(both masks, uncompressed: {2 * case.mask_megabytes:.0f} MB)")


def _print_agreement(values: dict[str, contenders.Values]) -> dict[str, dict[str, Any]]:
    """Print and return the largest relative difference to each peer that shares a definition."""
    ours = values.get("medpodium", {})
    found: dict[str, dict[str, Any]] = {}
    print("\nlargest relative difference to medpodium (same definition)")
    for name, theirs in values.items():
        contender = contenders.ALL[name]
        if name == "medpodium" or not contender.same:
            continue
        worst: dict[str, float] = {}
        for label, scores in theirs.items():
            for metric, own_metric in contender.same.items():
                mine, other = ours[label][own_metric], scores[metric]
                both_undefined = math.isnan(mine) and math.isnan(other)
                gap = 0.0 if both_undefined else abs(mine - other) / max(abs(other), 1e-300) if mine != other else 0.0
                worst[metric] = max(worst.get(metric, 0.0), math.inf if math.isnan(gap) else gap)
        found[name] = {"agrees": max(worst.values()) <= contender.tolerance, "gaps": worst}
        verdict = "agrees" if found[name]["agrees"] else "DIFFERS"
        print(f"  {name:32}{verdict:9}" + ", ".join(f"{metric} {gap:.1e}" for metric, gap in worst.items()))
    return found


if __name__ == "__main__":
    sys.exit(main())
