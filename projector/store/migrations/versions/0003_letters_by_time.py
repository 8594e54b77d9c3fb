"""A dead letter is told by its record's time, too: offsets begin anew in a topic that was made again"""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_constraint("dead_letters_topic_partition_offset_key", "dead_letters", type_="unique")
    op.create_unique_constraint(None, "dead_letters", ["topic", "partition", "offset", "record_time"])
