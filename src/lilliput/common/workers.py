"""Shares work between processes; results come in the order of the tasks, so they never depend on timing."""

import contextlib
import ctypes
import functools
import gc
import multiprocessing
import multiprocessing.connection
import os
import platform
import queue
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Self, TypeVar, TypeVarTuple

from lilliput.errors import LilliputError, bounded

WORKERS_AT_MOST = 512
_KILLED = (
    "a worker process of the corpus was killed, most often because memory ran out; run the same command "
    "again: finished parts are kept, and fewer workers need less memory"
)

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")
_Task = tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]


class Workers:
    """This process and others that share work; the others start once there is more than one task.

    They end with the `with` block. They are spawned, not forked, because this process may have threads of
    torch. Each has its own pipe, and a thread in this process that sends it one task at a time. Only this
    process holds the other end of the pipe, so a killed worker is noticed at once, whether it was reading,
    working or answering. (A ProcessPoolExecutor of Python 3.11 waits forever once one of its threads writes
    8 MB to a pipe without a reader.)
    """

    def __init__(self, count: int) -> None:
        self._others = worker_count(count) - 1
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: object, *rest: object) -> None:
        if "_started" not in vars(self):
            return
        if failed:
            for process, _ in self._started:
                process.kill()  # safe: files appear only when they are whole
        for _ in range(self._others):
            self._tasks.put(None)
        for process, thread in self._started:
            thread.join()
            process.join()

    @functools.cached_property
    def _started(self) -> list[tuple[SpawnProcess, threading.Thread]]:
        return [self._start() for _ in range(self._others)]

    def _start(self) -> tuple[SpawnProcess, threading.Thread]:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()  # so that this pipe breaks when the worker ends
        thread = threading.Thread(target=_hand_over, args=(self._tasks, ours), daemon=True)
        thread.start()
        return process, thread

    def _submit(
        self, function: Callable[[*_Arguments], _Result], arguments: tuple[*_Arguments]
    ) -> Future[_Result]:
        self._started  # noqa: B018
        future: Future[_Result] = Future()
        self._tasks.put((future, function, arguments))
        return future

    def in_order(
        self, function: Callable[[*_Arguments], _Result], tasks: Iterator[tuple[*_Arguments]]
    ) -> Iterator[_Result]:
        """Yields the results of tasks in their order, with few tasks waiting.

        This process runs a task itself whenever two tasks per worker are waiting, and always the last one. So
        no process waits long, and none is started for a single task. Raises what a task raises, and
        LilliputError if a worker was killed.
        """
        begun: deque[Future[_Result]] = deque()
        task = next(tasks, None)
        while task is not None:
            following = next(tasks, None)
            if following and sum(not future.done() for future in begun) < 2 * self._others:
                begun.append(self._submit(function, task))
            else:
                begun.append(Future())
                begun[-1].set_result(function(*task))
            task = following
            while begun and begun[0].done():
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()


def _hand_over(tasks: "queue.SimpleQueue[_Task | None]", pipe: Connection) -> None:
    """Sends a worker one task after the other, and sets each future to its answer."""
    with pipe:
        while task := tasks.get():
            future, function, arguments = task
            try:
                pipe.send((function, arguments))
                result, error = pipe.recv()
            except (EOFError, OSError):
                future.set_exception(LilliputError(_KILLED))  # later tasks of this worker fail the same way
            except Exception as fault:  # the task cannot be pickled
                future.set_exception(fault)
            else:
                future.set_exception(error) if error else future.set_result(result)


def _work(pipe: Connection) -> None:
    """Runs tasks from a pipe, in a worker process, until no more come."""
    end_with_parent()
    with contextlib.suppress(EOFError, OSError):
        while True:
            function, arguments = pipe.recv()
            answer: tuple[Any, Exception | None]
            try:
                answer = function(*arguments), None
            except Exception as error:
                error.add_note(f"In a worker process:\n{traceback.format_exc()}")
                answer = None, error
            pipe.send(answer)


def worker_count(workers: int | None) -> int:
    """Returns the number of processes: as given, or one per core for None."""
    if workers is None:
        return min(os.cpu_count() or 1, WORKERS_AT_MOST)
    count: int = bounded("workers", workers, 1, WORKERS_AT_MOST)
    return count


def end_with_parent() -> None:
    """Makes a worker end when its parent ends for any reason, and leaves Ctrl-C to the parent."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def keep_freed_memory() -> None:
    """Tells glibc to keep memory that is freed from now on; does nothing without glibc.

    Every training step, like every block of a corpus, frees and allocates the same large arrays again. By
    default each goes back to the system and comes back as pages to be zeroed: 250,000 page faults in a
    student's step of 64 x 128 pieces. On one core that took 0.37 s of 1.5 s, now 0.01 s; two threads, which
    wait for each other there, went from 5,500 to 9,000 words/s.

    Memory freed earlier goes back to the system first: it is fragmented, and the next work needs other sizes.
    That costs a fifth of a second for zeroing pages, so call this between two kinds of work.
    """
    _trim()
    _mallopt(trim_threshold=2**31 - 1, mmap_max=0)


def give_back_memory() -> None:
    """Returns freed and kept memory to the system with glibc; without it, only collects garbage.

    Probes, files, warm starts and checkpoints need much memory once, in other sizes than steps do: keeping it
    raised 2.4 GB to 3.6 GB.
    """
    gc.collect()
    _mallopt(trim_threshold=128 << 10, mmap_max=65536)  # glibc's own
    _trim()


def _trim() -> None:
    """Returns unused pages to the system, with glibc."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


def _mallopt(trim_threshold: int, mmap_max: int) -> None:
    """Sets how much freed memory glibc keeps, and how many blocks it maps one by one."""
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(-1, trim_threshold)  # M_TRIM_THRESHOLD of malloc.h
        libc.mallopt(-4, mmap_max)  # M_MMAP_MAX
