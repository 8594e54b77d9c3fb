"""What the shipping service publishes, each type in its newest version."""

from schemas.shipping.v1 import ShipmentDelivered, ShipmentDispatched, ShipmentReturned

__all__ = ["ShipmentDelivered", "ShipmentDispatched", "ShipmentReturned"]
