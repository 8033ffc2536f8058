"""Result folders of VLMEvalKit, lm-evaluation-harness and inspect become tables that can be scored."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from medpodium.cli import main


def imported(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["import", *map(str, words)])
    return done.exit_code, done.output


@pytest.mark.parametrize("ending", ["xlsx", "tsv"])
def test_vlmevalkit(tmp_path: Path, ending: str) -> None:
    pytest.importorskip("openpyxl")
    folder = tmp_path / "outputs" / "InternVL3"
    folder.mkdir(parents=True)
    rows = pd.DataFrame({"index": [7, 9], "question": ["a?", "b?"], "A": ["x", "y"], "prediction": ["A", "no\nidea"]})
    if ending == "xlsx":
        rows.to_excel(folder / "InternVL3_Med_Q.xlsx", index=False)
    else:
        rows.to_csv(folder / "InternVL3_Med_Q.tsv", sep="\t", index=False)
    (folder / "InternVL3_Med_Q_acc.csv").write_text("split,Overall\nnone,0.5\n", encoding="utf-8")
    out = tmp_path / "out"
    code, said = imported(
        "vlmevalkit", tmp_path / "outputs", "--dataset", "Med_Q", "--item-column", "index", "--out", out
    )
    assert code == 0, said
    found = pd.read_csv(out / "InternVL3.csv", dtype=str)
    assert found.to_dict("list") == {"index": ["7", "9"], "prediction": ["A", "no\nidea"]}
    assert imported("vlmevalkit", tmp_path / "outputs", "--dataset", "Other", "--out", out)[0] == 2


def test_lm_eval(tmp_path: Path) -> None:
    folder = tmp_path / "results" / "org__model"
    folder.mkdir(parents=True)
    samples = [
        {"doc_id": 0, "doc": {"id": "x1"}, "target": "1", "resps": [[["-3.2", "False"]], [["-1.1", "False"]]]},
        {"doc_id": 1, "doc": {"id": "x2"}, "target": "0", "resps": [[["-0.5", "True"]], [["-0.5", "False"]]]},
        {"doc_id": 2, "doc": {"id": "x3"}, "target": "B", "resps": [["The answer is B.", "C"]]},
    ]
    old, new = (folder / f"samples_medqa_2026-0{month}-01T10-00-00.123.jsonl" for month in (1, 2))
    old.write_text(json.dumps({**samples[2], "resps": [["old"]]}) + "\n", encoding="utf-8")
    new.write_text("".join(json.dumps(own) + "\n" for own in samples), encoding="utf-8")
    (folder / "samples_medqa_hard_2026-02-01T10-00-00.123.jsonl").write_text("{}\n", encoding="utf-8")
    out = tmp_path / "out"
    code, said = imported("lm-eval", tmp_path / "results", "--task", "medqa", "--item-field", "id", "--out", out)
    assert code == 0, said
    found = pd.read_csv(out / "org__model.csv", keep_default_na=False)
    # the likelier option by its letter; of equally likely ones none
    assert found["case"].tolist() == ["x1", "x2", "x3", "x3"]
    assert found["prediction"].tolist() == ["B", "", "The answer is B.", "C"]
    assert found["trial"].tolist() == [1, 1, 1, 2]


@pytest.mark.parametrize("ending", ["json", "eval"])
def test_inspect(tmp_path: Path, ending: str) -> None:
    samples = [
        {"id": "q1", "epoch": epoch, "target": "A", "output": {"completion": text}}
        for epoch, text in ((1, "A"), (2, "B"))
    ]
    samples.append({"id": 2, "epoch": 1, "output": {"choices": [{"message": {"content": "C"}}]}})
    head = {"eval": {"task": "suite/medqa", "model": "org/model"}}
    logs = tmp_path / "logs"
    logs.mkdir()
    if ending == "json":
        (logs / "one.json").write_text(json.dumps({**head, "samples": samples}), encoding="utf-8")
    else:
        with zipfile.ZipFile(logs / "one.eval", "w") as log:
            log.writestr("header.json", json.dumps(head))
            for at, own in enumerate(samples):
                log.writestr(f"samples/{at}.json", json.dumps(own))
    (logs / "broken.json").write_text("{", encoding="utf-8")
    code, said = imported("inspect", logs, "--task", "medqa", "--out", tmp_path / "out")
    assert code in (0, 1), said
    found = pd.read_csv(tmp_path / "out" / "org_model.csv", dtype=str)
    assert found.to_numpy().tolist() == [["q1", "A", "1"], ["q1", "B", "2"], ["2", "C", "1"]]
