"""MkDocs' hooks: the pages that are not in docs/, and links that lead out of it.

`make docs` builds the site. The reference is written from the code; README, changelog and measurements come from where
they are, so that they read the same there.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from tools.reference import PAGES

REPOSITORY = Path(__file__).parents[1]
ELSEWHERE = {"README.md": "index.md", "CHANGELOG.md": "changelog.md", "bench/README.md": "measurements.md"}
"""Pages outside docs/: where each is in the repository and in the site."""
_LINK = re.compile(r"(?<=\]\()(?!https?:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/."""
    for name, write in PAGES.items():
        files.append(File.generated(config, name, content=write()))
    for source, name in ELSEWHERE.items():
        text = _moved((REPOSITORY / source).read_text(), source, name)
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links from docs/ to pages outside it to where those are in the site."""
    if page.file.generated_by:
        return markdown
    return _moved(markdown, f"docs/{page.file.src_uri}", page.file.src_uri)


def _moved(text: str, source: str, name: str) -> str:
    """The text of the repository's file `source` as the site's page `name`: its links lead to the same pages."""

    def moved(link: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link[0]))
        there = ELSEWHERE.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(there, posixpath.dirname(name) or ".")

    return _LINK.sub(moved, text)
