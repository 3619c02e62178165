"""Sphinx: `make docs`."""

from importlib.metadata import version as version_of

project = "TunnelMesh"
copyright = "The TunnelMesh authors"
release = version = version_of("tunnelmesh")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "TunnelMesh"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "description"
