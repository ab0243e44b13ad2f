"""One process at a time: locks that end with their holder, and a sentence that names it."""

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
"""The locks that this thread holds: who holds one may ask for it again."""
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
"""What a file system without locks says."""
_TIMES = 5


def beside(folder: Path) -> Path:
    """Returns the lock of a folder that may be moved or removed: a hidden file beside it."""
    whole = Path(os.path.realpath(folder))
    return whole.with_name(f".{whole.name}.lock")


@contextlib.contextmanager
def locked(place: Path, of: Path, *, wait: bool = False) -> Iterator[None]:
    """Keeps other processes from what a lock stands for while the block runs.

    The kernel takes the lock from a process that ends, so one that was killed keeps nobody out. Nothing is
    left behind, unless by a kill. On a disk without locks a sentence says so, and the block runs without.

    Args:
        place: The lock's file.
        of: What it stands for, for the sentences.
        wait: Whether to wait for the holder.

    Raises:
        StorageError: If another process holds it, named in the sentence; or if it cannot be written.
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
    """Returns the folders that have to be made for one, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _acquired(place: Path, of: Path, holder: Path, wait: bool) -> "BaseFileLock | None":
    """Returns the lock, held; None where the disk knows no locks."""
    from filelock import FileLock, Timeout  # here, as what runs a bundle does without

    lock = FileLock(place)
    for time_left in reversed(range(_TIMES)):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                lock.acquire(timeout=0)
            except Timeout as error:
                if not wait:
                    raise StorageError(
                        f"{of} is in use by {_named(holder)}; wait until that has ended, then run the same "
                        "command again"
                    ) from error
                console.print(f"waiting for {_named(holder)}, which uses {of}", highlight=False, markup=False)
                lock.acquire(poll_interval=0.2)
            return lock
        except FileNotFoundError as error:  # another holder has just removed the folder that it had made
            if not time_left:
                raise not_written(place, error) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in _NO_LOCKS:
                raise not_written(place, error) from error
            console.print(
                f"the disk of {of} has no locks ({error}), so nothing keeps two processes apart; run one at "
                "a time",
                highlight=False,
                markup=False,
            )
            return None
    raise AssertionError("the last time raises")


def _release(lock: "BaseFileLock | None", place: Path, holder: Path, made: list[Path]) -> None:
    """Gives a lock back and removes its files, and the folders that were made for it and are empty."""
    if lock is None:
        return
    for path in (holder, place):  # before it is given back: who then gets it knows that its file is gone
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
    """Returns who holds a lock, as it is recorded."""
    try:
        found = parse_json(holder.read_bytes())
        return f"process {found['process']} on {found['host']} since {found['since']} ({found['command']})"
    except (OSError, ValueError, TypeError, KeyError):  # it is writing that
        return "another process"
