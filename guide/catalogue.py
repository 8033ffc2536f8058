"""What every finding code can say, read from the sources themselves, so that it cannot drift from what is printed.

A code is a member of an enum that subclasses :class:`~medpodium.findings.Code`; a text below it is its meaning, the
text's second paragraph a fix. Wherever the sources name a code together with texts, these are its cause and its fix; a
table from codes to texts gives fixes. Values that are only known when the finding is made stand as names in angle
brackets.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_OUTSIDE = frozenset({"tests", "docs", "benchmarks", "build", "setup.py"})
_BASE = "Code"
_LEVEL = "Severity"


@dataclass
class Explanation:
    """One code.

    Parameters
    ----------
    code : str
        As it is printed.
    room : str
        Room of the package that finds it, such as ``containers``.
    about : str
        What the enum says of all its codes, one line.
    meaning : str
        What the enum says of this code; may be empty.
    causes, fixes : list of str
        Texts with which it is printed; names in angle brackets stand for values.
    """

    code: str
    room: str
    about: str
    meaning: str = ""
    causes: list[str] = field(default_factory=list)
    fixes: list[str] = field(default_factory=list)


def sources(root: Path = _ROOT) -> list[Path]:
    """Return the modules of the package, without its tests and documentation."""
    found = (path for path in root.rglob("*.py") if path.relative_to(root).parts[0] not in _OUTSIDE)
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(root).parts))


@cache
def catalogue(root: Path = _ROOT) -> dict[str, Explanation]:
    """Return what can be said of every code, by code.

    Parameters
    ----------
    root : Path
        Folder of the package.
    """
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in sources(root)}
    members: dict[tuple[str, str], Explanation] = {}
    by_code: dict[str, Explanation] = {}
    for path, tree in trees.items():
        for owner, name, told in _members(tree, path.relative_to(root).parts[0].removesuffix(".py")):
            # what several rooms call by one name is one code
            members[owner, name] = one = by_code.setdefault(told.code, told)
            one.meaning = one.meaning or told.meaning
            _add(one.fixes, told.fixes)
    for tree in trees.values():
        _Reader(members).visit(tree)
    return dict(sorted(by_code.items()))


def _members(tree: ast.Module, room: str) -> Iterator[tuple[str, str, Explanation]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.ClassDef) or not any(isinstance(b, ast.Name) and b.id == _BASE for b in node.bases):
            continue
        about = (ast.get_docstring(node) or "").split("\n")[0]
        for at, line in enumerate(node.body):
            if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name):
                after = node.body[at + 1] if at + 1 < len(node.body) else None
                meaning, _, fix = (_plain(after.value) if isinstance(after, ast.Expr) else "").partition("\n\n")
                told = Explanation(ast.literal_eval(line.value), room, about, " ".join(meaning.split()))
                _add(told.fixes, [fix])
                yield node.name, line.targets[0].id, told


def _plain(node: ast.expr) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


class _Reader(ast.NodeVisitor):
    """Collects the texts beside every code of one module."""

    def __init__(self, members: dict[tuple[str, str], Explanation]) -> None:
        self.members = members
        self.known: list[dict[str, list[str]]] = [{}]
        self.codes: list[dict[str, list[Explanation]]] = [{}]
        self.levels: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Read a function, whose variables are its own."""
        self.known.append({})
        self.codes.append({})
        arguments = [*node.args.args, *node.args.kwonlyargs]
        self.levels = {own.arg for own in arguments if own.annotation and _name(own.annotation) == _LEVEL}
        self.generic_visit(node)
        self.known.pop()
        self.codes.pop()

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remember texts and codes that get a name before they are used."""
        self.generic_visit(node)
        for target in node.targets:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = list(zip(target.elts, node.value.elts, strict=False))
            for one, value in pairs:
                if isinstance(one, ast.Name):
                    self._remember(one.id, value)

    def _remember(self, name: str, value: ast.expr) -> None:
        if self._is_severity(value):
            self.levels.add(name)
        if texts := self._texts(value):
            self.known[-1][name] = texts
        if codes := self._codes(value):
            self.codes[-1][name] = codes

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        """Put texts together that are written piece by piece."""
        self.generic_visit(node)
        if isinstance(node.target, ast.Name) and (more := self._texts(node.value)):
            before = self.known[-1].get(node.target.id, [""])
            self.known[-1][node.target.id] = [one + other for one in before for other in more]

    def visit_Dict(self, node: ast.Dict) -> None:
        """Take the texts of a table from codes to texts as fixes."""
        self.generic_visit(node)
        for key, value in zip(node.keys, node.values, strict=True):
            for told in self._codes(key) if key is not None else []:
                _add(told.fixes, self._texts(value))

    def visit_If(self, node: ast.If) -> None:
        """Keep what either branch calls a text."""
        self.visit(node.test)
        before = dict(self.known[-1])
        for line in node.body:
            self.visit(line)
        one, self.known[-1] = self.known[-1], dict(before)
        for line in node.orelse:
            self.visit(line)
        for name, texts in one.items():
            other = self.known[-1].get(name, [])
            self.known[-1][name] = list(dict.fromkeys([*texts, *other]))

    def visit_Call(self, node: ast.Call) -> None:
        """Read a call that makes a finding."""
        self.generic_visit(node)
        named = {str(word.arg): self._texts(word.value) for word in node.keywords if word.arg in ("cause", "fix")}
        self._beside(node.args, named)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        """Read a tuple, of a table or yielded to who makes the finding."""
        self.generic_visit(node)
        self._beside(node.elts, {})

    def _beside(self, values: Sequence[ast.expr], named: Mapping[str, list[str]]) -> None:
        for at, value in enumerate(values):
            if not (codes := self._codes(value)):
                continue
            after = [self._sentences(own) for own in values[at + 1 :] if not self._is_severity(own)]
            cause, fix = _cause_and_fix(after)
            for told in codes:
                _add(told.causes, named.get("cause") or cause)
                _add(told.fixes, named.get("fix") or fix)

    def _is_severity(self, node: ast.expr) -> bool:
        if isinstance(node, ast.IfExp):
            return self._is_severity(node.body)
        if isinstance(node, ast.Name):
            return node.id in self.levels
        return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == _LEVEL

    def _sentences(self, node: ast.expr) -> list[str]:
        texts = self._texts(node)
        return texts if any(" " in one.strip() for one in texts) else []

    def _codes(self, node: ast.expr) -> list[Explanation]:
        if isinstance(node, ast.Attribute) and isinstance(node.value, (ast.Name, ast.Attribute)):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            told = self.members.get((owner, node.attr))
            return [told] if told else []
        if isinstance(node, ast.IfExp):
            return [*self._codes(node.body), *self._codes(node.orelse)]
        if isinstance(node, ast.Name):
            return next((own[node.id] for own in reversed(self.codes) if node.id in own), [])
        return []

    def _texts(self, node: ast.expr) -> list[str]:
        """Return the texts an expression can be; none where it is no text."""
        if isinstance(node, ast.Constant):
            return [node.value] if isinstance(node.value, str) else []
        if isinstance(node, ast.JoinedStr):
            return ["".join(self._piece(part) for part in node.values)]
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
            left, right = self._texts(node.left), self._texts(node.right)
            return [one + other for one in left for other in right]
        if isinstance(node, ast.IfExp):
            return [*self._texts(node.body), *self._texts(node.orelse)]
        if isinstance(node, ast.Name):
            return next((own[node.id] for own in reversed(self.known) if node.id in own), [])
        return []

    def _piece(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant):
            return str(node.value)
        value = node.value if isinstance(node, ast.FormattedValue) else node
        return f"<{_name(value)}>"


def _name(node: ast.expr) -> str:
    """Return what a value in a text is called: the last word of what computes it."""
    if isinstance(node, ast.Name):
        return node.id.strip("_")
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_")
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    if isinstance(node, ast.Call) and len(node.args) == 1:
        return _name(node.args[0])
    if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Attribute) and node.func.attr == "join":
        return _name(node.args[0])
    return "value"


def _cause_and_fix(after: Sequence[list[str]]) -> tuple[list[str], list[str]]:
    """Tell which of the texts after a code is which: a fix is last, and never without a cause or a place before it."""
    if len(after) > 1 and after[-1] and after[-2]:
        return after[-2], after[-1]
    if len(after) > 2:
        return ([], after[-1]) if after[-1] else (after[-2], [])
    return next((own for own in reversed(after) if own), []), []


def _add(into: list[str], texts: Sequence[str]) -> None:
    for text in texts:
        text = " ".join(text.split())
        if text and text not in into:
            into.append(text)
