"""Asynchronous work ends tidily at Ctrl-C and SIGTERM, whenever they come."""

import asyncio
import os
import signal

import pytest

from projector.cli.interrupts import run

SIGNALS = [signal.SIGINT, signal.SIGTERM]


def handlers() -> list[object]:
    return [signal.getsignal(number) for number in SIGNALS]


def test_the_result_comes_back_and_the_handlers_are_those_of_before() -> None:
    before = handlers()

    async def work() -> int:
        return 7

    assert run(work()) == 7
    assert handlers() == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_cancels_work_that_waits_and_lets_it_clean_up(number: signal.Signals) -> None:
    before, done = handlers(), []

    async def work() -> None:
        try:
            asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            done.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        run(work())
    assert done == ["cleaned up"]
    assert handlers() == before


def test_a_signal_that_the_work_takes_no_notice_of_is_not_forgotten() -> None:
    async def work() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        run(work())


def test_a_signal_before_the_work_begins_is_not_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    new_loop = asyncio.new_event_loop

    def interrupted() -> asyncio.AbstractEventLoop:
        os.kill(os.getpid(), signal.SIGINT)
        return new_loop()

    monkeypatch.setattr("asyncio.events.new_event_loop", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(asyncio.sleep(60))


def test_an_error_of_the_work_is_raised() -> None:
    async def work() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work())
