"""Drift that was seen, and its counts"""

import sqlalchemy as sa
from alembic import op

from projector.store.tables import DRIFT_VIEWS

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "drift",
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False, comment="view, or index: its search index"),
        sa.Column("key", sa.Text(collation="C"), nullable=False, comment="JSON: the values of the key's columns"),
        sa.Column("kind", sa.Text(), nullable=False, comment="missing, extra, different or stale"),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("relation", "place", "key"),
        comment="Rows and documents seen to differ from what they should be; gone once a whole verify finds none.",
    )
    for name, query in DRIFT_VIEWS.items():
        op.execute(f"CREATE VIEW {name} AS {query}")
