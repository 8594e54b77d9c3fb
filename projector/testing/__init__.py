"""What the tests of folds and views import: given these events, when this one comes, then this is the state, the row.

Not for what runs in production. The declarations are those of PREJOIN_PROJECTIONS.
"""

from projector.testing.folds import given
from projector.testing.group import Group, group
from projector.testing.views import Views

__all__ = ["Group", "Views", "given", "group"]
