"""How the documentation is built: `sphinx-build -W docs build/docs`, warnings are errors.

The pages are Markdown. Those in `gallery` are notebooks: their code is executed anew in every
build, and an error in it fails the build.
"""

from pathlib import Path

import dualsr_jax

project = "dualsr_jax"
version = release = dualsr_jax.__version__
copyright = "the authors of dualsr_jax, Apache-2.0"  # noqa: A001, Sphinx's name
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_copybutton"]
exclude_patterns = ["jupyter_execute"]
default_role = "literal"
html_theme = "furo"
html_title = f"dualsr_jax {version}"
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_show_tb = True
nb_execution_timeout = 600
nb_merge_streams = True
autodoc_typehints = "none"  # shapes are jaxtyping's, which signatures show as they are written
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_numpy_docstring = False
napoleon_use_ivar = True

ROOT = Path(__file__).parents[1]
# Pages of the repository that are pages of the site too, and their names there.
PAGES = {"index": "README.md", "contributing": "CONTRIBUTING.md"}


def add_repository_pages(app, page, source):
    """Puts README and CONTRIBUTING into the site, and leads links to them there."""
    if page in PAGES:
        source[0] = (ROOT / PAGES[page]).read_text().replace("](docs/", "](") + "\n" + source[0]
    for name, file in PAGES.items():
        for link in (f"](../{file}", f"]({file}"):
            source[0] = source[0].replace(link, f"]({name}.md")


def setup(app):
    """Called by Sphinx."""
    app.connect("source-read", add_repository_pages)
