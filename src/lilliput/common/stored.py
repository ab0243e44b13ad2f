"""Reads back files that lilliput wrote, and refuses damaged ones with a remedy.

Files of a run get edited by hand, cut short by a full disk or corrupted by a bad one. Whatever is wrong, a
StorageError names the file and what to do.
"""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.files import read_json, read_json_lines
from lilliput.common.settings import valid
from lilliput.errors import ConfigError, StorageError, first_line

_AGAIN = "remove its folder to build it again"


def stored(hint: Any, path: Path, remedy: str | None = None) -> Any:
    """Returns the content of a JSON file as a value of a type; raises StorageError if it does not fit.

    Args:
        hint: A dataclass, or a type hint such as dict[str, float].
        path: The file.
        remedy: What to do if it is damaged, as the end of a sentence; by default to remove its folder.
    """
    return as_stored(hint, read_json(path, remedy), path, remedy)


def as_stored(hint: Any, value: Any, path: Path, remedy: str | None = None) -> Any:
    """Returns a JSON value of a file as a value of a type; raises StorageError if it does not fit."""
    with intact(path, remedy):
        return valid(hint, value)


def stored_lines(hints: Mapping[str, Any], path: Path, remedy: str | None = None) -> list[dict[str, Any]]:
    """Returns the objects in the lines of a file; each has at least the keys of `hints`, with these types."""
    lines = read_json_lines(path, remedy)
    for number, line in enumerate(lines, start=1):
        with intact(path, remedy):
            require_fields(hints, line, f"line {number:,}")
    return lines


def require_fields(hints: Mapping[str, Any], value: Any, where: str) -> None:
    """Raises ConfigError unless a JSON value is an object with the keys of `hints` and these types."""
    if not isinstance(value, dict):
        raise ConfigError(f"{where} is not an object")
    for name, hint in hints.items():
        if name not in value:
            raise ConfigError(f"{where} has no '{name}'")
        valid(hint, value[name], name)


@contextlib.contextmanager
def intact(path: Path, remedy: str | None = None, fault: str = "is damaged") -> Iterator[None]:
    """Raises StorageError for any error while a file is read in the block.

    Libraries that read arrays and tensors raise errors without a common base class.
    """
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise StorageError(f"{path} is missing; {remedy or _AGAIN}") from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}") from error
    except Exception as error:
        said = first_line(error) or type(error).__name__
        raise StorageError(f"{path} {fault} ({said}); {remedy or _AGAIN}") from error


def stored_array(
    path: Path, kind: str, shape: tuple[int | None, ...], remedy: str | None = None, mode: str | None = "r"
) -> npt.NDArray[Any]:
    """Returns the array of a .npy file, memory-mapped by default; raises StorageError if it does not fit.

    Args:
        path: The file.
        kind: The expected dtype, such as "int64".
        shape: The expected shape; None for an axis of any length.
        remedy: What to do if it is damaged.
        mode: The mode of the memory map; None to read the array into memory.
    """
    with intact(path, remedy):
        array: npt.NDArray[Any] = np.load(path, mmap_mode=mode, allow_pickle=False)  # type: ignore[arg-type]
        fits = len(array.shape) == len(shape) and all(
            wanted in (None, found) for wanted, found in zip(shape, array.shape, strict=True)
        )
        if array.dtype != np.dtype(kind) or not fits:
            raise ConfigError(f"it holds {array.dtype} {list(array.shape)}, expected {kind} {list(shape)}")
    return array
