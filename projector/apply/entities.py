"""Entities in Postgres: aggregates read by key, and written as a set, children by difference with their parent."""

from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from typing import Any, get_type_hints

import msgspec
import psycopg
from sqlalchemy import Column

from projector.apply.aggregates import Aggregate
from projector.apply.captured import capturing
from projector.declare.entity import META, Child, Entity, State
from projector.declare.sql import quoted, type_name


class EntityStore:
    """One entity's statements. JSON in one parameter is the fastest way in that folds need (measured: 2.4 to 3 µs a
    row of client time, where arrays take 30).
    """

    def __init__(self, entity: Entity[Any]) -> None:
        self.entity = entity
        columns = [entity.table.c[f] for f in entity.fields]
        names = [*(c.name for c in columns), *META]
        self._load = (
            f"SELECT {', '.join(map(quoted, names))} FROM {quoted(entity.table.name)} "
            f"WHERE {quoted(entity.key)} = ANY(%(keys)s::text[])"
        )
        meta = '"_version" bigint, "_gaps" jsonb, "_recent" text, updated_at timestamptz'
        values = [quoted(n) if n != "_recent" else "decode(_recent, 'base64')" for n in names]
        self._save = _upsert(entity.table.name, names, values, f"{_record(columns)}, {meta}", [entity.key])
        self._save_captured = capturing(self._save, entity.table.name, writes=True)
        self._children = [_ChildStore(entity, child) for child in entity.children]
        self._readers = {
            f: read for f, read in zip(entity.fields, _readers(entity.state, entity.fields), strict=True) if read
        }

    def load(self, cursor: psycopg.Cursor[Any], keys: Collection[str]) -> dict[str, Aggregate]:
        """The aggregates of these keys; one that does not exist has no state."""
        rows = cursor.execute(self._load, {"keys": list(keys)}).fetchall()
        collections = {child.child.name: child.load(cursor, keys) for child in self._children} if rows else {}
        fields, width = self.entity.fields, len(self.entity.fields)
        found = {key: Aggregate(self.entity, key) for key in keys}
        for row in rows:
            key = row[fields.index(self.entity.key)]
            values = dict(zip(fields, row[:width], strict=True))
            values |= {name: read(values[name]) for name, read in self._readers.items()}
            values |= {name: rows_of.get(key, ()) for name, rows_of in collections.items()}
            state = self.entity.state(**values)
            version, gaps, recent, updated_at = row[width:]
            ranges = [(low, high) for low, high in gaps or ()]
            found[key] = Aggregate(self.entity, key, state, version, ranges, bytes(recent), updated_at)
        return found

    def save(self, cursor: psycopg.Cursor[Any], aggregates: Iterable[Aggregate], captured: bool = False) -> int:
        """Write the touched aggregates that have a state; returns how many rows were written.

        `captured` says that a generation is being built, for which each changed row is kept as it was and as it is.
        """
        touched = [a for a in aggregates if a.touched and a.state is not None]
        if not touched:
            return 0
        statement = self._save_captured if captured else self._save
        cursor.execute(statement, {"rows": _json([self._row(a) for a in touched])})
        return len(touched) + sum(child.save(cursor, touched, captured) for child in self._children)

    def _row(self, aggregate: Aggregate) -> dict[str, Any]:
        row = {f: getattr(aggregate.state, f) for f in self.entity.fields}
        row["_version"], row["_gaps"] = aggregate.version, aggregate.gaps or None
        row["_recent"], row["updated_at"] = aggregate.recent, aggregate.updated_at
        return row


class _ChildStore:
    def __init__(self, entity: Entity[Any], child: Child) -> None:
        self.entity, self.child = entity, child
        table, columns = child.table, list(child.table.c)
        names = [c.name for c in columns]
        self._load = (
            f"SELECT {', '.join(map(quoted, names))} FROM {quoted(table.name)} "
            f"WHERE {quoted(entity.key)} = ANY(%(keys)s::text[]) ORDER BY 1, {quoted(child.key)}"
        )
        self._save = _upsert(table.name, names, [quoted(n) for n in names], _record(columns), [entity.key, child.key])
        same = " AND ".join(f"t.{quoted(k)} = r.{quoted(k)}" for k in (entity.key, child.key))
        self._delete = (
            f"DELETE FROM {quoted(table.name)} t USING jsonb_to_recordset(%(rows)s::jsonb) "
            f"AS r({_record([table.c[entity.key], table.c[child.key]])}) WHERE {same}"
        )
        self._save_captured = capturing(self._save, table.name, writes=True)
        self._delete_captured = capturing(self._delete, table.name, writes=False)

    def load(self, cursor: psycopg.Cursor[Any], keys: Collection[str]) -> dict[str, tuple[State, ...]]:
        found: dict[str, list[State]] = {}
        for key, *values in cursor.execute(self._load, {"keys": list(keys)}):
            found.setdefault(key, []).append(self.child.state(*values))
        return {key: tuple(rows) for key, rows in found.items()}

    def save(self, cursor: psycopg.Cursor[Any], aggregates: list[Aggregate], captured: bool) -> int:
        gone, came = [], []
        for aggregate in aggregates:
            old, new = child_rows(aggregate.before, self.child), child_rows(aggregate.state, self.child)
            if old is new:
                continue
            owner = {self.entity.key: aggregate.key}
            kept = {getattr(row, self.child.key) for row in new}
            gone += [owner | {self.child.key: k} for r in old if (k := getattr(r, self.child.key)) not in kept]
            had = set(old)
            came += [owner | msgspec.structs.asdict(row) for row in new if row not in had]
        if gone:
            cursor.execute(self._delete_captured if captured else self._delete, {"rows": _json(gone)})
        if came:
            cursor.execute(self._save_captured if captured else self._save, {"rows": _json(came)})
        return len(gone) + len(came)


def child_rows(state: State | None, child: Child) -> tuple[State, ...]:
    """The rows of one collection of a state."""
    return () if state is None else getattr(state, child.name)


def _readers(state: type[State], names: list[str]) -> list[Callable[[Any], Any] | None]:
    """How a column's value becomes the field's: most are the same, amounts by currency come as text."""
    hints = get_type_hints(state)
    return [_amounts if hints.get(name) == dict[str, Decimal] else None for name in names]


def _amounts(value: dict[str, str]) -> dict[str, Decimal]:
    return {currency: Decimal(amount) for currency, amount in value.items()}


def _record(columns: list[Column[Any]]) -> str:
    return ", ".join(f"{quoted(c.name)} {type_name(c)}" for c in columns)


def _upsert(table: str, names: list[str], values: list[str], record: str, key: list[str]) -> str:
    others = [n for n in names if n not in key]
    update = ", ".join(f"{quoted(n)} = excluded.{quoted(n)}" for n in others)
    return (
        f"INSERT INTO {quoted(table)} ({', '.join(map(quoted, names))}) "
        f"SELECT {', '.join(values)} FROM jsonb_to_recordset(%(rows)s::jsonb) AS r({record}) "
        f"ON CONFLICT ({', '.join(map(quoted, key))}) DO {f'UPDATE SET {update}' if others else 'NOTHING'}"
    )


def _json(rows: list[dict[str, Any]]) -> str:
    return msgspec.json.encode(rows).decode()
