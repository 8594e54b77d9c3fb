"""Logs: structlog on stderr, JSON unless that is a terminal. No key, value or data of a record ever goes in."""

import logging
import sys
from typing import Any

import structlog

# Their lines come through at this level: they know nothing of ours, and tell much at "info".
LIBRARIES = logging.WARNING
# What they repeat for each topic that does not exist yet; the heartbeat says it once in a while.
CHATTER = ("aiokafka.cluster", "aiokafka.coordinator.assignors")
OURS = "prejoin"


def logger(name: str) -> structlog.stdlib.BoundLogger:
    """Make a module's logger; each call names what happens as `action=`."""
    # not under the module's own name: faust logs in the name of the module that subclasses its services
    return structlog.stdlib.get_logger(f"{OURS}.{name.removeprefix('projector.')}")


def configure(level: str) -> None:
    """Write this process' logs, those of faust and aiokafka included, to stderr."""
    shared: list[Any] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    terminal = sys.stderr.isatty()
    final: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final]
        )
    )
    logging.basicConfig(handlers=[handler], level=LIBRARIES, force=True)
    logging.getLogger(OURS).setLevel(level.upper())
    for name in CHATTER:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
