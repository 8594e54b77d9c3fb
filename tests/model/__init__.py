"""The oracle of the tests: the public contract once more, in plain Python, sharing nothing with the engine."""

from tests.model.record import Record
from tests.model.shop import Model

__all__ = ["Model", "Record"]
