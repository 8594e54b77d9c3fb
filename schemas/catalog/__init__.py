"""What the catalog service publishes, each type in its newest version."""

from schemas.catalog.v1 import ProductAdded, ProductDiscontinued, ProductRenamed, ProductRepriced

__all__ = ["ProductAdded", "ProductDiscontinued", "ProductRenamed", "ProductRepriced"]
