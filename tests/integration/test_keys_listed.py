"""`prejoin keys` where there are none yet: what it says of the API, and of a group without tables."""

import pytest
from typer.testing import CliRunner, Result

from projector.cli.commands import app
from projector.errors import NotMigrated
from tests.world import World, clear

TOKENS = {"JWT_ISSUER": "https://id.example.org", "JWT_AUDIENCE": "prejoin", "JWT_JWKS": "keys.json"}


def keys(database_url: str, group: str, *words: str, **settings: str) -> Result:
    given = {"DATABASE_URL": database_url, "GROUP": group, **settings}
    return CliRunner().invoke(app, ["keys", *words], env={f"PREJOIN_{name}": value for name, value in given.items()})


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "is open, on loopback"),
        ({"API_OPEN": "true"}, "is open, beyond loopback, too"),
        (TOKENS, "takes tokens alone"),
        (TOKENS | {"API_OPEN": "true"}, "takes tokens alone"),
    ],
)
def test_without_keys_it_says_for_whom_the_api_is(
    shop: World, database_url: str, settings: dict[str, str], said: str
) -> None:
    clear(shop)
    told = keys(database_url, shop.group, "list", **settings)
    assert (told.exit_code, told.stdout) == (0, f"no keys: the API {said}\n")


@pytest.mark.parametrize("words", [("create", "x"), ("list",), ("revoke", "x")])
def test_a_group_that_was_not_migrated_is_named(database_url: str, words: tuple[str, ...]) -> None:
    ended = keys(database_url, "never_migrated", *words)
    assert isinstance(ended.exception, NotMigrated)
