"""Customers, version 1."""

from schemas.contract import Contract, Country, Id, Name, Text


class CustomerRegistered(Contract, type="customers.CustomerRegistered"):
    """Someone became a customer; told again, it replaces all that it carries."""

    customer_id: Id
    name: Name
    email: Text
    country: Country
    segment: Text | None = None


class CustomerNameChanged(Contract, type="customers.CustomerNameChanged"):
    """A customer goes by another name."""

    customer_id: Id
    name: Name


class CustomerEmailChanged(Contract, type="customers.CustomerEmailChanged"):
    """A customer is reached at another address."""

    customer_id: Id
    email: Text


class CustomerMoved(Contract, type="customers.CustomerMoved"):
    """A customer lives in another country."""

    customer_id: Id
    country: Country


class CustomerErased(Contract, type="customers.CustomerErased"):
    """A customer's personal data is to be forgotten, for good."""

    customer_id: Id
