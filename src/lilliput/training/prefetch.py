"""Things made in the background, so that who takes one finds the next ready."""

import contextlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")

_AHEAD = 2
"""One is ready while the next is made, so a slow one is waited for only if it takes two steps' time."""


@contextlib.contextmanager
def prefetched(items: Iterator[_Item]) -> Iterator[Iterator[_Item]]:
    """Gives the endless `items` in their order, made by a thread while those before them are used.

    An error in making an item is raised when that item is taken, with its traceback. Leaving the context,
    for whatever reason, ends the thread as soon as the item at work is made.
    """
    with ThreadPoolExecutor(1, "prefetch") as pool:
        try:
            waiting = deque(pool.submit(next, items) for _ in range(_AHEAD))

            def take() -> Iterator[_Item]:
                while True:
                    item = waiting.popleft().result()
                    waiting.append(pool.submit(next, items))
                    yield item

            yield take()
        finally:
            pool.shutdown(cancel_futures=True)
