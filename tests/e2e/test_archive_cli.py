"""`prejoin archive` as a process: it follows until told to stop, and then has written all that it read."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from projector.history.archive import Archive
from tests.integration.past import all_of, own_topic, sent
from tests.integration.topics import OwnTopic
from tests.process import environment_with


@pytest.fixture
def topic(kafka_brokers: str) -> Iterator[OwnTopic]:
    made = own_topic(kafka_brokers)
    asyncio.run(made.make_topic(1))
    return made


def started(topic: OwnTopic, folder: Path, *options: str) -> "subprocess.Popen[str]":
    own = environment_with(KAFKA_BROKERS=topic.brokers, PROJECTIONS="tests.tiny") | {"TINY_TOPIC": topic.topic}
    command = [sys.executable, "-m", "projector.cli", "archive", "--to", str(folder), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=own, stdout=pipe, stderr=pipe, text=True)


def test_it_follows_until_told_to_stop_alone_in_its_folder(topic: OwnTopic, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "archive"
    records = sent(topic, 5)
    following = started(topic, folder, "--json")
    until = time.monotonic() + 60
    while not list(folder.glob("*/0/~unfinished")) and time.monotonic() < until:
        time.sleep(0.05)
    assert all_of(Archive(folder, [topic.topic])) == [], "it has no name before it is whole"
    second = started(topic, folder)
    said = second.communicate(timeout=60)[1]
    assert second.returncode == 2
    assert said.splitlines()[-1].startswith(f"prejoin: {folder} is being written by process {following.pid} on ")
    records += sent(topic, 4, first=5)
    following.send_signal(signal.SIGTERM)
    out, said = following.communicate(timeout=30)
    assert following.returncode == 0, said
    assert said.splitlines()[-1].startswith("records archived: ")
    (row,) = json.loads(out)["partitions"]
    assert (row["topic"], row["partition"], row["start"]) == (topic.topic, 0, 0)
    assert row["next"] == row["records"] in range(5, 10)

    once = started(topic, folder, "--once")
    out, said = once.communicate(timeout=60)
    assert once.returncode == 0, said
    assert f"{topic.topic}/0" in out
    assert all_of(Archive(folder, [topic.topic])) == records

    interrupted = started(topic, folder)
    while str(interrupted.pid) not in (folder / "~lock").read_text():
        time.sleep(0.05)
    interrupted.send_signal(signal.SIGINT)
    out, said = interrupted.communicate(timeout=30)
    assert interrupted.returncode == 130, said
    assert f"{topic.topic}/0" in out, "what it has written is told all the same"
    assert all_of(Archive(folder, [topic.topic])) == records


def test_a_folder_that_cannot_be_written_is_told_in_one_line(topic: OwnTopic, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    process = started(topic, tmp_path / "file" / "archive", "--once")
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith(f"prejoin: {tmp_path / 'file'}")
