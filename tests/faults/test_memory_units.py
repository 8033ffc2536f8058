"""Memory is compared in the unit that the rules mean: FLARE's tolerance and penalties are multiples of 1024.

FLARE 2022's page takes ``max(0, measured - 2048)`` and charges a stuck container 3600 x (1024 x 10 - 2048); its monitor
reads what NVML calls MB, 2**20 bytes (JunMa11/FLARE, ``Efficiency.py``).
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import SimpleITK
from click.testing import CliRunner

from medpodium.cli import main

MIB = 2**20
SECONDS = 10.0


def invoke(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exit_code == 0, result.output
    return result.output


def campaign_of(tmp_path: Path, edition: str, held_bytes: float) -> Path:
    """Make a campaign in which one container held this much graphics memory for ten seconds."""
    from medpodium.challenges import campaign as campaigns

    with suppress(ImportError):  # a module of its own since
        from medpodium.challenges.campaign import folder as campaigns

    (tmp_path / "images").mkdir()
    (tmp_path / "labels").mkdir()
    labels = np.zeros((4, 8, 8), np.uint8)
    labels[1:3, 2:6, 2:6] = 1
    image = SimpleITK.GetImageFromArray(labels)
    SimpleITK.WriteImage(image, str(tmp_path / "labels/a.nii.gz"))
    SimpleITK.WriteImage(image, str(tmp_path / "images/a_0000.nii.gz"))
    root = tmp_path / "campaign"
    invoke(
        "init", f"flare-pancancer/{edition}", root, "--cases", tmp_path / "images", "--references", tmp_path / "labels"
    )
    campaign = campaigns.open(root)
    campaign.ledger.add_submission("aurora", "default", "sha256:a", {})
    (submission,) = campaign.submissions()
    attempt = campaign.ledger.start(submission.id, "a", campaign.keys(submission)["a"])
    times = np.linspace(0.0, SECONDS, 101)
    held = np.full(times.size, float(held_bytes))
    resources = {
        "running_time": SECONDS,
        "cpu_time": SECONDS,
        "peak_gpu_memory": held_bytes / 1e6,
        "gpu_memory_area": held_bytes / 1e6 * SECONDS,
    }
    campaign.ledger.finish(attempt, "done", detail={"resources": resources, "attempt": attempt})
    curve = campaign.runs_dir(submission) / "a" / f"{attempt:06d}" / "curve.parquet"
    curve.parent.mkdir(parents=True)
    columns = {"time": times, "memory": held, "cpu": times, "gpu_memory": held, "gpu_device": held}
    pq.write_table(pa.table({name: pa.array(value, pa.float64()) for name, value in columns.items()}), curve)
    campaign.close()
    return root


@pytest.mark.parametrize(
    ("edition", "held_mib", "area", "peak"),
    [
        ("2023", 4096, 0.0, 4096.0),
        ("2023", 4095, 0.0, 4095.0),
        ("2023", 5120, 10240.0, 5120.0),
        ("2022", 2048, 0.0, 2048.0),
        ("2022", 10240, 81920.0, 10240.0),  # FLARE 2022's own (1024 x 10 - 2048), for ten seconds
    ],
)
def test_container_that_holds_what_is_free_costs_nothing(
    tmp_path: Path, edition: str, held_mib: float, area: float, peak: float
) -> None:
    root = campaign_of(tmp_path, edition, held_mib * MIB)
    CliRunner().invoke(main, ["score", str(root), "--out", str(tmp_path / "scores.csv")])
    scores = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False).set_index("metric")["value"].astype(float)
    assert scores["gpu_memory_area"] == pytest.approx(area, rel=1e-12)
    if "peak_gpu_memory" in scores:
        assert scores["peak_gpu_memory"] == pytest.approx(peak, rel=1e-12)


@pytest.mark.parametrize("edition", ["2022", "2023", "2024-task1"])
def test_definition_says_mebibytes_wherever_it_says_memory(edition: str) -> None:
    told = invoke("show", f"flare-pancancer/{edition}")
    assert "MiB s" in told
    assert " MB" not in told


def test_unit_of_a_measured_metric_converts_and_is_no_mere_label(tmp_path: Path) -> None:
    text = """
schema: 1
name: mine
title: Mine
tasks:
  seg:
    empty: {both: skip, reference: skip, prediction: worst}
    structures: {a: {label: 1}}
    metrics: {dice: {kind: dice}, peak: {kind: peak_memory, unit: furlongs, missing: 9}}
recipes:
  main: {steps: [{mean: [case, structure]}, {rank: {within: metric}}, {mean: metric}, rank]}
ranking: {seg: main}
"""
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(main, ["lint", str(tmp_path / "c.yaml")])
    assert result.exit_code == 1, result.output
    assert "MB, GB, MiB, GiB" in result.output
