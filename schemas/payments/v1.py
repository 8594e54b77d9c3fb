"""Payments, version 1. A payment belongs to the order that its first event names."""

from schemas.contract import Contract, Currency, Id, Money, Prose


class PaymentAuthorized(Contract, type="payments.PaymentAuthorized"):
    """The money is set aside for the order."""

    payment_id: Id
    order_id: Id
    amount: Money
    currency: Currency


class PaymentCaptured(Contract, type="payments.PaymentCaptured"):
    """The money was taken; several captures of a payment add up."""

    payment_id: Id
    order_id: Id
    amount: Money
    currency: Currency


class PaymentFailed(Contract, type="payments.PaymentFailed"):
    """The money could not be had."""

    payment_id: Id
    order_id: Id
    reason: Prose


class PaymentRefunded(Contract, type="payments.PaymentRefunded"):
    """Money was given back; several refunds of a payment add up."""

    payment_id: Id
    order_id: Id
    amount: Money
    currency: Currency
