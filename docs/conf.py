"""The documentation site: ``python -m sphinx -W -b html docs site``."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import generate  # type: ignore[import-not-found]  # beside this file, for whoever runs it

project = "medpodium"
author = "The medpodium developers"
version = release = installed("medpodium")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.doctest",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
myst_enable_extensions = ["colon_fence", "dollarmath", "fieldlist"]
myst_heading_anchors = 4
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
exclude_patterns = ["Thumbs.db", "**.ipynb_checkpoints"]
# The tutorials hold no outputs: building the site runs them, and a cell that fails ends the build.
nb_execution_mode = "auto"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 900
nb_merge_streams = True
nb_execution_excludepatterns = [] if generate.has_engine() else ["tutorials/hidden-test.ipynb"]
html_theme = "pydata_sphinx_theme"
html_title = f"medpodium {release}"
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "navbar_align": "left",
}
html_show_sourcelink = False
autodoc_typehints = "none"  # numpydoc says types where they help, and the signature repeats them
autodoc_member_order = "bysource"
napoleon_google_docstring = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

generate.write(Path(__file__).parent / "reference")
