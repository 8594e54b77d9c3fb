"""Archive files: their names, and records as Parquet.

`DIR/orders/0/00000000000000000000-00000000000000004711.parquet` holds what partition 0 of `orders` has from offset 0
up to, and without, 4711. A name that ends in `.lost` says that these offsets were lost, and that somebody accepted it.
What is being written has a name that begins with `~`, which no topic has.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from projector.apply.batch import Chunk, Record, TopicPartition
from projector.errors import PrejoinError
from schemas.envelope import RawRecord

TOPIC_ID = b"prejoin.topic_id"
SCHEMA = pa.schema(
    [
        pa.field("offset", pa.int64(), nullable=False),
        pa.field("timestamp", pa.timestamp("ms", "UTC"), nullable=False),
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("headers", pa.list_(pa.struct([("name", pa.string()), ("value", pa.binary())])), nullable=False),
    ]
)
_NAME = re.compile(r"([0-9]{20})-([0-9]{20})\.(parquet|lost)")


class ArchiveBroken(PrejoinError):
    """The archive's files are not what an archiver has left there."""


class ArchiveFile(NamedTuple):
    """One file: the offsets from `start` up to, and without, `next`."""

    path: Path
    start: int
    next: int

    @property
    def is_lost(self) -> bool:
        """Whether it only says that these offsets were lost."""
        return self.path.suffix == ".lost"


def named(folder: Path, start: int, following: int, lost: bool = False) -> Path:
    """The path of the file that holds these offsets of a partition."""
    return folder / f"{start:020}-{following:020}.{'lost' if lost else 'parquet'}"


def files_of(folder: Path) -> list[ArchiveFile]:
    """The files of a partition, by offset. Raises ArchiveBroken where one is missing, or they overlap."""
    names = ((path, _NAME.fullmatch(path.name)) for path in folder.iterdir())
    files = sorted((ArchiveFile(path, int(name[1]), int(name[2])) for path, name in names if name), key=lambda f: f[1:])
    for file, following in pairwise(files):
        if file.next != following.start:
            raise ArchiveBroken(
                f"{folder}: {file.path.name} ends at offset {file.next}, but the next file begins at "
                f"{following.start}: put back what is missing there, or remove what was put there"
            )
    return files


def to_table(records: Sequence[Record]) -> pa.Table:
    """Records as columns."""
    bounds, names, values = [0], list[str](), list[bytes | None]()
    for record in records:
        for name, value in record.headers:
            names.append(name)
            values.append(value)
        bounds.append(len(names))
    parts = [pa.array(names, pa.string()), pa.array(values, pa.binary())]
    structs = pa.StructArray.from_arrays(parts, ["name", "value"])
    columns = [
        pa.array([r.offset for r in records], pa.int64()),
        pa.array([r.timestamp for r in records], pa.int64()).cast(pa.timestamp("ms", "UTC")),
        pa.array([r.key for r in records], pa.binary()),
        pa.array([r.value for r in records], pa.binary()),
        pa.ListArray.from_arrays(pa.array(bounds, pa.int32()), structs),
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def to_records(partition: TopicPartition, batch: pa.RecordBatch) -> list[RawRecord]:
    """The records of one file again; header values that were null are empty, as a worker takes them."""
    headers = batch["headers"]
    names, values = (part.to_pylist() for part in headers.values.flatten())
    pairs = [(name, value or b"") for name, value in zip(names, values, strict=True)]
    bounds = pairwise(headers.offsets.to_pylist())
    return list(
        map(
            RawRecord,
            repeat(partition.topic),
            repeat(partition.partition),
            batch["offset"].to_pylist(),
            batch["key"].to_pylist(),
            batch["value"].to_pylist(),
            (tuple(pairs[first:last]) for first, last in bounds),
            batch["timestamp"].cast(pa.int64()).to_pylist(),
        )
    )


def topic_id(file: ArchiveFile) -> str:
    """The broker's id of the topic that the file was read from. Raises ArchiveBroken."""
    with _opened(file) as parquet:
        return str((parquet.schema_arrow.metadata or {}).get(TOPIC_ID, b"").decode())


def chunks_of(partition: TopicPartition, file: ArchiveFile, position: int, end: int) -> Iterator[Chunk]:
    """What the file holds from `position` up to `end`, both inside of it; a chunk a row group. Raises ArchiveBroken."""
    if not file.is_lost:
        with _opened(file) as parquet:
            for number in range(parquet.num_row_groups):
                offsets = parquet.metadata.row_group(number).column(0).statistics
                if offsets.max < position or offsets.min >= end:
                    continue
                group = parquet.read_row_group(number, use_threads=False).combine_chunks()
                records = [record for batch in group.to_batches() for record in to_records(partition, batch)]
                records = records[_index(records, position) : _index(records, end)]
                if records:
                    following = records[-1].offset + 1
                    yield Chunk(partition, position, following, records)
                    position = following
    if position < end:  # what was passed over behind the last record
        yield Chunk(partition, position, end, [])


def _index(records: Sequence[Record], offset: int) -> int:
    return bisect_left(records, offset, key=attrgetter("offset"))


@contextmanager
def _opened(file: ArchiveFile) -> Iterator[Any]:
    try:
        with pq.ParquetFile(file.path) as parquet:
            yield parquet
    except (pa.ArrowException, OSError, KeyError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ArchiveBroken(f"{file.path} cannot be read: {said}; put back the file that was there") from None
