"""A product, as the catalog tells it."""

from decimal import Decimal

from projector.declare import Entity, State
from schemas.catalog import ProductAdded, ProductDiscontinued, ProductRenamed, ProductRepriced


class Product(State, frozen=True):
    """One product and its list price."""

    product_id: str
    name: str
    category: str
    price: Decimal
    brand: str | None = None
    discontinued: bool = False


products = Entity("products", state=Product, key="product_id", topic="catalog")


@products.on(ProductAdded)
def added(product: Product | None, event: ProductAdded) -> Product:
    """Added, or added anew: all that the event carries replaces what was; discontinued stays."""
    return Product(
        product_id=event.product_id,
        name=event.name,
        category=event.category,
        brand=event.brand,
        price=event.price,
        discontinued=product is not None and product.discontinued,
    )


@products.on(ProductRenamed)
def renamed(product: Product, event: ProductRenamed) -> Product:
    """A new name."""
    return product.replace(name=event.name)


@products.on(ProductRepriced)
def repriced(product: Product, event: ProductRepriced) -> Product:
    """A new list price; orders keep theirs."""
    return product.replace(price=event.price)


@products.on(ProductDiscontinued)
def discontinued(product: Product, event: ProductDiscontinued) -> Product:
    """No longer sold."""
    return product.replace(discontinued=True)
