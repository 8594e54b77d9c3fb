"""What the payments service publishes, each type in its newest version."""

from schemas.payments.v1 import PaymentAuthorized, PaymentCaptured, PaymentFailed, PaymentRefunded

__all__ = ["PaymentAuthorized", "PaymentCaptured", "PaymentFailed", "PaymentRefunded"]
