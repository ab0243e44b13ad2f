"""Lists the files of a folder or a pattern, and leaves none out silently.

`Path.rglob` and `glob.glob` skip folders without permission, and `Path.rglob` also links to folders.
"""

import fnmatch
import glob
from collections.abc import Iterator
from pathlib import Path

from lilliput.errors import InputError
from lilliput.text.unpacking import reading


def files_below(folder: Path) -> list[Path]:
    """Returns all files in a folder and its subfolders, sorted, including broken links and pipes.

    Follows links to folders, and reads each folder once, however many links lead to it. Leaves out hidden
    files and folders. Raises InputError if a folder cannot be read.
    """
    found = [item for each in _folders(folder) for item in _shown(each) if not _is_folder(item)]
    return sorted(found)


def files_matching(pattern: Path) -> list[Path]:
    """Returns the files that match a pattern with `*`, `?`, `[]` or, for any folders, `**`, sorted.

    Hidden names match only a pattern that begins with a full stop, as in a shell. Raises InputError if a
    folder that may contain matches cannot be read.
    """
    root, parts = Path(pattern.anchor), pattern.parts[bool(pattern.anchor) :]
    return sorted(item for item in set(_matching(root, parts)) if not _is_folder(item))


def _matching(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yields paths below a folder that match the rest of a pattern, some perhaps twice."""
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        for each in _folders(folder):
            yield from _matching(each, rest or ("*",))
    elif not glob.has_magic(first) or _exists(folder / first):
        if _exists(folder / first) or (folder / first).is_symlink():
            yield from _matching(folder / first, rest)
    elif _is_folder(folder):
        for item in _listed(folder) if first.startswith(".") else _shown(folder):
            if fnmatch.fnmatchcase(item.name, first):
                yield from _matching(item, rest)


def _folders(folder: Path) -> Iterator[Path]:
    """Yields a folder and the folders below it, except hidden ones, each once."""
    seen = set()
    waiting = [folder] if _is_folder(folder) else []
    while waiting:
        found = waiting.pop()
        with reading(found):
            status = found.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield found
            waiting += reversed([item for item in _shown(found) if _is_folder(item)])


def _shown(folder: Path) -> list[Path]:
    return [item for item in _listed(folder) if not item.name.startswith(".")]


def _listed(folder: Path) -> list[Path]:
    """Returns the entries of a folder, sorted; raises InputError if it cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be read: {error.strerror}; change its permissions, or leave it out"
        ) from error


def _is_folder(path: Path) -> bool:
    with reading(path):
        return path.is_dir()


def _exists(path: Path) -> bool:
    with reading(path):
        return path.exists()
