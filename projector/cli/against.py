"""`prejoin verify --against`: an entity beside the export of the service that it comes from."""

import os
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

from projector.cli.console import emit_json, note, progress, report
from projector.cli.operate import loaded
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.declare.entity import Entity
    from projector.declare.projections import Projections
    from projector.operate.against import Against, Comparison, Differs

TOLD = 1_000  # keys listed that no event can correct; the rest are counted


class Asked(NamedTuple):
    """The options of `prejoin verify --against`."""

    where: str
    entity: str | None
    table: str | None
    mapped: list[str]
    show_values: bool
    emit: str | None
    as_json: bool


class Emitted(NamedTuple):
    """How many events were written, and the keys that none can correct: how many, and the first of them."""

    events: int = 0
    left: int = 0
    listed: tuple[str, ...] = ()


def compare(asked: Asked) -> int:
    """Compare, report, and write the correcting events if asked to; returns the exit code."""
    from projector.operate.against import Comparison

    settings, projections = loaded()
    entity = _named(projections, asked.entity)
    with closing(Comparison(settings.writer_url, settings.group, entity, _pairs(asked.mapped))) as comparison:
        with progress("rows of the export") as advance:
            found = comparison.compare(asked.where, asked.table, advance)
        emitted = _emit(asked.emit, comparison, projections, entity, found, settings) if asked.emit else None
    if asked.as_json:
        emit_json(_told(found, emitted, asked))
    else:
        _print(found, emitted, asked)
    return 1 if found.different else 0


def _named(projections: "Projections", name: str | None) -> "Entity[Any]":
    there = {entity.name: entity for entity in projections.entities}
    if name not in there:
        what = f"there is no entity {name!r}" if name else "--against needs --entity, the entity to compare"
        raise PrejoinError(f"{what}: there are {', '.join(there)}")
    return there[name]


def _pairs(mapped: list[str]) -> dict[str, str]:
    pairs = dict(each.split("=", 1) for each in mapped if "=" in each.strip("="))
    if len(pairs) < len(mapped):
        raise PrejoinError("--map takes COLUMN=FIELD, each column once: our name, then the export's")
    return pairs


def _emit(
    path: str, comparison: "Comparison", projections: "Projections", entity: "Entity[Any]", found: "Against", at: Any
) -> Emitted:
    """Write the events, a line each; the file is its owner's alone, for it holds what the source holds."""
    from projector.operate.corrections import Corrections
    from projector.store.connect import connect

    extra = [d.key for d in found.differences if d.kind == "extra"]
    events, left, listed = 0, found.kinds.get("extra", 0), extra[:TOLD]
    try:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")
    except OSError as error:
        raise PrejoinError(f"--emit {path}: {error.strerror}") from None
    total = sum(n for kind, n in found.kinds.items() if kind != "extra")
    reading = connect(at.writer_url, at.group, autocommit=True, name="prejoin verify")
    with file, reading, progress("aggregates looked at for events", total) as advance:
        for key, lines in Corrections(entity, projections.registry).of_all(reading, comparison.wanted()):
            advance(1)
            file.writelines(line + b"\n" for line in lines or ())
            events += len(lines or ())
            left += lines is None
            if lines is None and len(listed) < TOLD:
                listed.append(key)
    return Emitted(events, left, tuple(sorted(listed)))


def _told(found: "Against", emitted: Emitted | None, asked: Asked) -> dict[str, Any]:
    counts = {kind: found.kinds.get(kind, 0) for kind in ("missing", "extra", "different")}
    told: dict[str, Any] = {
        "entity": found.entity,
        "as_of": found.as_of,
        "rows": found.rows,
        "columns": found.columns,
        **counts,
    }
    told |= {"without_key": found.without_key, "twice": found.twice, "differing": found.differing}
    told["differences"] = [_difference(d, asked.show_values) for d in found.differences]
    if emitted:
        told["emitted"] = {"file": asked.emit, "events": emitted.events}
        told["not_expressible"] = {"count": emitted.left, "keys": list(emitted.listed)}
    return told


def _difference(found: "Differs", values: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"key": found.key, "kind": found.kind, "columns": found.columns}
    return told | ({"source": found.theirs, "here": found.ours} if values else {})


def _print(found: "Against", emitted: Emitted | None, asked: Asked) -> None:
    said = {"missing": "missing here", "extra": "here, and not in the source", "different": "different"}
    for d in found.differences:
        columns = f" in {', '.join(d.columns)}" if d.columns else ""
        report(f"{found.entity} {_shown(d.key)}: {said[d.kind]}{columns}")
        for name in d.columns if asked.show_values else ():
            report(f"  {name}: {(d.theirs or {}).get(name)!r} in the source, {(d.ours or {}).get(name)!r} here")
    if (more := sum(found.kinds.values()) - len(found.differences)) > 0:
        report(f"and {more:,} more")
    if found.without_key or found.twice:
        report(
            f"rows of the export without a key: {found.without_key:,}; given twice, the last counts: {found.twice:,}"
        )
    counts = ", ".join(f"{n:,} {said[kind]}" for kind, n in sorted(found.kinds.items())) or "nothing differs"
    report(f"{found.entity}: {found.rows:,} rows of the source, {', '.join(found.columns)} compared: {counts}")
    note(f"what is applied here is as of {found.as_of or 'no known time'}: what the source did later is not drift")
    if emitted:
        report(
            f"{emitted.events:,} correcting events in {asked.emit}: look at them, then `prejoin publish {asked.emit}`"
        )
        for key in emitted.listed:
            report(f"{found.entity} {_shown(key)}: no event of its contracts can say what the source has")
        if emitted.left > len(emitted.listed):
            report(f"and {emitted.left - len(emitted.listed):,} more")


def _shown(key: str) -> str:
    return key if key.isprintable() else repr(key)
