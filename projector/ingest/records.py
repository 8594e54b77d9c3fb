"""What a broker has sent, as records: aiokafka's own reading, but that the name of a header need not be UTF-8.

Kafka takes any bytes for one, and its own clients read what is not UTF-8 as U+FFFD. aiokafka raises there, each time
that it comes to the record: nothing behind it would ever be read.
"""

from collections.abc import Iterator
from typing import Any

from aiokafka.consumer import fetcher
from aiokafka.record.default_records import _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

_LENGTH, _HEAD = slice(8, 12), 12  # of a batch: behind its first offset stands how long it is from there on


def take_any_header() -> None:
    """Have the consumers of this process read so."""
    fetcher.MemoryRecords, fetcher.PartitionRecords = _Records, _PartitionRecords


class _Records:
    """The batches of one partition in one answer."""

    def __init__(self, data: bytes) -> None:
        self._data, self._records, self._taken = data, MemoryRecords(data), 0
        self._again: _AnyHeader | None = None
        self.size_in_bytes = self._records.size_in_bytes

    def has_next(self) -> bool:
        return self._again is not None or self._records.has_next()

    def next_batch(self) -> Any:
        if self._again is not None:
            batch, self._again = self._again, None
            return batch
        self._taken += 1
        return self._records.next_batch()

    def again(self) -> None:
        """The batch taken last is to be taken once more, whatever headers it has."""
        batch, left = memoryview(b""), memoryview(self._data)
        for _ in range(self._taken):
            size = _HEAD + int.from_bytes(left[_LENGTH])
            batch, left = left[:size], left[size:]
        self._again = _AnyHeader(batch)


class _PartitionRecords(fetcher.PartitionRecords):  # type: ignore[misc]
    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._records_iterator = self._unpacked()

    def _unpacked(self) -> Iterator[Any]:
        while True:
            try:
                yield from self._unpack_records()
                return
            except UnicodeDecodeError:
                self._records.again()  # those of it that were taken are passed over, by their offsets


class _AnyHeader(_DefaultRecordBatchPy):  # type: ignore[misc]
    _buffer: bytearray

    def _maybe_uncompress(self) -> None:
        super()._maybe_uncompress()
        self._buffer = _Replacing(self._buffer)


class _Replacing(bytearray):
    def __getitem__(self, at: Any) -> Any:
        return _Replacing(super().__getitem__(at)) if isinstance(at, slice) else super().__getitem__(at)

    def decode(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return super().decode(encoding, errors)
