"""Every contract by type and version: records in, events of the newest version out."""

import importlib
import json
import pkgutil
import re
import sys
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import msgspec
from pydantic import ValidationError

from schemas.contract import Contract, blank
from schemas.envelope import BadRecord, Envelope, RawRecord, is_storable, parse_envelope

__all__ = ["BadRecord", "Event", "Registry", "Upcaster", "discover", "upcaster"]

_Old = TypeVar("_Old", bound=Contract)
_New = TypeVar("_New", bound=Contract)
_TYPE = re.compile(r"[a-z][a-z0-9_-]*\.[A-Z][A-Za-z0-9]*")
_STRUCTURED = ("content-type", b"application/cloudevents+json")
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
        envelope, data = self._read(record)
        while (up := self._up.get(type(data))) is not None:
            data = up(data)
        return Event(envelope.id, envelope.source, envelope.type, envelope.time, envelope.sequence, data)

    def bare(self, record: RawRecord, kept: Container[str] | None = None, subject: str | None = None) -> RawRecord:
        """The same event, with nothing in it but what its contract reads, the fields outside `kept`, if given, blank.

        It decodes as before: `id`, `source`, `time` and `sequence` stay, `subject` unless another is given. The key,
        and attributes and headers of others, are left out. Raises BadRecord where the event does not decode, or
        would not blank.
        """
        envelope, data = self._read(record)
        contract = type(data)
        told = {
            "id": envelope.id,
            "source": envelope.source,
            "subject": subject or envelope.subject,
            "time": envelope.time,
        }
        event = self.to_cloudevent(data, **told, sequence=envelope.sequence)  # type: ignore[arg-type]
        others = [] if kept is None else [field for field in contract.model_fields if field not in kept]
        try:
            event["data"] |= {field: blank(contract, field) for field in others}
            made = RawRecord(*record)._replace(key=None, value=json.dumps(event).encode(), headers=(_STRUCTURED,))
            self.decode(made)
        except BadRecord:
            raise
        except Exception as error:  # noqa: BLE001 - whatever an upcaster makes of a blank
            raise BadRecord(
                "invalid", f"{type(error).__name__}: a field, or its upcaster, takes no blank", envelope
            ) from None
        return made

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

    def problems(self) -> list[str]:
        """List the mistakes in contracts, upcasters and golden examples, each in one line; empty when all is well."""
        return [*self._version_problems(), *self._upcaster_problems(), *self._example_problems()]

    def _version_problems(self) -> Iterator[str]:
        for contract, count in Counter(contract.wire_type for contract in self._all).items():
            if count > 1:
                yield f"{contract}: {count} contracts have this type and version; each needs a version of its own"
        for type_, newest in self.newest.items():
            if not _TYPE.fullmatch(type_):
                yield f"{type_}: a type is <topic>.<Name> without version; the version goes into version="
            for version in range(1, newest.version):
                if (type_, version) not in self.contracts:
                    yield f"{type_}: version {newest.version} is there and {version} is not; versions count from 1"

    def _upcaster_problems(self) -> Iterator[str]:
        for (type_, version), contract in self.contracts.items():
            ups = [step.new for step in self._upcasters if step.old is contract]
            following = self.contracts.get((type_, version + 1))
            if following is None and not ups:
                continue
            if ups != [following]:
                wanted = f"exactly one, to version {version + 1}" if following else "none, for it is the newest"
                yield f"{contract.wire_type}: has upcasters to {[new.wire_type for new in ups]}; it needs {wanted}"
        for step in self._upcasters:
            if self.contracts.get((step.old.type, step.old.version)) is not step.old:
                yield f"{step.old.wire_type}: an upcaster starts from it, but it is not registered"

    def _example_problems(self) -> Iterator[str]:
        for contract in self._all:
            path = example_path(contract)
            folder = path.parent.parent.name
            name = f"{folder}/examples/{path.name}"
            if folder != contract.topic:
                yield f"{contract.wire_type}: lies in {folder}/; its topic is {contract.topic}, so should be its folder"
            if not path.is_file():
                yield f"{contract.wire_type}: has no golden example; add {name}"
                continue
            try:
                sent = self.decode(RawRecord(contract.topic, 0, 0, None, path.read_bytes(), (), 0)).type
            except BadRecord as bad:
                yield f"{contract.wire_type}: its golden example {name} is not decoded: {bad}"
            else:
                if sent != contract.wire_type:
                    yield f"{contract.wire_type}: its golden example {name} is one of {sent}"

    def _read(self, record: RawRecord) -> tuple[Envelope, Contract]:
        envelope = parse_envelope(record)
        contract = self._contract(envelope, record.topic)
        try:
            return envelope, contract.__pydantic_validator__.validate_python(envelope.data)
        except ValidationError as error:
            raise _invalid(error, envelope) from None

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


def example_path(contract: type[Contract]) -> Path:
    """Where the golden example of a contract lies: a structured CloudEvent in `examples/` beside its module."""
    module = Path(sys.modules[contract.__module__].__file__ or "")
    return module.parent / "examples" / f"{contract.type.rpartition('.')[2]}.v{contract.version}.json"


def discover(package: str, path: Iterable[str]) -> Registry:
    """Collect the contracts and upcasters of each service: of each module in each package below `package`."""
    # a name may be imported by several modules: each thing once, in the order found
    found = dict.fromkeys(
        value
        for module in _service_modules(package, path)
        for value in vars(module).values()
        if isinstance(value, Upcaster) or (isinstance(value, type) and issubclass(value, Contract))
    )
    contracts = [value for value in found if isinstance(value, type) and value is not Contract]
    return Registry(contracts, [value for value in found if isinstance(value, Upcaster)])


def _service_modules(package: str, path: Iterable[str]) -> Iterator[ModuleType]:
    for service in pkgutil.iter_modules(path, f"{package}."):
        if service.ispkg:
            folder = importlib.import_module(service.name)
            yield folder
            for module in pkgutil.iter_modules(folder.__path__, f"{service.name}."):
                yield importlib.import_module(module.name)
