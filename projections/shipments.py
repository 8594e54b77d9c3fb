"""A shipment, as the shipping service tells it; it belongs to the order that its first event names."""

from datetime import datetime

from projector.declare import Entity, State
from schemas.shipping import ShipmentDelivered, ShipmentDispatched, ShipmentReturned


class Shipment(State, frozen=True):
    """One shipment: the earliest dispatch and the latest delivery that it was told of."""

    shipment_id: str
    order_id: str
    carrier: str | None = None
    dispatched_at: datetime | None = None
    delivered_at: datetime | None = None
    returned: bool = False


shipments = Entity("shipments", state=Shipment, key="shipment_id", topic="shipping", indexes=["order_id"])


def _known(shipment: Shipment | None, event: ShipmentDispatched | ShipmentDelivered | ShipmentReturned) -> Shipment:
    return shipment or Shipment(shipment_id=event.shipment_id, order_id=event.order_id)


@shipments.on(ShipmentDispatched)
def dispatched(shipment: Shipment | None, event: ShipmentDispatched) -> Shipment:
    """On its way; of two dispatches the earlier counts."""
    shipment = _known(shipment, event)
    if shipment.dispatched_at is not None and shipment.dispatched_at <= event.dispatched_at:
        return shipment
    return shipment.replace(carrier=event.carrier, dispatched_at=event.dispatched_at)


@shipments.on(ShipmentDelivered)
def delivered(shipment: Shipment | None, event: ShipmentDelivered) -> Shipment:
    """Arrived; of two deliveries the later counts."""
    shipment = _known(shipment, event)
    return shipment.replace(delivered_at=max(shipment.delivered_at or event.delivered_at, event.delivered_at))


@shipments.on(ShipmentReturned)
def returned(shipment: Shipment | None, event: ShipmentReturned) -> Shipment:
    """Came back, delivered or not."""
    return _known(shipment, event).replace(returned=True)
