"""How much one caller may ask, by a clock of the test's own; and the settings of access."""

import pytest

from projector.errors import SettingError
from projector.settings import Settings, read_settings
from read_api.access.rates import MOST_CALLERS, Rates
from read_api.problems import Problem


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_what_was_taken_comes_back_as_time_passes() -> None:
    clock = Clock()
    rates = Rates(60, clock)
    for left in range(59, -1, -1):
        assert rates.take("a")["RateLimit"] == f'"requests";r={left};t={60 - left}'
    with pytest.raises(Problem) as refused:
        rates.take("a")
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "1")
    clock.now = 1.0
    assert rates.take("a")["RateLimit"] == '"requests";r=0;t=60'
    clock.now = 1_000.0
    assert rates.take("a")["RateLimit"] == '"requests";r=59;t=1'


def test_many_callers_take_little_memory_and_none_of_another() -> None:
    rates = Rates(1, Clock())
    for n in range(MOST_CALLERS + 10):
        rates.take(str(n))
    assert len(rates._buckets) == MOST_CALLERS
    with pytest.raises(Problem):
        rates.take(str(MOST_CALLERS))


def test_no_bound_tells_nothing() -> None:
    assert Rates(0).take("a") == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CORS_ORIGINS", "*"),
        ("CORS_ORIGINS", "https://a.example.org/"),
        ("CORS_ORIGINS", "https://a.example.org,shop"),
        ("JWT_JWKS", "http://id.example.org/jwks.json"),
        ("API_RATE", "-1"),
        ("API_STREAMS", "many"),
    ],
)
def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"PREJOIN_{name}", value)
    with pytest.raises(SettingError, match=f"PREJOIN_{name}"):
        read_settings()


def test_tokens_need_issuer_audience_and_keys() -> None:
    assert Settings().tokens is None
    with pytest.raises(SettingError, match="PREJOIN_JWT_AUDIENCE is not set"):
        _ = Settings(jwt_issuer="https://id.example.org/", jwt_jwks="keys.json").tokens
    both = Settings(jwt_issuer="i", jwt_audience="a", jwt_jwks="http://127.0.0.1:1/jwks.json")
    assert both.tokens is not None
