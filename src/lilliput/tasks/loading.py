"""Names and files of labelled sets -> a task with its examples, checked."""

from dataclasses import dataclass, replace
from pathlib import Path

from lilliput.common.arguments import PathLike, text_of
from lilliput.common.names import folder_name
from lilliput.errors import InputError, nearest
from lilliput.tasks.columns import Columns, check_columns, recognise, usual_label
from lilliput.tasks.examples import examples_of
from lilliput.tasks.kind import Kind
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.known import KNOWN, Known, find_data_set, numbers_named, without_empty
from lilliput.tasks.labels import kind_in
from lilliput.tasks.lists import with_lists
from lilliput.tasks.splits import asked, check_seen, check_varied, doubts, hold_out, overlap, some
from lilliput.tasks.tables import ENDINGS, EXPECTED, Source, Table, find_table
from lilliput.tasks.tagged import tag_reading, tags_in
from lilliput.tasks.task import Examples, Task, TaskData
from lilliput.text.tables import listed
from lilliput.text.unpacking import COMPRESSED, kind_of, reading

_OTHER_NAME = "name the files with --train and --dev, and the task in one plain word with --task"
_TRAIN = ("train",)
_DEV = ("dev", "validation", "valid")
_WORD_LINES = Columns("words", tags="tags")
"""The columns of files with a word a line that are taken where none are named."""


@dataclass(frozen=True)
class _Place:
    """Where a task is read from: files, or else the hub."""

    name: str
    known: Known | None
    train: Path | None = None
    dev: Path | None = None


def task_of(task: PathLike | TaskData) -> TaskData:
    """Returns the task of that name or of files of that name, as `load_task` finds it, or the one given."""
    if isinstance(task, TaskData):
        return task
    return load_task(text_of("task", task, "a task's name, what its files are called, or a TaskData"))


def stands_for_examples(name: str) -> bool:
    """Whether a name is that of a known task, or of files here."""
    try:
        _find(name, None, None)
    except InputError:
        return False
    return True


def load_task(
    name: str | None = None,
    *,
    train: str | None = None,
    dev: str | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    tags: str | None = None,
    negative: str | None = None,
    kind: str | None = None,
) -> TaskData:
    """Returns a task with its examples, read from the hub or from files.

    Args:
        name: A known task (`KNOWN`), read from the hub; or where its files are: `DIR/sst2` stands for
            `DIR/sst2_train.*` and `DIR/sst2_dev.*`, or for a folder with `train.*` and `dev.*`. With `train`
            it is only the task's name. Known names bring their kind, classes and metrics to files too.
        train: A file of examples to learn from (`tables.ENDINGS`).
        dev: A file of examples to be scored on; without it a tenth of train is held out.
        text: The column that holds the text, or its words; by default one with a usual name (`columns`).
            Columns of files with a word a line have numbers from 1, those of CoNLL-U also names (form, xpos).
        pair: The column that holds the second text.
        label: The column that holds the class or the score.
        tags: The column that holds a tag for each word.
        negative: The column that holds a wrong answer to each query, where the kind is `retrieval`.
        kind: What is to be predicted, one of `KINDS`, where that is not what the columns look like.

    Raises:
        InputError: Something is missing or cannot be used; says where and what to do.
    """
    wanted = None if kind is None else _kind(kind)
    place = _find(name, train, dev)
    folder_name(place.name, "a task's name", _OTHER_NAME)
    source, dev_source = _sources(place)
    columns = recognise(source, Columns(text, pair, label, tags, negative), wanted)
    known, task_name = place.known, place.name
    if known and label not in (None, usual_label(source) or label):
        known, task_name = None, f"{task_name}_{label}"  # another question about the same texts
        folder_name(task_name, "the name of a task and its label", _OTHER_NAME)
    elif known and wanted and wanted.is_two_tower and known.kind in wanted.taught_by:
        known, task_name = None, f"{task_name}_{wanted.name}"  # the same labels for another model
    if known:
        columns = _needed(task_name, known, source, columns, wanted)
    read, notes = _prepared(source, columns, known, place)
    reading = tag_reading(read, columns.tags) if columns.tags else None
    read = reading.read(read) if reading else read
    task, guessed = _task(task_name, known, read, columns, wanted)
    examples = examples_of(task, read, columns)
    check_varied(task, examples, read)
    notes += [*guessed, *doubts(task, examples, read, columns)]
    turned = f"; {reading}" if reading and reading.is_turned else ""
    origin = f"{read.name} ({_read_as(source, columns)}{turned})"
    if dev_source is None:
        kept, held = hold_out(task, examples, read)
        origin += f", {len(held):,} of its {len(read):,} examples held out to be scored on"
        return TaskData(task, some(examples, kept), asked(some(examples, held)), origin, tuple(notes))
    columns = replace(columns, negative=None)  # nothing is scored by it
    check_columns(dev_source, columns)
    read_dev, more_notes = _prepared(dev_source, columns, known, place)
    read_dev = reading.read(read_dev) if reading else read_dev
    dev_examples = examples_of(task, read_dev, columns)
    check_seen(task, examples, dev_examples, read, read_dev)
    shared = overlap(examples, dev_examples, read, read_dev)
    notes += [*more_notes, *([shared] if shared else [])]
    return TaskData(task, examples, dev_examples, f"{origin} and {read_dev.name}", tuple(notes))


def load_pairs(path: Path, label: str | None = None) -> tuple[Examples, str]:
    """Returns two texts and a score for each row of a table, and which columns were taken for these.

    Args:
        path: The table.
        label: The column with the score; None for one with a usual name.

    Raises:
        InputError: If there is no such column, or a score is no number.
    """
    source = find_table(path)
    named = Columns(label=label)
    check_columns(source, named)
    columns = recognise(source, named, KINDS["regression"])
    if columns.pair is None or columns.label is None:
        raise InputError(
            f"{path} has no columns known to hold two texts and a score, but {listed(source.names)}; call "
            "them text, pair and label"
        )
    task = Task(_name_of(path), "regression", pairs=True, metric="pearson")
    return examples_of(task, source.read(columns.names), columns), f"{path}: {columns}"


def _read_as(source: Source, columns: Columns) -> str:
    """Returns what was taken for what."""
    if not source.note:
        return str(columns)
    return source.note if columns == _WORD_LINES else f"{columns}; where none are named, {source.note}"


def _sources(place: _Place) -> tuple[Source, Source | None]:
    if place.train is not None:
        return find_table(place.train), find_table(place.dev) if place.dev else None
    assert place.known is not None
    dev = place.known.dev
    return find_data_set(place.known, "train"), find_data_set(place.known, dev) if dev else None


def _prepared(
    source: Source, columns: Columns, known: Known | None, place: _Place
) -> tuple[Table, list[str]]:
    """Returns a table ready for its examples, and warnings: lists that were text, names instead of numbers.

    Of a table from the hub rows without text are left out.
    """
    table, notes = with_lists(source.read(columns.names), columns)
    if known is not None:
        table = numbers_named(table, known, columns.label, columns.tags)
    if columns.tags == "tags":
        notes += source.warnings
    if place.train is not None:
        return table, notes
    table, note = without_empty(table, [name for name in (columns.text, columns.pair) if name])
    return table, [*notes, *([note] if note else [])]


def _needed(name: str, known: Known, table: Source, columns: Columns, kind: Kind | None) -> Columns:
    """Returns the columns that a known task needs; raises InputError where one is not there."""
    if kind is not None and kind.name != known.kind:
        raise InputError(
            f"task '{name}' is one of {known.kind}, not {kind.name}; leave out --kind, or call the task "
            "otherwise"
        )
    has_tags, has_label = KINDS[known.kind].has_tags, KINDS[known.kind].has_label
    for needed, column, what in (
        (known.pairs, columns.pair, "second texts"),
        (has_label, columns.label, "labels"),
        (has_tags, columns.tags, "tags"),
    ):
        if needed and column is None:
            raise InputError(
                f"{table.name} has no column known to hold {what}, which task '{name}' needs, but "
                f"{listed(table.names)}; name the column, or the files otherwise if of another task"
            )
    return Columns(
        columns.text,
        columns.pair if known.pairs else None,
        columns.label if has_label else None,
        columns.tags if has_tags else None,
    )


def _task(
    name: str, known: Known | None, table: Table, columns: Columns, wanted: Kind | None
) -> tuple[Task, list[str]]:
    """Returns the task, and warnings about what was guessed of it."""
    named = known.kind if known else wanted.name if wanted else None
    found, guessed = (named, None) if named else kind_in(table, columns)
    kind, notes = KINDS[found], [guessed] if guessed else []
    classes, tags = (known.classes, known.tags) if known else ((), ())
    if not classes and columns.label is not None:
        classes, warnings = kind.classes_in(table, columns.label, mixed=wanted is not None)
        notes += warnings
    if not tags and columns.tags is not None:
        tags = tags_in(table, columns.tags)
    metric = known.metrics[0] if known else kind.default_metric(tags)
    positive = known.positive if known else None
    return Task(name, kind.name, columns.pair is not None, classes, tags, metric, positive), notes


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise InputError(f"there is no kind of task '{name}'; known are {', '.join(KINDS)}")
    return KINDS[name]


def _find(name: str | None, train: str | None, dev: str | None) -> _Place:
    dev_path = Path(dev).expanduser() if dev is not None else None
    if train is not None:
        path = Path(train).expanduser()
        known = _known_name(name) if name else None
        return _Place(
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
        return _Place(known, KNOWN[known])
    if not name.strip():
        raise InputError(f"the task's name {name!a} is empty; {_OTHER_NAME}")
    path = Path(name).expanduser()
    return _Place(_name_of(path), None, path) if path.is_file() else _local(name, path)


def _local(name: str, path: Path) -> _Place:
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
    return _Place(known or path.resolve().name, KNOWN.get(known or ""), train, dev)


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


def _name_of(train: Path) -> str:
    """Returns the name of a task after its file, that of the folder if the file is called train."""
    bare = _bare(train)
    for part in _TRAIN:
        bare = bare.removesuffix(part).rstrip("_-.")
    return bare or train.resolve().parent.name
