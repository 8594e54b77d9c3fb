"""The change feed is read by view and revision; API keys"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("ix_changes_revision", "changes", ["relation", "revision"])
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(), nullable=False, comment="what its text begins with, and what logs tell"),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False, comment="SHA-256 of the whole key"),
        sa.Column("views", postgresql.ARRAY(sa.Text()), nullable=True, comment="that it may read; null: all"),
        sa.Column("pii", sa.Boolean(), nullable=False, comment="whether it may read personal columns"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id"),
        comment="Who may read; never emptied: the API is open only until the first key exists.",
    )
