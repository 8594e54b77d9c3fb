"""The past from the archive as far as that goes, and from Kafka for the rest."""

from collections.abc import Mapping

from projector.apply.batch import TopicPartition
from projector.history.log import Chunks, History
from projector.ingest.positions import EventsGone, Loss, TopicReplaced, cut, name_of, other_ids


class ArchiveFirst:
    """An archive and Kafka as one `History`. Where neither holds what lies between both, EventsGone says so."""

    def __init__(self, archive: History, kafka: History) -> None:
        self._archive, self._kafka = archive, kafka

    def topic_ids(self) -> dict[str, str]:
        """The ids of all topics. Raises TopicReplaced where Kafka has another topic than the one that was archived."""
        archived, now = self._archive.topic_ids(), self._kafka.topic_ids()
        if others := other_ids(archived, now):
            raise TopicReplaced(
                f"{', '.join(others)}: deleted and made again since it was archived (Kafka tells another topic id): "
                "read the archive or Kafka, not both"
            )
        return {**archived, **now}

    def starts(self) -> dict[TopicPartition, int]:
        """The first offset of each partition, wherever it is. Raises EventsGone and TopicReplaced, as `read` does."""
        self.topic_ids()
        first, archived, kept = self._archive.starts(), self._archive.ends(), self._kafka.starts()
        _check_seam(archived, kept)
        return {tp: min(first.get(tp, start), start) for tp, start in {**first, **kept}.items()}

    def ends(self) -> dict[TopicPartition, int]:
        """Kafka's ends; of a topic that Kafka has no more, what is archived up to."""
        archived = self._archive.ends()  # before Kafka's: an archiver may be at it
        kept = self._kafka.ends()
        if short := cut(archived, kept):
            told = (f"{name_of(tp)} up to offset {archived[tp]}, but Kafka ends at {kept[tp]}" for tp in short)
            raise EventsGone(f"archived is {', '.join(told)}: its log was cut, or the topic made again")
        return {**archived, **kept}

    def read(self, positions: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> Chunks:
        """See `History`: first what is archived, with what an archiver adds meanwhile; then what is in Kafka alone."""
        left = {tp: position for tp, position in positions.items() if position < ends[tp]}
        if not left:
            return
        self.topic_ids()
        while covered := self._covered(left, ends):
            for chunk in self._archive.read({tp: left[tp] for tp in covered}, covered):
                left[chunk.partition] = chunk.next
                yield chunk
        yield from self._kafka.read(left, ends)

    def _covered(
        self, left: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Up to where the archive has what is left. Raises EventsGone where Kafka has not what comes behind that."""
        first, archived = self._archive.starts(), self._archive.ends()
        behind = {tp: at for tp, at in archived.items() if tp in left and left[tp] <= at < ends[tp]}
        if behind:
            _check_seam(behind, self._kafka.starts())
        return {
            tp: min(archived[tp], ends[tp])
            for tp, position in left.items()
            if tp in first and first[tp] <= position < min(archived[tp], ends[tp])
        }


def _check_seam(archived: Mapping[TopicPartition, int], kept: Mapping[TopicPartition, int]) -> None:
    if gaps := [tp for tp, end in sorted(archived.items()) if end < kept.get(tp, end)]:
        told = (
            f"{name_of(tp)}: the archive ends at offset {archived[tp]} and Kafka begins at {kept[tp]}: "
            f"{Loss(tp, archived[tp], kept[tp] - 1).offsets:,} offsets are in neither"
            for tp in gaps
        )
        raise EventsGone("; ".join(told))
