"""Keeps the topics in an archive: reads what Kafka has, writes files, and goes on where the last file ends."""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import NamedTuple, Self

from projector.apply.batch import Chunk, TopicPartition
from projector.errors import PrejoinError
from projector.history.archive import Archive
from projector.history.files import named
from projector.history.kafka import KafkaHistory
from projector.history.lock import locked
from projector.history.writing import UNFINISHED, Writing, make_folder, sync_folder
from projector.ingest.broker import KafkaUnreachable
from projector.ingest.positions import EventsGone, Loss, TopicReplaced, cut, gone, name_of, other_ids
