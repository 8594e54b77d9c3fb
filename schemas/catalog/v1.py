"""Catalog, version 1."""

from schemas.contract import Contract, Id, Money, Name, Text


class ProductAdded(Contract, type="catalog.ProductAdded"):
    """A product is for sale; told again, it replaces all that it carries."""

    product_id: Id
    name: Name
    category: Text
    brand: Text | None = None
    price: Money


class ProductRenamed(Contract, type="catalog.ProductRenamed"):
    """A product goes by another name."""

    product_id: Id
    name: Name


class ProductRepriced(Contract, type="catalog.ProductRepriced"):
    """A product has another list price; orders keep the price they were placed at."""

    product_id: Id
    price: Money


class ProductDiscontinued(Contract, type="catalog.ProductDiscontinued"):
    """A product is no longer for sale."""

    product_id: Id
