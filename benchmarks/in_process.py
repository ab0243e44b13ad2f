"""A process of its own for each thing that is measured, and what it took there."""

import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Self

import psutil

from lilliput.common.progress import console
from lilliput.common.workers import end_with_parent
from lilliput.errors import LilliputError

_SECONDS_BETWEEN_LOOKS = 0.02

_made: dict[str, Any] = {}
"""What a process was started for, by the only key "it"."""


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    words: int
    """Running words worked on."""
    seconds: float
    """By the clock."""
    processor_seconds: float
    """Of all threads of the process, and of processes that it started and that ended meanwhile."""

    @property
    def words_per_second(self) -> float:
        """By the clock."""
        return self.words / self.seconds


def timed(do: Callable[[], int]) -> Sample:
    """Does something that returns its number of words, and returns what it took."""
    started, processor_started = time.perf_counter(), sum(os.times()[:4])
    words = do()
    return Sample(words, time.perf_counter() - started, sum(os.times()[:4]) - processor_started)


class InProcess:
    """An object in a process of its own; its methods are called from here.

    A new process begins with memory of its own, and an allocator that nothing else has used. It ends with the
    block, or with this process.
    """

    def __init__(self, make: Callable[..., object], *arguments: object) -> None:
        """Starts the process and makes the object there; raises what making it raises."""
        self._pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)
        try:
            self._result(self._pool.submit(_make, make, arguments))
        except BaseException:
            self._pool.shutdown()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def call(self, method: str, *arguments: object) -> Any:
        """Calls a method of the object and returns its result; raises what it raises."""
        return self._result(self._pool.submit(_call, method, arguments))

    def watch(self, method: str, *arguments: object) -> tuple[Any, int]:
        """Calls a method and returns its result and the most bytes the process and its own ever had together.

        Memory that processes share, such as libraries, counts in each.
        """
        process = psutil.Process(self._result(self._pool.submit(os.getpid)))
        future = self._pool.submit(_call, method, arguments)
        peak = _memory_of_all(process)
        while wait([future], _SECONDS_BETWEEN_LOOKS).not_done:
            peak = max(peak, _memory_of_all(process))
        return self._result(future), peak

    @staticmethod
    def _result(future: Future[Any]) -> Any:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise LilliputError(
                "a process of the benchmark was killed, most often as memory ran out; measure fewer rows "
                "(--set stages.STAGE.batch.rows=...) or on a machine with more memory"
            ) from error


def _begin() -> None:
    """Makes a process end with its parent, and say nothing meanwhile."""
    end_with_parent()
    # torch's profiler would say on standard error that it begins and ends, and what memory was there before.
    os.environ |= {"KINETO_LOG_LEVEL": "6", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    console.quiet = True


def _make(make: Callable[..., object], arguments: tuple[object, ...]) -> None:
    _made["it"] = make(*arguments)


def _call(method: str, arguments: tuple[object, ...]) -> Any:
    return getattr(_made["it"], method)(*arguments)


def _memory_of_all(process: psutil.Process) -> int:
    total = 0
    for one in (process, *process.children(recursive=True)):
        try:
            total += one.memory_info().rss
        except psutil.NoSuchProcess:  # it ended meanwhile
            continue
    return total
