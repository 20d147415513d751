"""Sphinx: all Markdown pages, and a reference of the Python code from its docstrings, as HTML.

``make docs`` builds them with the repository as source folder, so links between pages are the same
here as in a repository browser. Nothing is fetched.
"""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version as version_of
from pathlib import Path
from pkgutil import walk_packages
from pydoc import locate
from typing import TypeVar

from docutils import nodes
from pygments.lexers.special import TextLexer
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

import orders_dask

project = "orders_dask"
version = release = version_of(project)
author = copyright = "the authors of orders_dask"

root_doc = "docs/index"
include_patterns = ["*.md", "docs/**", "tests/README.md", "tests/**/README.md"]
exclude_patterns = ["**/.*", "**/__pycache__"]

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "myst_parser"]
html_theme = "alabaster"
html_theme_options = {"page_width": "1100px", "fixed_sidebar": True}
html_show_sourcelink = False
myst_heading_anchors = 6
napoleon_google_docstring = False
# Several names may share a description. Attributes are described as parameters are: autodoc lists
# them besides.
napoleon_use_param = False
napoleon_custom_sections = [("Attributes", "params_style")]
autodoc_default_options = {
    "members": True,
    "undoc-members": True,
    "private-members": True,
    "no-value": True,  # tables and schemas are long
}

nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!orders_dask\b)\w+\..*")]  # other packages
suppress_warnings = ["misc.highlighting_failure"]  # commands of several lines


def setup(app: Sphinx) -> None:
    """Prepare what Sphinx doesn't know by itself."""
    # Public names that are imported when they are asked for: autodoc lists what is there.
    for name in orders_dask.__all__:
        setattr(orders_dask, name, getattr(orders_dask, name))
    for language in ("cron", "mermaid"):
        app.add_lexer(language, TextLexer)
    app.connect("source-read", add_toctree)
    app.connect("doctree-read", unlink_types)
    app.connect("missing-reference", leave_as_text)
    write_rooms(Path(__file__).parent / "api" / "rooms")


def add_toctree(app: Sphinx, page: str, source: list[str]) -> None:
    """Turn the links of an index into its table of contents.

    Written out, it would be shown as code by a repository browser.
    """
    if page in (root_doc, "docs/adr/README"):
        linked = re.findall(r"\]\(([^)#:]+)\.(?:md|rst)\)", source[0])
        source[0] += "\n".join(["\n```{toctree}", ":hidden:", *dict.fromkeys(linked), "```\n"])


def unlink_types(app: Sphinx, page: nodes.document) -> None:
    """Leave types of others, and type variables, in a signature as text: they have no page."""
    for link in list(page.findall(pending_xref)):
        target = link.get("reftarget", "")
        ours = target.startswith("orders_dask.") and not isinstance(locate(target), TypeVar)
        by_role = isinstance(link.next_node(), nodes.literal)
        if link.get("refdomain") == "py" and not by_role and not ours:
            link.replace_self(link.children)


def leave_as_text(
    app: Sphinx, env: BuildEnvironment, link: pending_xref, text: nodes.Node
) -> nodes.Node | None:
    """Leave a reference as text where the name exists but has no entry, as imported ones have."""
    module = link.get("py:module") or ""
    owner = locate(".".join(filter(None, (module, link.get("py:class")))))
    scopes = (module, getattr(owner, "__module__", module))
    names = (link["reftarget"], *(f"{scope}.{link['reftarget']}" for scope in scopes))
    return text if any(locate(name) is not None for name in names) else None


def write_rooms(folder: Path) -> None:
    """Write a page for each package, with all modules that are directly in it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    rooms: dict[str, list[str]] = {}
    for each in walk_packages(orders_dask.__path__, "orders_dask."):
        room = each.name if each.ispkg else each.name.rpartition(".")[0]
        rooms.setdefault(room, []).append(each.name)
    for room, modules in rooms.items():
        page = [room, "=" * len(room)]
        for module in modules:
            page += [] if module == room else ["", module, "-" * len(module)]
            page += ["", f".. automodule:: {module}"]
        (folder / f"{room}.rst").write_text("\n".join(page) + "\n")
