"""Folding a batch: each record judged and folded into its aggregate in order, or set aside as a dead letter."""

import psycopg

from projector.apply.aggregates import Aggregate, Verdict
from projector.apply.batch import FoldError, Outcome
from projector.apply.incoming import Incoming
from projector.apply.letters import Letter, Letters
from projector.apply.window import Window

Aggregates = dict[tuple[str, str], Aggregate]


class MostlyBad(Exception):
    """Most of the window is bad, as of this record."""

    def __init__(self, at: Incoming) -> None:
        super().__init__()
        self.at = at


def fold_all(
    incoming: list[Incoming], aggregates: Aggregates, last: Window, limit: float | None, outcome: Outcome
) -> tuple[Letters, Window]:
    """Judge and fold each record in order; returns the dead letters and the window behind the last.

    Raises MostlyBad at the record where more than `limit`, a share, of a full window is bad; FoldError for a bug.
    """
    letters, window = Letters(), last.copy()
    for each in incoming:
        letter = _fold_one(each, aggregates, letters, outcome)
        if letter is not None:
            letters.add(letter)
            outcome.dead_letters[letter.reason] = outcome.dead_letters.get(letter.reason, 0) + 1
        if limit is None:
            continue
        window.add(letter is not None)
        if window.full and window.bad > limit * window.size:
            raise MostlyBad(each)
    return letters, window


def _fold_one(each: Incoming, aggregates: Aggregates, letters: Letters, outcome: Outcome) -> Letter | None:
    """Fold one record into its aggregate; returns the dead letter that it is instead, if it is one."""
    aggregate = aggregates[each.entity.name, each.key] if each.entity is not None and each.key is not None else None
    if each.reason is not None:
        return Letter(each.record, each.reason, each.detail, each.type, each.sequence, aggregate)
    if each.event is None or aggregate is None:
        outcome.ignored += 1
        return None
    verdict = aggregate.judge(each.event)
    if verdict is Verdict.DUPLICATE:
        outcome.duplicates += 1
    elif verdict is Verdict.NEXT:
        if aggregate.skips(each.event):
            letters.begin(aggregate)
        _apply_event(aggregate, each)
        letters.applied(aggregate, each.record)
        outcome.applied += 1
    else:
        if verdict is Verdict.LATE:
            aggregate.fill(each.event.sequence)
        detail = {Verdict.LATE: "later events of its aggregate were applied before it"}.get(
            verdict, "its aggregate was never created"
        )
        return Letter(each.record, verdict.value, detail, each.type, each.sequence, aggregate)
    return None


def _apply_event(aggregate: Aggregate, each: Incoming) -> None:
    try:
        aggregate.apply(each.event)
    except Exception as error:
        record = each.record
        raise FoldError(
            f"the fold of {each.type} into {aggregate.entity.name} raised {type(error).__name__} at {record.topic}/"
            f"{record.partition}@{record.offset}: a bug in the fold, not in the record; mend it and start again"
        ) from error


def broken_state(each: Incoming, error: psycopg.IntegrityError) -> FoldError:
    """The bug that shows when the state is written. What Postgres says of it holds the row: only the column is told."""
    record, entity = each.record, each.entity.name if each.entity else "?"
    return FoldError(
        f"the state folded from {each.type} at {record.topic}/{record.partition}@{record.offset} breaks the rules of "
        f"{entity}, column {error.diag.column_name}: a bug in the fold, not in the record; mend it and start again"
    )
