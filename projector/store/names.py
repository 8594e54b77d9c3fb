"""Names in Postgres. A projection group has three schemas; its connections find tables in them by search path.

`{group}` holds the engine's own tables, `{group}_entities` the folded states, `{group}_views` what is served.
"""

import re

from sqlalchemy import MetaData, Table

from projector.declare.view import Relation

SNAPSHOT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


def schemas(group: str) -> tuple[str, str, str]:
    """The group's schemas, in the order of the search path. A copy's views lie among its group's."""
    return group, f"{group}_entities", f"{group.partition('$')[0]}_views"


def copy_group(group: str, copy: int) -> str:
    """The group that a copy of a group's entities and views is, while it is made and kept: no setting can name it."""
    return f"{group}${copy}"


def search_path(group: str) -> str:
    """The search path of the group's connections."""
    return ", ".join(f'"{schema}"' for schema in schemas(group))


def generation_name(relation: str, generation: int) -> str:
    """The table (or SQL view) of one built copy of a view."""
    return f"{relation}__g{generation}"


def generation_table(relation: Relation, generation: int) -> Table:
    """The relation's table under the name of one generation."""
    return relation.table.to_metadata(MetaData(), name=generation_name(relation.name, generation))
