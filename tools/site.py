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
        text = (REPOSITORY / source).read_text()
        files.append(File.generated(config, name, content=_LINK.sub(lambda m: _moved(m[0], source, name), text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: object) -> str:
    """Lead links from docs/ to pages outside it to where those are in the site."""
    if page.file.generated_by:
        return markdown
    source = f"docs/{page.file.src_uri}"
    return _LINK.sub(lambda m: _moved(m[0], source, page.file.src_uri), markdown)


def _moved(link: str, source: str, name: str) -> str:
    """A link of the repository's file `source` as it is from the site's page `name`."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    there = ELSEWHERE.get(target, target.removeprefix("docs/"))
    return posixpath.relpath(there, posixpath.dirname(name) or ".")
