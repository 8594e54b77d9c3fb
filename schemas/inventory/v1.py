"""Inventory, version 1. The stock of an order goes by the order's id."""

from schemas.contract import Contract, Id, Prose, Text


class StockReserved(Contract, type="inventory.StockReserved"):
    """All that was ordered lies ready in a warehouse."""

    order_id: Id
    warehouse: Text


class StockReservationFailed(Contract, type="inventory.StockReservationFailed"):
    """Not all that was ordered is there."""

    order_id: Id
    reason: Prose


class StockReleased(Contract, type="inventory.StockReleased"):
    """What lay ready is for others again."""

    order_id: Id
