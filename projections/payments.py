"""A payment, as the payment service tells it; it belongs to the order that its first event names."""

from decimal import Decimal

from msgspec import field

from projector.declare import Entity, State
from schemas.payments import PaymentAuthorized, PaymentCaptured, PaymentFailed, PaymentRefunded


class Payment(State, frozen=True):
    """One payment. Captures and refunds are kept by currency, since only those in the order's own count."""

    payment_id: str
    order_id: str
    authorized: bool = False
    failed: bool = False
    captured: dict[str, Decimal] = field(default_factory=dict)
    refunded: dict[str, Decimal] = field(default_factory=dict)


payments = Entity("payments", state=Payment, key="payment_id", topic="payments", indexes=["order_id"])


def _known(
    payment: Payment | None, event: PaymentAuthorized | PaymentCaptured | PaymentFailed | PaymentRefunded
) -> Payment:
    return payment or Payment(payment_id=event.payment_id, order_id=event.order_id)


def _plus(amounts: dict[str, Decimal], event: PaymentCaptured | PaymentRefunded) -> dict[str, Decimal]:
    return {**amounts, event.currency: amounts.get(event.currency, Decimal("0.00")) + event.amount}


@payments.on(PaymentAuthorized)
def authorized(payment: Payment | None, event: PaymentAuthorized) -> Payment:
    """Authorized once is authorized, even if the payment fails later."""
    return _known(payment, event).replace(authorized=True)


@payments.on(PaymentCaptured)
def captured(payment: Payment | None, event: PaymentCaptured) -> Payment:
    """Captures add up."""
    payment = _known(payment, event)
    return payment.replace(captured=_plus(payment.captured, event))


@payments.on(PaymentFailed)
def failed(payment: Payment | None, event: PaymentFailed) -> Payment:
    """An attempt failed."""
    return _known(payment, event).replace(failed=True)


@payments.on(PaymentRefunded)
def refunded(payment: Payment | None, event: PaymentRefunded) -> Payment:
    """Refunds add up."""
    payment = _known(payment, event)
    return payment.replace(refunded=_plus(payment.refunded, event))
