"""How Sphinx reads the pages that `build.py` lays out. Nothing is run and nothing is fetched while it does."""

from __future__ import annotations

import fewshot

project = "fewshot"
author = "The fewshot authors"
copyright = "2026, the fewshot authors"
version = release = fewshot.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
nb_execution_mode = "off"  # the outputs that were saved are shown; tests/test_notebooks.py keeps them true
nb_merge_streams = True
myst_heading_anchors = 3
default_role = "py:obj"  # `Prototypes` in a docstring is a link where there is such a page
napoleon_custom_sections = [("Class attributes", "params_style")]
napoleon_use_rtype = False
napoleon_use_ivar = True  # attributes as a list
autodoc_typehints = "none"  # types are in the signature
autodoc_class_signature = "mixed"
autodoc_member_order = "bysource"
autodoc_default_options = {"show-inheritance": False}
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"fewshot {version}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
