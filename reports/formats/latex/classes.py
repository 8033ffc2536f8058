r"""Document classes: what stands before and behind the body of a report, for each class that papers are written in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PaperClass:
    r"""A document class.

    Parameters
    ----------
    line : str
        ``\documentclass`` with its options.
    head : str
        What opens the document, with ``<title>``; behind ``\begin{document}``.
    style : str
        Bibliography style.
    columns : int
        Columns of a page.
    extra : str
        More of the preamble.
    """

    line: str
    head: str
    style: str
    columns: int
    extra: str = ""


_MAKETITLE = "\\title{<title>}\n\\author{<author>}\n\\maketitle"
CLASSES: Mapping[str, PaperClass] = {
    "article": PaperClass(
        r"\documentclass[10pt,a4paper]{article}",
        "\\title{<title>}\n\\author{<author>}\n\\date{}\n\\maketitle",
        "unsrtnat",
        1,
        "\\usepackage[margin=22mm]{geometry}\n\\usepackage[numbers,sort&compress]{natbib}",
    ),
    "ieeetran": PaperClass(
        r"\documentclass[journal,a4paper]{IEEEtran}", _MAKETITLE, "IEEEtran", 2, r"\usepackage{cite}"
    ),
    "elsarticle": PaperClass(
        r"\documentclass[final,5p,times,twocolumn]{elsarticle}",
        "\\begin{frontmatter}\n\\title{<title>}\n\\author{<author>}\n\\end{frontmatter}",
        "elsarticle-num",
        2,
    ),
    "llncs": PaperClass(
        r"\documentclass[runningheads]{llncs}",
        "\\title{<title>}\n\\author{<author>}\n\\institute{<institute>}\n\\maketitle",
        "splncs04",
        1,
    ),
}
"""By the name that is typed on the command line."""
