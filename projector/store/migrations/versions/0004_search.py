"""Search: copies of views in an index, and the outbox of what it has yet to see"""

import sqlalchemy as sa
from alembic import op

from projector.store.tables import SEARCH_VIEWS

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "served",
        sa.Column(
            "search",
            sa.Integer(),
            nullable=True,
            comment="the search generation that is searched; null: none is whole yet",
        ),
    )
    op.create_table(
        "search_generations",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("search", sa.Integer(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False, comment="of what its documents are made like"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="filling (all keys go to the outbox), sending, live or gone"
        ),
        sa.Column(
            "filled_to",
            sa.Text(collation="C"),
            nullable=True,
            comment="while filling: the last key put into the outbox",
        ),
        sa.Column(
            "sent",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="bulks taken off the outbox",
        ),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=True, comment="what its index holds"),
        sa.Column("built_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("relation", "generation", "search"),
        comment="Copies of views in the search index. Batches write the outbox of a view that has any.",
    )
    op.create_table(
        "outbox",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False, comment="the version that its document gets"),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when the key came, however often since",
        ),
        sa.PrimaryKeyConstraint("relation", "key"),
        comment="Keys of views that the search index has yet to see, each once.",
    )
    op.create_table(
        "search_dead_letters",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False, comment="what Elasticsearch said"),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("relation", "key"),
        comment="Rows whose document Elasticsearch refused; gone once a later one is taken.",
    )
    # a queue: rows come and go all the time, and those that went are read past until they are vacuumed
    op.execute(
        "ALTER TABLE outbox SET (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000)"
    )
    op.execute("ALTER TABLE search_generations SET (fillfactor = 50)")
    for name, query in SEARCH_VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
