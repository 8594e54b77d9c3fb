"""What of the declarations is the public contract's shop. A checkout may have services of its own beside it."""

from projector.declare.projections import Projections, reads
from projector.declare.view import Relation

TOPICS = ("customers", "catalog", "orders", "payments", "inventory", "shipping")


def served(projections: Projections) -> list[Relation]:
    """The views that are served and read nothing but the shop's entities."""
    others = {table for entity in projections.entities if entity.topic not in TOPICS
              for table in (entity.table, *(child.table for child in entity.children))}  # fmt: skip
    for relation in projections.relations:  # in the order in which they read each other
        if others.intersection(reads(relation)):
            others.add(relation.table)
    return [relation for relation in projections.served if relation.table not in others]
