"""The one exception root of the engine; every message names the thing, what is wrong with it, and the remedy."""


class PrejoinError(Exception):
    """Something the user can mend: the command line prints it in one line and exits with 2."""


class Passing(PrejoinError):
    """What may have passed when the same is tried again, as `prejoin worker --supervise` and `projector.outages` do."""


class Unreachable(Passing):
    """A server does not answer; at the very first try that is a setting, or a server that was not started."""


class SettingError(PrejoinError):
    """A setting is missing or wrong."""


class DeclarationError(PrejoinError):
    """An entity, a view or a rollup is declared wrongly."""


class OutOfDate(PrejoinError):
    """The database was migrated by another release, or by other declarations, than this process has."""


class NotMigrated(OutOfDate):
    """The database has no tables of a group."""

    def __init__(self, group: str) -> None:
        super().__init__(f"group {group} has no tables in the database: run `prejoin migrate`")


class Paused(Passing):
    """An operator holds the group: nothing is applied until `prejoin resume`."""


class TooManyDeadLetters(PrejoinError):
    """Most of what arrives is bad: going on would move a topic into the dead letters."""
