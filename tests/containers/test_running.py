"""Protocols, measurement, diagnosis and checks at home, with real containers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medpodium.challenges import registry
from medpodium.containers import athome

pytestmark = pytest.mark.docker


def test_whole_set_with_metadata_and_a_table(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    """One run over all cases: a table for the container, a table back with the real names."""
    mount = {
        "path": "/input",
        "files": [{"source": "{case}_0000.nii.gz", "target": "Vendor/{case}/GED4.nii.gz", "role": "GED4"}],
        "metadata": [{"target": "info.csv", "columns": {"Case": "{case}", "Missing": "{missing}"}}],
    }
    campaign = tiny.campaign(
        tmp_path,
        count=3,
        per="set",
        pseudonym="{token}",
        mounts=[mount, {"path": "/output", "kind": "output"}],
        outputs=[
            {"name": "seg/{case}/GED4_pred.nii.gz", "stored_as": "{case}.nii.gz"},
            {"name": "out.csv", "kind": "table"},
        ],
    )
    script = (
        "cp /input/info.csv /output/out.csv; cd /input/Vendor; n=0; "
        "for c in *; do n=$((n+1)); mkdir -p /output/seg/$c; "
        "[ $n -lt 3 ] && cp $c/GED4.nii.gz /output/seg/$c/GED4_pred.nii.gz; done; true"
    )
    tiny.run(docker_engine, campaign, {"team": tiny.archive(tmp_path / "team.tar", script)})
    folder = campaign.predictions_dirs()["team"]
    assert len(list(folder.glob("case*.nii.gz"))) == 2
    lines = (folder / "out.csv").read_text().splitlines()
    assert lines[0] == "Case,Missing"
    assert sorted(line.partition(",")[0] for line in lines[1:]) == ["case1", "case2", "case3"]
    failures = campaign.failures()
    assert len(failures) == 1
    assert {str(one.code) for one in failures.values()} == {"missing-output"}
    table = campaign.resources()
    assert list(table["case"]) == [""]
    assert campaign.pending(campaign.submissions()[0]) == []
    campaign.close()


def test_metadata_document_of_a_case(tiny: Any, tmp_path: Path) -> None:
    """FeTA's meta.json: keys as published, numbers as numbers."""
    from medpodium.challenges.campaign.cases import build
    from medpodium.challenges.registry import load
    from medpodium.containers.sandbox import stage

    meta = [{"target": "meta.json", "content": {"Pathology": "{pathology}", "Gestational age": "{gestational_age}"}}]
    mounts = [
        {"path": "/input_img", "files": [{"source": "{case}_0000.nii.gz", "target": "anat/{case}_T2w.nii.gz"}]},
        {"path": "/input_meta", "metadata": meta},
        {"path": "/output", "kind": "output"},
    ]
    protocol = load(tiny.challenge(tmp_path, mounts=mounts)).containers["default"]
    images, _ = tiny.cases(tmp_path, 1)
    groups = {"case1": {"Pathology": "Neurotypical", "Gestational age": "27.5"}}
    manifest, _ = build(protocol, images, None, [], groups)
    cases = list(manifest.cases)
    staged = stage.prepare(tmp_path / "run", protocol, manifest, cases, {"case1": "sub-1"}, "65534:65534")
    found = json.loads((staged.root / "m1" / "meta.json").read_text())
    assert found == {"Pathology": "Neurotypical", "Gestational age": 27.5}
    assert (staged.root / "m0" / "anat" / "sub-1_T2w.nii.gz").is_file()


def test_resources_are_those_of_the_container(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    """A program that holds 30 MB and computes for a second is measured as such, and its curve is kept."""
    import pyarrow.parquet as pq

    script = (
        f"x=$(head -c 15000000 /dev/zero | tr '\\0' a); n=0; while [ $n -lt 300000 ]; do n=$((n+1)); done; {tiny.GOOD}"
    )
    campaign = tiny.campaign(tmp_path, count=1, ready_line="READY")
    tiny.run(docker_engine, campaign, {"team": tiny.archive(tmp_path / "team.tar", script)})
    row = campaign.resources().iloc[0]
    assert row["status"] == "ok"
    assert 15 < row["peak_memory"] < 64
    assert row["mean_memory"] <= row["peak_memory"]
    assert 0.05 < row["cpu_time"] <= row["running_time"] * 1.1
    assert row["startup_time"] + row["inference_time"] == pytest.approx(row["running_time"], abs=0.05)
    assert row["gpu"] == "no GPU"
    curve = pq.read_table(next(campaign.root.rglob("curve.parquet")))
    assert curve.num_rows > 3
    times = curve["time"].to_pylist()
    assert times == sorted(times)
    campaign.close()


def test_ready_line_splits_start_up_from_inference(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    campaign = tiny.campaign(tmp_path, count=1, ready_line="model is ready")
    script = f"sleep 1; echo model is ready; sleep 0.5; {tiny.GOOD}"
    tiny.run(docker_engine, campaign, {"team": tiny.archive(tmp_path / "team.tar", script)})
    row = campaign.resources().iloc[0]
    assert row["startup_time"] > 1.0
    assert 0.4 < row["inference_time"] < row["running_time"] - 1.0
    campaign.close()


def test_exit_code_policy_keep_takes_complete_outputs(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    campaign = tiny.campaign(tmp_path, count=1, nonzero_exit="keep")
    archives = {
        "complete": tiny.archive(tmp_path / "complete.tar", tiny.GOOD + "\nexit 5"),
        "nothing": tiny.archive(tmp_path / "nothing.tar", "exit 5"),
    }
    tiny.run(docker_engine, campaign, archives)
    table = campaign.resources().set_index("submission")
    assert table.loc["complete", "status"] == "ok"
    assert table.loc["nothing", "status"] == "failed:crash"
    campaign.close()


def test_case_order_differs_between_submissions_and_stays_on_resume(tiny: Any, tmp_path: Path) -> None:
    from medpodium.challenges.registry import load
    from medpodium.containers.sandbox.stage import case_order, pseudonyms

    protocol = load(tiny.challenge(tmp_path, pseudonym="{uuid}")).containers["default"]
    names = [f"case{number}" for number in range(50)]
    one, two = (case_order(names, protocol, "secret", digest) for digest in ("sha256:a", "sha256:b"))
    assert one != two
    assert sorted(one) == sorted(two) == sorted(names)
    assert one == case_order(list(reversed(names)), protocol, "secret", "sha256:a")
    from medpodium.challenges.campaign.cases import Case

    cases = [Case(name, {}) for name in names]
    first = pseudonyms(protocol, cases, "secret", "sha256:a")
    assert len(set(first.values())) == 50
    assert set(first.values()).isdisjoint(pseudonyms(protocol, cases, "secret", "sha256:b").values())


@pytest.mark.parametrize(
    ("script", "code", "word"),
    [
        (
            "echo 'RuntimeError: unable to write to file </torch_1_2>, insufficient shared memory'; exit 1",
            "shm-too-small",
            "num_workers",
        ),
        ("echo x > /bin/cache; exit 1", "writes-outside-output", "read-only"),
        ("nc -w 1 1.2.3.4 80 < /dev/null || exit 1", "network-used", "image"),
        ("echo 'torch.cuda.OutOfMemoryError: CUDA out of memory.'; exit 1", "gpu-oom", "patch"),
    ],
)
def test_verdict_names_cause_and_fix(
    script: str, code: str, word: str, tiny: Any, docker_engine: Any, tmp_path: Path
) -> None:
    from medpodium.challenges.registry import load
    from medpodium.containers.athome import check_image

    images, _ = tiny.cases(tmp_path, 1)
    loaded = load(tiny.challenge(tmp_path))
    verdict = check_image(docker_engine, loaded, str(tiny.archive(tmp_path / "team.tar", script)), images)
    assert not verdict.passed
    found = {str(one.code): one for one in verdict.findings}
    assert "crash" in found
    assert word in found[code].fix


def test_check_image_scores_and_tells_a_wrong_grid(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    from medpodium.challenges.registry import load
    from medpodium.containers.athome import check_image

    images, references = tiny.cases(tmp_path, 1)
    wrong = tiny.archive(
        tmp_path / "wrong.tar",
        "cp /p.nii.gz /output/case1.nii.gz",
        files={"p.nii.gz": tiny.nifti(tiny.mask(0), (1.0, 1.0, 4.0))},
    )
    loaded = load(tiny.challenge(tmp_path))
    verdict = check_image(docker_engine, loaded, str(wrong), images, references)
    assert not verdict.passed
    assert "geometry-spacing-differs" in {str(one.code) for one in verdict.findings}
    good = check_image(
        docker_engine, loaded, str(tiny.archive(tmp_path / "good.tar")), images, references, keep=tmp_path / "kept"
    )
    assert good.passed, good.findings
    assert good.scores is not None
    assert set(good.scores["value"]) == {1.0}
    assert next((tmp_path / "kept").rglob("log.txt"))


def test_cascade_mounts_the_first_image_s_predictions(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    from medpodium.challenges.campaign import folder as campaigns
    from medpodium.challenges.campaign.cases import build
    from medpodium.challenges.registry import load
    from medpodium.containers import athome
    from medpodium.containers.run.runner import Runner

    data = json.loads(json.dumps(tiny.CHALLENGE))
    first = data["containers"].pop("default")
    second = json.loads(json.dumps(first))
    second["mounts"].append({"path": "/segmentation", "kind": "cascade", "task": "first"})
    data["containers"] = {"first": first, "second": second}
    data["tasks"]["segmentation"]["container"] = "first"
    data["tasks"]["refined"] = data["tasks"]["segmentation"] | {"container": "second"}
    data["ranking"]["refined"] = "mean"
    (tmp_path / "challenge.yaml").write_text(json.dumps(data))
    loaded = load(tmp_path / "challenge.yaml")
    images, references = tiny.cases(tmp_path, 2)
    manifest, _ = build(loaded.containers["first"], images, references, ["{case}.nii.gz"])
    campaign = campaigns.create(tmp_path / "campaign", loaded, manifest)
    copy = "for f in /segmentation/*; do cp $f /output/; done"
    later = athome.submit(docker_engine, campaign, str(tiny.archive(tmp_path / "b.tar", copy)), "team", "second")[0]
    early = athome.submit(docker_engine, campaign, str(tiny.archive(tmp_path / "a.tar")), "team", "first")[0]
    runner = Runner(docker_engine, campaign)
    with runner.session():
        runner.run([later, early])
    assert set(campaign.resources()["status"]) == {"ok"}
    assert campaign.predictions_dirs("refined")["team"] != campaign.predictions_dirs("segmentation")["team"]
    assert len(list(campaign.predictions_dirs("refined")["team"].iterdir())) == 2
    campaign.close()


def test_warm_up_runs_are_made_once_and_discarded(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    import time

    campaign = tiny.campaign(tmp_path, count=2, warm_up=1)
    since = time.time() - 1
    tiny.run(docker_engine, campaign, {"team": tiny.archive(tmp_path / "team.tar")})
    filters = {"event": "start", "label": f"medpodium.campaign={campaign.secret[:16]}"}
    events = list(docker_engine.events(since=since, until=time.time() + 1, decode=True, filters=filters))
    assert len(events) == 3
    assert list(campaign.resources()["attempts"]) == [1, 1]
    assert len(list(campaign.root.rglob("run.json"))) == 2
    campaign.close()


def test_checking_a_local_image_leaves_it_as_it_was(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    images, references = tiny.cases(tmp_path, 1)
    with tiny.archive(tmp_path / "local.tar", f"{tiny.GOOD}; : local").open("rb") as stream:
        (loaded,) = docker_engine.images.load(stream)
    loaded.tag("mine", "1")
    loaded.reload()
    before = sorted(loaded.tags)
    try:
        challenge = registry.load(tiny.challenge(tmp_path))
        verdict = athome.check_image(docker_engine, challenge, "mine:1", images, references)
        assert verdict.passed
        loaded.reload()
        assert sorted(loaded.tags) == before
    finally:
        docker_engine.images.remove(loaded.id, force=True)


def test_check_image_on_the_command_line(tiny: Any, docker_engine: Any, tmp_path: Path) -> None:
    images, references = tiny.cases(tmp_path, 1)
    words = [sys.executable, "-m", "medpodium.cli", "check", "image", str(tiny.challenge(tmp_path))]
    folders = ["--cases", str(images), "--references", str(references)]
    good = [*words, str(tiny.archive(tmp_path / "good.tar")), *folders]
    done = subprocess.run([*good, "--json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["passed"] is True
    assert {row["value"] for row in answer["scores"]} == {1.0}
    bad = [*words, str(tiny.archive(tmp_path / "bad.tar", "echo x > /etc/cache; exit 1")), *folders]
    done = subprocess.run(bad, capture_output=True, text=True)
    assert done.returncode == 1
    assert "FAIL" in done.stdout
    assert "docker run --rm --network=none" in done.stdout
    assert "fix:" in done.stderr
