"""Work shared between processes, with results in the order of the tasks."""

import ctypes
import functools
import itertools
import multiprocessing
import multiprocessing.connection
import os
import platform
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Self, TypeVar, TypeVarTuple

from lilliput.errors import LilliputError

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


class Workers:
    """Processes that share work, started with the first work worth it and ended with the `with` block.

    They are spawned, not forked, as the parent may hold threads of torch.
    """

    def __init__(self, count: int) -> None:
        self._count = count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_pool" in vars(self):
            self._pool.shutdown(cancel_futures=True)

    @functools.cached_property
    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._count, multiprocessing.get_context("spawn"), end_with_parent)

    def in_order(
        self, function: Callable[[*_Arguments], _Result], tasks: Iterator[tuple[*_Arguments]]
    ) -> Iterator[_Result]:
        """Yields the results of tasks in their order, with few tasks waiting."""
        first = list(itertools.islice(tasks, 2))
        tasks = itertools.chain(first, tasks)
        if self._count == 1 or len(first) < 2:  # starting processes takes longer than one task
            yield from itertools.starmap(function, tasks)
            return
        waiting: deque[Future[_Result]] = deque()
        try:
            for task in tasks:
                waiting.append(self._pool.submit(function, *task))
                if len(waiting) > 2 * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool as error:
            raise LilliputError(
                "a worker process of the corpus was killed, most often as memory ran out; run the same "
                "command again, what is finished is kept, and fewer workers need less memory"
            ) from error


def end_with_parent() -> None:
    """Makes a worker end when its parent is gone, however that ended, and leaves Ctrl-C to the parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> None:
    """Tells glibc to keep what is freed; elsewhere does nothing.

    Every training step, like every block of a corpus, frees and asks again for the same large arrays. By
    default each goes back to the system and comes again as pages to be zeroed: 250,000 page faults in a
    student's step of 64 x 128 pieces. On one core that was 0.37 s of 1.5 s, now 0.01 s; two threads, which
    wait for each other there, went from 5,500 to 9,000 words/s.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD, M_MMAP_MAX of malloc.h
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 2**31 - 1)
        libc.mallopt(mmap_max, 0)
