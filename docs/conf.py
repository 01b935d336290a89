"""How Sphinx makes the site: ``python -m sphinx -W --keep-going -b html docs docs/_build/html``; no network is needed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

import public

import surrogates

project = "Surrogates"
author = "The Surrogates developers"
project_copyright = author
version = release = surrogates.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "docstrings",  # ours: must come before napoleon
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "mathml",  # ours
    "gallery",  # ours
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

# pages are Markdown with $...$ and $$...$$, headings can be linked to
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3

# a role that leads nowhere is a warning, but for the types and the `names` that docstrings are full of
nitpicky = True
nitpick_ignore_regex = [("py:obj", ".*"), ("py:class", r"(?!surrogates\.\w+$).*"), ("py:(data|exc|attr)", ".*")]

# the API, from `__all__` of each public module
autosummary_generate = True
autosummary_context = {"at_home": public.at_home(), "elsewhere": public.elsewhere(), "kinds": public.kinds()}
autodoc_default_options = {"members": True}
autodoc_type_aliases = {name: name for name in ("Floats", "Integers", "Values", "Label", "Units", "Basis", "Costs")}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autodoc_class_signature = "mixed"
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
highlight_language = "none"  # of formulas in docstrings; blocks of code say what they are
default_role = "py:obj"  # `name` in a docstring links where there is something to link to
add_module_names = False
toc_object_entries_show_parents = "hide"
python_display_short_literal_types = True
maximum_signature_line_length = 100

html_theme = "pydata_sphinx_theme"
html_title = "Surrogates"
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False
ALONE = "install ten_minutes gallery which_model scaling limitations glossary extending architecture"
html_sidebars: dict[str, list[str]] = {page: [] for page in ALONE.split()}  # pages without a section to navigate
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 8,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True
