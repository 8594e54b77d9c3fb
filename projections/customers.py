"""A customer, as its own service tells it. Erasure stays: no later event brings personal data back."""

from projector.declare import Entity, Erasure, State
from schemas.customers import (
    CustomerEmailChanged,
    CustomerErased,
    CustomerMoved,
    CustomerNameChanged,
    CustomerRegistered,
)


class Customer(State, frozen=True):
    """One customer; name, email and segment are null once erased."""

    customer_id: str
    name: str | None = None
    email: str | None = None
    country: str | None = None
    segment: str | None = None
    erased: bool = False


customers = Entity(
    "customers",
    state=Customer,
    key="customer_id",
    topic="customers",
    erasure=Erasure("customer", fields=["name", "email", "segment"], by=CustomerErased, mark="erased"),
)


@customers.on(CustomerRegistered)
def registered(customer: Customer | None, event: CustomerRegistered) -> Customer:
    """Registered, or registered anew: all that the event carries replaces what was."""
    if customer is not None and customer.erased:
        return customer.replace(country=event.country)
    return Customer(
        customer_id=event.customer_id,
        name=event.name,
        email=event.email,
        country=event.country,
        segment=event.segment,
    )


@customers.on(CustomerNameChanged)
def renamed(customer: Customer, event: CustomerNameChanged) -> Customer:
    """A new name, unless erased."""
    return customer if customer.erased else customer.replace(name=event.name)


@customers.on(CustomerEmailChanged)
def email_changed(customer: Customer, event: CustomerEmailChanged) -> Customer:
    """A new e-mail address, unless erased."""
    return customer if customer.erased else customer.replace(email=event.email)


@customers.on(CustomerMoved)
def moved(customer: Customer, event: CustomerMoved) -> Customer:
    """A new country, erased or not: it tells nothing of the person."""
    return customer.replace(country=event.country)


@customers.on(CustomerErased)
def erased(customer: Customer | None, event: CustomerErased) -> Customer:
    """Blank for good; one never registered is remembered as erased."""
    return Customer(customer_id=event.customer_id, country=customer.country if customer else None, erased=True)
