"""Work shared between processes, with results in the order of the tasks."""

import ctypes
import functools
import gc
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
    """Processes that share work, this one among them; the others are started with the first work worth it.

    They end with the `with` block. They are spawned, not forked, as this one may hold threads of torch.
    """

    def __init__(self, count: int) -> None:
        self._others = count - 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if "_pool" in vars(self):
            self._pool.shutdown(cancel_futures=True)

    @functools.cached_property
    def _pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(self._others, multiprocessing.get_context("spawn"), end_with_parent)

    def in_order(
        self, function: Callable[[*_Arguments], _Result], tasks: Iterator[tuple[*_Arguments]]
    ) -> Iterator[_Result]:
        """Yields the results of tasks in their order, with few tasks waiting.

        This process does a task itself where the others have enough for as long as that takes, and the last
        one, so that nobody waits much and no process is started for a single task.
        """
        begun: deque[Future[_Result]] = deque()
        task = next(tasks, None)
        try:
            while task is not None:
                following = next(tasks, None)
                if following and sum(not future.done() for future in begun) < 2 * self._others:
                    begun.append(self._pool.submit(function, *task))
                else:
                    begun.append(Future())
                    begun[-1].set_result(function(*task))
                task = following
                while begun and begun[0].done():
                    yield begun.popleft().result()
            while begun:
                yield begun.popleft().result()
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
    """Tells glibc to keep what is freed from now on; elsewhere does nothing.

    Every training step, like every block of a corpus, frees and asks again for the same large arrays. By
    default each goes back to the system and comes again as pages to be zeroed: 250,000 page faults in a
    student's step of 64 x 128 pieces. On one core that was 0.37 s of 1.5 s, now 0.01 s; two threads, which
    wait for each other there, went from 5,500 to 9,000 words/s.

    What was freed before is given back, as it lies in pieces among what is still used, and what comes next
    wants other sizes. That costs a fifth of a second, in pages to be zeroed, so call this between two kinds
    of work.
    """
    _trim()
    _mallopt(trim_threshold=2**31 - 1, mmap_max=0)


def give_back_memory() -> None:
    """Gives the system back what is freed, and what was kept, with glibc; elsewhere only collects garbage.

    Probes, files, warm starts and checkpoints need much memory once, in other sizes than steps do: kept, it
    made 3.6 GB of 2.4.
    """
    gc.collect()
    _mallopt(trim_threshold=128 << 10, mmap_max=65536)  # glibc's own
    _trim()


def _trim() -> None:
    """Gives back the pages in which nothing is used, with glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt(trim_threshold: int, mmap_max: int) -> None:
    """Sets how much freed memory glibc keeps, and how many blocks are mapped one by one."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, trim_threshold)  # M_TRIM_THRESHOLD of malloc.h
        libc.mallopt(-4, mmap_max)  # M_MMAP_MAX
