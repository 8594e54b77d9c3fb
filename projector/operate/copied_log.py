"""The log that a copy is made from: the same one in all that is read of it, in however many runs."""

from collections.abc import Callable, Mapping

from projector.apply.batch import TopicPartition
from projector.errors import PrejoinError
from projector.history.log import Chunks, History, Look
from projector.ingest.positions import EventsGone, TopicReplaced, name_of
from projector.store.topic_ids import other_ids

REMEDY = "give the copy up with `prejoin rebuild --all --from-events --abort`, then give the command again"


class CopiedLog:
    """A `History` as one copy sees it. `starts` and `ids` are to be remembered with it; `note` hears what to tell."""

    def __init__(self, history: History, allow_truncated: bool, note: Callable[[str], None]) -> None:
        self._history, self._allow_truncated, self._note = history, allow_truncated, note
        self._partitions = set[TopicPartition]()
        self.starts: dict[TopicPartition, int] = {}
        self.ids: dict[str, str] = {}

    def look(self) -> Look:
        """The whole log, as who begins finds it. Raises EventsGone where offsets between its ends are nowhere."""
        look = self._history.look()
        if look.gap:
            raise EventsGone(look.gap)
        return look

    def begin(self, begun: Mapping[TopicPartition, str | None], applied: Mapping[str, str]) -> None:
        """Look at it for the first time, in this run. `begun` are the partitions that the copy has read from already,
        with their topics' ids; `applied` the ids of the topics that the group has applied.

        Raises PrejoinError where the log is another one, or has lost its beginning and that is not allowed.
        """
        look = self.look()
        self.starts = look.starts
        self.ids = {tp.topic: topic_id for tp, topic_id in begun.items() if topic_id is not None}
        self._partitions = set(begun)
        self._check(look)
        late = [tp for tp, at in sorted(self.starts.items()) if at > 0 and tp not in begun]
        lost = [f"{name_of(tp)} at offset {self.starts[tp]:,}" for tp in late]
        if not begun:
            lost += [f"{topic} was made again since it was applied" for topic in other_ids(applied, self.ids)]
        if lost and not self._allow_truncated:
            raise PrejoinError(
                f"the log does not reach back to the first event: {', '.join(lost)}; give the files of "
                "`prejoin archive` with --archive DIR, or --allow-truncated to build from what is left"
            )
        if lost:
            self._note(f"built from what is left of the log: {', '.join(lost)}")

    def ends(self) -> dict[TopicPartition, int]:
        """Where each partition ends now. Raises TopicReplaced where that is of another topic than was begun with."""
        look = self._history.look()
        self._check(look)
        return look.ends

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Chunks:
        """See `History`."""
        return self._history.read(positions, ends)

    def _check(self, look: Look) -> None:
        if others := other_ids(self.ids, look.ids):
            raise TopicReplaced(
                f"{', '.join(others)}: deleted and made again since this copy was begun (Kafka tells another topic "
                f"id): {REMEDY}"
            )
        self.ids = {**look.ids, **self.ids}
        known = {tp.topic for tp in self._partitions}
        for tp in sorted(look.ends.keys() - self._partitions):
            if tp.topic in known:
                self._note(
                    f"{name_of(tp)} was added since this copy was begun: where events of one aggregate are in it and "
                    "in another partition, nobody knows their order; see docs/how-to/keep-events.md"
                )
        self._partitions |= look.ends.keys()
