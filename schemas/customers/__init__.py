"""What the customers service publishes, each type in its newest version."""

from schemas.customers.v1 import (
    CustomerEmailChanged,
    CustomerErased,
    CustomerMoved,
    CustomerNameChanged,
    CustomerRegistered,
)

__all__ = ["CustomerEmailChanged", "CustomerErased", "CustomerMoved", "CustomerNameChanged", "CustomerRegistered"]
