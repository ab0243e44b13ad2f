"""Folders that lilliput writes: records and checks of their files, and replacing a folder in one step.

No folder is left half written, and no file of anyone else is removed.
"""

import contextlib
import ctypes
import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from lilliput.common.files import digest_file, digest_value, not_written, parse_json, read_json, sync
from lilliput.common.stored import intact, require_fields
from lilliput.errors import StorageError

MANIFEST = "manifest.json"
"""The file written last into a stage's directory."""

Files = Mapping[str, Mapping[str, Any]]
"""`bytes` and `digest` of files by name, with slashes on every system."""

_SHOWN = 3
_OF_SYSTEMS = (".DS_Store", "Thumbs.db", "desktop.ini")
"""Files that file managers add to any folder."""
_EXCHANGE, _HERE = 2, -100  # RENAME_EXCHANGE and AT_FDCWD of Linux


def read_manifest(path: Path) -> dict[str, Any]:
    """Returns the values in a manifest or a begun.json; raises StorageError if it is damaged."""
    found: dict[str, Any] = read_json(path)
    fields = {"digest": str, "made_from": dict[str, Any]}
    with intact(path):
        require_fields(fields | ({"results": dict[str, Any]} if path.name == MANIFEST else {}), found, "it")
    return found


def record(folder: Path, leave_out: Iterable[str] = ()) -> dict[str, dict[str, Any]]:
    """Returns bytes and digests of all files below a folder, except hidden ones.

    Args:
        folder: The folder.
        leave_out: Names of files and folders directly in it to leave out.
    """
    apart, found = set(leave_out), dict[str, dict[str, Any]]()
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and parts[0] not in apart and not any(part.startswith(".") for part in parts):
            found["/".join(parts)] = {"bytes": path.stat().st_size, "digest": digest_file(path)}
    return found


def recorded(manifest: Path) -> Files | None:
    """Returns the record of files in a stage's manifest; None if an older version wrote none."""
    found = read_json(manifest)
    files = found.get("files") if isinstance(found, dict) and "made_from" in found else None
    if files is None:
        return None
    if not is_record(files):
        raise _damaged(manifest)
    return files


def _damaged(manifest: Path) -> StorageError:
    return StorageError(f"{manifest} is damaged; remove its folder to build it again")


def files_below(stage: Path, below: str) -> Files:
    """Returns the record of the files in a folder of a finished stage, by their names in the stage."""
    files = recorded(stage / MANIFEST) if (stage / MANIFEST).exists() else None
    return {name: entry for name, entry in (files or {}).items() if name.startswith(f"{below}/")}


def content(stage: Path, below: str) -> str:
    """Returns the digest of the files in a folder of a finished stage.

    For a stage of an older version, which did not record its files, returns the digest of the stage's inputs.
    """
    if files := files_below(stage, below):
        return digest_value({name: entry["digest"] for name, entry in files.items()})
    manifest = stage / MANIFEST
    return str(read_manifest(manifest)["digest"]) if manifest.exists() else str(stage)


def is_record(value: Any) -> TypeGuard[Files]:
    """Returns whether a JSON value has the form that `record` returns."""
    return isinstance(value, dict) and all(
        isinstance(entry, dict) and entry.keys() >= {"bytes", "digest"} for entry in value.values()
    )


def damage(folder: Path, files: Files) -> str | None:
    """Returns the first file that differs from a record, and how, as the start of a sentence; else None."""
    for name, entry in files.items():
        path = folder / name
        try:
            size = path.stat().st_size if path.is_file() else None
            if size is None:
                return f"{path} is missing"
            if size != entry["bytes"]:
                return f"{path} was altered or cut short: it has {size:,} bytes instead of {entry['bytes']:,}"
            if digest_file(path) != entry["digest"]:
                return f"{path} was altered: it does not have the recorded digest"
        except OSError as error:
            return f"{path} cannot be read ({error.strerror or error})"
    return None


def strangers(folder: Path, ours: Iterable[str]) -> list[str]:
    """Returns the names of files below a folder that are neither in `ours` nor left by a killed process."""
    known = set(ours)
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        left = any(part.startswith(".") and part.endswith((".partial", ".removed")) for part in parts)
        name = "/".join(parts)
        if (path.is_symlink() or not path.is_dir()) and name not in known and not left:
            found.append(name)
    return [name for name in found if name.rpartition("/")[2] not in _OF_SYSTEMS]


def not_ours(folder: Path, names: list[str]) -> StorageError:
    """Returns the error for a folder that contains files of these names, which lilliput did not write."""
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" * (len(names) > _SHOWN))
    return StorageError(
        f"{folder} holds files that lilliput did not write ({shown}), so nothing in it was changed; choose "
        "another --out, or move them"
    )


def check_strangers(out: Path, names: Iterable[str]) -> None:
    """Raises StorageError where `out` is a file, or a folder that holds files of other names."""
    if out.exists() and not out.is_dir():
        raise StorageError(f"{out} is a file; choose another --out")
    if out.is_dir() and (others := strangers(out, names)):
        raise not_ours(out, others)


def check_report(out: Path, report: str, fields: set[str], others: Iterable[str]) -> None:
    """Raises StorageError if a report would replace files that lilliput did not write.

    Args:
        out: The folder that it is written into.
        report: The name of its JSON file, which identifies an earlier report.
        fields: Keys that this file must have.
        others: Names of the files and folders that are written with it.
    """
    try:
        found = parse_json((out / report).read_bytes())
        is_ours = isinstance(found, dict) and found.keys() >= fields
    except (OSError, ValueError):
        is_ours = False
    if not is_ours and (there := [name for name in (report, *others) if os.path.lexists(out / name)]):
        raise not_ours(out, there)


def clear_leftovers(folder: Path) -> None:
    """Removes temporary files that killed processes left below a folder. Call it under the folder's lock."""
    for path in [*folder.rglob(".*.partial"), *folder.rglob(".*.removed")]:
        remove(path)


def clear_removed(folder: Path) -> None:
    """Removes the rest of earlier folders of that name, whose removal was killed."""
    left = folder.parent.iterdir() if folder.parent.is_dir() else ()
    for path in list(left):
        if path.name.startswith(f".{folder.name}.") and path.name.endswith((".partial", ".removed")):
            remove(path)


def remove(path: Path) -> None:
    """Removes a file or a folder; ignores one that is missing or must not be removed."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def settle(folder: Path) -> None:
    """Flushes all files below a folder to disk and gives them the mode that the umask sets for new files.

    Libraries write temporary files first, which only their owner may read.
    """
    mask = os.umask(0)
    os.umask(mask)
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o666 & ~mask)
    sync_all(folder)


def sync_all(folder: Path, leave_out: Iterable[str] = ()) -> None:
    """Flushes a folder and everything below it to disk."""
    apart = set(leave_out)
    for path in folder.rglob("*"):
        if path.relative_to(folder).parts[0] not in apart and not path.is_symlink():
            sync(path)
    sync(folder)


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Yields a new folder that replaces `folder` at the end, whole and on disk or not at all.

    Readers of `folder` see either the old or the new one; if the block fails, the old one stays. Call it
    under a lock: it removes what a killed process left.
    """
    folder = Path(os.path.realpath(folder))
    here = Path(os.path.realpath(os.curdir))
    if folder in (here, *here.parents):
        raise StorageError(
            f"{folder} cannot be written: this process runs in it; choose another folder, or run it elsewhere"
        )
    new = folder.with_name(f".{folder.name}.partial")
    try:
        with _writable(folder):
            remove(new)
            new.mkdir(parents=True)
        yield new
        with _writable(folder):
            settle(new)
            _swap(new, folder)
            sync(folder.parent)
    finally:
        remove(new)


@contextlib.contextmanager
def _writable(folder: Path) -> Iterator[None]:
    """Raises StorageError if the folder cannot be written in the block."""
    try:
        yield
    except OSError as error:
        raise not_written(folder, error) from error


def _swap(new: Path, old: Path) -> None:
    """Moves `new` to `old`; the old folder is then at `new`, or gone."""
    if not old.exists():
        new.rename(old)
        return
    if _exchanged(new, old):
        return
    aside = old.with_name(f".{old.name}.removed")
    remove(aside)
    old.rename(aside)
    new.rename(old)
    remove(aside)


def _exchanged(one: Path, other: Path) -> bool:
    """Exchanges two folders in one step; returns False if the system or the file system cannot do that."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if os.name == "posix" else None
    if rename is None:
        return False
    if rename(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(number, os.strerror(number))
