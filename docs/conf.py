"""Documentation site: ``sphinx-build -W docs docs/_build`` with the extra ``docs``."""

import kerasnsoc

project = "kerasnsoc"
author = "the kerasnsoc developers"
version = release = kerasnsoc.__version__

extensions = ["myst_parser", "numpydoc", "sphinx.ext.autodoc", "sphinx.ext.mathjax"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
html_theme = "pydata_sphinx_theme"
html_title = "kerasnsoc"
html_theme_options = {"navigation_depth": 3, "show_toc_level": 2}

autodoc_typehints = "none"  # the numpydoc sections say it
autodoc_member_order = "alphabetical"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# pages link to source files that are not part of the site
suppress_warnings = ["myst.xref_missing"]
