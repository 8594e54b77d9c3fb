"""The past from the archive as far as that goes, and from Kafka for the rest."""

from collections.abc import Mapping

from projector.apply.batch import TopicPartition
from projector.history.log import Chunks, History, Look
from projector.ingest.positions import EventsGone, TopicReplaced, cut, name_of
from projector.store.topic_ids import other_ids


class ArchiveFirst:
    """An archive and Kafka as one `History`. Where neither holds what lies between both, EventsGone says so."""

    def __init__(self, archive: History, kafka: History) -> None:
        self._archive, self._kafka = archive, kafka

    def look(self) -> Look:
        """All topics from the first offset, wherever it is, up to Kafka's ends.

        Of a topic that Kafka has no more, up to what is archived. Raises TopicReplaced where Kafka has another topic
        than the one that was archived, EventsGone where it ends before that.
        """
        there, kept = self._look()
        if short := cut(there.ends, kept.ends):
            told = (f"{name_of(tp)} up to offset {there.ends[tp]}, but Kafka ends at {kept.ends[tp]}" for tp in short)
            raise EventsGone(f"archived is {', '.join(told)}: its log was cut, or the topic made again")
        both = {**there.starts, **kept.starts}
        starts = {tp: min(there.starts.get(tp, start), start) for tp, start in both.items()}
        ends, ids = {**there.ends, **kept.ends}, {**there.ids, **kept.ids}
        return Look(starts, ends, ids, _gap(there.ends, kept.starts))

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Chunks:
        """See `History`: first what is archived, with what an archiver adds meanwhile; then what is in Kafka alone."""
        left = {tp: position for tp, position in positions.items() if position < ends[tp]}
        if not left:
            return
        while covered := self._covered(left, ends):
            for chunk in self._archive.read({tp: left[tp] for tp in covered}, covered):
                left[chunk.partition] = chunk.next
                yield chunk
        yield from self._kafka.read(left, ends)

    def _look(self) -> tuple[Look, Look]:
        archived, kept = self._archive.look(), self._kafka.look()  # in this order: an archiver may be at it
        if others := other_ids(archived.ids, kept.ids):
            raise TopicReplaced(
                f"{', '.join(others)}: deleted and made again since it was archived (Kafka tells another topic id): "
                "read the archive or Kafka, not both"
            )
        return archived, kept

    def _covered(
        self, left: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Up to where the archive has what is left. Raises EventsGone where Kafka has not what comes behind that."""
        archived, kept = self._look()
        behind = {tp: at for tp, at in archived.ends.items() if tp in left and left[tp] <= at < ends[tp]}
        if gap := _gap(behind, kept.starts):
            raise EventsGone(gap)
        return {
            tp: min(archived.ends[tp], ends[tp])
            for tp, position in left.items()
            if tp in archived.starts and archived.starts[tp] <= position < min(archived.ends[tp], ends[tp])
        }


def _gap(archived: Mapping[TopicPartition, int], kept: Mapping[TopicPartition, int]) -> str:
    return "; ".join(
        f"{name_of(tp)}: the archive ends at offset {end} and Kafka begins at {kept[tp]}: "
        f"{kept[tp] - end:,} offsets are in neither"
        for tp, end in sorted(archived.items())
        if end < kept.get(tp, end)
    )
