"""The site as `make docs` builds it: strictly, all that the code has in its reference, nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest

from projections import registry
from projector.declare.projections import load
from projector.settings import Settings
from tools.reference.api import page as api_page
from tools.reference.cli import commands
from tools.reference.metrics import metrics, registries

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does; a link or an anchor that leads nowhere, or a page in no menu, is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=REPOSITORY, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def text_of(path: Path) -> str:
    return unescape(re.sub(r"<[^>]+>", "", path.read_text()))


def test_the_reference_has_all_that_the_code_has(site: Path) -> None:
    names = {
        "cli": [words for words, _ in commands()],
        "settings": [f"PREJOIN_{field.upper()}" for field in Settings.model_fields],
        "events": [contract.wire_type for contract in registry.contracts.values()],
        "views": [name for view in load("projections").served for name in (view.name, *(c.name for c in view.columns))],
        "api": re.findall(r"^### (GET .*)$", api_page(), re.MULTILINE),
        "metrics": [name for each in registries().values() for metric in metrics(each) for name in metric.series],
    }
    for page, wanted in names.items():
        text = text_of(site / "reference" / f"{page}.html")
        assert wanted
        assert [name for name in wanted if name not in text] == []


def test_an_option_its_default_and_its_bounds_are_in_the_reference(site: Path) -> None:
    text = text_of(site / "reference" / "cli.html")
    assert "--partitions" in text
    assert "Partitions of topics that are created. [default: 4; 1<=x<=10000]" in text
    assert "prejoin generate tpch --scale 0.01 | prejoin publish -" in text


def test_pages_from_outside_the_folder_lead_to_pages_of_the_site(site: Path) -> None:
    start = (site / "index.html").read_text()
    assert 'href="how-to/add-a-view.html"' in start
    assert 'href="measurements.html"' in start
    assert "index.html#add-a-view" in (site / "how-to/add-a-view.html").read_text()


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"""<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=["']?(https?:[^"' >]+)""")
    assert [found for page in site.rglob("*.html") for found in loads.findall(page.read_text())] == []
    assert not re.search(r"(@import|url\()[\"']?https?:", "".join(p.read_text() for p in site.rglob("*.css")))
