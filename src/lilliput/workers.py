"""Work shared between processes, with results in the order of the tasks."""

import itertools
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar, TypeVarTuple

from lilliput.errors import LilliputError

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")


def in_order(
    function: Callable[[*_Arguments], _Result], tasks: Iterator[tuple[*_Arguments]], workers: int
) -> Iterator[_Result]:
    """Yields the results of tasks in their order, worked on by some processes with few tasks waiting.

    Processes are spawned, not forked, as the parent may hold threads of torch.
    """
    if workers == 1:
        yield from itertools.starmap(function, tasks)
        return
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), end_with_parent)
    waiting: deque[Future[_Result]] = deque()
    try:
        for task in tasks:
            waiting.append(pool.submit(function, *task))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise LilliputError(
            "a worker process of the corpus was killed, most often as memory ran out; run the same command "
            "again, what is finished is kept, and fewer workers need less memory"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def end_with_parent() -> None:
    """Makes a worker end when its parent is gone, however that ended, and leaves Ctrl-C to the parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
