"""Parts of pending rows"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "pending",
        sa.Column(
            "parts",
            postgresql.ARRAY(sa.Text()),
            nullable=True,
            comment="of the row that are to be refreshed; null: the whole",
        ),
    )
