"""Score one case with medpodium and with its peers, side by side: CPU time, peak memory, and whether values agree.

    python benchmarks/scoring.py                       # the AMOS case if it is there, else the synthetic one
    python benchmarks/scoring.py --case synthetic      # 512 x 512 x 300 voxels, 14 structures
    python benchmarks/scoring.py --peers medpodium "read limit" --repeats 15

Every contender starts from the two files. The quick ones run several rounds in turn (so that a busy machine slows
all alike) and their median counts; the slow ones run once. Memory is the peak of a fresh process that does nothing
else. ``read limit`` reads both files and does nothing: nobody who starts from files can be faster.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import contenders
import scoring_cases

COMPARED = ("dice", "nsd", "hd95", "assd", "hd")


def main() -> int:
    """Run the benchmark; the exit code is 1 if values that should agree do not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=["amos", "synthetic"], help="which case (default: amos where present)")
    parser.add_argument("--repeats", type=int, default=7, help="rounds of the quick contenders")
    parser.add_argument("--peers", nargs="+", choices=list(contenders.ALL), help="only these contenders")
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
    runnable = [name for name in names if _installed(name)]
    values = {name: contenders.ALL[name].run(case) for name in runnable if contenders.ALL[name].quick}  # warms up
    seconds: dict[str, list[float]] = {name: [] for name in runnable}
    for _ in range(options.repeats):
        for name in values:
            seconds[name].append(_timed(name, case)[0])
    for name in runnable:
        if not contenders.ALL[name].quick:
            print(f"running {name} ...", file=sys.stderr, flush=True)
            spent, values[name] = _timed(name, case)
            seconds[name].append(spent)
    memory = {name: math.nan if options.no_memory else _memory(name, folder) for name in runnable}
    results = {
        name: {
            "cpu_s": statistics.median(seconds[name]),
            "peak_mb": memory[name],
            "computes": contenders.ALL[name].what,
        }
        for name in runnable
    }
    _print_table(names, results, case)
    failures = _print_agreement(values)
    if options.json:
        options.json.write_text(json.dumps({"case": case.name, "results": results, "values": values}, indent=1))
    return 1 if failures else 0


def _installed(name: str) -> bool:
    return all(importlib.util.find_spec(module) is not None for module in contenders.ALL[name].needs)


def _timed(name: str, case: scoring_cases.Case) -> tuple[float, contenders.Values]:
    start = time.process_time()
    values = contenders.ALL[name].run(case)
    return time.process_time() - start, values


def _memory(name: str, folder: Path) -> float:
    command = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mb"])


def _alone(name: str, folder: Path) -> dict[str, float]:
    """Run one contender in this fresh process and report its peak memory."""
    case = scoring_cases.load(folder)
    contenders.ALL[name].run(case)
    status = Path("/proc/self/status")
    if status.is_file():  # Linux: getrusage would report the parent's peak where that is higher
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return {"peak_mb": int(line.split()[1]) * 1024 / 1e6}
    try:
        import resource
    except ImportError:  # Windows
        import psutil

        return {"peak_mb": psutil.Process().memory_info().peak_wset / 1e6}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_mb": peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6}


def _print_table(names: list[str], results: dict[str, dict[str, object]], case: scoring_cases.Case) -> None:
    def cpu(name: str) -> float:
        return float(str(results[name]["cpu_s"])) if name in results else math.nan

    print(f"\n{'':32}{'CPU s':>9}{'x read limit':>14}{'medpodium is':>15}{'peak MB':>10}  computes")
    for name in names:
        if name not in results:
            print(f"{name:32}  not installed")
            continue
        faster = f"{cpu(name) / cpu('medpodium'):.1f}x faster" if name != "medpodium" else ""
        print(f"{name:32}{cpu(name):9.3f}{cpu(name) / cpu('read limit'):14.1f}{faster:>15}"
              f"{results[name]['peak_mb']:10.0f}  {results[name]['computes']}")  # fmt: skip
    print(f"(both masks, uncompressed: {2 * case.mask_megabytes:.0f} MB)")


def _print_agreement(values: dict[str, contenders.Values]) -> int:
    """Print the largest relative difference to each peer that shares a definition; count those beyond 1e-9."""
    ours = values.get("medpodium", {})
    failures = 0
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
        verdict = "agrees" if max(worst.values()) <= contender.tolerance else "DIFFERS"
        failures += verdict == "DIFFERS"
        print(f"  {name:32}{verdict:9}" + ", ".join(f"{metric} {gap:.1e}" for metric, gap in worst.items()))
    return failures


if __name__ == "__main__":
    sys.exit(main())
