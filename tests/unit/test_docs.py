"""Links and file names of the pages have targets, and generated pages are current."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from orders_dask.settings import Settings

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for pattern in ("*.md", "docs/**/*.md", "tests/**/README.md")
    for path in sorted(ROOT.glob(pattern))
    if path.relative_to(ROOT).parts[:3] != ("docs", "api", "rooms")
]
NAMED_FROM = ("", "orders_dask", "sql", "tests")
"""Folders that pages name files from."""

README_WORDS = 800

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def tokens(page: Path) -> Iterator[Token]:
    """Yield the tokens of a page, also those within lines."""
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text()):
        yield token
        yield from token.children or ()


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    blocks = MarkdownIt("commonmark").parse(page.read_text())
    seen: Counter[str] = Counter()
    made = set()
    for opening, heading in pairwise(blocks):
        if opening.type == "heading_open":
            shown = "".join(part.content for part in heading.children or ())
            slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
            made.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
    return made


def linked(page: Path) -> Iterator[str]:
    for token in tokens(page):
        target = token.attrGet("href") or token.attrGet("src")
        if isinstance(target, str) and not re.match(r"[a-z]+:", target):
            yield unquote(target)


@pages
def test_every_link_of_a_page_has_a_target(page: Path) -> None:
    dead = []
    for target in linked(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in anchors(path)):
            dead.append(target)
    assert not dead, f"{page.relative_to(ROOT)} links to what isn't there: {', '.join(dead)}"


@pages
def test_every_file_of_ours_that_a_page_names_is_there(page: Path) -> None:
    named = {
        token.content
        for token in tokens(page)
        if token.type == "code_inline" and re.fullmatch(r"[\w/]+/[\w.]+\.(py|sql)", token.content)
    }
    missing = {
        name for name in named if not any((ROOT / top / name).exists() for top in NAMED_FROM)
    }
    assert not missing, (
        f"{page.relative_to(ROOT)} names what isn't there: {', '.join(sorted(missing))}"
    )


def test_the_pages_that_follow_from_the_code_are_current() -> None:
    pytest.importorskip("numpydoc", reason="docs/generate.py needs the extra docs")
    ended = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr


def test_a_page_that_is_not_current_is_named_in_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("numpydoc", reason="docs/generate.py needs the extra docs")
    script = tmp_path / "generate.py"
    script.write_text((ROOT / "docs" / "generate.py").read_text())
    subprocess.run([sys.executable, script], check=True)
    with (tmp_path / "settings.md").open("a") as page:
        page.write("More.\n")
    ended = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr == "Stale: docs/settings.md. Run `python docs/generate.py`.\n"


def test_the_example_for_direnv_names_every_setting_once() -> None:
    example = (ROOT / ".envrc.example").read_text()
    named = Counter(re.findall(r"^(?:# )?export (\w+)=", example, re.MULTILINE))
    assert set(named.values()) == {1}, "a variable is named twice"
    missing = {str(field.validation_alias) for field in Settings.model_fields.values()} - set(named)
    assert not missing, ".envrc.example does not name them"
    documented = (ROOT / "docs" / "settings.md").read_text()
    unknown = {name for name in named if f"`{name}`" not in documented}
    assert not unknown, "no setting of ours, and docs/settings.md does not know them either"


def test_the_readme_is_short() -> None:
    words = len((ROOT / "README.md").read_text().split())
    assert words <= README_WORDS, f"README.md has {words} words: move some to a page under docs/"
