"""Copies of entities and views, made from the log"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "copies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=True, comment="of a snapshot"),
        sa.Column("until", sa.DateTime(timezone=True), nullable=True, comment="of a snapshot: its time"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            comment="building, snapshot, or replaced: holds the entities of before",
        ),
        sa.Column("phase", sa.Text(), nullable=False, comment="replaying, building, catching up, searching or done"),
        sa.Column(
            "generations",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="relation → the generation that is the copy's",
        ),
        sa.Column("declared", sa.Text(), nullable=False, comment="digest of the declarations that it is made by"),
        sa.Column("done", sa.BigInteger(), server_default=sa.text("0"), nullable=False, comment="of the phase"),
        sa.Column("total", sa.BigInteger(), nullable=True),
        sa.Column("runner", sa.Text(), nullable=False, comment="host and process that work at it"),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
        comment="Copies of entities and views, made from the log; the schemas of each are named group$id.",
    )
    op.add_column(
        "generations",
        sa.Column("snapshot", sa.Text(), nullable=True, comment="the name of the snapshot that it belongs to"),
    )
    op.alter_column(
        "generations",
        "state",
        comment="building, live, kept (served before, as it was then), copy (being made) or snapshot",
        existing_type=sa.Text(),
        existing_nullable=False,
        existing_comment="building, live, or kept: served before, as it was then",
    )
