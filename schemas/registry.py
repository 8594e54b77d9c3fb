"""Every contract by type and version: records in, events of the newest version out."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import ModuleType
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import ValidationError

from schemas.contract import Contract
from schemas.envelope import BadRecord, Envelope, RawRecord, is_storable, parse_envelope

__all__ = ["BadRecord", "Event", "Registry", "Upcaster", "discover", "upcaster"]

_Old = TypeVar("_Old", bound=Contract)
_New = TypeVar("_New", bound=Contract)
_MAX_WRONG_FIELDS = 5  # named in a detail; a thousand bad lines need no thousand messages


class Event(msgspec.Struct, frozen=True):
    """A decoded event. `type` is as sent; `data` is of the newest version of that type, whatever was sent."""

    id: str
    source: str
    type: str
    time: datetime
    sequence: int | None
    data: Contract


@dataclass(frozen=True, slots=True)
class Upcaster(Generic[_Old, _New]):
    """A pure function from the data of one version to that of the next."""

    old: type[_Old]
    new: type[_New]
    up: Callable[[_Old], _New]


def upcaster(old: type[_Old], new: type[_New]) -> Callable[[Callable[[_Old], _New]], Upcaster[_Old, _New]]:
    """Declare the function below as the way from `old` to `new`."""
    return lambda up: Upcaster(old, new, up)


class Registry:
    """The contracts of all services, and how to decode with them.

    `contracts` is by (type, version), `newest` by type; a mistake in them raises nothing here: `problems` lists it.
    """

    contracts: Mapping[tuple[str, int], type[Contract]]
    newest: Mapping[str, type[Contract]]

    def __init__(self, contracts: Iterable[type[Contract]], upcasters: Iterable[Upcaster[Any, Any]]) -> None:
        self._all = sorted(contracts, key=lambda contract: (contract.type, contract.version))
        self._upcasters = list(upcasters)
        self.contracts = {(contract.type, contract.version): contract for contract in self._all}
        self.newest = {contract.type: contract for contract in self._all}
        self._by_wire_type = {contract.wire_type: contract for contract in self._all}
        self._up = {step.old: step.up for step in self._upcasters}

    def decode(self, record: RawRecord) -> Event:
        """Read, check and upcast the event in a record; raises BadRecord and nothing else."""
        envelope = parse_envelope(record)
        contract = self._contract(envelope, record.topic)
        try:
            data = contract.model_validate(envelope.data)
        except ValidationError as error:
            raise _invalid(error, envelope) from None
        while (up := self._up.get(type(data))) is not None:
            data = up(data)
        return Event(envelope.id, envelope.source, envelope.type, envelope.time, envelope.sequence, data)

    @staticmethod
    def to_cloudevent(
        data: Contract, *, id: str, source: str, subject: str, time: datetime, sequence: int | None = None
    ) -> dict[str, Any]:
        """Make the structured CloudEvent of some data, of JSON's types alone. `time` has a zone."""
        event = {
            "specversion": "1.0",
            "id": id,
            "source": source,
            "type": data.wire_type,
            "subject": subject,
            "time": time.isoformat(),
            "datacontenttype": "application/json",
            "data": data.model_dump(mode="json"),
        }
        return event if sequence is None else event | {"sequence": sequence}

    def json_schemas(self) -> dict[str, dict[str, Any]]:
        """JSON Schema of each version's data, by type as on the wire: `orders.OrderPlaced.v2`."""
        return {contract.wire_type: contract.model_json_schema() for contract in self._all}

    def _contract(self, envelope: Envelope, topic: str) -> type[Contract]:
        if envelope.type.partition(".")[0] != topic:
            raise BadRecord("topic", "the first part of type should be the topic", envelope)
        contract = self._by_wire_type.get(envelope.type)
        if contract is None:
            raise BadRecord("unknown_type", "no contract has this type and version", envelope)
        return contract


def _invalid(error: ValidationError, envelope: Envelope) -> BadRecord:
    """Name what is wrong, field by field, without the values: they may be personal."""
    wrong = error.errors(include_url=False, include_context=False)
    named = [f"{'.'.join(map(str, each['loc'])) or 'data'}: {each['msg']}" for each in wrong[:_MAX_WRONG_FIELDS]]
    if len(wrong) > _MAX_WRONG_FIELDS:
        named.append(f"and {len(wrong) - _MAX_WRONG_FIELDS} more")
    unstorable = any(isinstance(each["input"], str) and not is_storable(each["input"]) for each in wrong)
    return BadRecord("undecodable" if unstorable else "invalid", "; ".join(named), envelope)


def discover(package: str, path: Iterable[str]) -> Registry:
    """Collect the contracts and upcasters of each service: of each module in each package below `package`."""
    modules = list(_service_modules(package, path))
    found = [(module, value) for module in modules for value in vars(module).values()]
    contracts = [
        value
        for module, value in found
        if isinstance(value, type) and issubclass(value, Contract) and value.__module__ == module.__name__
    ]
    return Registry(contracts, [value for _, value in found if isinstance(value, Upcaster)])


def _service_modules(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    for service in pkgutil.iter_modules(path, f"{package}."):
        if service.ispkg:
            folder = importlib.import_module(service.name)
            yield folder
            for module in pkgutil.iter_modules(folder.__path__, f"{service.name}."):
                yield importlib.import_module(module.name)
