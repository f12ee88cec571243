"""The book: `sphinx-build -W --keep-going -n -j 2 tutorials build/book` executes the tutorials and writes the site.

What it writes needs no network. Formulas become pictures by ziamath when the book is built: no script, no font and no
LaTeX are needed, and any browser draws them alike.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import tostring

FOLDER = Path(__file__).parent
sys.path[:0] = [str(FOLDER.parent), str(FOLDER)]

project = "refnorm"
author = "The refnorm authors"
project_copyright = "The refnorm authors, BSD-3-Clause"

extensions = ["myst_nb", "sphinx.ext.autodoc", "numpydoc"]
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say shapes and dtypes
numpydoc_show_class_members = False
highlight_language = "text"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
nb_execution_mode = "force"  # a cache would not notice that refnorm has changed
nb_execution_timeout = 60
nb_execution_show_tb = True
nb_output_stderr = "warn"
nb_merge_streams = True

html_theme = "furo"
html_title = "refnorm"
html_math_renderer = "formula"
html_show_sphinx = False
html_copy_source = False
exclude_patterns = ["*.ipynb"]  # the pages, as `notebooks.py` writes them for JupyterLab
html_domain_indices = False
html_static_path: list[str] = ["book.css"]
html_css_files = ["book.css"]
templates_path = ["templates"]
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/search.html",
        "open-playground.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}


def linked(app: Any, page: str, source: list[str]) -> None:
    """Let links that lead out of this folder on a code host stay inside the book."""
    for outside, inside in (("../figures/matrix/matrix.md", "generated/matrix.md"), ("../README.md", "index.md")):
        source[0] = source[0].replace(f"]({outside}", f"]({inside}")


def formula(translator: Any, node: Any) -> None:
    """Write a formula, inline or displayed, as SVG; a command that is not understood is a warning."""
    import ziamath
    from docutils.nodes import SkipNode, math_block
    from latex2mathml.converter import convert
    from sphinx.util.logging import getLogger

    latex, block = node.astext().strip(), isinstance(node, math_block)
    if "\\" in convert(latex).replace(r"\\", ""):
        getLogger(__name__).warning("formula not understood: %s", latex, location=node)
    ziamath.config.svg2 = False
    drawn = ziamath.Latex(latex, size=18, color="currentColor", inline=not block)
    svg, shift = drawn.svgxml(), drawn.getyofst()
    for name in ("width", "height"):  # in the letters' own size, so that they grow with the page's
        svg.set(name, f"{float(svg.get(name)) / 16:.3f}em")
    if not block:
        svg.set("style", f"vertical-align: {shift / 16:.3f}em")
    tag = "div" if block else "span"
    start = translator.starttag(node, tag, "", CLASS="math", role="img", **{"aria-label": latex})
    translator.body.append(f"{start}{tostring(svg, encoding='unicode')}</{tag}>")
    raise SkipNode


def slow_pages(app: Any, env: Any) -> None:
    """Warn of every page that took more than a minute."""
    from myst_nb.sphinx_ import NbMetadataCollector
    from sphinx.util.logging import getLogger

    for page in sorted(env.found_docs):
        data, limit = NbMetadataCollector.get_exec_data(env, page), app.config.page_seconds
        if data and (data["runtime"] or 0) > limit:
            getLogger(__name__).warning("took %.0f s, more than %d", data["runtime"], limit, location=page)


def offered(app: Any, doctree: Any, page: str) -> None:
    """Put under the title of a page a link to it as a notebook, and a button that makes its cells live, or why not."""
    from docutils.nodes import raw, title

    if page in app.offered and app.builder.format == "html":
        file = app.offered[page]
        words = "Open this page as a notebook" + (", with its data (.zip)" if file.endswith(".zip") else " (.ipynb)")
        link = f'<a href="notebooks/{file}" download>{words}</a>'
        if page in app.live:
            files = f"notebooks/{file}" if file.endswith(".zip") else ""
            link += f'<button type="button" class="run-page" data-files="{files}">Run this page in the browser</button>'
            link += '<span role="status"></span><script src="playground/cells.js" defer></script>'
        elif page in app.lacking:
            link += f" It uses {app.lacking[page]}, so it cannot run in the browser."
        link = f'<p class="open-notebook">{link}</p>'
        first = next(iter(doctree.findall(title)))
        first.parent.insert(first.parent.index(first) + 1, raw("", link, format="html"))


def beside(app: Any, error: Exception | None) -> None:
    """Put the playground and the notebooks beside the pages."""
    import browser
    import notebooks

    if error is None and app.builder.format == "html":
        browser.write(Path(app.outdir))
        notebooks.write_book(Path(app.outdir) / "notebooks")


def setup(app: Any) -> dict[str, bool]:
    """Register what this file adds to Sphinx."""
    import docstrings
    import notebooks
    import pages

    app.offered = notebooks.downloads(notebooks.notebooks())
    lessons = {name: (FOLDER / f"{name}.md").read_text(encoding="utf-8") for name in app.offered}
    app.live = {name for name, page in lessons.items() if notebooks.is_live(page)}
    missing = {name: sorted(notebooks.lacking(page)) for name, page in lessons.items() if "{code-cell}" in page}
    said = {"refnorm.cli": "processes of its own"}
    app.lacking = {name: " and ".join(said.get(n, n) for n in names) for name, names in missing.items() if names}
    app.add_config_value("page_seconds", 60, "env", int)
    app.add_html_math_renderer("formula", (formula, None), (formula, None))
    app.connect("builder-inited", lambda app: pages.write(FOLDER / "generated"))
    app.connect("source-read", linked)
    app.connect("autodoc-process-docstring", docstrings.process, priority=400)
    app.connect("autodoc-skip-member", docstrings.skip)
    app.connect("env-updated", slow_pages)
    app.connect("doctree-resolved", offered)
    app.connect("build-finished", beside)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
