"""Measure a question-answer benchmark of many models: scoring replies, ranking with full evidence, the report.

Run: python benchmarks/answers.py                        # 50 models, 21,281 questions, 1,000 resamples
     python benchmarks/answers.py --pooled               # with macro F1, calibration shift and ECE, too
     python benchmarks/answers.py --profile rank         # where one step spends its time

Every step is a process of its own; CPU seconds (user and system) and the largest resident memory of the process.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

STYLES = ("{}", "{}.", "**{}**", "The answer is {}.", "A shadow is seen in the left part, so I would choose {}.")
LEVELS = {"modality": 12, "clinical_vqa_task": 18, "department": 18, "perceptual_granularity": 4}
POOLED = """extends: gmai-mmbench
name: gmai-pooled
tasks:
  vqa:
    confidence: given
    metrics:
      f1: {kind: macro_f1, ranked: false}
      shift: {kind: calibration_shift, ranked: false}
      ece: {kind: ece, ranked: false}
"""


def make(folder: Path, models: int, questions: int, seed: int = 0) -> dict[str, Path]:
    """Write a key and a table of replies of every model; return the tables."""
    rng = np.random.default_rng(seed)
    names = np.arange(questions)
    key = pd.DataFrame({"index": names})
    key["question"] = [f"Which of these is seen in picture {at}, {rng.integers(1e9)}?" for at in names]
    for letter in "ABCDE":
        key[letter] = [f"{letter.lower()} finding {at} {rng.integers(1e6)}" for at in names]
    key["answer"] = rng.choice(list("ABCDE"), questions)
    for name, number in LEVELS.items():
        key[name] = [f"{name} {level:02d}" for level in rng.zipf(1.6, questions) % number]
    key["weight"] = 1
    key.to_csv(folder / "key.tsv", sep="\t", index=False)
    hardness = rng.normal(0, 1, questions)
    tables = {}
    for model in range(models):
        right = rng.random(questions) < 1 / (1 + np.exp(hardness - model / models))
        said = np.where(right, key["answer"], rng.choice(list("ABCDE"), questions))
        style = rng.integers(0, len(STYLES), questions)
        replies = [STYLES[own].format(letter) for own, letter in zip(style, said, strict=True)]
        path = folder / f"model-{model:02d}.tsv"
        sure = rng.random(questions).round(2)
        pd.DataFrame({"index": names, "prediction": replies, "confidence": sure}).to_csv(path, sep="\t", index=False)
        tables[path.stem] = path
    return tables


def watch(command: list[str]) -> tuple[float, float, float]:
    """Run a command; return wall seconds, CPU seconds and the largest resident memory of the process in MiB."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{' '.join(command[:6])} ... ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - begin, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def main() -> None:
    """Print what every step costs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=int, default=50)
    parser.add_argument("--questions", type=int, default=21_281)
    parser.add_argument("--bootstrap", type=int, default=1000)
    parser.add_argument("--formats", default="html")
    parser.add_argument("--pooled", action="store_true", help="three metrics over all questions, too")
    parser.add_argument("--profile", choices=("score", "rank", "report", "stored"))
    parser.add_argument("--keep", type=Path, help="folder for everything that is made; it is kept and used again")
    parser.add_argument(
        "--steps", default="score,rank,report,stored", help="stored: a report that takes the evidence of rank"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="medpodium-") as name:
        folder = options.keep or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        tables = {path.stem: path for path in sorted(folder.glob("model-*.tsv"))}
        tables = tables or make(folder, options.models, options.questions)
        challenge = "gmai-mmbench"
        if options.pooled:
            challenge = str(folder / "pooled.yaml")
            Path(challenge).write_text(POOLED, encoding="utf-8")
        scores = folder / ("pooled.parquet" if options.pooled else "scores.parquet")
        given = [part for model, path in tables.items() for part in ("--predictions", f"{model}={path}")]
        draws = ["--bootstrap", str(options.bootstrap)]
        boards = ["--out", f"{folder}/board.csv", "--evidence", f"{folder}/evidence"]
        formats = ["--formats", options.formats]
        steps = {
            "score": ["score", challenge, "--references", str(folder / "key.tsv"), *given, "--out", str(scores)],
            "rank": ["rank", challenge, str(scores), *draws, *boards],
            "report": ["report", challenge, str(scores), *draws, *formats, "--out", f"{folder}/report"],
            "stored": ["report", challenge, str(scores), *draws, *formats, "--out", f"{folder}/again", *boards[2:]],
        }
        for step in options.steps.split(","):
            module = ["-m", "medpodium.cli"]
            if options.profile == step:
                module = ["-m", "cProfile", "-o", f"{folder}/{step}.prof", *module]
            wall, cpu, peak = watch([sys.executable, *module, *steps[step]])
            print(f"{step}: {cpu:.1f} CPU s, {wall:.1f} s, {peak:.0f} MiB", flush=True)


if __name__ == "__main__":
    main()
