"""How the documents are built: `make docs`."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
sys.path[:0] = [str(HERE / "_extensions"), str(ROOT)]

import gallery  # noqa: E402 - from the folder above

project = "separable"
author = "The separable developers"
project_copyright = author

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "docstrings",
    "mathml",
    "records",
    "repository",
]
exclude_patterns = ["_build"]
default_role = "py:obj"
suppress_warnings = [
    "config.cache",  # classes of sphinx-gallery in the configuration cannot be pickled
    "ref.python",  # several domains have a TrainConfig
]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "separable"
html_static_path = ["_static"]
html_css_files = ["pages.css"] if os.environ.get("RUN_EXAMPLES") else ["pages.css", "no_pictures.css"]
html_math_renderer = "mathml"
html_show_sourcelink = False
html_copy_source = False

sphinx_gallery_conf = {
    "examples_dirs": str(gallery.prepare(ROOT / "examples", ROOT / "datasets", ROOT / "build" / "gallery")),
    "gallery_dirs": "gallery",
    "plot_gallery": bool(os.environ.get("RUN_EXAMPLES")),
    "filename_pattern": r"\d\d_",
    "within_subsection_order": "FileNameSortKey",
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "min_reported_time": 1e9,
    "remove_config_comments": True,
}
