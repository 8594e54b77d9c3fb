"""Rebuilds: generations that are built beside those that are served"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rebuilds",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False, comment="the one that is built"),
        sa.Column("phase", sa.Text(), nullable=False, comment="waiting, filling, indexing, draining or searching"),
        sa.Column(
            "filled_to",
            sa.Text(),
            nullable=True,
            comment="while filling: where the last whole range of the first key column ends",
        ),
        sa.Column("rows", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="that are filled in"),
        sa.Column("expected", sa.BigInteger(), nullable=True, comment="rows, as the generation before has them"),
        sa.Column("runner", sa.Text(), nullable=False, comment="host and process that work at it"),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("relation"),
        comment="Generations being built. Batches append what changes to `pending`; whoever rebuilds refreshes that.",
    )
    op.alter_column(
        "generations",
        "state",
        comment="building, live, or kept: served before, as it was then",
        existing_type=sa.Text(),
        existing_nullable=False,
        existing_comment="live or building",
    )
