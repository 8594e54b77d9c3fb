"""What the orders service publishes, each type in its newest version."""

from schemas.orders.v1 import OrderCancelled
from schemas.orders.v2 import Line, OrderPlaced

__all__ = ["Line", "OrderCancelled", "OrderPlaced"]
