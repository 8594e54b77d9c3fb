"""Erasures, which hold through every rebuild; a group that is paused"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "erasures",
        sa.Column("entity", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
            comment="when this group learned of it",
        ),
        sa.Column(
            "whole",
            sa.Boolean(),
            server_default=sa.text("true"),
            nullable=False,
            comment="no kept copy has rows to be blanked",
        ),
        sa.PrimaryKeyConstraint("entity", "key"),
        comment="Aggregates that are erased, by event or command: whatever comes later of them is blanked as it is kept.",
    )
    op.create_index(
        "ix_erasures_unfinished", "erasures", ["entity", "key"], unique=False, postgresql_where=sa.text("NOT whole")
    )
    op.add_column(
        "projection_group",
        sa.Column(
            "paused_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="since when no batch is applied; null: batches are",
        ),
    )
    op.add_column(
        "projection_group",
        sa.Column("paused_by", sa.Text(), nullable=True, comment="user and host that paused the group"),
    )
    op.alter_column(
        "workers",
        "state",
        comment="live, lagging, stuck or paused",
        existing_type=sa.Text(),
        existing_nullable=False,
        existing_comment="live, lagging or stuck",
    )
