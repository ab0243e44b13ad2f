"""Locks that keep two processes from writing the same folder; the error names the process that holds one."""

import contextlib
import errno
import os
import platform
import shlex
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

from lilliput.common.files import not_written, parse_json, write_json
from lilliput.common.folders import clear_removed
from lilliput.common.progress import console
from lilliput.errors import StorageError

if TYPE_CHECKING:
    from filelock import BaseFileLock

_held: ContextVar[frozenset[str]] = ContextVar("held", default=frozenset())
"""The locks that this thread holds, which it may take again."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""Errors of a file system without locks."""
_TIMES = 5


def beside(folder: Path) -> Path:
    """Returns the lock file of a folder that may be moved or removed: a hidden file beside it."""
    whole = Path(os.path.realpath(folder))
    return whole.with_name(f".{whole.name}.lock")


@contextlib.contextmanager
def locked(place: Path, of: Path, *, wait: bool = False) -> Iterator[None]:
    """Holds a lock while the block runs.

    The kernel releases the lock when its process ends, so a killed process blocks nobody. No file is left
    behind, except by a kill. On a disk without locks a message says so, and the block runs without one.

    Args:
        place: The lock file.
        of: What it protects, for messages.
        wait: Whether to wait for the holder.

    Raises:
        StorageError: If another process, which the message names, holds it, or if it cannot be written.
    """
    key = os.path.realpath(place)
    if key in _held.get():
        yield
        return
    holder, made = place.with_suffix(".holder"), _missing(place.parent)
    lock = _acquired(place, of, holder, wait)
    before = _held.get()
    _held.set(before | {key})
    try:
        if lock is not None:
            clear_removed(holder)
            write_json(holder, _this_process())
        yield
    finally:
        _held.set(before)
        _release(lock, place, holder, made)


def _missing(folder: Path) -> list[Path]:
    """Returns the folders to create for one, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _acquired(place: Path, of: Path, holder: Path, wait: bool) -> "BaseFileLock | None":
    """Returns the acquired lock; None if the disk has no locks."""
    from filelock import FileLock, Timeout  # here, as running a bundle needs no locks

    lock = FileLock(place)
    for time_left in reversed(range(_TIMES)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                if not wait:
                    raise StorageError(
                        f"{of} is in use by {_named(holder)}; wait until it ends, then run the same command "
                        "again"
                    ) from error
                console.print(f"waiting for {_named(holder)}, which uses {of}", highlight=False, markup=False)
                lock.acquire(poll_interval=0.2)
            return lock
        except FileNotFoundError as error:  # another holder has just removed the folder it created
            if not time_left:
                raise not_written(place, error) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise not_written(place, error) from error
            console.print(
                f"the disk of {of} has no locks ({error}), so nothing stops two processes from writing at "
                "once; run one at a time",
                highlight=False,
                markup=False,
            )
            return None
    raise AssertionError("the last time raises")


def _release(lock: "BaseFileLock | None", place: Path, holder: Path, made: list[Path]) -> None:
    """Releases a lock and removes its files and the empty folders that were created for it."""
    if lock is None:
        return
    for path in (holder, place):  # before the release: whoever acquires it next sees that its file is gone
        with contextlib.suppress(OSError):
            path.unlink()
    lock.release()
    for folder in made:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _this_process() -> dict[str, object]:
    return {
        "process": os.getpid(),
        "host": platform.node(),
        "command": ascii(shlex.join(sys.argv))[1:-1],
        "since": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
    }


def _named(holder: Path) -> str:
    """Returns the recorded holder of a lock, for messages."""
    try:
        found = parse_json(holder.read_bytes())
        return f"process {found['process']} on {found['host']} since {found['since']} ({found['command']})"
    except (OSError, ValueError, TypeError, KeyError):  # not written yet
        return "another process"
