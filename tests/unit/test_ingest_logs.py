"""Logs as a machine reads them."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from projector import logs
from projector.ingest.broker import quiet


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root, level = logging.root.handlers[:], logging.root.level
    yield
    logging.root.handlers[:], logging.root.level = root, level
    structlog.reset_defaults()


def test_each_line_is_one_json_object_with_an_action(capsys):
    logs.configure("info")
    logs.logger("projector.ingest.worker").info("starting\nup", action="starting", partition="a/0")
    (line,) = capsys.readouterr().err.splitlines()
    said = json.loads(line)
    assert (said["event"], said["action"], said["level"]) == ("starting\nup", "starting", "info")
    assert said["timestamp"].endswith("Z")


def test_libraries_are_heard_from_warnings_on_in_the_same_form(capsys):
    logs.configure("debug")
    logging.getLogger("faust.transport").info("quiet")
    logging.getLogger("projector.ingest.chunks").info("faust, in the name of our module")
    logging.getLogger("aiokafka.consumer").warning("heard %s", 1)
    (line,) = capsys.readouterr().err.splitlines()
    assert json.loads(line)["event"] == "heard 1"


def test_the_level_set_is_ours_alone(capsys):
    logs.configure("error")
    logs.logger("projector.ingest.worker").warning("quiet", action="x")
    logs.logger("projector.ingest.worker").error("heard", action="x")
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["heard"]


def test_a_library_speaks_again_once_the_last_who_held_it_back_has_ended():
    library = logging.getLogger("tests.library")
    first, second = quiet("tests.library"), quiet("tests.library")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert library.level > logging.CRITICAL
    second.__exit__(None, None, None)
    assert library.level == logging.NOTSET
