"""What cases take is imported and loaded before the first of them, so that all threads begin at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
import SimpleITK

from medpodium.challenges import registry
from medpodium.challenges.schema.definition import SegmentationTask
from medpodium.scoring.kinds.caseflow import told
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.scheduling.scheduler import LocalScheduler, Needs

CHALLENGE = """
schema: 1
name: set
title: Set
tasks:
  organs:
    files: {reference: "{case}.nii.gz", prediction: "{case}.nii.gz"}
    empty: {both: skip, reference: skip, prediction: worst}
    structures: {liver: {label: 1}, spleen: {label: 2}, both: {union: [1, 2]}}
    metrics:
      dice: {kind: dice}
      nsd: {kind: nsd, tolerance_mm: 1}
      hd95: {kind: hd_percentile, worst: diagonal}
      euler: {kind: euler_error, worst: 10}
      lesions: {kind: lesion_f1}
recipes:
  main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}
ranking: {organs: main}
"""
ALONE = """
import sys
from pathlib import Path
from numba.core.caching import FunctionCache
from medpodium.challenges import registry
from medpodium.scoring.kinds.caseflow import told
from medpodium.scoring.kinds.lookup import of
from medpodium.scoring.kinds.protocol import CaseJob

found, load = [], FunctionCache._load_overload
def told(self, *args):
    found.append(self._name)
    return load(self, *args)
FunctionCache._load_overload = told
task = registry.load(sys.argv[1]).tasks["organs"]
kind = of(task)
assert kind.prepare(task) and found
found.clear()
before = set(sys.modules)
job = CaseJob("case", Path(sys.argv[2]), {"team": Path(sys.argv[3])}, task)
assert not kind.check_reference(job).findings
assert {row.status for row in kind.score_case(job).rows} == {"ok"}
assert not found, found
assert not (new := set(sys.modules) - before), new
"""


def tasks() -> list[SegmentationTask]:
    """Return the segmentations of every edition and variant that is built in."""
    found = []
    for name in registry.names():
        source = registry.locate(name)[0]
        for edition in source.editions or [None]:
            for variant in [None, *source.variants]:
                own = registry.resolve(source, edition, variant).tasks.values()
                found += [task for task in own if isinstance(task, SegmentationTask)]
    return found


def test_every_segmentation_can_be_prepared() -> None:
    assert len(tasks()) > 10
    for task in tasks():
        of(task).prepare(task)


@pytest.mark.parametrize("labels", [(1, 2), (300, 70)])
def test_a_case_after_it_loads_nothing_more(tmp_path: Path, labels: tuple[int, int]) -> None:
    text = CHALLENGE.replace("label: 1", f"label: {labels[0]}").replace("label: 2", f"label: {labels[1]}")
    (tmp_path / "set.yaml").write_text(text.replace("[1, 2]", str(list(labels))), encoding="utf-8")
    volume = np.zeros((20, 50, 60), np.uint8 if max(labels) < 256 else np.uint16)
    volume[3:9, 5:30, 4:50] = labels[0]
    volume[12:18, 10:40, 8:33] = labels[1]
    for name, array in (("truth", volume), ("answer", np.roll(volume, 2, axis=2))):
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(array), tmp_path / f"{name}.nii.gz")
    arguments = [str(tmp_path / name) for name in ("set.yaml", "truth.nii.gz", "answer.nii.gz")]
    done = subprocess.run([sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


COMMAND = """
import sys
from medpodium.cli import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print("\\nended", end.code or 0, "numba" in sys.modules, "pandas" in sys.modules)
"""


def _command(folder: Path, cases: int, workers: str) -> list[str]:
    """Write a set of cases and return the command that scores it in that folder."""
    (folder / "set.yaml").write_text(CHALLENGE.replace("lesions: {kind: lesion_f1}", ""), encoding="utf-8")
    volume = np.zeros((20, 50, 60), np.uint8)
    volume[3:9, 5:30, 4:50] = 1
    volume[12:18, 10:40, 8:33] = 2
    for name, shift in (("truth", 0), ("team", 2)):
        (folder / name).mkdir()
        for case in range(cases):
            image = SimpleITK.GetImageFromArray(np.roll(volume, (case, shift), axis=(1, 2)))  # no two alike
            SimpleITK.WriteImage(image, folder / name / f"{case}.nii.gz")
    arguments = ["score", "set.yaml", "--references", "truth", "--predictions", "team=team", "--out", "scores.csv"]
    return [sys.executable, "-c", COMMAND, *arguments, "--workers", workers]


@pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")
@pytest.mark.parametrize("cases", [1, 3])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_command_leaves_loops_and_their_compiler_to_its_deputy(tmp_path: Path, cases: int, workers: str) -> None:
    """It reads tables meanwhile; neither waits for the other. (One processor would do one after the other.)"""
    command = _command(tmp_path, cases, workers)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    several = len(os.sched_getaffinity(0)) > 1
    assert done.stdout.splitlines()[-1] == f"ended 0 {not several} True", done.stdout + done.stderr
    scores = pd.read_csv(tmp_path / "scores.csv")
    assert set(scores["status"]) == {"ok"}
    assert scores["case"].nunique() == cases


@pytest.mark.skipif(sys.platform != "linux", reason="processes are copied on Linux only")
@pytest.mark.parametrize("later_s", [0.02, 0.1, 0.3])
def test_an_interrupted_command_ends_at_once_and_its_deputy_with_it(tmp_path: Path, later_s: float) -> None:
    """A terminal sends Ctrl-C to all of them: the command answers, the others do not fill the screen."""
    command = _command(tmp_path, 3, "2")
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as running:
        own = psutil.Process(running.pid)
        until = time.monotonic() + 60
        while not (below := own.children(recursive=True)) and running.poll() is None and time.monotonic() < until:
            pass  # as soon as there is one
        time.sleep(later_s)
        os.killpg(running.pid, signal.SIGINT)
        said, _ = running.communicate(timeout=60)
    assert below
    assert "ended 130" in said, said
    assert said.count("Interrupted") == 1
    assert "Traceback" not in said
    _, left = psutil.wait_procs(below, timeout=30)
    assert not left
    assert not (tmp_path / "scores.csv").exists()


def test_prepared_threads_begin_at_once() -> None:
    both = threading.Barrier(2, timeout=60)
    asked: list[int] = []

    def prepare() -> bool:
        asked.append(1)
        return True

    found = list(LocalScheduler(2).run(lambda _: both.wait(), range(2), Needs(prepare=prepare)))
    assert sorted(item.index for item in found) == [0, 1]
    assert not any(item.error for item in found)
    assert asked == [1]


@pytest.mark.parametrize("prepare", [None, lambda: False, lambda: 1 / 0])
def test_what_cannot_be_prepared_leaves_it_to_the_first_job(prepare: object) -> None:
    running: list[int] = []

    def job(number: int) -> int:
        running.append(number)
        return len(running)

    first = next(iter(LocalScheduler(2).run(job, range(3), Needs(prepare=prepare))))  # type: ignore[arg-type]
    assert (first.index, first.result) == (0, 1)


def test_one_thread_needs_no_preparing() -> None:
    def prepare() -> bool:
        raise AssertionError

    for workers, jobs in ((1, 3), (2, 1)):
        found = list(LocalScheduler(workers).run(str, range(jobs), Needs(prepare=prepare)))
        assert [item.result for item in found] == [str(number) for number in range(jobs)]


def test_progress_is_told_before_the_first_case_and_after_every_one() -> None:
    said: list[object] = []
    for done in told(iter("ab"), 2, lambda *numbers: said.append(numbers)):
        said.append(done)
    assert said == [(0, 2), "a", (1, 2), "b", (2, 2)]
    assert list(told("ab", 2, None)) == ["a", "b"]
