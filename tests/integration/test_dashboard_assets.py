"""The dashboard's files: all there, all from here, and no script but theirs may run."""

import hashlib
import json
import re
from pathlib import Path

import httpx
import pytest

from read_api import dashboard

STATIC = Path(dashboard.__file__).parent / "static"
FILES = sorted(str(path.relative_to(STATIC)) for path in STATIC.rglob("*") if path.is_file())
OWN = [name for name in FILES if name.endswith((".js", ".css", ".html")) and not name.startswith("vendor/")]


async def test_the_page_is_served_under_a_policy_that_lets_nothing_else_in(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert '<body data-demo="false" data-shop="true">' in answer.text
    assert not re.search(r"<script(?![^>]* src=)|<style| style=| on\w+=", answer.text)


async def test_every_file_that_is_named_is_there_and_is_told_unchanged_the_second_time(
    client: httpx.AsyncClient,
) -> None:
    page = (await client.get("/")).text
    named = set(re.findall(r'"dashboard/([^"]+)"', page))
    for name in OWN:
        folder = Path(name).parent
        imports = re.findall(r'from "\./([^"]+)"', (STATIC / name).read_text())
        named |= {str(folder / target) for target in imports}
    assert named <= set(FILES)
    for name in named:
        answer = await client.get(f"/dashboard/{name}")
        assert answer.status_code == 200
        assert answer.content == (STATIC / name).read_bytes()
        again = await client.get(f"/dashboard/{name}", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


async def test_a_file_is_told_unchanged_by_any_form_of_its_tag_and_by_no_other(client: httpx.AsyncClient) -> None:
    tag = (await client.get("/dashboard/app.js")).headers["etag"]
    expected = {
        tag: 304, tag.removeprefix("W/"): 304, f'"other", {tag}': 304, "*": 304,
        f'"other-{tag}"': 200, f'W/"x{tag[3:]}': 200, '"*"': 200,
    }  # fmt: skip
    for known, status in expected.items():
        answer = await client.get("/dashboard/app.js", headers={"If-None-Match": known})
        assert (answer.status_code, answer.headers["etag"]) == (status, tag), known


@pytest.mark.parametrize("name", ["../__init__.py", "%2e%2e/__init__.py", "nothing.js", "", "index.html"])
async def test_nothing_else_is_served(client: httpx.AsyncClient, name: str) -> None:
    answer = await client.get(f"/dashboard/{name}")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_no_file_names_another_server() -> None:
    for name in OWN:
        text = (STATIC / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|(?<!:)//\w+\.\w", text), name


def test_what_comes_from_elsewhere_is_what_was_taken_with_its_licence() -> None:
    told = json.loads((STATIC / "vendor/vendor.json").read_text())
    assert {f"vendor/{name}" for name in told} | {"vendor/vendor.json"} == {n for n in FILES if n.startswith("vendor/")}
    for name, about in told.items():
        assert hashlib.sha256((STATIC / "vendor" / name).read_bytes()).hexdigest() == about["sha256"], name
        assert f"{about['from'].split('@')[0]}.LICENSE" in told
