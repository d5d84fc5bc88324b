"""How Sphinx builds the site: `make docs`, into build/docs. Nothing on its pages comes from elsewhere."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]

import minicnn  # noqa: E402

project = "minicnn"
copyright = "the minicnn authors, MIT licence"
release = version = minicnn.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",  # marks formulas; what draws them is KaTeX, below
    "sphinx_click",
    "plain_docstrings",
    "source_pages",
    "self_contained",
]
exclude_patterns = ["_ext", "figures", "images/*.md", "_static"]

# Markdown as forges read it, with formulas between dollars
myst_enable_extensions = ["dollarmath"]
myst_dmath_double_inline = True
myst_heading_anchors = 3
myst_update_mathjax = False

# Formulas are drawn in the browser by the copy of KaTeX that is beside the pages
mathjax_path = "katex/draw.js"
mathjax_options = {"defer": "defer"}
html_static_path = ["_static"]
html_css_files = ["katex/katex.min.css", "site.css"]
html_js_files = [("katex/katex.min.js", {"defer": "defer", "priority": 100})]

html_theme = "furo"
html_title = "minicnn"
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}
pygments_style = "friendly"
pygments_dark_style = "monokai"

# A name in the reference that leads nowhere is an error
nitpicky = True
nitpick_ignore_regex = [
    # types of other projects, whose own pages would have to be asked over the network
    (r"py:.*", r"(abc|numpy|np|collections|typing|types|click|pathlib)(\..*)?"),
    # aliases and private bases, which have no page of their own: what they stand for is said where they are used
    (r"py:.*", r"(.*\.)?(Array|Operand|Axis|Pair|Reduction|OpHook|Device|Result|DataclassInstance)"),
]
default_role = "code"  # docstrings are written as Markdown: `name` is code
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
