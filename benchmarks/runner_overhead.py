"""What the runner costs over a bare ``docker run`` of the same image with the same limits, per case.

    python benchmarks/runner_overhead.py                      # 4 rounds of 3 cases of 512 x 512 x 100 voxels, 5 s each
    python benchmarks/runner_overhead.py --seconds 20 --rounds 2

Both do the same work in turn, some cases at a time, and who begins changes: bare is the printed ``docker run`` command
(the sandbox's flags, inputs and outputs mounted from folders that lie ready); runner is everything ``medpodium run``
does for a case, all bounds in force: verify the image, copy and hash the inputs, mount a file system for the outputs,
start under the filter of system calls, watch and measure, collect, check, rewrite and hash the outputs, write the
ledger, clear away. The first round is not counted. The share is of the bare run's whole wall time, in which the engine
starts and removes the container. The seconds depend on the size of the files and not on how long the method takes, so
that the share falls with that (0.2 s are 3 % of 6.7 s). Processor time is that of the processes on this side (with
their children), without the engine's. Needs a running engine and /bin/busybox (static).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

TARGET_SECONDS, TARGET_SHARE = 0.2, 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="rounds that count")
    parser.add_argument("--cases", type=int, default=3, help="cases per round")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the method takes")
    parser.add_argument("--shape", type=int, nargs=3, default=(100, 512, 512), help="voxels (z, y, x)")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="overhead-") as folder:
        result = measure(Path(folder), options.rounds, options.cases, options.seconds, tuple(options.shape))
    print(json.dumps(result) if options.json else table(result))
    sys.exit(0 if result["extra_s"] < TARGET_SECONDS and result["share"] < TARGET_SHARE else 1)


def helper():
    path = Path(__file__).resolve().parents[1] / "tests" / "containers" / "tiny.py"
    spec = importlib.util.spec_from_file_location("tiny", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def measure(folder: Path, rounds: int, each: int, seconds: float, shape: tuple[int, ...]) -> dict[str, float]:
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign.cases import build
    from medpodium.challenges.registry import load
    from medpodium.containers import athome
    from medpodium.containers.run.runner import Options, Runner
    from medpodium.containers.sandbox import engine

    tiny, client = helper(), engine.connect()
    limits = {"time": "10 min", "memory": "1 GiB", "output": "256 MiB", "file": "128 MiB"}
    loaded = load(tiny.challenge(folder, limits=limits))
    images = folder / "images"
    images.mkdir()
    # A label map as large as a scan, so that reading, checking and rewriting it costs what it costs in a challenge.
    axes = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    array = np.zeros(shape, np.uint8)
    for label, (z, y, x, radius) in enumerate(((0, 0.2, -0.3, 0.5), (0.1, -0.4, 0.3, 0.3)), start=1):
        array[(axes[0] - z) ** 2 + (axes[1] - y) ** 2 + (axes[2] - x) ** 2 < radius**2] = label
    count = (rounds + 1) * each
    for number in range(count):
        (images / f"case{number}_0000.nii.gz").write_bytes(tiny.nifti(array))
    manifest, _ = build(loaded.containers["default"], images)
    campaign = campaigns.create(folder / "campaign", loaded, manifest)
    script = tiny.archive(folder / "team.tar", f"sleep {seconds:g}; {tiny.GOOD}")
    submission, _ = athome.submit(client, campaign, str(script), "team", None)
    runner = Runner(client, campaign, Options(keep_images=True))
    bare, full = [], []

    def theirs(command: str, cases: list[str]) -> None:
        ready = [bare_words(command, folder / "bare", images, case) for case in cases]
        bare.append(timed(lambda: [subprocess.run(one, check=True, capture_output=True) for one in ready]))

    with runner.session():
        command = ""
        for number in range(rounds + 1):
            few = SomeCases(campaign, submission, each)
            if number % 2:
                theirs(command, few.cases)
            full.append(timed(lambda: runner.run([submission])))
            if not number % 2:
                command = json.loads(next(campaign.root.rglob("run.json")).read_text())["command"]
                theirs(command, few.cases)
            few.undo()
    inside = campaign.resources()["running_time"].dropna().median()
    campaign.close()
    bare_s, full_s = (statistics.median(wall for wall, _ in one[1:]) / each for one in (bare, full))
    bare_cpu, full_cpu = (statistics.median(cpu for _, cpu in one[1:]) / each for one in (bare, full))
    return {
        "cases": rounds * each,
        "bare_s": bare_s,
        "runner_s": full_s,
        "measured_running_time_s": float(inside),
        "extra_s": full_s - bare_s,
        "share": (full_s - bare_s) / bare_s,
        "bare_cpu_s": bare_cpu,
        "runner_cpu_s": full_cpu,
        "load": os.getloadavg()[0],
    }


def timed(action) -> tuple[float, float]:
    """Do something; return its wall time and the processor time of this process and its ended children, in s."""
    before, began = os.times(), time.perf_counter()
    action()
    ended, wall = os.times(), time.perf_counter() - began
    return wall, sum(ended[:4]) - sum(before[:4])


class SomeCases:
    """Let the runner see a few pending cases at a time, so that both ways alternate."""

    def __init__(self, campaign, submission, count: int) -> None:
        self._campaign, self._real = campaign, campaign.pending
        self.cases = sorted(campaign.pending(submission))[:count]
        campaign.pending = lambda one: [case for case in self.cases if case in self._real(one)]

    def undo(self) -> None:
        """Let it see all pending cases again."""
        self._campaign.pending = self._real


def bare_words(command: str, folder: Path, images: Path, case: str) -> list[str]:
    """Return the printed command with folders of our own, which are made ready."""
    source, target = folder / case / "in", folder / case / "out"
    for path in (source, target):
        path.mkdir(parents=True)
        path.chmod(0o777)
    name = f"{case}_0000.nii.gz"
    (source / name).write_bytes((images / name).read_bytes())
    (source / name).chmod(0o644)
    words = []
    for word in shlex.split(command)[3:]:
        if word.startswith("--mount=") and ",target=/input" in word:
            word = f"--mount=type=bind,source={source},target=/input,readonly"
        elif word.startswith("--mount="):
            word = f"--mount=type=bind,source={target},target=/output"
        words.append(word)
    return words


def table(result: dict[str, float]) -> str:
    lines = [
        f"bare docker run      {result['bare_s']:8.3f} s per case (median of {result['cases']:.0f})",
        f"medpodium run        {result['runner_s']:8.3f} s per case, of which measured running time "
        f"{result['measured_running_time_s']:.3f} s",
        f"overhead             {result['extra_s']:8.3f} s, {100 * result['share']:.1f} %"
        f"   (target: under {TARGET_SECONDS} s and {100 * TARGET_SHARE:.0f} %)",
        f"processor time       {result['bare_cpu_s']:8.3f} s bare, {result['runner_cpu_s']:.3f} s runner; "
        f"load of the machine {result['load']:.1f}",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
