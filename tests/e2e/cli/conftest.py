"""Commands called in this process, and the group that they are called on."""

import os
import sys
from pathlib import Path

import pytest

from projector.cli import main
from tests.e2e.cli.calling import Done, Prejoin
from tests.process import environment_with
from tests.world import World


@pytest.fixture
def prejoin(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Prejoin:
    """Run a command in this process, as `prejoin` does; keywords are settings."""
    for name in os.environ.keys() - environment_with().keys():
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)  # no .env of ours
    monkeypatch.setattr("projector.ingest.broker.SECONDS_TO_CONNECT", 0.3)  # to one that is not there

    def run(*arguments: str, **settings: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["prejoin", *arguments])
        with monkeypatch.context() as environment:
            for name, value in settings.items():
                environment.setenv(f"PREJOIN_{name.upper()}", value)
            capsys.readouterr()
            with pytest.raises(SystemExit) as left:
                main()
        return Done(int(left.value.code or 0), *capsys.readouterr())

    return run


@pytest.fixture
def shop(of_the_shop: World) -> World:
    of_the_shop.clear()
    return of_the_shop


@pytest.fixture
def there(shop: World) -> dict[str, str]:
    """Settings of a group that is migrated."""
    return {"database_url": shop.url, "group": shop.group, "kafka_brokers": "127.0.0.1:1"}
