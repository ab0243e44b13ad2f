"""Files that are written whole or not at all, JSON, and digests: a kill never leaves half a file."""

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from lilliput.errors import StorageError

_AGAIN = "remove its folder to build it again"


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Opens `path` for writing so that it appears whole or not at all.

    Writes a temporary file beside it, flushes that to disk and renames it to `path` at the end. Raises
    StorageError if writing fails; the temporary file is then removed, and an existing `path` is unchanged.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Flushes a file, or the names in a folder, to disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot flush a folder
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (path.is_dir() and error.errno in (errno.EINVAL, errno.EOPNOTSUPP)):
            raise
    finally:
        os.close(descriptor)


def not_written(path: Path, error: OSError) -> StorageError:
    """Returns the error for a file that cannot be written."""
    return StorageError(
        f"{path} cannot be written: {error.strerror or error}; make room or choose another folder, then "
        "run the same command again: finished parts are kept"
    )


def write_json(path: Path, value: Any) -> None:
    """Writes `value` as indented JSON, whole or not at all."""
    with writing(path) as file:
        file.write(as_json(value, indent=2) + b"\n")


def as_json(value: Any, **form: Any) -> bytes:
    r"""Returns a value as JSON in UTF-8; a name that is not Unicode is escaped, so it can be read back.

    >>> as_json("name \udcff")
    b'"name \\udcff"'
    """
    return json.dumps(value, ensure_ascii=False, **form).encode(errors="backslashreplace")


def parse_json(content: str | bytes, decoder: json.JSONDecoder | None = None) -> Any:
    """Returns the value of a JSON text; raises ValueError, and nothing else, if it is invalid.

    With a decoder, which may build other objects, the content must be a str.

    >>> parse_json("[" * 100_000)
    Traceback (most recent call last):
    ValueError: its values are nested too deeply
    """
    try:
        return decoder.decode(cast(str, content)) if decoder else json.loads(content)
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def read_json(path: Path, remedy: str | None = None) -> Any:
    """Returns JSON that lilliput wrote; raises StorageError, with a remedy, if it is missing or damaged."""
    try:
        return parse_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged ({error}); {remedy or _AGAIN}") from error


def read_json_lines(path: Path, remedy: str | None = None) -> list[Any]:
    """Returns the values of a file with JSON on each line; raises StorageError if missing or damaged."""
    try:
        with path.open(encoding="utf-8") as lines:  # str.splitlines would cut texts at U+0085 or U+2028 too
            return [parse_json(line) for line in lines]
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise StorageError(f"{path} is damaged ({error}); {remedy or _AGAIN}") from error


def digest_value(value: Any) -> str:
    """Returns a short digest of any JSON value, independent of the order of its keys."""
    return hashlib.blake2b(as_json(value, sort_keys=True), digest_size=16).hexdigest()


def digest_file(path: Path) -> str:
    """Returns a short digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def digest_folder(path: Path) -> str:
    """Returns a short digest of the names and bytes of the files directly in a folder, except hidden ones."""
    files = sorted(item for item in path.iterdir() if item.is_file() and not item.name.startswith("."))
    return digest_value({item.name: digest_file(item) for item in files})
