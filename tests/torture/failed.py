"""What a run fails with."""


class TortureFailed(AssertionError):
    """The engine did not keep what it promises; the message says what was seen."""
