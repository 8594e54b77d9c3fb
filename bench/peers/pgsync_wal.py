"""PGSync in its WAL mode: documents of orders with customer, lines and products, from tables to Elasticsearch.

Prints how many documents it made at the beginning and in how many seconds; then it follows the WAL. Its settings are
its own environment variables. Its client, of Elasticsearch 7, asks `GET /` which product it talks to, and that is not
among the embedded server's endpoints: the answer is given here.
"""

import json
import sys
import time
from pathlib import Path

import elasticsearch
from elasticsearch.transport import Transport
from pgsync.sync import Sync


def _is_elasticsearch(transport: Transport, headers: object, timeout: object) -> None:
    transport._verified_elasticsearch = True


def main(schema: Path) -> None:
    Transport._do_verify_elasticsearch = _is_elasticsearch
    elasticsearch.Elasticsearch.info = lambda _: {"version": {"number": "9.0.0"}}
    (document,) = json.loads(schema.read_text())
    sync = Sync(document, bootstrap=True, wal=True)
    began = time.monotonic()
    sync.pull()
    told = {"documents": sync.search_client.doc_count, "seconds": time.monotonic() - began}
    print(json.dumps(told), flush=True)
    sync.wal_consumer()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
