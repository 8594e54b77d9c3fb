"""`prejoin demo rename | search | rebuild`: what there is to try while a demo runs in this folder."""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli.console import note, report
from projector.cli.interrupts import run
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.embedded import Endpoints
    from projector.publish.message import Message

ROOT = Path(".prejoin/demo")
ADDRESS = ROOT / "run" / "address.json"
SEARCH_OFF = ROOT / "run" / "search.off"
"""While this file exists, the demo keeps Elasticsearch stopped."""

SECONDS_TO_WAIT, SECONDS_TO_SWITCH = 30.0, 90.0
SECONDS_BETWEEN_LOOKS = 0.02
NAMES = ("Ada Lovelace", "Grace Hopper")


class Switch(StrEnum):
    """What a demo's search can be told."""

    ON = "on"
    OFF = "off"


def register(demo: typer.Typer) -> None:
    """Add these commands to `prejoin demo`."""
    demo.command(
        short_help="Rename a customer of the running demo.", epilog="Example: prejoin demo rename c12 'Ada Lovelace'"
    )(rename)
    demo.command(
        short_help="Stop the demo's Elasticsearch, or start it again.", epilog="Example: prejoin demo search off"
    )(search)
    demo.command(
        short_help="Rebuild a view of the running demo.", epilog="Example: prejoin demo rebuild order_overview"
    )(rebuild)


def rename(
    customer: Annotated[str, typer.Argument(help="Its id; left out: the one with most orders.")] = "",
    name: Annotated[str, typer.Argument(help="The new name; left out: another than before.")] = "",
) -> None:
    """Publish CustomerNameChanged to the running demo, and tell when the name has reached all of the orders."""
    from projector.publish import publish

    endpoints = _endpoints()
    if not customer:
        customer = _get("/v1/customers", sort="-orders", erased="false", limit="1")["data"][0]["customer_id"]
    path = f"/v1/customers/{urllib.parse.quote(customer, safe='')}"
    before = _get(path)
    new = name or next(n for n in NAMES if n != before["name"])
    began = time.monotonic()
    run(publish(endpoints.kafka_brokers.split(","), [_renamed(customer, new)]))
    while _get(path)["name"] != new:
        if time.monotonic() - began > SECONDS_TO_WAIT:
            raise PrejoinError(f"{customer} has not got its new name in {SECONDS_TO_WAIT:.0f} s: see {ROOT}/logs")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    seconds = time.monotonic() - began
    report(
        f"{customer}, {before['name']} before, is {new} now, in all of its {before['orders']:,} orders: {seconds:.2f} s"
    )
    note(f"look: {_address()}/#/customer/{urllib.parse.quote(customer)}")


def search(to: Annotated[Switch, typer.Argument(help="off: stop Elasticsearch; on: start it again.")]) -> None:
    """Stop the running demo's Elasticsearch, or start it again; meanwhile Postgres answers searches."""
    from projector.embedded import service_states

    _endpoints()
    if to is Switch.OFF:
        SEARCH_OFF.touch()
    else:
        SEARCH_OFF.unlink(missing_ok=True)
    wanted, began = "stopped" if to is Switch.OFF else "running", time.monotonic()
    while not any(s.service == "elasticsearch" and s.state == wanted for s in service_states(ROOT.resolve())):
        if time.monotonic() - began > SECONDS_TO_SWITCH:
            raise PrejoinError(f"Elasticsearch is not {wanted} after {SECONDS_TO_SWITCH:.0f} s: see {ROOT}/logs")
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if to is Switch.OFF:
        report("Elasticsearch is stopped: Postgres answers searches, `prejoin demo search on` starts it again")
    else:
        report("Elasticsearch runs: the index is brought up to date with what it missed")
    note(f"look: {_address()}/#/search/orders?q=maria")


def rebuild(view: Annotated[str, typer.Argument(help="The view.")] = "order_overview") -> None:
    """Run `prejoin rebuild VIEW` against the running demo."""
    from projector.cli import rebuild as command

    os.environ.update(_endpoints().environment() | {"PREJOIN_GROUP": "prejoin", "PREJOIN_PROJECTIONS": "projections"})
    note(f"look: {_address()}/#/operations")
    command.rebuild([view], yes=True)


def _endpoints() -> "Endpoints":
    from projector.embedded import running_endpoints
    from projector.embedded.errors import EmbeddedError

    try:
        return running_endpoints(ROOT.resolve())
    except EmbeddedError:
        raise PrejoinError(f"no demo runs in {ROOT.resolve()}: start one with `prejoin demo`") from None


def _address() -> str:
    from projector.embedded.files import read_json

    told = read_json(ADDRESS)
    if not told:
        raise PrejoinError("the demo has no API yet: wait until it says that it answers")
    return str(told["url"])


def _get(path: str, **parameters: str) -> Any:
    url = f"{_address()}{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the demo's own address
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise PrejoinError(f"the demo's API says of {path}: {json.load(error).get('detail', error.reason)}") from None
    except OSError:
        raise PrejoinError(f"the demo's API does not answer at {_address()}: see {ROOT}/logs/api.log") from None


def _renamed(customer: str, name: str) -> "Message":
    from projector.publish.message import Message

    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    event = {
        "specversion": "1.0",
        "id": f"renamed-{time.time_ns()}",
        "source": "/demo/rename",
        "type": "customers.CustomerNameChanged",
        "subject": customer,
        "time": now,
        "datacontenttype": "application/json",
        "data": {"customer_id": customer, "name": name},
    }
    return Message("customers", customer.encode(), json.dumps(event).encode())
