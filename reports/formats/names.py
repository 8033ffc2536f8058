"""The formats a report can be written in, by the names the command line uses."""

from __future__ import annotations

FORMATS = ("html", "pdf", "latex", "markdown", "docx")
LATEX_CLASSES = ("article", "ieeetran", "elsarticle", "llncs")
"""Document classes of the LaTeX project."""
