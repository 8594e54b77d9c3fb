"""`prejoin verify`: views beside what their definitions say, indexes beside views, entities beside their sources."""

from contextlib import closing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from projector.cli import against as sources
from projector.cli.console import emit_json, note, progress, report
from projector.cli.operate import All, Json, loaded, named
from projector.errors import PrejoinError

if TYPE_CHECKING:
    from projector.operate.verify import Verified
    from projector.search.verify import SearchVerified


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        short_help="Compare views with their definitions, or entities with their sources.",
        epilog="Example: prejoin verify --all --sample 1%, prejoin verify --against orders.ndjson --entity orders",
    )(verify)


def verify(
    views: Annotated[list[str] | None, typer.Argument(help="Names of views.", metavar="VIEW")] = None,
    every: All = False,
    repair: Annotated[bool, typer.Option("--repair", help="Mend exactly the rows that differ.")] = False,
    sample: Annotated[
        str | None, typer.Option("--sample", metavar="SHARE|ROWS", help="Look at a random part: 1%, or 1000 rows.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="A service's own export: NDJSON, CSV, `-`, or its Postgres.")
    ] = None,
    entity: Annotated[str | None, typer.Option(help="The entity to compare with it.")] = None,
    table: Annotated[str | None, typer.Option(help="The table behind a Postgres URL.")] = None,
    mapped: Annotated[
        list[str] | None, typer.Option("--map", metavar="COLUMN=FIELD", help="What the export calls a column.")
    ] = None,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print values that differ; they may be personal data.")
    ] = False,
    emit: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the events that would correct what differs.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare views, row by row, with what their definitions say over the entities; exit 1 on drift.

    With PREJOIN_ELASTICSEARCH_URL, search indexes are compared with their views, too. With --against, an entity is
    compared with the export of the service that it comes from: events that were lost, or never published, show.
    """
    if against is not None:
        if views or every or repair or sample:
            raise PrejoinError("--against compares an entity: give it without views, --all, --repair and --sample")
        asked = sources.Asked(against, entity, table, mapped or [], show_values, emit, as_json)
        raise typer.Exit(sources.compare(asked))
    if entity or table or mapped or show_values or emit:
        raise PrejoinError("--entity, --table, --map, --show-values and --emit go with --against")
    raise typer.Exit(_verify(views, every, repair, sample, as_json))


def _verify(views: list[str] | None, every: bool, repair: bool, sample: str | None, as_json: bool) -> int:
    from projector.cli.search import Place, verify_search
    from projector.operate.verify import Sample, Verifier

    some = Sample.of(sample) if sample else None
    settings, projections = loaded()
    chosen = named(projections, views, every, "verify")
    found: list[Verified] = []
    with closing(Verifier(settings.writer_url, settings.group, projections)) as verifier:
        for relation in chosen:
            about = verifier.rows_about(relation, some)
            with progress(f"{relation.name}: rows verified", about) as advance:
                found.append(verifier.verify(relation, repair, advancing(advance), some))
    indexes: dict[str, SearchVerified] = {}
    if settings.elasticsearch_url:
        at = Place(settings.writer_url, settings.search_urls, settings.group, projections)
        rows = {v.view: some.out_of(v.of or 0) if some else v.rows for v in found}
        indexes = verify_search(at, chosen, repair, rows, sampled=some is not None)
    left = sum(v.different - v.repaired for v in found) + sum(v.different - v.repaired for v in indexes.values())
    if as_json:
        emit_json({"drift": left, "views": [{**_verified(v), **_verified_search(indexes.get(v.view))} for v in found]})
    else:
        _print_verified(found)
        _print_verified_search(list(indexes.values()))
    for v in found:
        if v.different > v.repaired and not projections.relation(v.view).stored:
            note(
                f"{v.view} has no rows of its own: what differs is its SQL view: `prejoin rebuild {v.view}` mends that"
            )
    return 1 if left else 0


def advancing(advance: Any) -> Any:
    """What a Verifier tells how far it is; `advance` is told the rows of all views together."""
    seen: dict[str, int] = {}

    def tell(view: str, rows: int) -> None:
        advance(rows - seen.get(view, 0))
        seen[view] = rows

    return tell


def _verified(found: "Verified") -> dict[str, Any]:
    differences = [{"key": d.key, "kind": d.kind, "columns": d.columns} for d in found.differences]
    counts = {"rows": found.rows, "different": found.different, "repaired": found.repaired}
    told = {"view": found.view, **counts, "kinds": dict(found.kinds), "differences": differences}
    sample = None if found.of is None else {"of": found.of, "share": round(found.share or 0, 6)}
    return {**told, "sample": sample, "seconds": round(found.seconds, 3)}


def _verified_search(found: "SearchVerified | None") -> dict[str, Any]:
    if found is None or not found.served:
        return {"search": None}
    differences = [{"key": [key], "kind": kind} for key, kind in found.differences]
    counts = {"documents": found.documents, "different": found.different, "repaired": found.repaired}
    return {"search": {**counts, "differences": differences}}


def _print_verified_search(found: "list[SearchVerified]") -> None:
    from rich.table import Table

    table = Table("search index", "documents", "different", "repaired")
    for v in found:
        if v.served:
            table.add_row(v.view, f"{v.documents:,}", f"{v.different:,}", f"{v.repaired:,}")
        else:
            report(f"{v.view}: its search index is not there yet; `prejoin indexer` makes it")
    if table.rows:
        report(table)
    for v in found:
        for key, kind in v.differences:
            report(f"search index of {v.view}, {key}: {kind}")
        if v.different > len(v.differences):
            report(f"search index of {v.view}: and {v.different - len(v.differences):,} more")


def _print_verified(found: "list[Verified]") -> None:
    from rich.table import Table

    sampled = any(v.of is not None for v in found)
    table = Table("view", "rows", *(["share looked at"] if sampled else []), "different", "repaired", "rows/s")
    for v in found:
        share = [f"{v.share:.2%} of some {v.of:,}"] if v.share is not None else []
        rate = f"{v.rows / v.seconds:,.0f}" if v.seconds else "–"
        table.add_row(v.view, f"{v.rows:,}", *share, f"{v.different:,}", f"{v.repaired:,}", rate)
    report(table)
    for v in found:
        for d in v.differences:
            columns = f" in {', '.join(d.columns)}" if d.columns else ""
            report(f"{v.view} {'/'.join('~' if k is None else str(k) for k in d.key)}: {d.kind}{columns}")
        if v.different > len(v.differences):
            report(f"{v.view}: and {v.different - len(v.differences):,} more")
