"""What Postgres refuses to store, said of whose row it is: what it says itself holds the row."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy.exc import DBAPIError

from projector.declare.view import Relation, unsound_key, unstorable_row

# What it says of data that it cannot take: one record, or one row of a view, is at fault, and bisecting finds it.
BAD_DATA = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)


@contextmanager
def storing(relation: Relation) -> Iterator[None]:
    """Around a statement that stores rows of the relation's query. Raises DeclarationError where one cannot be."""
    try:
        yield
    except (*BAD_DATA, psycopg.IntegrityError, DBAPIError) as error:
        cause = getattr(error, "orig", error)
        if isinstance(cause, psycopg.IntegrityError):
            raise unsound_key(relation) from None
        if isinstance(cause, BAD_DATA):
            raise unstorable_row(relation) from None
        raise
