"""Names of tasks -> the files or data sets that they stand for."""

from dataclasses import dataclass
from pathlib import Path

from lilliput.errors import InputError, nearest
from lilliput.tasks.known import KNOWN, Known, find_data_set
from lilliput.tasks.tables import ENDINGS, EXPECTED, Source, find_table
from lilliput.text.unpacking import COMPRESSED, kind_of, reading

OTHER_NAME = "name the files with --train and --dev, and the task in one plain word with --task"
"""What to do where a name cannot be a task's."""
_TRAIN = ("train",)
_DEV = ("dev", "validation", "valid")


@dataclass(frozen=True)
class Place:
    """Where a task is read from: files, or else the hub."""

    name: str
    """The task's name."""
    known: Known | None
    """What is known of a task of that name."""
    train: Path | None = None
    """The file to learn from; None for the hub."""
    dev: Path | None = None
    """The file to be scored on, if there is one."""


def stands_for_examples(name: str) -> bool:
    """Whether a name is that of a known task, or of files here."""
    try:
        find_place(name, None, None)
    except InputError:
        return False
    return True


def find_place(name: str | None, train: str | None, dev: str | None) -> Place:
    """Returns where a task is read from; raises InputError where its name stands for nothing."""
    dev_path = Path(dev).expanduser() if dev is not None else None
    if train is not None:
        path = Path(train).expanduser()
        known = _known_name(name) if name else None
        return Place(
            known or (name_of(path) if name is None else name), KNOWN.get(known or ""), path, dev_path
        )
    if dev_path is not None:
        raise InputError(
            f"{dev} was named to be scored on, but nothing to learn from; name that with --train"
        )
    if name is None:
        raise InputError(
            f"no task was named; known are {', '.join(sorted(KNOWN))}; name your own files with --train and "
            "--dev"
        )
    if known := _known_name(name):
        return Place(known, KNOWN[known])
    if not name.strip():
        raise InputError(f"the task's name {name!a} is empty; {OTHER_NAME}")
    path = Path(name).expanduser()
    return Place(name_of(path), None, path) if path.is_file() else _local(name, path)


def _local(name: str, path: Path) -> Place:
    """Returns the files that a stem or a folder stands for."""
    folder, prefixes = (path, [""]) if path.is_dir() else (path.parent, [path.name + mark for mark in "_-."])
    train = _one_of(folder, [prefix + part for prefix in prefixes for part in _TRAIN])
    if train is None:
        where = f"in folder {folder} no file train.*" if path.is_dir() else f"there is no file {path}_train.*"
        raise InputError(
            f"'{name}' is no known task ({nearest(path.name, KNOWN)}) and {where}; {EXPECTED}, or name files "
            "with --train and --dev"
        )
    dev = _one_of(folder, [prefix + part for prefix in prefixes for part in _DEV])
    known = _known_name(path.resolve().name)
    return Place(known or path.resolve().name, KNOWN.get(known or ""), train, dev)


def _known_name(name: str) -> str | None:
    """Returns the name in KNOWN, also of one written as in SST-2 or STS-B; None where there is none."""
    plain = name.lower().replace("-", "")
    return plain if plain in KNOWN else None


def _one_of(folder: Path, names: list[str]) -> Path | None:
    """Returns the file that has one of the names and an ending that can be read."""
    with reading(folder):
        inside = sorted(folder.iterdir()) if folder.is_dir() else []
    found = [item for item in inside if kind_of(item) in ENDINGS and _bare(item) in names and item.is_file()]
    if len(found) > 1:
        raise InputError(
            f"{found[0]} and {found[1]} could both be meant; name the one that is with --train or --dev"
        )
    return found[0] if found else None


def _bare(path: Path) -> str:
    """Returns a file's name without its endings."""
    inner = path.with_suffix("") if path.suffix.lower() in COMPRESSED else path
    return inner.stem


def name_of(train: Path) -> str:
    """Returns the name of a task after its file, that of the folder if the file is called train."""
    bare = _bare(train)
    for part in _TRAIN:
        bare = bare.removesuffix(part).rstrip("_-.")
    return bare or train.resolve().parent.name


def sources_of(place: Place) -> tuple[Source, Source | None]:
    """Returns the tables of train and of dev, if there is one."""
    if place.train is not None:
        return find_table(place.train), find_table(place.dev) if place.dev else None
    assert place.known is not None
    dev = place.known.dev
    return find_data_set(place.known, "train"), find_data_set(place.known, dev) if dev else None
