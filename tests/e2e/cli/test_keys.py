"""`prejoin keys` where there are none yet: what it says of the API."""

import pytest

from tests.e2e.cli.calling import Prejoin, Settings

TOKENS = {"jwt_issuer": "https://id.example.org", "jwt_audience": "prejoin", "jwt_jwks": "keys.json"}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "is open, on loopback"),
        ({"api_open": "true"}, "is open, beyond loopback, too"),
        (TOKENS, "takes tokens alone"),
        (TOKENS | {"api_open": "true"}, "takes tokens alone"),
    ],
)
def test_without_keys_it_says_for_whom_the_api_is(
    prejoin: Prejoin, there: Settings, settings: Settings, said: str
) -> None:
    told = prejoin("keys", "list", **there, **settings)
    assert (told.code, told.out) == (0, f"no keys: the API {said}\n")
