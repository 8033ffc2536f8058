"""Every family's container protocol finds its cases and shows a container what the challenge promises."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from medpodium.challenges import registry
from medpodium.challenges.campaign import cases as case_files
from medpodium.challenges.schema.protocol import ContainerProtocol
from medpodium.containers import athome
from medpodium.containers.sandbox import stage

pytestmark = pytest.mark.usefixtures("posix")


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def staged(
    tmp_path: Path,
    protocol: ContainerProtocol,
    hidden: Path,
    groups: dict[str, dict[str, str]] | None = None,
    only: str | None = None,
) -> tuple[stage.Stage, dict[str, Path]]:
    manifest, findings = case_files.build(protocol, hidden, groups=groups)
    assert findings == []
    chosen = [case for case in manifest.cases if only in (None, case.id)]
    names = stage.pseudonyms(protocol, chosen, "secret", "digest")
    user = f"{os.getuid()}:{os.getgid()}"
    made = stage.prepare(tmp_path / "run", protocol, manifest, chosen, names, user)
    return made, {bind.target: Path(bind.source) for bind in made.binds}


def below(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_flare_shows_one_image_per_run(tmp_path: Path) -> None:
    hidden = touch(tmp_path / "hidden", "FLARE23Ts_0001_0000.nii.gz", "FLARE23Ts_0002_0000.nii.gz")
    protocol = registry.load("flare-pancancer/2023").containers["default"]
    _, mounts = staged(tmp_path, protocol, hidden, only="FLARE23Ts_0002")
    assert below(mounts["/workspace/inputs"]) == {"FLARE23Ts_0002_0000.nii.gz"}
    assert below(mounts["/workspace/outputs"]) == set()


def test_feta_gives_the_image_and_its_metadata(tmp_path: Path) -> None:
    hidden = touch(tmp_path / "hidden", "sub-001/anat/sub-001_rec-mial_T2w.nii.gz")
    groups = {"sub-001": {"Gestational age": "27.4", "Pathology": "Neurotypical", "site": "Kispi"}}
    protocol = registry.load("feta/2022").containers["per-subject"]
    _, mounts = staged(tmp_path, protocol, hidden, groups)
    assert below(mounts["/input_img"]) == {"anat/sub-001_rec-mial_T2w.nii.gz"}
    assert json.loads((mounts["/input_meta"] / "meta.json").read_text()) == {
        "Pathology": "Neurotypical",
        "Gestational age": 27.4,
    }
    assert protocol.outputs[0].name == "{case}_seg_result.nii.gz"


def test_feta_2024_shows_the_whole_set_with_participants(tmp_path: Path) -> None:
    names = [f"sub-00{index}/anat/sub-00{index}_rec-irtk_T2w.nii.gz" for index in (1, 2)]
    hidden = touch(tmp_path / "hidden", *names)
    groups = {f"sub-00{index}": {"Gestational age": f"2{index}.5", "Pathology": "Pathological"} for index in (1, 2)}
    protocol = registry.load("feta/2024").containers["whole-set"]
    _, mounts = staged(tmp_path, protocol, hidden, groups)
    inside = mounts["/data/input"]
    assert below(inside) == {*names, "participants.tsv"}
    with (inside / "participants.tsv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["participant_id"] for row in rows] == ["sub-001", "sub-002"]
    assert [row["Gestational age"] for row in rows] == ["21.5", "22.5"]


def test_liqa_hides_names_and_lists_missing_sequences(tmp_path: Path) -> None:
    hidden = touch(
        tmp_path / "hidden",
        *(f"Vendor-A/0007-A-S4/{name}.nii.gz" for name in ("GED4", "GED1", "GED2", "GED3", "T1", "T2", "DWI_800")),
        *(f"Vendor-C/0007-C-S1/{name}.nii.gz" for name in ("GED4", "T2")),
    )
    protocol = registry.load("liqa/2026").containers["lifs"]
    made, mounts = staged(tmp_path, protocol, hidden)
    inside = below(mounts["/input"])
    assert len(inside) == 10
    assert not any("S4" in name or "S1" in name or "0007" in name for name in inside)
    with (mounts["/input"] / "info.csv").open(newline="", encoding="utf-8") as file:
        rows = {row["Case"]: row for row in csv.DictReader(file)}
    hidden_name = made.names["0007-C-S1"]
    assert rows[hidden_name]["Vendor"] == "Vendor-C"
    assert rows[hidden_name]["Missing Modality"] == "GED1, GED2, GED3, T1, DWI_800"
    assert rows[made.names["0007-A-S4"]]["Missing Modality"] == ""


def test_liqa_non_contrast_sees_no_contrast_sequence_and_accepts_any_missing_one(tmp_path: Path) -> None:
    hidden = touch(
        tmp_path / "hidden",
        *(f"Vendor-A/0001-A/{name}.nii.gz" for name in ("GED4", "T1")),
        *(f"Vendor-A/0002-A/{name}.nii.gz" for name in ("GED4", "T2", "DWI_800")),
    )
    challenge = registry.load("liqa/2025")
    protocol = challenge.protocol_for("lifs-noncontrast")
    assert protocol is not None
    made, mounts = staged(tmp_path, protocol, hidden)
    first, second = made.names["0001-A"], made.names["0002-A"]
    assert below(mounts["/input"]) == {
        f"Vendor-A/{first}/T1.nii.gz",
        f"Vendor-A/{second}/T2.nii.gz",
        f"Vendor-A/{second}/DWI_800.nii.gz",
        "info.csv",
    }


def test_liqa_stages_come_from_one_table_for_all_cases(tmp_path: Path) -> None:
    hidden = touch(tmp_path / "hidden", "Vendor-A/0001-A/GED4.nii.gz", "Vendor-A/0002-A/GED4.nii.gz")
    truth = touch(tmp_path / "truth", "stages.csv")
    challenge = registry.load("liqa/2025")
    patterns = athome.reference_patterns(challenge)
    needed = athome.reference_patterns(challenge, "lifs")
    manifest, findings = case_files.build(challenge.containers["lifs"], hidden, truth, patterns, needed=needed)
    assert findings == []
    assert [case.id for case in manifest.cases] == ["0001-A", "0002-A"]
    # a segmentation task does need a reference per case
    needed = athome.reference_patterns(challenge, "liseg")
    _, findings = case_files.build(challenge.containers["liseg"], hidden, truth, patterns, needed=needed)
    assert [item.where for item in findings] == ["0001-A", "0002-A"]
    assert all("no reference" in item.cause for item in findings)


def test_each_sequence_is_segmented_on_its_own_grid() -> None:
    outputs = {output.name: output.like for output in registry.load("liqa/2026").containers["liseg"].outputs}
    for sequence in ("GED4", "T1", "T2", "DWI_800"):
        assert outputs[f"LiSeg_pred/{{case}}/{sequence}_pred.nii.gz"] == f"{{vendor}}/{{case}}/{sequence}.nii.gz"


def test_touchstone_collects_one_file_per_structure(tmp_path: Path) -> None:
    hidden = touch(tmp_path / "hidden", "BDMAP_00000001/ct.nii.gz")
    challenge = registry.load("touchstone")
    protocol = challenge.containers["bodymaps"]
    _, mounts = staged(tmp_path, protocol, hidden)
    assert below(mounts["/workspace/inputs"]) == {"BDMAP_00000001/ct.nii.gz"}
    task = challenge.tasks["segmentation"]
    stored = {output.stored for output in protocol.outputs}
    assert stored == {f"{{case}}/predictions/{name}.nii.gz" for name in task.structures}
