"""Temporary folders that do not outlive the process that made them by more than one of their kind."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from lilliput.errors import StorageError

_LOCK = "lock"
_SECONDS_TO_LOCK = 60.0
"""A folder that is younger may be one that its process has not locked yet."""


@contextlib.contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """Gives a new folder among the system's temporary ones, and removes it in the end.

    One of the same kind that a killed process left is removed too: the kernel took the lock in it away.

    Raises:
        StorageError: If there is no room for one.
    """
    try:
        root = Path(tempfile.gettempdir())
        _remove_left(root, kind)
        folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=root))
    except OSError as error:
        raise StorageError(
            f"no temporary folder can be made: {error.strerror or error}; make room, or set TMPDIR to a "
            "folder on another disk"
        ) from error
    try:
        with FileLock(folder / _LOCK, timeout=0):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _remove_left(root: Path, kind: str) -> None:
    """Removes what killed processes left of a kind."""
    for folder in root.glob(f"{kind}-*"):
        with contextlib.suppress(OSError, NotImplementedError, Timeout):  # somebody's, or in use
            if time.time() - folder.stat().st_mtime > _SECONDS_TO_LOCK:
                with FileLock(folder / _LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
