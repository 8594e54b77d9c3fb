"""docker-compose.yml and the Dockerfile cannot run where the tests do: they are held against the code instead."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from projector.cli.commands import app
from projector.settings import Settings

REPOSITORY = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("migrate", "worker", "indexer", "api")


def settings_of(service: str) -> dict[str, str]:
    """Its PREJOIN_ variables, with compose's `${NAME:-default}` and `${NAME-default}` replaced by the default."""
    environment = SERVICES[service].get("environment", {})
    return {
        name: re.sub(r"\$\{\w+:?-([^}]*)\}", r"\1", value)
        for name, value in environment.items()
        if name.startswith("PREJOIN_")
    }


def dockerfile(instruction: str) -> list[str]:
    lines = (REPOSITORY / "Dockerfile").read_text().splitlines()
    return [line.removeprefix(f"{instruction} ") for line in lines if line.startswith(f"{instruction} ")]


@pytest.mark.parametrize("service", SERVICES)
def test_every_variable_is_a_setting(service: str) -> None:
    known = {f"PREJOIN_{field.upper()}" for field in Settings.model_fields}
    assert set(settings_of(service)) <= known


@pytest.mark.parametrize("service", OURS)
def test_the_settings_of_our_services_are_complete_and_valid(
    service: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    for name, value in settings_of(service).items():
        monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.writer_url
    assert settings.reader_url
    assert settings.brokers == ["kafka:9092"]
    assert settings.search_urls == ["http://elasticsearch:9200"]


@pytest.mark.parametrize("service", OURS)
def test_each_of_our_services_runs_a_command_of_the_command_line(service: str) -> None:
    program, command = SERVICES[service]["command"]
    assert program == "prejoin"
    assert command in set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_pinned(service: str) -> None:
    assert re.search(r":v?\d+\.\d+", SERVICES[service]["image"])


@pytest.mark.parametrize("service", SERVICES)
def test_each_service_has_a_health_check_or_runs_once(service: str) -> None:
    runs_once = SERVICES[service].get("restart") == "no"
    assert runs_once != ("healthcheck" in SERVICES[service])


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_waits_for_what_cannot_come(service: str) -> None:
    for other, how in SERVICES[service].get("depends_on", {}).items():
        needed = "healthcheck" if how["condition"] == "service_healthy" else "restart"
        assert needed in SERVICES[other]
        assert set(SERVICES[other].get("profiles", [])) <= set(SERVICES[service].get("profiles", []))


@pytest.mark.parametrize("service", SERVICES)
def test_ports_are_published_on_loopback_alone(service: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[service].get("ports", []))


def test_volumes_are_declared_and_mounted_folders_exist() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    for source in (mount.split(":")[0] for mount in mounts):
        assert source in COMPOSE["volumes"] or (REPOSITORY / source).is_dir()


def test_the_health_checks_ask_the_ports_that_the_settings_name() -> None:
    assert f":{settings_of('api')['PREJOIN_API_PORT']}/readyz" in str(SERVICES["api"]["healthcheck"])
    assert f":{settings_of('worker')['PREJOIN_METRICS_PORT']}/metrics" in str(SERVICES["worker"]["healthcheck"])


def test_the_image_copies_what_exists_and_is_not_ignored() -> None:
    kept = (REPOSITORY / ".dockerignore").read_text().splitlines()
    for line in dockerfile("COPY"):
        *sources, _target = line.split()
        for source in sources if not line.startswith("--from") else []:
            assert (REPOSITORY / source).exists()
            assert f"!{source}" in kept


def test_the_image_does_not_run_as_root() -> None:
    assert dockerfile("USER") == ["prejoin"]
