"""Loading a projections package: its entities, views and rollups, in the order in which changes flow."""

import importlib
import pkgutil
import sys
import traceback
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Table
from sqlalchemy.sql import visitors

from projector.declare.entity import Entity
from projector.declare.view import Relation, Rollup, View
from projector.errors import DeclarationError


@dataclass
class Projections:
    """What a package declares. `registry` decodes its events; `relations` are in dependency order."""

    name: str
    registry: Any
    entities: list[Entity[Any]] = field(default_factory=list)
    relations: list[Relation] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @cached_property
    def by_contract(self) -> dict[type[Any], Entity[Any]]:
        """The entity that folds each contract."""
        return {contract: entity for entity in self.entities for contract in entity.folds}

    @cached_property
    def by_topic(self) -> dict[str, Entity[Any]]:
        """The entity that each topic's events belong to."""
        return {entity.topic: entity for entity in self.entities}

    @property
    def personal(self) -> dict[str, Entity[Any]]:
        """The entities that have personal fields, by the kind of aggregate that each holds."""
        return {entity.erasure.kind: entity for entity in self.entities if entity.erasure is not None}

    @property
    def topics(self) -> list[str]:
        """The topics that are consumed."""
        return sorted(self.by_topic)

    @property
    def served(self) -> list[Relation]:
        """What the API serves."""
        return [r for r in self.relations if r.path is not None]

    @property
    def feeds(self) -> dict[str, str]:
        """Served relation → the one whose changes it is told: a virtual view has the keys of the one that it reads."""
        by_table = {r.table: r.name for r in self.relations}
        virtual = {r.name for r in self.served if isinstance(r, View) and r.virtual}
        return {r.name: by_table[reads(r)[0]] if r.name in virtual else r.name for r in self.served}

    @property
    def views(self) -> list[View]:
        """The views with rows of their own, in dependency order."""
        return [r for r in self.relations if isinstance(r, View) and r.stored]

    @property
    def searched(self) -> list[View]:
        """The views that are kept in the search index."""
        return [v for v in self.views if v.search is not None]

    @property
    def rollups(self) -> list[Rollup]:
        """The rollups."""
        return [r for r in self.relations if isinstance(r, Rollup)]

    def connected(self, chosen: Collection[Relation]) -> list[Relation]:
        """The relations given and all that they read or are read by, over any number of steps, in dependency order."""
        found = {r.name for r in chosen}
        links = [(r.name, over.name) for r in self.relations for over in self.relations if over.table in reads(r)]
        while more := {name for link in links if found & set(link) for name in link} - found:
            found |= more
        return [r for r in self.relations if r.name in found]

    def relation(self, name: str) -> Relation:
        """The view or rollup of that name; raises DeclarationError with the names there are."""
        for relation in self.relations:
            if relation.name == name:
                return relation
        raise DeclarationError(f"there is no view {name!r}: there are {', '.join(r.name for r in self.served)}")


def load(name: str) -> Projections:
    """The declarations of a package. Raises DeclarationError, naming each mistake, if there is any."""
    projections = read(name)
    if projections.problems:
        raise DeclarationError("; ".join(projections.problems) + " (`prejoin check` lists them)")
    return projections


def read(name: str) -> Projections:
    """The declarations of a package with every mistake that shows without a database in `problems`."""
    problems: list[str] = []
    modules = list(_modules(name, problems))
    registry = getattr(sys.modules.get(name), "registry", None)
    if registry is None and not problems:
        problems.append(f"{name}: exports no `registry` of contracts; import it in {name}/__init__.py")
    projections = Projections(name, registry, problems=problems)
    found = {id(o): o for m in modules for o in vars(m).values() if isinstance(o, Entity | Relation)}
    projections.entities = sorted((o for o in found.values() if isinstance(o, Entity)), key=lambda e: e.name)
    relations = [o for o in found.values() if isinstance(o, Relation)]
    everything: list[Entity[Any] | Relation] = [*projections.entities, *relations]
    for declared in everything:
        problems += [p for p in declared.problems if p not in problems]
    if not problems:
        problems += [p for e in projections.entities if e.erasure for p in e.erasure.problems(e)]
    _refuse_twins(everything, problems)
    projections.relations = _in_order(relations, projections.entities, problems)
    return projections


def reads(relation: Relation) -> list[Table]:
    """The tables that a relation's query reads, each once."""
    return list(dict.fromkeys(e for e in visitors.iterate(relation.query) if isinstance(e, Table)))


def _modules(name: str, problems: list[str]) -> Iterator[Any]:
    """The package's modules; one that cannot be imported is a problem, told once where it arises."""
    names = [name]
    while names:
        try:
            module = importlib.import_module(names.pop(0))
        except DeclarationError as error:
            problem = f"{_where(error)}: {error}"
        except Exception as error:  # noqa: BLE001 – whatever a user's module raises is a mistake to report
            problem = f"{_where(error)}: {type(error).__name__}: {error}"
        else:
            yield module
            if hasattr(module, "__path__"):
                names += [info.name for info in pkgutil.iter_modules(module.__path__, f"{module.__name__}.")]
            continue
        if problem not in problems:
            problems.append(problem)


def _where(error: Exception) -> str:
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "importlib" not in f.filename]
    outside = [f for f in frames if "/projector/" not in f.filename and "/site-packages/" not in f.filename]
    if not outside:
        return "projections"
    path = Path(outside[-1].filename)
    return f"{path.parent.name}/{path.name}:{outside[-1].lineno}"


def _refuse_twins(declared: list[Entity[Any] | Relation], problems: list[str]) -> None:
    names = [d.name for d in declared]
    problems.extend(
        f"{name}: declared twice; give one another name" for name in sorted({n for n in names if names.count(n) > 1})
    )
    paths = [d.path for d in declared if isinstance(d, Relation) and d.path]
    problems.extend(
        f"path {path!r}: two views have it; give one another path"
        for path in sorted({p for p in paths if paths.count(p) > 1})
    )
    topics = [d.topic for d in declared if isinstance(d, Entity)]
    problems.extend(
        f"topic {t!r}: two entities take its events; one must"
        for t in sorted({t for t in topics if topics.count(t) > 1})
    )


def _in_order(relations: list[Relation], entities: list[Entity[Any]], problems: list[str]) -> list[Relation]:
    """Each relation after all that it reads; what reads itself in a circle is a problem."""
    waiting = sorted(relations, key=lambda r: r.name)
    known = {id(t) for e in entities for t in [e.table, *(c.table for c in e.children)]}
    sources: dict[str, list[Table]] = {}
    for relation in waiting:
        sources[relation.name] = reads(relation)
    ordered: list[Relation] = []
    while ready := [r for r in waiting if all(id(t) in known for t in sources[r.name])]:
        ordered += ready
        known |= {id(r.table) for r in ready}
        waiting = [r for r in waiting if r not in ready]
    tables = {id(r.table) for r in relations}
    for relation in waiting:
        strange = [t.name for t in sources[relation.name] if id(t) not in known | tables]
        circle = [t.name for t in sources[relation.name] if id(t) not in known]
        if strange:
            problems.append(f"{relation.name}: reads {', '.join(strange)}, which no entity or view declares")
        else:
            problems.append(f"{relation.name}: reads itself through {', '.join(circle)}: break the cycle")
    return ordered


__all__ = ["Projections", "load", "read", "reads"]
