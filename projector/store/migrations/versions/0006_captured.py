"""What batches change of entities while generations are built; what a kept generation was at; what waits to be built"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "captured",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("source", sa.Text(), nullable=False, comment="the table of an entity, or of its children"),
        sa.Column("before", postgresql.JSONB(), nullable=True, comment="the row as it was; null: it came"),
        sa.Column("after", postgresql.JSONB(), nullable=True, comment="the row as it is; null: it went"),
        sa.PrimaryKeyConstraint("id"),
        comment="What batches changed of entities since generations are being built, in order; for whoever builds them.",
    )
    op.execute("ALTER TABLE captured SET (autovacuum_vacuum_scale_factor = 0.0, autovacuum_vacuum_threshold = 10000)")
    op.add_column(
        "rebuilds",
        sa.Column(
            "captured_to",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="the last row of `captured` that it has taken in",
        ),
    )
    op.create_table_comment(
        "rebuilds",
        "Generations being built. Batches append what they change of entities to `captured`; whoever rebuilds takes it in.",
        existing_comment=(
            "Generations being built. Batches append what changes to `pending`; whoever rebuilds refreshes that."
        ),
    )
    op.add_column(
        "generations",
        sa.Column(
            "as_of", sa.DateTime(timezone=True), nullable=True, comment="of a kept one: the group's, at the switch"
        ),
    )
    op.add_column(
        "generations",
        sa.Column(
            "positions",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="of a kept one: the last applied offsets at the switch, as the API tells them",
        ),
    )
    op.add_column(
        "projection_group",
        sa.Column(
            "coming", sa.Text(), nullable=True, comment="digest of the declarations that wait for `prejoin rebuild`"
        ),
    )
    # what the release before has begun was marked in `pending`, not captured: it is begun anew
    op.execute("UPDATE generations SET digest = '' WHERE state = 'building'")
