"""Temporary folders for measurements; what a killed process left is removed by the next one of its kind."""

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
"""The process of a younger folder may not have locked it yet."""


@contextlib.contextmanager
def scratch_folder(kind: str) -> Iterator[Path]:
    """Yields a new temporary folder and removes it at the end.

    Also removes folders of the same kind that killed processes left: the kernel released their locks.

    Raises:
        StorageError: If it cannot be created.
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
    """Removes folders of a kind that killed processes left."""
    for folder in root.glob(f"{kind}-*"):
        with contextlib.suppress(OSError, NotImplementedError, Timeout):  # another user's, or in use
            if time.time() - folder.stat().st_mtime > _SECONDS_TO_LOCK:
                with FileLock(folder / _LOCK, timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
