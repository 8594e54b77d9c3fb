"""Prejoin's settings: environment variables `PREJOIN_…`, and a `.env` file in the working directory."""

import ipaddress
import re
import socket
from typing import Annotated, Literal, NamedTuple
from urllib.parse import urlsplit

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from projector.errors import SettingError

_PREFIX = re.compile("^(Value error, |Input |String )")  # pydantic's: behind it comes what should be

_ORIGIN = re.compile(r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")


class TokenSettings(NamedTuple):
    """Whose tokens, for whom, and where the keys are that verify them: a file or a URL of a JSON Web Key Set."""

    issuer: str
    audience: str
    jwks: str


class Settings(BaseSettings):
    """What a process is told from outside. Built once, by the command that runs, and handed down."""

    model_config = SettingsConfigDict(env_prefix="PREJOIN_", env_file=".env", extra="ignore", frozen=True)

    database_url: SecretStr | None = None
    read_database_url: SecretStr | None = None
    kafka_brokers: str | None = None
    elasticsearch_url: str = ""
    fallback_index: bool = True
    group: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")] = "prejoin"
    projections: str = "projections"
    api_host: str = "127.0.0.1"
    api_port: Annotated[int, Field(ge=0, le=65535)] = 8000
    api_open: bool = False
    api_streams: Annotated[int, Field(ge=0, le=100_000)] = 5_000
    api_rate: Annotated[int, Field(ge=0, le=100_000_000)] = 6_000
    api_log: bool = False
    cors_origins: str = ""
    jwt_issuer: str = ""
    jwt_audience: str = ""
    jwt_jwks: str = ""
    demo: bool = False
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 9464
    unknown_events: Literal["deadletter", "ignore"] = "deadletter"
    dead_letter_limit: Annotated[float, Field(gt=0, le=1)] = 0.5
    verify_rows_per_second: Annotated[float, Field(ge=0, le=10_000)] = 10
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("database_url", "read_database_url")
    @classmethod
    def _is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _is_postgres_url(value.get_secret_value()):
            raise ValueError("must look like postgresql://user:password@host:port/database")
        return value

    @field_validator("group")
    @classmethod
    def _is_no_schema_of_another(cls, value: str) -> str:
        if value.endswith(("_views", "_entities")):
            raise ValueError("must not end in _views or _entities: so are the schemas of other groups named")
        return value

    @field_validator("kafka_brokers")
    @classmethod
    def _are_brokers(cls, value: str | None) -> str | None:
        for broker in (value or "").split(",") if value else ():
            host, _, port = broker.strip().rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ValueError("must look like host:port,host:port")
        return value

    @field_validator("elasticsearch_url")
    @classmethod
    def _are_search_urls(cls, value: str) -> str:
        for url in value.split(",") if value else ():
            if not _is_http_url(url.strip()):
                raise ValueError("must look like http://host:port,… or https://user:password@host:port")
        return value

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for origin in value.split(",") if value else ():
            if not _ORIGIN.fullmatch(origin.strip()):
                raise ValueError("must be exact origins: https://shop.example.org,https://other.example.org:8443")
        return value

    @field_validator("jwt_jwks")
    @classmethod
    def _is_file_or_safe_url(cls, value: str) -> str:
        address = urlsplit(value)
        if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1"):
            raise ValueError("must be an https:// address or a file: whoever can change it on its way makes tokens")
        return value

    @property
    def origins(self) -> list[str]:
        """Whose pages browsers let read the API."""
        return [origin.strip() for origin in self.cors_origins.split(",")] if self.cors_origins else []

    @property
    def on_loopback(self) -> bool:
        """Whether the API listens to this machine alone."""
        return is_loopback(self.api_host)

    @property
    def tokens(self) -> TokenSettings | None:
        """Whose tokens the API takes; None: nobody's. Raises SettingError where a part of it is not set."""
        names = ("jwt_issuer", "jwt_audience", "jwt_jwks")
        given = {name: getattr(self, name) for name in names}
        if not any(given.values()):
            return None
        for name, value in given.items():
            if not value:
                raise SettingError(
                    f"PREJOIN_{name.upper()} is not set: tokens need it together with the other PREJOIN_JWT_…"
                )
        return TokenSettings(*given.values())

    @property
    def search_urls(self) -> list[str]:
        """Elasticsearch's addresses, with user and password; raises SettingError where none is set."""
        return [url.strip() for url in self._required("elasticsearch_url").split(",")]

    @property
    def word_indexes(self) -> bool:
        """Whether Postgres keeps indexes of words: always where it alone searches, else unless told not to."""
        return self.fallback_index or not self.elasticsearch_url

    @property
    def writer_url(self) -> str:
        """The writer's `postgresql://…`; raises SettingError where it is not set."""
        return self._required("database_url")

    @property
    def reader_url(self) -> str:
        """The read-only role's `postgresql://…`; raises SettingError where it is not set."""
        return self._required("read_database_url")

    @property
    def brokers(self) -> list[str]:
        """Kafka's `host:port` addresses; raises SettingError where they are not set."""
        return [broker.strip() for broker in self._required("kafka_brokers").split(",")]

    def _required(self, name: str) -> str:
        value = getattr(self, name)
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if not text:
            raise SettingError(
                f"PREJOIN_{name.upper()} is not set: set it, or start servers of your own with "
                '`prejoin stack up --detach` and `eval "$(prejoin stack env)"`'
            )
        return str(text)


def is_loopback(host: str) -> bool:
    """Whether a host name or address leads to this machine alone; one that leads nowhere does."""
    try:
        addresses = [str(info[4][0]) for info in socket.getaddrinfo(host, None)]
    except OSError:
        return True
    return all(ipaddress.ip_address(address.partition("%")[0]).is_loopback for address in addresses)


def _is_postgres_url(text: str) -> bool:
    try:
        conninfo_to_dict(text)
        return urlsplit(text).scheme in ("postgresql", "postgres") and urlsplit(text).port != 0
    except (ProgrammingError, ValueError):  # a port that is no number, a broken percent-escape
        return False


def _is_http_url(text: str) -> bool:
    try:
        address = urlsplit(text)
        return address.scheme in ("http", "https") and bool(address.hostname) and bool(address.port)
    except ValueError:  # a port that is no number
        return False


def read_settings() -> Settings:
    """The settings of this process; raises SettingError, naming each variable that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        wrong = [f"PREJOIN_{str(e['loc'][0]).upper()} {_PREFIX.sub('', e['msg'])}" for e in error.errors()]
        raise SettingError("; ".join(wrong)) from None
