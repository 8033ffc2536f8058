"""Tables with one row per case, as organizers keep and teams send them: what every kind that reads one needs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medpodium.challenges.naming.hints import explain
from medpodium.challenges.naming.names import is_hidden
from medpodium.challenges.rows import Sheet, read_sheet
from medpodium.findings import Code, Finding, Severity, UsageError
from medpodium.scoring.kinds.protocol import Asked, Kind, Predictions, Progress, References

if TYPE_CHECKING:
    import pandas as pd

    from medpodium.challenges.schema.definition import Challenge


YES_OR_NO = {"1": True, "true": True, "yes": True, "1.0": True, "0": False, "false": False, "no": False, "0.0": False}
"""What stands for yes and no in a cell, in small letters."""


class AnswerCode(Code):
    """What can be wrong with a table of answers."""

    NO_FILE = "answers-no-file"
    CASE_TWICE = "answers-case-twice"
    SETTING = "answers-setting-unknown"
    MISSING_CASES = "prediction-missing"
    UNKNOWN_CASE = "prediction-of-unknown-case"


class TableKind(Kind):
    """A kind whose answers are one table: what is wrong with them is told of all cases at once."""

    @abstractmethod
    def tell(self, task: Any, references: References, own: Predictions) -> list[Finding]:
        """Return what is odd about one submission's answers beyond what reading them has found."""

    def check_answers(
        self, task: Any, references: References, answers: Predictions, progress: Progress | None = None
    ) -> list[Finding]:
        """Return what is odd about the answers."""
        found = self.tell(task, references, answers)
        if progress is not None:
            progress(len(references.cases), len(references.cases))
        return found


@dataclass(frozen=True)
class CaseTable:
    """A table with one row per case.

    Parameters
    ----------
    path : Path
        Where it is.
    rows : mapping of str to (mapping of str to str)
        Cells by case and column; cases with rows that contradict each other have none.
    named : frozenset of str
        Every case the table names, usable or not.
    """

    path: Path
    rows: Mapping[str, Mapping[str, str]]
    named: frozenset[str]

    def groups(self, challenge: Challenge) -> pd.DataFrame:
        """Return column ``case`` and one per group of the challenge that the table has, whatever its capitals."""
        import pandas as pd

        first: Mapping[str, str] = next(iter(self.rows.values()), {})
        lower = {column.lower(): column for column in first}
        found = {name: lower[name.lower()] for name in challenge.groups if name.lower() in lower}
        own = {name: [row.get(column, "").strip() for row in self.rows.values()] for name, column in found.items()}
        return pd.DataFrame({"case": list(self.rows), **own})


def sheet_groups(sheet: Sheet, cases: Sequence[str], case_column: str, challenge: Challenge) -> pd.DataFrame:
    """Return column ``case`` and the groups of the challenge that a table has, under their name or their title.

    Parameters
    ----------
    sheet : Sheet
        A table of what is true; of several rows of a case the last one counts.
    cases : sequence of str
        Cases in order.
    case_column : str
        Column with the names of the cases.
    challenge : Challenge
        Whose groups.
    """
    import pandas as pd

    frame = {"case": list(cases)}
    rows = {row[case_column]: row for row in sheet.rows}
    for name, group in challenge.groups.items():
        column = (
            sheet.find(name) or sheet.find(name.replace("_", " ")) or (sheet.find(group.title) if group.title else None)
        )
        if column is not None:
            frame[name] = [rows[case][column] for case in cases]
    return pd.DataFrame(frame)


def find_table(path: Path, name: str = "") -> Path:
    """Return the table itself, the file of this name in a folder, or the folder's only CSV file.

    Raises
    ------
    UsageError
        If there is none, or several.
    """
    if path.is_file():
        return path
    if name and (path / name).is_file():
        return path / name
    found = sorted(file for file in path.glob("*.csv") if not is_hidden(file.name)) if path.is_dir() else []
    preferred = [file for file in found if file.stem.lower().endswith("_pred")]
    if len(preferred or found) == 1:
        return (preferred or found)[0]
    text = f"{len(found)} CSV files" if path.is_dir() else "no such file or folder"
    fix = "give the table itself, or a folder with exactly one CSV file (or one *_pred.csv)"
    raise UsageError(Finding(AnswerCode.NO_FILE, str(path), text, fix))


def read_table(
    place: Path, name: str, columns: Sequence[str], findings: list[Finding], *, case_column: str = "case"
) -> CaseTable:
    """Read a table with one row per case.

    Parameters
    ----------
    place : Path
        The table, or the folder that holds it.
    name : str
        File name that is looked for in a folder.
    columns : sequence of str
        Columns it must have; capitals do not matter, and cells come under the names given here.
    findings : list of Finding
        Gets every case with rows that differ.
    case_column : str
        Column with the names of the cases.

    Raises
    ------
    UsageError
        If it cannot be read or a column is missing.
    """
    path = find_table(place, name)
    sheet = read_sheet(path)
    found, *own = sheet.need(case_column, *columns)
    sheet.refuse_control_characters([found])
    rows: dict[str, dict[str, str]] = {}
    clash = set()
    for line in sheet.rows:
        case = line[found]
        cells = {**line, **{column: line[there] for column, there in zip(columns, own, strict=True)}}
        if any(rows[case][column] != cells[column] for column in columns if case in rows):
            clash.add(case)
        rows.setdefault(case, cells)
    findings += [case_twice(path, case) for case in sorted(clash)]
    return CaseTable(path, {case: row for case, row in rows.items() if case not in clash}, frozenset(rows))


def case_twice(path: Path, case: str) -> Finding:
    """Return the finding of a case with rows that differ."""
    fix = "keep the right row; until then the case counts as missing"
    return Finding(AnswerCode.CASE_TWICE, f"{path.name}: {case}", "two rows with different values", fix)


def compare_cases(
    where: str, answered: Collection[str], named: Collection[str], cases: Sequence[str], findings: list[Finding]
) -> None:
    """Report cases without a usable answer, and answers of unknown cases.

    Parameters
    ----------
    answered, named : collection of str
        Cases with a usable answer, and all that the table names.
    cases : sequence of str
        Cases that are asked for.
    """
    lacking = [case for case in cases if case not in answered]
    extra = sorted(set(named) - set(cases) - (cases.others if isinstance(cases, Asked) else frozenset()))
    hint = explain([case for case in lacking if case not in named], extra)
    if lacking:
        text = f"{len(lacking)} of {len(cases)} cases have no usable answer (first {lacking[0]})"
        fix = "give every case exactly one row; until then it counts as declared for missing predictions"
        if hint is not None:
            text, fix = f"{text}: the names of {hint.cause(len(cases))}", hint.fix
            extra = [case for case in extra if case not in set(hint.pairs.values())]
        findings.append(Finding(AnswerCode.MISSING_CASES, where, text, fix))
    if extra:
        text = f"{len(extra)} unknown case(s) (first {extra[0]!r})"
        fix = "correct the names (the whole folder name is the case); these rows are not scored"
        findings.append(Finding(AnswerCode.UNKNOWN_CASE, where, text, fix, Severity.WARNING))


def tell_lacking(sheet: Sheet, columns: Collection[str], code: Code, parts: str, findings: list[Finding]) -> None:
    """Report columns that a team's table does not have; refuse one that has none of them.

    Parameters
    ----------
    parts : str
        What the columns hold, in the plural.
    """
    lacking = [column for column in columns if sheet.find(column) is None]
    if not lacking:
        return
    cause = f"no column {', '.join(map(repr, lacking))} (columns: {', '.join(sheet.named)})"
    finding = Finding(code, Path(sheet.where).name, cause, f"add it; until then these {parts} are missing")
    if len(lacking) == len(columns):
        raise UsageError(finding)
    findings.append(finding)
