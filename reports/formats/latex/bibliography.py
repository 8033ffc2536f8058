"""``references.bib``: what a report cites, and citations where its sentences mention it."""

from __future__ import annotations

from collections.abc import Sequence

from medpodium.reports.formats.latex.text import escape
from medpodium.reports.model import references
from medpodium.reports.model.references import Reference

_WHOLE = ("title", "booktitle", "journal")
_VERBATIM = ("doi", "url")
"""Fields that bibliography styles hand to ``\\url``: nothing is escaped there."""


def bibliography(works: Sequence[Reference]) -> str:
    """Return the works as BibTeX, in the order in which they are cited."""
    return "\n".join(map(_entry, works))


def _entry(work: Reference) -> str:
    told = dict(work.fields)
    if work.kind == "misc" and "url" in told:
        told["howpublished"] = rf"\url{{{told.pop('url')}}}"
    fields = [f"  {name} = {{{_value(name, value)}}}," for name, value in told.items()]
    return "\n".join([f"@{work.kind}{{{work.key},", *fields, "}", ""])


def _value(name: str, value: str) -> str:
    if name in _VERBATIM or value.startswith(r"\url"):
        return value.replace("%", r"\%") if name not in _VERBATIM else value
    shown = " ".join(escape(value).split()).replace(r"\allowbreak{}", "")
    # capitals of titles stay what they are
    return f"{{{shown}}}" if name in _WHOLE and name == "title" else shown.replace("-{}-", "--")


def cite(text: str, left: list[Reference]) -> str:
    r"""Return a text as LaTeX with ``\cite`` behind what it mentions first; what is cited is taken off the list."""
    pieces = []
    for piece, keys in references.split(text, left):
        shown = escape(piece)
        pieces.append(rf"{shown}~\cite{{{','.join(keys)}}}" if keys else shown)
        left[:] = [work for work in left if work.key not in keys]
    return "".join(pieces)
