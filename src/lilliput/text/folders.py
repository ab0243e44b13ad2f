"""The files of a folder or a pattern, none left out without a word.

`Path.rglob` and `glob.glob` pass over folders that may not be read, and `Path.rglob` over links to folders.
"""

import fnmatch
import glob
from collections.abc import Iterator
from pathlib import Path

from lilliput.errors import InputError
from lilliput.text.unpacking import reading


def files_below(folder: Path) -> list[Path]:
    """Returns what is no folder in a folder and its subfolders, sorted; also links to nothing and pipes.

    Links to folders are followed, and each folder is read once, however many links lead to it. What is hidden
    is left out. Raises InputError where a folder may not be read.
    """
    found = [item for each in _folders(folder) for item in _shown(each) if not _is_folder(item)]
    return sorted(found)


def files_matching(pattern: Path) -> list[Path]:
    """Returns what matches a pattern with `*`, `?`, `[]` or, for any folders, `**`, sorted; no folders.

    What is hidden only matches what begins with a full stop, as in a shell. Raises InputError where a folder
    that could hold more may not be read.
    """
    root, parts = Path(pattern.anchor), pattern.parts[bool(pattern.anchor) :]
    return sorted(item for item in set(_matching(root, parts)) if not _is_folder(item))


def _matching(folder: Path, parts: tuple[str, ...]) -> Iterator[Path]:
    """Yields what matches the rest of a pattern below a folder, some perhaps twice."""
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
    """Yields a folder and those below it that are not hidden, each once."""
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
    """Returns what a folder holds, sorted; raises InputError where it may not be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputError(
            f"folder {folder} cannot be read: {error.strerror}; let it be read, or leave it out"
        ) from error


def _is_folder(path: Path) -> bool:
    with reading(path):
        return path.is_dir()


def _exists(path: Path) -> bool:
    with reading(path):
        return path.exists()
