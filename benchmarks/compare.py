"""Compare the speed of two versions of medpodium on this machine, in turn, and fail where one became slower.

    python benchmarks/compare.py BASE [CHANGE]                 # two folders (clones, worktrees); CHANGE is this one
    python benchmarks/compare.py base/ --limit 1.3 --rounds 9

Seconds say little on a shared machine, ratios of runs that take turns do. Each version has a process of its own that
compiles first and then measures whenever it is told to, so that a busy minute slows both alike. What counts is the
median over the rounds of change / base, in CPU time. The exit code is 1 where a piece of work exceeds the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent.parent


def main() -> int:
    """Run both versions in turn; the exit code is 1 if a piece of work became slower than the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path, help="folder of the version before")
    parser.add_argument("change", type=Path, nargs="?", default=HERE, help="folder of the version after")
    parser.add_argument("--limit", type=float, default=1.3, help="largest ratio of the medians")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        return _serve(Path(options.work))
    with tempfile.TemporaryDirectory() as folder:
        servers = [_start(path, Path(folder) / name) for name, path in (("0", options.base), ("1", options.change))]
        names = [json.loads(_line(server)) for server in servers]
        ratios: dict[str, list[float]] = {name: [] for name in names[0] if name in names[1]}
        seconds: dict[str, list[float]] = {name: [] for name in ratios}
        for number in range(options.rounds):
            for name, found in ratios.items():
                own = [0.0, 0.0]
                for which in (0, 1) if number % 2 else (1, 0):  # whoever comes second finds warm caches
                    own[which] = _ask(servers[which], name)
                found.append(own[1] / own[0])
                seconds[name].append(own[1])
        for server in servers:
            server.communicate("\n")
    slower = 0
    print(f"{'work':24}{'change / base':>14}{'lowest':>8}{'highest':>9}{'ms':>9}")
    for name, found in ratios.items():
        ratio = statistics.median(found)
        slower += ratio > options.limit
        verdict = f"  slower than {options.limit:g} times" if ratio > options.limit else ""
        figures = f"{ratio:14.2f}{min(found):8.2f}{max(found):9.2f}{1000 * statistics.median(seconds[name]):9.1f}"
        print(f"{name:24}{figures}{verdict}")
    return 1 if slower else 0


def _start(version: Path, place: Path) -> subprocess.Popen[str]:
    package = place / "medpodium"
    place.mkdir()
    package.symlink_to(version.resolve())
    paths = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": paths, "NUMBA_CACHE_DIR": ""}
    command = [sys.executable, str(Path(__file__).resolve()), str(version), "--work", str(package)]
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=place
    )


def _line(server: subprocess.Popen[str]) -> str:
    line = server.stdout.readline() if server.stdout else ""
    if not line:
        raise SystemExit("a version could not be measured; its error stands above")
    return line


def _ask(server: subprocess.Popen[str], name: str) -> float:
    if server.stdin is None:
        raise SystemExit("no way to ask")
    server.stdin.write(name + "\n")
    server.stdin.flush()
    return float(_line(server))


def _serve(package: Path) -> int:
    """Measure what is asked for on the standard input, one line each, until an empty one comes."""
    import medpodium

    if Path(medpodium.__file__).resolve().parent != package.resolve():
        print(f"{medpodium.__file__} is not the version in {package.resolve()}", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        works = _works(Path(folder))
        for work in works.values():
            work()
        print(json.dumps(list(works)), flush=True)
        for line in sys.stdin:
            if not line.strip():
                break
            start = time.process_time()
            works[line.strip()]()
            print(time.process_time() - start, flush=True)
    return 0


def _works(folder: Path) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name: the same functions for both versions, public ones where there are."""
    import nibabel

    from medpodium.scoring.measures.pair import ReferenceCase
    from medpodium.scoring.measures.surfaces import metrics as surface

    sys.path.insert(0, str(HERE / "benchmarks"))
    import scoring_cases

    truth = np.ascontiguousarray(scoring_cases.synthetic((192, 192, 96), 6).transpose(2, 1, 0))
    said = np.ascontiguousarray(np.roll(truth, (1, 2, 0), (0, 1, 2)))
    noise = np.random.default_rng(0).integers(0, 3, truth.shape).astype(np.uint8)
    for name, array in (("reference", truth), ("prediction", said)):
        image = nibabel.Nifti1Image(array.transpose(2, 1, 0), np.diag([0.8, 0.8, 2.0, 1.0]))
        nibabel.save(image, folder / f"{name}.nii.gz")

    def compared(prediction: np.ndarray, kind: str) -> None:
        structures = [frozenset({label}) for label in range(1, 7)]
        pair = ReferenceCase(truth, (2.0, 0.8, 0.8), structures).compare(prediction)
        for number in range(6):
            distances = getattr(pair, kind)(number)
            surface.nsd(distances, 2.0)
            surface.assd(distances)
            surface.percentile_weighted(distances, 95.0) if kind == "surfels" else surface.hausdorff(distances)

    def files() -> None:
        from medpodium.scoring.masks.reader import read_mask

        for name in ("reference", "prediction"):
            read_mask(folder / f"{name}.nii.gz")

    def several(work: Callable[[], None], times: int) -> Callable[[], None]:
        return lambda: [work() for _ in range(times)] and None

    return {
        "read two masks": several(files, 10),
        "surfels": several(lambda: compared(said, "surfels"), 5),
        "border voxels": several(lambda: compared(said, "borders"), 5),
        "noise": lambda: compared(noise, "surfels"),
    }


if __name__ == "__main__":
    sys.exit(main())
