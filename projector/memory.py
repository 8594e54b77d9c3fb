"""The garbage collector, told what a process is like that works batch by batch."""

import gc

OBJECTS_BETWEEN_COLLECTIONS = 100_000


def tame_garbage_collection() -> None:
    """Half of the time of decoding events, and a third of indexing, is the collector's otherwise.

    A batch's objects live until its end and refer to no cycles, and what is loaded stays.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
