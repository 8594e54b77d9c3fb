"""What the commands write: reports on stdout, everything else (notes, progress, errors) on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from rich.table import Table

SECONDS_BETWEEN_LINES = 3.0
WHOLE = 1_000  # characters: no table is as wide

# soft_wrap: one message stays one line, whatever the width; no highlight: ids and paths are not decorated
console = Console(stderr=True, soft_wrap=True, highlight=False)


def note(text: str) -> None:
    """One plain line on stderr."""
    console.print(text, markup=False)


def report(answer: "str | Table") -> None:
    """What was asked for, a line or a table, on stdout; a table is fitted to a terminal, whole in a file or a pipe."""
    if isinstance(answer, str):
        sys.stdout.write(answer + "\n")
    else:
        for column in answer.columns:
            column.overflow = "fold"  # what is cut off cannot be copied
        Console(highlight=False, width=None if sys.stdout.isatty() else WHOLE).print(answer)


def emit_json(told: Any) -> None:
    """Exactly one JSON object on stdout; times become RFC 3339 in UTC, decimals strings."""
    sys.stdout.write(json.dumps(told, ensure_ascii=False, default=_plain) + "\n")
    sys.stdout.flush()


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal | Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def say_dropped(tables: list[str], nothing: str, as_json: bool) -> None:
    """What was dropped, or that there was nothing."""
    if as_json:
        emit_json({"dropped": tables})
    else:
        say_served({}, tables)
        if not tables:
            report(nothing)


def ask_to_build(say_plan: Callable[[], None], yes: bool) -> None:
    """Say what would be built and ask, where somebody is there to answer. Raises typer.Abort for a no."""
    if not yes and sys.stdin.isatty() and sys.stdout.isatty():
        say_plan()
        typer.confirm("Build?", default=True, abort=True)


def say_served(built: Mapping[str, int], dropped: Iterable[str]) -> None:
    """The generations that views are served from now, and the tables that were dropped."""
    for name, generation in built.items():
        report(f"{name} is served from generation {generation}")
    for table in dropped:
        report(f"dropped {table}")


@contextmanager
def progress(label: str, total: int | None = None) -> Iterator[Callable[[int], None]]:
    """Show how far a long job is; yields `advance(count)`.

    A bar where stderr is a terminal, else one plain line every few seconds and one at the end, both with the rate and,
    where `total` is known, the time left.
    """
    if console.is_terminal:
        with _bar(label, total) as advance:
            yield advance
    else:
        lines = _Lines(label, total)
        yield lines.advance
        lines.say()


@contextmanager
def _bar(label: str, total: int | None) -> Iterator[Callable[[int], None]]:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    shown = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    columns = (*shown, TimeElapsedColumn(), TimeRemainingColumn())
    began = monotonic()
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(label, total=total, rate="")

        def advance(count: int) -> None:
            bar.advance(task, count)
            bar.update(task, rate=f"{bar.tasks[0].completed / max(monotonic() - began, 1e-3):,.0f}/s")
            if total is not None and bar.tasks[0].completed > total:  # which was a guess
                bar.update(task, total=bar.tasks[0].completed)

        yield advance


class _Lines:
    """The progress of one job where nobody looks at a terminal."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._total = total
        self._done = 0
        self._began = monotonic()
        self._next_line = self._began + SECONDS_BETWEEN_LINES

    def advance(self, count: int) -> None:
        self._done += count
        if monotonic() >= self._next_line:
            self.say()

    def say(self) -> None:
        of_total = "" if self._total is None or self._done > self._total else f" of {self._total:,}"
        seconds = monotonic() - self._began
        rate = self._done / seconds if seconds > 1 else 0  # sooner it says nothing
        left = (self._total - self._done) / rate if self._total is not None and rate else 0
        in_time = f", {left:,.0f} s left" if left > SECONDS_BETWEEN_LINES else ""
        note(f"{self._label}: {self._done:,}{of_total}" + (f", {rate:,.0f} a second{in_time}" if rate else ""))
        self._next_line = monotonic() + SECONDS_BETWEEN_LINES
