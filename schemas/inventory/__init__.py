"""What the inventory service publishes, each type in its newest version."""

from schemas.inventory.v1 import StockReleased, StockReservationFailed, StockReserved

__all__ = ["StockReleased", "StockReservationFailed", "StockReserved"]
