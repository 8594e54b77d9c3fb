"""What is personal is nowhere for whoever lacks the scope: not in answers, nor to be found out by asking."""

import asyncio
import io
import time
from datetime import timedelta
from typing import Any

import httpx
import pyarrow.parquet
import pytest
from opentelemetry import trace

from projector.store.keys import revoke
from read_api.app import PLAIN, create_app
from tests.api import ORDER, PERSONAL, api, fill, key_of, settings_of
from tests.following import clock_at, follow, listening
from tests.integration.searching import order, patient, searched
from tests.world import World

__all__ = ["patient"]

# what rows are found by, and what their names, e-mail addresses and segments could tell
SEARCHES = [
    {}, {"q": "o1"}, {"q": "red"}, {"q": "red", "sort": "-total"}, {"q": "red", "limit": "1"}, {"q": "annabel"},
    {"q": "annab"}, {"q": "annabl"}, {"q": "secret"}, {"q": '"annabel secret"'}, {"q": "-annabel"},
    {"q": '-"annabel secret"'}, {"q": "example.org"}, {"facets": "status,customer_country"},
    {"q": "red", "status": "pending", "sort": "-order_id"},
]  # fmt: skip
REFUSED = [
    {"facets": "customer_segment"}, {"sort": "-customer_name"}, {"customer_name": "Bob"}, {"customer_email[gt]": "a"},
    {"customer_segment[null]": "true"},
]  # fmt: skip


async def test_what_is_personal_is_nowhere_without_the_scope(closed: World, read_database_url: str) -> None:
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    asked = [
        "/v1/orders", "/v1/orders/o1", "/v1/customers/c1/orders", "/v1/orders?fields=customer_name",
        "/v1/orders/search", "/v1/orders/search?q=o1", "/v1/orders/search?facets=status",
        *(f"/v1/orders/export?format={form}" for form in ("csv", "ndjson")),
    ]  # fmt: skip
    async with api(closed, read_database_url) as client:
        for path in asked:
            shown = await client.get(path, headers=masked)
            assert (shown.status_code, "o1" in shown.text) == (200, True), path
            assert not any(value in shown.text for value in PERSONAL.values()), path
            told = (await client.get(path, headers=whole)).text
            assert any(value in told for value in PERSONAL.values()), path
        row = (await client.get("/v1/orders/o1", headers=masked)).json()
        assert {row[name] for name in PERSONAL} == {None}
        parquet = await client.get("/v1/orders/export?format=parquet", headers=masked)
        (row,) = pyarrow.parquet.read_table(io.BytesIO(parquet.content)).to_pylist()
        assert (row["order_id"], *(row[name] for name in PERSONAL)) == ("o1", None, None, None)


async def test_what_is_personal_finds_nothing_without_the_scope(closed: World, read_database_url: str) -> None:
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    asked = [
        "/v1/orders?customer_name=Annabel%20Secret", "/v1/orders?customer_email[null]=true",
        "/v1/orders?sort=-customer_name", "/v1/orders?customer_name[gte]=A&count=exact",
        "/v1/orders/search?facets=customer_segment",
        "/v1/orders/search?q=o1&customer_segment=VIPS", "/v1/orders/search?sort=customer_email",
        "/v1/orders/export?format=csv&customer_name[gt]=A", "/v1/orders/export?format=csv&sort=customer_name",
        "/v1/orders/changes?customer_name[gt]=A", "/v1/customers?name=x", "/v1/fulfilment?customer_name=x",
    ]  # fmt: skip
    async with api(closed, read_database_url) as client:
        for path in asked:
            refused = await client.get(path, headers=masked)
            assert (refused.status_code, "is personal" in refused.text or "not a facet" in refused.text) == (
                400,
                True,
            ), path
        for q in ("annabel", "secret", "annab", "vips", '"annabel secret"'):
            found = await client.get(f"/v1/orders/search?q={q}", headers=masked)
            assert (found.status_code, found.json()["total"]["value"], found.json()["data"]) == (200, 0, []), q
        assert (await client.get("/v1/orders/search?q=annabel", headers=whole)).json()["total"]["value"] == 1
        none = await client.get("/v1/orders/search?q=-annabel", headers=masked)
        assert none.json()["total"]["value"] == 1


@pytest.mark.parametrize("backend", ["elasticsearch", "postgres"])
async def test_a_search_without_the_scope_is_answered_as_if_nothing_personal_were_there(
    closed: World, read_database_url: str, elasticsearch_url: str, backend: str
) -> None:
    """Hits, their order and scores, highlights, totals and facets are the same whoever the customers are."""
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    rows = order("o1", "red shoe", total=2), order("o2", "red hat", total=1), order("o3", "blue hat")
    nobody = dict.fromkeys(PERSONAL)
    reds = {"customer_name": "Red Annabel", "customer_email": "o1@example.org", "customer_segment": "red"}
    async with searched(closed, read_database_url, elasticsearch_url, backend) as made:

        async def told(key: dict[str, str]) -> list[tuple[int, dict[str, Any]]]:
            asked = [made.client.get(made.path, params=search, headers=key) for search in [*SEARCHES, *REFUSED]]
            return [_without_cursor(answer) for answer in await asyncio.gather(*asked)]

        async def of_customers(*its: dict[str, Any]) -> None:
            await made.given(*(row | its for row, its in zip(rows, its, strict=True)))

        await of_customers(nobody, nobody, nobody)
        expected = (await told(whole))[: len(SEARCHES)]
        assert {(status, answer["backend"]) for status, answer in expected} == {(200, backend)}
        for customers in (PERSONAL, reds, nobody), (reds, nobody, PERSONAL):
            await of_customers(*customers)
            found, shown = await told(masked), await told(whole)
            assert found[: len(SEARCHES)] == expected
            assert [status for status, _ in found[len(SEARCHES) :]] == [400] * len(REFUSED)
            for search, hidden, seen in zip([*SEARCHES, *REFUSED], found, shown, strict=True):
                assert hidden != seen, f"with the scope, too, {search} tells nothing of customers"


def _without_cursor(answer: httpx.Response) -> tuple[int, dict[str, Any]]:
    """What an answer says, but for the point in time that its cursor holds."""
    told = answer.json()
    return answer.status_code, told | {"next_cursor": told.get("next_cursor") is not None}


async def test_tags_and_cursors_do_not_tell_what_is_personal(closed: World, read_database_url: str) -> None:
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    async with api(closed, read_database_url) as client:
        before = [(await client.get("/v1/orders/o1", headers=key)).headers["etag"] for key in (masked, whole)]
        closed.execute(f"UPDATE {closed.table('order_overview')} SET customer_name = 'Other'")
        after = [(await client.get("/v1/orders/o1", headers=key)).headers["etag"] for key in (masked, whole)]
        assert [a == b for a, b in zip(before, after, strict=True)] == [True, False]
        fill(closed, "order_overview", [ORDER | PERSONAL, ORDER | PERSONAL | {"order_id": "o2"}])
        page = (await client.get("/v1/orders?sort=customer_name&limit=1", headers=whole)).json()
        again = {"sort": "customer_name", "cursor": page["next_cursor"]}
        assert (await client.get("/v1/orders", params=again, headers=masked)).status_code == 400


async def test_changes_are_masked_and_end_with_the_key(
    closed: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.feed.HEARTBEAT", 0.05)
    masked, whole = key_of(closed, "masked", pii=False), key_of(closed, "whole")
    change = "SELECT pg_notify('prejoin_changes:' || current_schema(), '')"
    async with (
        listening(create_app(settings_of(closed, read_database_url))) as client,
        follow(client, "/v1/orders/changes", **masked) as hidden,
        follow(client, "/v1/orders/changes", **whole) as shown,
    ):
        closed.execute("INSERT INTO changes VALUES (now(), nextval('revisions'), 'order_overview', '{o1}', '{}')")
        closed.execute(change)
        rows = [(await follower.next())[1]["row"] for follower in (hidden, shown)]
        assert [row["customer_name"] for row in rows] == [None, "Annabel Secret"]
        assert rows[0] == rows[1] | dict.fromkeys(PERSONAL)
        with closed.connect() as connection:
            revoke(connection, "masked")
        with pytest.raises(StopAsyncIteration):
            await hidden.next()


async def test_changes_end_when_the_key_expires(
    closed: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("read_api.changes.feed.HEARTBEAT", 0.05)
    lasting, ending = key_of(closed, "lasting"), key_of(closed, "ending", lasts=timedelta(hours=1))
    async with (
        listening(create_app(settings_of(closed, read_database_url))) as client,
        follow(client, "/v1/orders/changes", **lasting) as stays,
        follow(client, "/v1/orders/changes", **ending) as ends,
    ):
        clock_at(monkeypatch, time.time() + 3_590)
        for follower in (ends, stays):
            await follower.beats(3)
        clock_at(monkeypatch, time.time() + 3_601)
        with pytest.raises(StopAsyncIteration):
            await ends.next()
        await stays.beats(3)


class Spans(trace.TracerProvider, trace.NoOpTracer):
    """OpenTelemetry set up in this process, as far as its interface goes: what was said of each span at its start."""

    def __init__(self) -> None:
        self.begun: list[str] = []

    def get_tracer(self, *_arguments: Any, **_more: Any) -> trace.Tracer:
        return self

    def start_span(self, *arguments: Any, **more: Any) -> trace.Span:
        self.begun.append(f"{arguments} {more}")
        return trace.INVALID_SPAN


@pytest.mark.parametrize("ours", [True, False])
async def test_no_span_is_begun_which_would_hold_path_and_query(
    closed: World, read_database_url: str, monkeypatch: pytest.MonkeyPatch, ours: bool
) -> None:
    spans, whole = Spans(), key_of(closed, "whole")
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: spans)
    if not ours:
        monkeypatch.delitem(PLAIN, "telemetry")
    async with api(closed, read_database_url) as client:
        for path in ("/v1/orders?customer_email=annabel@example.org", "/v1/customers/annabel"):
            await client.get(path, headers=whole)
    if ours:
        assert spans.begun == []
    else:
        assert ["annabel" in told for told in spans.begun if "url.path" in told] == [True, True]
