"""The stock held for an order, as the inventory service tells it: its last event decides."""

from projector.declare import Entity, State
from schemas.inventory import StockReleased, StockReservationFailed, StockReserved


class Stock(State, frozen=True):
    """What an order's stock is at: `reserved`, `failed` or `released`."""

    order_id: str
    status: str


stock = Entity("stock", state=Stock, key="order_id", topic="inventory")


@stock.on(StockReserved)
def reserved(stock: Stock | None, event: StockReserved) -> Stock:
    """Held in a warehouse."""
    return Stock(order_id=event.order_id, status="reserved")


@stock.on(StockReservationFailed)
def failed(stock: Stock | None, event: StockReservationFailed) -> Stock:
    """Could not be held."""
    return Stock(order_id=event.order_id, status="failed")


@stock.on(StockReleased)
def released(stock: Stock | None, event: StockReleased) -> Stock:
    """Given back."""
    return Stock(order_id=event.order_id, status="released")
