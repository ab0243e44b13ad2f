"""Time that this thread works, apart from what others take of the processor."""

import time
from collections.abc import Callable

import torch


class Stopwatch:
    """Times what this thread does, without the time in which it had no processor, and sums up that time too.

    On a GPU the processor waits most of the time, so there everything counts as its own.
    """

    def __init__(self, device: torch.device) -> None:
        self._clock = time.thread_time if device.type == "cpu" else time.perf_counter
        self._own = self._all = 0.0

    def time(self, do: Callable[[], object], *, counted: bool = True) -> float:
        """Returns the seconds that something works; those of first times are better not counted in."""
        own, started = self._clock(), time.perf_counter()
        do()
        found, passed = self._clock() - own, time.perf_counter() - started
        if counted:
            self._own, self._all = self._own + found, self._all + max(passed, found)
        return found

    @property
    def taken(self) -> float:
        """The share of the time in which others had the processor."""
        return 1 - self._own / self._all if self._all else 0.0


def repeated(do: Callable[[], object], watch: Stopwatch, limits: tuple[int, int, float]) -> list[float]:
    """Returns the seconds of something that is done again and again, without the first time.

    Args:
        do: What is done.
        watch: Times it.
        limits: Times at least and at most, and after how many seconds it is enough between them.
    """
    at_least, at_most, enough = limits
    watch.time(do, counted=False)
    seconds: list[float] = []
    while len(seconds) < at_least or (len(seconds) < at_most and sum(seconds) < enough):
        seconds.append(watch.time(do))
    return seconds
