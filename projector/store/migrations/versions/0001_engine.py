"""The engine's tables"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql


revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("revisions")))
    op.create_table(
        "changes",
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("upserted", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("deleted", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("at", "revision", "relation"),
        comment="The change feed: the keys that one batch changed in one view. Append-only, a partition a day.",
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "dead_letters",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column(
            "headers", sa.Text(), nullable=False, comment="JSON: pairs of name and base64; jsonb would refuse a NUL"
        ),
        sa.Column("record_time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=True),
        sa.Column("entity", sa.Text(), nullable=True),
        sa.Column("aggregate", sa.Text(), nullable=True, comment="the aggregate's id, where it could be told"),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.Text(), server_default="open", nullable=False, comment="open, replayed or purged"),
        sa.Column("arrived_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("topic", "partition", "offset"),
    )
    op.create_index("ix_dead_letters_aggregate", "dead_letters", ["entity", "aggregate"], unique=False)
    op.create_index(
        "ix_dead_letters_open", "dead_letters", ["id"], unique=False, postgresql_where=sa.text("state = 'open'")
    )
    op.create_table(
        "ends",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("end_offset", sa.BigInteger(), nullable=False, comment="the broker's next offset to be written"),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    op.create_table(
        "generations",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="of the definition it was built from"),
        sa.Column("state", sa.Text(), nullable=False, comment="live or building"),
        sa.Column("built_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("relation", "generation"),
    )
    op.create_table(
        "journal_records",
        sa.Column(
            "n", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="the order in which they are folded"
        ),
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("aggregate", sa.Text(collation="C"), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("headers", sa.Text(), nullable=False),
        sa.Column("record_time", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("n"),
        comment="What was applied to a journalled aggregate since; replay folds base, mended event and these anew.",
    )
    op.create_index("ix_journal_records_aggregate", "journal_records", ["entity", "aggregate", "n"], unique=False)
    op.create_table(
        "journals",
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("aggregate", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "base",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=True,
            comment="the aggregate before its first gap or dead letter; null: given up, it grew too long",
        ),
        sa.Column("records", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("entity", "aggregate"),
    )
    op.create_table(
        "pending",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("relation", "generation", "key"),
        comment="Keys still to be refreshed; they hold As-Of back.",
    )
    op.create_table(
        "positions",
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column(
            "next",
            sa.BigInteger(),
            nullable=False,
            comment="the next offset to apply, set in the batch's own transaction",
        ),
        sa.Column(
            "topic_id",
            sa.Text(),
            nullable=True,
            comment="the broker's id of the topic: another one is another topic of the same name",
        ),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    op.create_table(
        "projection_group",
        sa.Column("one", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column(
            "declarations",
            sa.Text(),
            nullable=True,
            comment="digest of what the tables were made from; a worker with another one stops",
        ),
        sa.Column(
            "as_of",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="every event that the broker held at this time has been applied",
        ),
        sa.CheckConstraint("one", name="one_row"),
        sa.PrimaryKeyConstraint("one"),
        comment="One row: what the group as a whole is at.",
    )
    op.create_table(
        "served",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("relation"),
    )
    op.create_table(
        "workers",
        sa.Column("worker", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False, comment="live, lagging or stuck"),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("worker"),
    )
    op.execute("INSERT INTO projection_group DEFAULT VALUES")
    # where no day's partition was made in time, nothing is lost
    op.execute("CREATE TABLE changes_default PARTITION OF changes DEFAULT")
    # queues: rows come and go all the time
    for queue in ("pending", "positions", "workers", "projection_group", "ends"):
        op.execute(
            f"ALTER TABLE {queue} SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000)"
        )
    op.execute(
        "CREATE VIEW dead_letter_count AS SELECT count(*) AS dead_letters FROM dead_letters WHERE state = 'open'"
    )
    op.execute(
        "CREATE VIEW pending_count AS SELECT relation, generation, count(*) AS pending FROM pending "
        "GROUP BY relation, generation"
    )
