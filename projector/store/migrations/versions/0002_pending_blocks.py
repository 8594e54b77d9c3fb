"""Pending keys in blocks, each with the parts of their rows"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE pending RENAME TO pending_before")
    op.execute("ALTER INDEX pending_pkey RENAME TO pending_before_pkey")
    op.create_table(
        "pending",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("keys", postgresql.ARRAY(sa.Text()), nullable=False, comment="as many as one transaction refreshes"),
        sa.Column(
            "parts",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="of the rows that are to be refreshed; null: the whole",
        ),
        sa.PrimaryKeyConstraint("id"),
        comment="Keys still to be refreshed; they hold As-Of back.",
    )
    op.execute(
        "INSERT INTO pending (relation, generation, keys) "
        "SELECT relation, generation, array_agg(key) FROM pending_before GROUP BY relation, generation, hashtext(key) % 100"
    )
    op.execute("ALTER TABLE pending SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 1000)")
    op.execute(
        "CREATE OR REPLACE VIEW pending_count AS SELECT relation, generation, sum(cardinality(keys))::bigint AS pending "
        "FROM pending GROUP BY relation, generation"
    )
    op.drop_table("pending_before")
