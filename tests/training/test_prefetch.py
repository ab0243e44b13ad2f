"""Prefetching: the same items in the same order, made ahead, and a clean end whichever side breaks off."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import pytest

from lilliput.errors import InputError
from lilliput.training.prefetch import prefetched


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_items_come_in_their_order() -> None:
    with prefetched(itertools.count(7)) as items:
        assert list(itertools.islice(items, 50)) == list(range(7, 57))


def test_items_are_made_ahead_by_a_thread_of_their_own() -> None:
    made: list[tuple[int, str]] = []
    enough = threading.Event()

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            made.append((number, threading.current_thread().name))
            if number == 3:
                enough.set()
            yield number

    with prefetched(numbers()) as items:
        assert next(items) == 0
        assert next(items) == 1
        assert enough.wait(10), "while 1 is used, 2 and 3 are made"
        assert next(items) == 2
    assert {name for _, name in made} == {"prefetch_0"}
    assert len(made) <= 5, "no more than two wait"


def test_a_slow_taker_finds_the_next_item_ready() -> None:
    def numbers() -> Iterator[int]:
        for number in itertools.count():
            time.sleep(0.05)
            yield number

    with prefetched(numbers()) as items:
        next(items)
        time.sleep(0.5)
        started = time.monotonic()
        next(items)
        assert time.monotonic() - started < 0.04


def failing(number: int) -> Iterator[int]:
    yield from range(number)
    raise InputError("the text ends here")


def test_an_error_comes_where_its_item_would_with_its_traceback() -> None:
    with prefetched(failing(5)) as items:
        assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
        with pytest.raises(InputError, match="the text ends here") as caught:
            next(items)
    assert "failing" in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]
    assert not workers()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_of_the_taker_ends_the_thread(error: type[BaseException]) -> None:
    made: list[int] = []

    def numbers() -> Iterator[int]:
        for number in itertools.count():
            made.append(number)
            yield number

    def take_one() -> None:
        with prefetched(numbers()) as items:
            next(items)
            assert workers()
            raise error

    with pytest.raises(error):
        take_one()
    assert not workers()
    count = len(made)
    assert count <= 4
    time.sleep(0.05)
    assert len(made) == count


STUCK = """
import itertools, sys, time
from lilliput.training.prefetch import prefetched

with prefetched(itertools.count()) as items:
    next(items)
    print("running", flush=True)
    {act}
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("act", ["time.sleep(60)", "[None for _ in items]"])
def test_a_signal_ends_the_process(number: signal.Signals, act: str) -> None:
    code = STUCK.format(act=act)
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"running\n"
        time.sleep(0.1)
        os.kill(process.pid, number)
        assert process.wait(10) == -number
