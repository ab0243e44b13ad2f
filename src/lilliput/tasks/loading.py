"""Names and files of labelled sets -> a task with its examples, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lilliput.common.arguments import PathLike, text_of
from lilliput.common.names import folder_name
from lilliput.errors import InputError
from lilliput.tasks.columns import SEVERAL, Columns, check_columns, recognise, usual_label
from lilliput.tasks.dev import Scored, check_scored, with_unseen
from lilliput.tasks.examples import examples_of
from lilliput.tasks.kind import Kind
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.known import Known, numbers_named, without_empty
from lilliput.tasks.labels import kind_in
from lilliput.tasks.lists import with_lists
from lilliput.tasks.multilabel import Multilabel
from lilliput.tasks.one_hot import found_one_hot, one_hot_names, with_one_hot
from lilliput.tasks.places import OTHER_NAME, Place, find_place, name_of, sources_of
from lilliput.tasks.splits import asked, check_varied, doubts, hold_out, overlap, some
from lilliput.tasks.tables import Source, Table, find_table
from lilliput.tasks.tagged import tag_reading, tags_in
from lilliput.tasks.task import Examples, Task, TaskData
from lilliput.text.tables import listed

_WORD_LINES = Columns("words", tags="tags")
"""The columns of files with a word a line that are taken where none are named."""


def task_of(task: PathLike | TaskData) -> TaskData:
    """Returns the task of that name or of files of that name, as `load_task` finds it, or the one given."""
    if isinstance(task, TaskData):
        return task
    return load_task(text_of("task", task, "a task's name, what its files are called, or a TaskData"))


def load_task(
    name: str | None = None,
    *,
    train: str | None = None,
    dev: str | None = None,
    test: str | None = None,
    text: str | None = None,
    pair: str | None = None,
    label: str | None = None,
    tags: str | None = None,
    negative: str | None = None,
    kind: str | None = None,
    metric: str | None = None,
) -> TaskData:
    """Returns a task with its examples, read from the hub or from files.

    Args:
        name: A known task (`KNOWN`), read from the hub; or where its files are: `DIR/sst2` stands for
            `DIR/sst2_train.*` and `DIR/sst2_dev.*`, or for a folder with `train.*` and `dev.*`. With `train`
            it is only the task's name. Known names bring their kind, classes and metrics to files too.
        train: A file of examples to learn from (`tables.ENDINGS`).
        dev: A file of examples to be scored on; without it a tenth of train is held out.
        test: A file of examples on which the finished model is scored once; nothing is chosen by it.
        text: The column that holds the text, or its words; by default one with a usual name (`columns`).
            Columns of files with a word a line have numbers from 1, those of CoNLL-U also names (form, xpos).
        pair: The column that holds the second text.
        label: The column that holds the class or the score, or a list of classes; or, with commas between
            them, columns of 0 and 1, one for each class.
        tags: The column that holds a tag for each word.
        negative: The column that holds a wrong answer to each query, where the kind is `retrieval`.
        kind: What is to be predicted, one of `KINDS`, where that is not what the columns look like.
        metric: The score on dev by which the best state is kept; by default the one of the kind.

    Raises:
        InputError: Something is missing or cannot be used; says where and what to do.
    """
    wanted = None if kind is None else _kind(kind)
    place = find_place(name, train, dev)
    folder_name(place.name, "a task's name", OTHER_NAME)
    source, dev_source = sources_of(place)
    flags, of_flags = one_hot_names(source, label), label or SEVERAL
    if wanted is KINDS[Multilabel.name] and label is None and usual_label(source, [text, pair]) is None:
        flags = found_one_hot(source, [text, pair])
    source = with_one_hot(source, of_flags, flags)
    columns = recognise(source, Columns(text, pair, label, tags, negative), wanted)
    known, task_name = place.known, place.name
    if known and label is not None and _is_other(source, label):
        known, task_name = None, f"{task_name}_{label}"  # another question about the same texts
        folder_name(task_name, "the name of a task and its label", OTHER_NAME)
    elif known and wanted and wanted.is_two_tower and known.kind in wanted.taught_by:
        known, task_name = None, f"{task_name}_{wanted.name}"  # the same labels for another model
    if known:
        columns = _needed(task_name, known, source, columns, wanted)
    read, notes = _prepared(source, columns, known, place)
    reading = tag_reading(read, columns.tags) if columns.tags else None
    read = reading.read(read) if reading else read
    task, guessed = _task(task_name, known, read, columns, wanted)
    task, notes = _scored_by(task, metric), [*notes, *guessed]
    if never := [name for name in flags if name not in task.classes]:
        notes.append(f"no example of {read.name} has the classes {listed(never)}, so they are left out")
    turned = f"; {reading}" if reading and reading.is_turned else ""
    origin = f"{read.name} ({_read_as(source, columns)}{turned})"
    others: dict[Scored, Table] = {}
    what_is_scored: dict[Scored, Source | None] = {"dev": dev_source, "test": _test_source(test)}
    for what, other in what_is_scored.items():
        if other is not None:
            scored = replace(columns, negative=None)  # nothing is scored by it
            flagged = with_one_hot(other, of_flags, flags)
            check_columns(flagged, scored)
            table, more = _prepared(flagged, scored, known, place)
            others[what] = reading.read(table) if reading else table
            task = with_unseen(task, others[what], scored, known, mixed=wanted is not None)
            notes += more
    return _data(task, columns, read, others, origin, notes)


def _data(
    task: Task,
    columns: Columns,
    read: Table,
    others: Mapping[Scored, Table],
    origin: str,
    notes: Sequence[str],
) -> TaskData:
    """Returns a task with its examples, checked.

    Args:
        task: The task.
        columns: Its columns.
        read: What is learnt from, and scored on where nothing else is.
        others: What else is scored on.
        origin: What was read.
        notes: Warnings so far.
    """
    examples = examples_of(task, read, columns)
    check_varied(task, examples, read)
    notes = [*notes, *doubts(task, examples, read, columns)]
    scored = {
        what: examples_of(task, table, replace(columns, negative=None)) for what, table in others.items()
    }
    train, dev = examples, scored.get("dev")
    if dev is None:
        kept, held = hold_out(task, examples, read)
        origin += f", {len(held):,} of its {len(read):,} examples held out to be scored on"
        train, dev = some(examples, kept), asked(some(examples, held))
        notes += check_scored(task, train, dev, read, read, "held out")
    else:
        origin += f" and {others['dev'].name}"
    for what, found in scored.items():
        notes += check_scored(task, train, found, read, others[what], what)
        shared = overlap(examples, found, read, others[what], what)
        notes += [shared] if shared else []
    if "test" in scored:
        origin += f"; {len(scored['test']):,} examples of {others['test'].name} for the test at the end"
    return TaskData(task, train, dev, origin, tuple(notes), scored.get("test"))


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
    task = Task(name_of(path), "regression", pairs=True, metric="pearson")
    return examples_of(task, source.read(columns.names), columns), f"{path}: {columns}"


def _is_other(source: Source, label: str) -> bool:
    """Whether a column is another one than a table's usual label."""
    try:
        return label != (usual_label(source) or label)
    except InputError:  # there are two that might be: the user says which
        return False


def _test_source(test: str | None) -> Source | None:
    return None if test is None else find_table(Path(test).expanduser())


def _scored_by(task: Task, metric: str | None) -> Task:
    """Returns a task scored by a metric that a user names; raises InputError where its kind has no such."""
    if metric is None:
        return task
    names = KINDS[task.kind].metric_names(task.tags)
    others = {} if task.positive else dict(KINDS[task.kind].other_names)
    known = {name: name for name in names} | others
    plain = metric.strip().lower().replace("-", "_")
    if plain not in known:
        raise InputError(
            f"--metric names {metric!r}, and a task of {task.kind} has no such score but "
            f"{', '.join(names)}; name one of these"
        )
    return replace(task, metric=known[plain])


def _read_as(source: Source, columns: Columns) -> str:
    """Returns what was taken for what."""
    if not source.note:
        return str(columns)
    return source.note if columns == _WORD_LINES else f"{columns}; where none are named, {source.note}"


def _prepared(source: Source, columns: Columns, known: Known | None, place: Place) -> tuple[Table, list[str]]:
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
    metric = known.metrics[0] if known else kind.metric_names(tags)[0]
    positive = known.positive if known else None
    return Task(name, kind.name, columns.pair is not None, classes, tags, metric, positive), notes


def _kind(name: str) -> Kind:
    if name not in KINDS:
        raise InputError(f"there is no kind of task '{name}'; known are {', '.join(KINDS)}")
    return KINDS[name]
