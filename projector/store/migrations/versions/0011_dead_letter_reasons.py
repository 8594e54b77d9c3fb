"""Open dead letters by reason, for the reading role"""

from alembic import op

from projector.store.tables import STATUS_VIEWS

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(f"CREATE VIEW dead_letter_reasons AS {STATUS_VIEWS['dead_letter_reasons']}")
