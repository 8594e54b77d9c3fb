"""The engine's own tables. Alembic's migrations make them; a test holds the two against each other."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

metadata = MetaData()
_at = DateTime(timezone=True)

projection_group = Table(
    "projection_group",
    metadata,
    Column("one", Boolean, CheckConstraint("one", name="one_row"), primary_key=True, server_default=text("true")),
    Column("declarations", Text, comment="digest of what the tables were made from; a worker with another one stops"),
    Column("as_of", _at, comment="every event that the broker held at this time has been applied"),
    Column("paused_at", _at, comment="since when no batch is applied; null: batches are"),
    Column("paused_by", Text, comment="user and host that paused the group"),
    Column("coming", Text, comment="digest of the declarations that wait for `prejoin rebuild`"),
    comment="One row: what the group as a whole is at.",
)
positions = Table(
    "positions",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next", BigInteger, nullable=False, comment="the next offset to apply, set in the batch's own transaction"),
    Column("topic_id", Text, comment="the broker's id of the topic: another one is another topic of the same name"),
)
ends = Table(
    "ends",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("end_offset", BigInteger, nullable=False, comment="the broker's next offset to be written"),
    Column("seen_at", _at, nullable=False),
)
workers = Table(
    "workers",
    metadata,
    Column("worker", Text, primary_key=True),
    Column("started_at", _at, nullable=False),
    Column("beat_at", _at, nullable=False),
    Column("state", Text, nullable=False, comment="live, lagging, stuck or paused"),
    Column("detail", Text),
)
generations = Table(
    "generations",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("digest", Text, nullable=False, comment="of the definition it was built from"),
    Column(
        "state",
        Text,
        nullable=False,
        comment="building, live, kept (served before, as it was then), copy (being made) or snapshot",
    ),
    Column("built_at", _at, nullable=False, server_default=func.now()),
    Column("as_of", _at, comment="of a kept one: the group's, at the switch"),
    Column(
        "positions", ARRAY(Text), comment="of a kept one: the last applied offsets at the switch, as the API tells them"
    ),
    Column("snapshot", Text, comment="the name of the snapshot that it belongs to"),
)
served = Table(
    "served",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("search", Integer, comment="the search generation that is searched; null: none is whole yet"),
)
search_generations = Table(
    "search_generations",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("generation", Integer, primary_key=True),
    Column("search", Integer, primary_key=True),
    Column("digest", Text, nullable=False, comment="of what its documents are made like"),
    Column("state", Text, nullable=False, comment="filling (all keys go to the outbox), sending, live or gone"),
    Column("filled_to", Text(collation="C"), comment="while filling: the last key put into the outbox"),
    Column("sent", BigInteger, nullable=False, server_default=text("0"), comment="bulks taken off the outbox"),
    Column("as_of", _at, comment="what its index holds"),
    Column("built_at", _at, nullable=False, server_default=func.now()),
    comment="Copies of views in the search index. Batches write the outbox of a view that has any.",
)
outbox = Table(
    "outbox",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("key", Text(collation="C"), primary_key=True),
    Column("revision", BigInteger, nullable=False, comment="the version that its document gets"),
    Column("since", _at, nullable=False, server_default=func.now(), comment="when the key came, however often since"),
    comment="Keys of views that the search index has yet to see, each once.",
)
search_dead_letters = Table(
    "search_dead_letters",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("key", Text(collation="C"), primary_key=True),
    Column("revision", BigInteger, nullable=False),
    Column("reason", Text, nullable=False, comment="what Elasticsearch said"),
    Column("at", _at, nullable=False, server_default=func.now()),
    comment="Rows whose document Elasticsearch refused; gone once a later one is taken.",
)
pending = Table(
    "pending",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("relation", Text, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("keys", ARRAY(Text), nullable=False, comment="as many as one transaction refreshes"),
    Column("parts", ARRAY(Text), comment="of the rows that are to be refreshed; null: the whole"),
    comment="Keys still to be refreshed; they hold As-Of back.",
)
rebuilds = Table(
    "rebuilds",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("generation", Integer, nullable=False, comment="the one that is built"),
    Column("phase", Text, nullable=False, comment="waiting, filling, indexing, draining or searching"),
    Column("filled_to", Text, comment="while filling: where the last whole range of the first key column ends"),
    Column("rows", BigInteger, nullable=False, server_default=text("0"), comment="that are filled in"),
    Column("expected", BigInteger, comment="rows, as the generation before has them"),
    Column("runner", Text, nullable=False, comment="host and process that work at it"),
    Column("started_at", _at, nullable=False, server_default=func.now()),
    Column("beat_at", _at, nullable=False, server_default=func.now()),
    Column(
        "captured_to",
        BigInteger,
        nullable=False,
        server_default=text("0"),
        comment="the last row of `captured` that it has taken in",
    ),
    comment="Generations being built. Batches append what they change of entities to `captured`; "
    "whoever rebuilds takes it in.",
)
captured = Table(
    "captured",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False, comment="the table of an entity, or of its children"),
    Column("before", JSONB, comment="the row as it was; null: it came"),
    Column("after", JSONB, comment="the row as it is; null: it went"),
    comment="What batches changed of entities since generations are being built, in order; for whoever builds them.",
)
copies = Table(
    "copies",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, unique=True, comment="of a snapshot"),
    Column("until", _at, comment="of a snapshot: its time"),
    Column("state", Text, nullable=False, comment="building, snapshot, or replaced: holds the entities of before"),
    Column("phase", Text, nullable=False, comment="replaying, building, catching up, searching or done"),
    Column("generations", JSONB, nullable=False, comment="relation → the generation that is the copy's"),
    Column("declared", Text, nullable=False, comment="digest of the declarations that it is made by"),
    Column("done", BigInteger, nullable=False, server_default=text("0"), comment="of the phase"),
    Column("total", BigInteger),
    Column("runner", Text, nullable=False, comment="host and process that work at it"),
    Column("started_at", _at, nullable=False, server_default=func.now()),
    Column("beat_at", _at, nullable=False, server_default=func.now()),
    comment="Copies of entities and views, made from the log; the schemas of each are named group$id.",
)
drift = Table(
    "drift",
    metadata,
    Column("relation", Text, primary_key=True),
    Column("place", Text, primary_key=True, comment="view, or index: its search index"),
    Column("key", Text(collation="C"), primary_key=True, comment="JSON: the values of the key's columns"),
    Column("kind", Text, nullable=False, comment="missing, extra, different or stale"),
    Column("seen_at", _at, nullable=False, server_default=func.now()),
    comment="Rows and documents seen to differ from what they should be; gone once a whole verify finds none.",
)
revisions = Sequence("revisions", metadata=metadata)
changes = Table(
    "changes",
    metadata,
    Column("at", _at, nullable=False, server_default=func.now(), primary_key=True),
    Column("revision", BigInteger, nullable=False, primary_key=True),
    Column("relation", Text, nullable=False, primary_key=True),
    Column("upserted", ARRAY(Text), nullable=False),
    Column("deleted", ARRAY(Text), nullable=False),
    Index("ix_changes_revision", "relation", "revision"),
    comment="The change feed: the keys that one batch changed in one view. Append-only, a partition a day.",
    postgresql_partition_by="RANGE (at)",
)
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False, comment="JSON: pairs of name and base64; jsonb would refuse a NUL"),
    Column("record_time", _at, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("type", Text),
    Column("entity", Text),
    Column("aggregate", Text, comment="the aggregate's id, where it could be told"),
    Column("sequence", BigInteger),
    Column("state", Text, nullable=False, server_default="open", comment="open, replayed or purged"),
    Column("arrived_at", _at, nullable=False, server_default=func.now()),
    UniqueConstraint("topic", "partition", "offset", "record_time"),
    Index("ix_dead_letters_open", "id", postgresql_where=text("state = 'open'")),
    Index("ix_dead_letters_aggregate", "entity", "aggregate"),
)
journals = Table(
    "journals",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("aggregate", Text(collation="C"), primary_key=True),
    Column(
        "base", JSONB, comment="the aggregate before its first gap or dead letter; null: given up, it grew too long"
    ),
    Column("records", BigInteger, nullable=False, server_default=text("0")),
)
journal_records = Table(
    "journal_records",
    metadata,
    Column("n", BigInteger, Identity(always=True), primary_key=True, comment="the order in which they are folded"),
    Column("entity", Text, nullable=False),
    Column("aggregate", Text(collation="C"), nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("headers", Text, nullable=False),
    Column("record_time", _at, nullable=False),
    Index("ix_journal_records_aggregate", "entity", "aggregate", "n"),
    comment="What was applied to a journalled aggregate since; replay folds base, mended event and these anew.",
)
api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Text, primary_key=True, comment="what its text begins with, and what logs tell"),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False, comment="SHA-256 of the whole key"),
    Column("views", ARRAY(Text), comment="that it may read; null: all"),
    Column("pii", Boolean, nullable=False, comment="whether it may read personal columns"),
    Column("created_at", _at, nullable=False, server_default=func.now()),
    Column("expires_at", _at),
    Column("revoked_at", _at),
    comment="Who may read; never emptied: the API is open only until the first key exists.",
)

erasures = Table(
    "erasures",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("key", Text(collation="C"), primary_key=True),
    Column("at", _at, nullable=False, server_default=func.now(), comment="when this group learned of it"),
    Column(
        "whole", Boolean, nullable=False, server_default=text("true"), comment="no kept copy has rows to be blanked"
    ),
    Index("ix_erasures_unfinished", "entity", "key", postgresql_where=text("NOT whole")),
    comment="Aggregates that are erased, by event or command: whatever comes later of them is blanked as it is kept.",
)

# SQL views that let the read role see counts, and nothing else, of tables that it must not read.
STATUS_VIEWS = {
    "dead_letter_count": "SELECT count(*) AS dead_letters FROM dead_letters WHERE state = 'open'",
    "dead_letter_reasons": "SELECT reason, count(*) AS dead_letters FROM dead_letters "
    "WHERE state = 'open' GROUP BY reason",
    "pending_count": "SELECT relation, generation, sum(cardinality(keys))::bigint AS pending FROM pending "
    "GROUP BY relation, generation",
}
SEARCH_VIEWS = {
    "outbox_count": "SELECT relation, count(*) AS keys, min(since) AS since FROM outbox GROUP BY relation",
    "search_dead_letter_count": "SELECT relation, count(*) AS dead_letters FROM search_dead_letters GROUP BY relation",
}
DRIFT_VIEWS = {
    "drift_count": "SELECT relation, place, kind, count(*) AS keys FROM drift GROUP BY relation, place, kind",
}
READABLE = (
    "projection_group",
    "positions",
    "ends",
    "workers",
    "generations",
    "served",
    "search_generations",
    "rebuilds",
    "copies",
    "changes",
    "api_keys",
    *STATUS_VIEWS,
    *SEARCH_VIEWS,
    *DRIFT_VIEWS,
)
