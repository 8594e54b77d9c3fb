"""An export's query parameters: a list's filters, sort and fields, and the format."""

from dataclasses import dataclass

from starlette.requests import Request

from read_api.export.formats import FORMATS
from read_api.parameters import SNAPSHOT, Reading
from read_api.resource import Resource
from read_api.statements import Condition

OPTIONS = ("format", "sort", "fields", SNAPSHOT)


@dataclass(frozen=True)
class Asked:
    """What an export was asked for."""

    form: str
    conditions: tuple[Condition, ...]
    sort: tuple[tuple[str, bool], ...]
    fields: tuple[str, ...]


def read_export(resource: Resource, request: Request) -> Asked:
    """The query of an export. Raises a 400 Problem that names each parameter that is wrong."""
    reading = Reading(resource, f"{resource.path}/export", OPTIONS)
    pairs, options = reading.options_of(request)
    conditions = reading.conditions(pairs)
    form = reading.one_of("format", options.get("format", ""), list(FORMATS))
    sort = reading.sort(options["sort"]) if "sort" in options else ()
    fields = reading.fields(options["fields"]) if "fields" in options else tuple(resource.fields)
    reading.finish()
    return Asked(form, conditions, sort, fields)
