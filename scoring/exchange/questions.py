"""Result folders of tools that ask models questions, as replies: VLMEvalKit, lm-evaluation-harness, inspect.

Nothing is scored here, and no tool's own verdict is taken over: what comes out is what the models replied.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medpodium.challenges.rows import MAX_BYTES
from medpodium.findings import Code, Finding, InfrastructureError, Severity
from medpodium.scoring.kinds.records import cell_text, read_records
from medpodium.scoring.rows import ImportCode, refuse

_SAMPLES = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d{2}-\d{2}T[\d.:-]+)?\.jsonl")
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class QuestionCode(Code):
    """What keeps replies from being read."""

    NOT_INSTALLED = "workbooks-not-installed"


@dataclass(frozen=True)
class Reply:
    """What a model replied to one question, in one trial."""

    item: str
    text: str
    trial: int = 1


def write_replies(models: Mapping[str, Sequence[Reply]], folder: Path, item_column: str) -> dict[str, Path]:
    """Write one table per model, ``MODEL.csv``: the question, the reply, and the trial where there are several."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for model, replies in sorted(models.items()):
        several = any(reply.trial > 1 for reply in replies)
        name = re.sub(r"[^\w.+-]+", "_", model).strip("._") or "model"
        path = files[model] = folder / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow([item_column, "prediction", *(["trial"] if several else [])])
            writer.writerows([reply.item, reply.text, *([reply.trial] if several else [])] for reply in replies)
    return files


def read_vlmevalkit(folder: Path, dataset: str, findings: list[Finding]) -> dict[str, list[Reply]]:
    """Read ``MODEL_DATASET.xlsx`` (or .tsv, .csv, .jsonl) of VLMEvalKit, in the folder or one folder per model.

    Files that VLMEvalKit's own scoring leaves beside them (``..._acc.csv``, ``..._result.xlsx``) are passed over.
    """
    found: dict[str, list[Reply]] = {}
    for path in sorted(folder.rglob(f"*_{dataset}.*")):
        if path.suffix.lower() not in (".xlsx", ".tsv", ".csv", ".jsonl", ".parquet"):
            continue
        model = path.stem.removesuffix(f"_{dataset}")
        rows = _sheet(path, findings)
        need = {"index", "prediction"}
        if rows and not need <= set(rows[0]):
            cause = f"no column {', '.join(sorted(need - set(rows[0])))}"
            raise refuse(ImportCode.NO_ROWS, path, cause, "give the files that VLMEvalKit writes before it scores")
        if model in found:
            cause = f"two files of the model {model!r}"
            findings.append(Finding(ImportCode.ROW_TWICE, str(path), cause, "give one run; this one is passed over"))
            continue
        found[model] = [Reply(row["index"], row["prediction"]) for row in rows]
    return _some(found, folder, f"MODEL_{dataset}.xlsx")


def _sheet(path: Path, findings: list[Finding]) -> list[dict[str, str]]:
    if path.suffix.lower() != ".xlsx":
        return read_records(path, findings).rows
    try:
        from openpyxl import load_workbook
    except ImportError:
        cause, fix = "the library openpyxl is not installed", "pip install 'medpodium[answers]'"
        raise InfrastructureError(Finding(QuestionCode.NOT_INSTALLED, str(path), cause, fix)) from None
    try:
        book = load_workbook(path, read_only=True, data_only=True)
        lines = [[cell_text(value) for value in row] for row in book.worksheets[0].iter_rows(values_only=True)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise refuse(ImportCode.NO_ROWS, path, f"no workbook ({error})", "write it again") from None
    head, *rows = lines or [[]]
    return [dict(zip(head, row, strict=False)) for row in rows if any(row)]


def read_lm_eval(folder: Path, task: str, item_field: str | None, findings: list[Finding]) -> dict[str, list[Reply]]:
    """Read ``samples_TASK_*.jsonl`` of lm-evaluation-harness (``--log_samples``), one folder per model.

    Replies to open questions come as they are; of likelihoods of options, the letter of the likeliest is the reply (of
    equal ones, none). A question is named by ``doc_id``, or by a field of its ``doc``. The newest run counts.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("samples_*.jsonl"), key=lambda own: own.name):
        match = _SAMPLES.fullmatch(path.name)
        if match and match["task"] == task:
            files[path.parent.name if path.parent != folder else folder.name] = path
    found = {}
    for model, path in files.items():
        replies = []
        for sample in _lines(path, findings):
            own = sample.get("doc") if isinstance(sample.get("doc"), dict) else {}
            name = sample.get("doc_id") if item_field is None else (own or {}).get(item_field)
            if name is None:
                raise refuse(
                    ImportCode.NO_ROWS, path, f"a sample has no {item_field or 'doc_id'}", "name another field"
                )
            replies += [
                Reply(cell_text(name), text, trial) for trial, text in enumerate(_lm_eval_texts(sample), start=1)
            ]
        found[model] = replies
    return _some(found, folder, f"samples_{task}_*.jsonl")


def _lm_eval_texts(sample: Mapping[str, Any]) -> list[str]:
    given = sample.get("resps") or sample.get("filtered_resps") or []
    parts = [one for own in given for one in (own if isinstance(own, list) else [own])]
    likelihoods = [_likelihood(one) for one in given]
    if likelihoods and all(value is not None for value in likelihoods):
        best = max(value for value in likelihoods if value is not None)
        at = [number for number, value in enumerate(likelihoods) if value == best]
        return [_LETTERS[at[0]] if len(at) == 1 and at[0] < len(_LETTERS) else ""]
    return [cell_text(one) for one in parts]


def _likelihood(response: Any) -> float | None:
    """Return the log-likelihood of ``[[-1.2, False]]`` or ``[-1.2, False]``; None for a text."""
    while isinstance(response, list) and len(response) == 1:
        response = response[0]
    if isinstance(response, list) and len(response) == 2 and str(response[1]) in ("True", "False"):
        try:
            return float(response[0])
        except (TypeError, ValueError):
            return None
    return None


def read_inspect(folder: Path, task: str, findings: list[Finding]) -> dict[str, list[Reply]]:
    """Read logs of inspect (``*.json`` or ``*.eval``): the completion of every sample, an epoch being a trial."""
    found: dict[str, list[Reply]] = {}
    for path in sorted(own for own in folder.rglob("*") if own.suffix in (".json", ".eval")):
        try:
            head, samples = _inspect_zip(path) if path.suffix == ".eval" else _inspect_json(path)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile, RecursionError) as error:
            cause, fix = f"no log of inspect ({error})", "remove it, or write it again; it is passed over"
            findings.append(Finding(ImportCode.NO_ROWS, str(path), cause, fix, Severity.WARNING))
            continue
        about = head.get("eval") or {}
        if str(about.get("task", "")).rpartition("/")[2] != task:
            continue
        replies = found.setdefault(str(about.get("model", path.stem)), [])
        for sample in samples:
            output = sample.get("output") or {}
            text = output.get("completion")
            if text is None:
                choices = output.get("choices") or [{}]
                text = ((choices[0] or {}).get("message") or {}).get("content", "")
            replies.append(Reply(cell_text(sample.get("id")), cell_text(text), int(sample.get("epoch") or 1)))
    return _some(found, folder, f"a log of the task {task}")


def _inspect_json(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if path.stat().st_size > MAX_BYTES:
        raise ValueError("larger than 200 MB")
    log = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(log, dict):
        raise ValueError("no mapping")
    return log, [one for one in log.get("samples") or [] if isinstance(one, dict)]


def _inspect_zip(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with zipfile.ZipFile(path) as log:
        names = log.namelist()
        if sum(info.file_size for info in log.infolist()) > 5 * MAX_BYTES:
            raise ValueError("unpacks to more than 1 GB")
        head = next(name for name in ("header.json", "_journal/start.json") if name in names)
        samples = [json.loads(log.read(name)) for name in sorted(names) if re.fullmatch(r"samples/.+\.json", name)]
        return json.loads(log.read(head)), samples


def _lines(path: Path, findings: list[Finding]) -> Iterator[dict[str, Any]]:
    if path.stat().st_size > MAX_BYTES:
        raise refuse(ImportCode.NO_ROWS, path, "larger than 200 MB", "give a smaller file")
    wrong = 0
    for line in path.read_text(encoding="utf-8").split("\n"):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError:
                wrong += 1
    if wrong:
        findings.append(Finding(ImportCode.NO_ROWS, str(path), f"{wrong} lines are no JSON", "they are passed over"))


def _some(found: dict[str, list[Reply]], folder: Path, what: str) -> dict[str, list[Reply]]:
    if not any(found.values()):
        raise refuse(ImportCode.FILE_MISSING, folder, f"no {what} with replies", "check the folder and the name")
    return found
