"""The projection runner of `eventsourcing` on its Postgres recorders: an event, a transaction, its position in it.

Records the events of a file first, JSON lines, then prints how many it projected and in how many seconds.
"""

import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import AggregateEvent, datetime_now_with_tzinfo
from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from psycopg.rows import tuple_row

from bench.peers import one_event

RECORDED_AT_ONCE = 500


class Told(AggregateEvent):
    event: str


class Shop(Application[UUID]):
    pass


class Rows(PostgresTrackingRecorder):
    def apply(self, event: dict[str, Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            with cursor.connection.cursor(row_factory=tuple_row) as plain:
                one_event.apply(plain, event["type"].split(".")[0], event)


class Orders(Projection[Rows]):
    def process_event(self, domain_event: Told, tracking: Tracking) -> None:
        self.view.apply(json.loads(domain_event.event), tracking)


def main(file: Path) -> None:
    shop, versions, last = Shop(), Counter[str](), None
    told = [_told(line, versions) for line in file.read_text().splitlines()]
    for at in range(0, len(told), RECORDED_AT_ONCE):
        last = shop.save(*told[at : at + RECORDED_AT_ONCE])[-1].notification.id
    shop.close()
    began = time.monotonic()
    with ProjectionRunner(application_class=Shop, projection_class=Orders, view_class=Rows) as runner:
        runner.wait(last, timeout=600)
        print(json.dumps({"events": len(told), "seconds": time.monotonic() - began}))


def _told(line: str, versions: Counter[str]) -> Told:
    event = json.loads(line)
    about = f"{event['type'].split('.')[0]}/{event['subject']}"
    versions[about] += 1
    return Told(uuid5(NAMESPACE_URL, about), versions[about], datetime_now_with_tzinfo(), line)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
