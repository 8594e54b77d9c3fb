"""Shipping, version 1. A shipment belongs to the order that its first event names."""

from schemas.contract import Contract, Id, Prose, Text, Time


class ShipmentDispatched(Contract, type="shipping.ShipmentDispatched"):
    """A carrier took a parcel of the order."""

    shipment_id: Id
    order_id: Id
    carrier: Text
    dispatched_at: Time


class ShipmentDelivered(Contract, type="shipping.ShipmentDelivered"):
    """A parcel reached the customer."""

    shipment_id: Id
    order_id: Id
    delivered_at: Time


class ShipmentReturned(Contract, type="shipping.ShipmentReturned"):
    """A parcel came back."""

    shipment_id: Id
    order_id: Id
    reason: Prose
