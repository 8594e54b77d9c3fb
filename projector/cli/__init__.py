"""The command line `prejoin`: the composition root, where settings are read and the parts are put together.

The commands are in the modules that `projector.cli.commands` names. This one imports next to nothing, so that Ctrl-C is
minded from the first moment on.
"""

import signal
import sys
from types import FrameType

from projector.errors import PrejoinError

WRONG_USE, INTERRUPTED = 2, 130


def main() -> None:
    """Run the command line; exits with 0, 1 ("the answer is no"), 2 (wrong use or environment) or 130 (interrupted)."""
    # As Ctrl-C does, SIGTERM unwinds through every `finally`; the long-running processes set handlers of their own.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        from projector.cli.commands import app

        app(prog_name="prejoin")
    except PrejoinError as error:
        _fail(str(error), WRONG_USE)
    except KeyboardInterrupt:
        _fail("interrupted", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the boundary: Python's own exit code, 1, would say "the answer is no"
        if said := _environment(error):
            _fail(said, WRONG_USE)
        import traceback

        traceback.print_exc()
        _fail("stopped by a defect of its own; please report it with the lines above", WRONG_USE)


def _environment(error: Exception) -> str | None:
    """What to say of an error that comes from where the command runs; None where it is a defect of ours."""
    cause = getattr(error, "orig", None) or error  # SQLAlchemy's errors carry the driver's
    if isinstance(cause, OSError) and cause.filename:
        return f"{cause.filename}: {cause.strerror}: see that it can be read and written, and that there is room"
    psycopg = sys.modules.get("psycopg")  # not loaded: none of its errors
    if psycopg is None or not isinstance(cause, psycopg.Error):
        return None
    from projector.outages import gave_up, passes, said_by

    if isinstance(cause, psycopg.errors.InsufficientPrivilege | psycopg.errors.ReadOnlySqlTransaction):
        said = said_by(cause)
        return f"the role of PREJOIN_DATABASE_URL may not do this ({said}): name the one that `prejoin migrate` ran as"
    return gave_up(cause) if isinstance(cause, psycopg.OperationalError) or passes(cause) else None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> None:
    print(f"prejoin: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)
