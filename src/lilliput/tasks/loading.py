"""Names and files of labelled sets -> a task with its examples, checked."""

from dataclasses import dataclass
from pathlib import Path

from lilliput.errors import InputError, nearest
from lilliput.formats import COMPRESSED, kind_of
from lilliput.names import folder_name
from lilliput.tasks.columns import Columns, check_columns, recognise, usual_label
from lilliput.tasks.examples import classes_in, default_metric, examples_of, kind_in
from lilliput.tasks.known import KNOWN, Known, numbers_named, read_data_set, without_empty
from lilliput.tasks.splits import check_seen, check_varied, hold_out, overlap, some
from lilliput.tasks.tables import ENDINGS, EXPECTED, Table, read_table
from lilliput.tasks.tagged import tag_reading, tags_in
from lilliput.tasks.task import Task, TaskData

_OTHER_NAME = "name the files with --train and --dev, and the task in one plain word with --task"
_TRAIN = ("train",)
_DEV = ("dev", "validation", "valid")


@dataclass(frozen=True)
class _Source:
    """Where a task is read from: files, or else the hub."""

    name: str
    known: Known | None
    train: Path | None = None
    dev: Path | None = None


def load_task(
    name: str | None = None,
    *,
    train: str | None = None,
    dev: str | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    tags: str | None = None,
) -> TaskData:
    """Returns a task with its examples, read from the hub or from files.

    Args:
        name: A known task (`KNOWN`), read from the hub; or where its files are: `DIR/sst2` stands for
            `DIR/sst2_train.*` and `DIR/sst2_dev.*`, or for a folder with `train.*` and `dev.*`. With `train`
            it is only the task's name. Known names bring their kind, classes and metrics to files too.
        train: A file of examples to learn from (`tables.ENDINGS`).
        dev: A file of examples to be scored on; without it a tenth of train is held out.
        text: The column that holds the text, or its words; by default one with a usual name (`columns`).
        pair: The column that holds the second text.
        label: The column that holds the class or the score.
        tags: The column that holds a tag for each word.

    Raises:
        InputError: Something is missing or cannot be used; says where and what to do.
    """
    source = _find(name, train, dev)
    folder_name(source.name, "a task's name", _OTHER_NAME)
    read, read_dev = _tables(source)
    columns = recognise(read, Columns(text, pair, label, tags))
    known, task_name = source.known, source.name
    if known and label not in (None, usual_label(read) or label):
        known, task_name = None, f"{task_name}_{label}"  # another question about the same texts
        folder_name(task_name, "the name of a task and its label", _OTHER_NAME)
    if known:
        columns = _needed(task_name, known, read, columns)
    read, notes = _prepared(read, columns, known, source)
    reading = tag_reading(read, columns.tags) if columns.tags else None
    read = reading.read(read) if reading else read
    task = _task(task_name, known, read, columns)
    examples = examples_of(task, read, columns)
    check_varied(task, examples, read)
    origin = f"{read.name} ({columns}{f'; {reading}' if reading and reading.is_turned else ''})"
    if read_dev is None:
        kept, held = hold_out(task, examples, read)
        origin += f", {len(held):,} of its {len(read):,} examples held out to be scored on"
        return TaskData(task, some(examples, kept), some(examples, held), origin, tuple(notes))
    check_columns(read_dev, columns)
    read_dev, more_notes = _prepared(read_dev, columns, known, source)
    read_dev = reading.read(read_dev) if reading else read_dev
    dev_examples = examples_of(task, read_dev, columns)
    check_seen(task, examples, dev_examples, read, read_dev)
    shared = overlap(examples, dev_examples, read, read_dev)
    notes += [*more_notes, *([shared] if shared else [])]
    return TaskData(task, examples, dev_examples, f"{origin} and {read_dev.name}", tuple(notes))


def _tables(source: _Source) -> tuple[Table, Table | None]:
    if source.train is not None:
        return read_table(source.train), read_table(source.dev) if source.dev else None
    assert source.known is not None
    dev = source.known.dev
    return read_data_set(source.known, "train"), read_data_set(source.known, dev) if dev else None


def _prepared(
    table: Table, columns: Columns, known: Known | None, source: _Source
) -> tuple[Table, list[str]]:
    """Returns a table ready for its examples: names instead of numbers, from the hub no empty texts."""
    if known is not None:
        table = numbers_named(table, known, columns.label, columns.tags)
    if source.train is not None:
        return table, []
    table, note = without_empty(table, [name for name in (columns.text, columns.pair) if name])
    return table, [note] if note else []


def _needed(name: str, known: Known, table: Table, columns: Columns) -> Columns:
    """Returns the columns that a known task needs; raises InputError where one is not there."""
    has_tags, has_label = known.kind in ("tagging", "joint"), known.kind != "tagging"
    for needed, column, what in (
        (known.pairs, columns.pair, "second texts"),
        (has_label, columns.label, "labels"),
        (has_tags, columns.tags, "tags"),
    ):
        if needed and column is None:
            raise InputError(
                f"{table.name} has no column known to hold {what}, which task '{name}' needs, but "
                f"{', '.join(table.columns)}; name the column, or the files otherwise if of another task"
            )
    return Columns(
        columns.text,
        columns.pair if known.pairs else None,
        columns.label if has_label else None,
        columns.tags if has_tags else None,
    )


def _task(name: str, known: Known | None, table: Table, columns: Columns) -> Task:
    kind = known.kind if known else kind_in(table, columns)
    classes, tags = (known.classes, known.tags) if known else ((), ())
    if not classes and columns.label is not None and kind != "regression":
        classes = classes_in(table, columns.label)
    if not tags and columns.tags is not None:
        tags = tags_in(table, columns.tags)
    metric = known.metrics[0] if known else default_metric(kind, tags)
    positive = known.positive if known else None
    return Task(name, kind, columns.pair is not None, classes, tags, metric, positive)


def _find(name: str | None, train: str | None, dev: str | None) -> _Source:
    dev_path = Path(dev).expanduser() if dev is not None else None
    if train is not None:
        path = Path(train).expanduser()
        known = _known_name(name) if name else None
        return _Source(
            known or (_name_of(path) if name is None else name), KNOWN.get(known or ""), path, dev_path
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
        return _Source(known, KNOWN[known])
    if not name.strip():
        raise InputError(f"the task's name {name!a} is empty; {_OTHER_NAME}")
    path = Path(name).expanduser()
    return _Source(_name_of(path), None, path) if path.is_file() else _local(name, path)


def _local(name: str, path: Path) -> _Source:
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
    return _Source(known or path.resolve().name, KNOWN.get(known or ""), train, dev)


def _known_name(name: str) -> str | None:
    """Returns the name in KNOWN, also of one written as in SST-2 or STS-B; None where there is none."""
    plain = name.lower().replace("-", "")
    return plain if plain in KNOWN else None


def _one_of(folder: Path, names: list[str]) -> Path | None:
    """Returns the file that has one of the names and an ending that can be read."""
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


def _name_of(train: Path) -> str:
    """Returns the name of a task after its file, that of the folder if the file is called train."""
    bare = _bare(train)
    for part in _TRAIN:
        bare = bare.removesuffix(part).rstrip("_-.")
    return bare or train.resolve().parent.name
