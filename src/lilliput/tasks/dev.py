"""What a dev set lacks, and what it has that train lacks: both spoil scores, so both are said."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from lilliput.errors import InputError, nearest
from lilliput.tasks.columns import Columns
from lilliput.tasks.kinds import KINDS
from lilliput.tasks.known import Known
from lilliput.tasks.splits import check_told_apart, labels_at
from lilliput.tasks.tables import Table
from lilliput.tasks.tagged import tags_in
from lilliput.tasks.task import Examples, Task
from lilliput.text.tables import LONG_NAME, brief

Scored = Literal["dev", "test"]
"""Sets of examples that a user gives to be scored on."""
_LISTED = 5
_Label = tuple[str, float]
"""`class` or `tag`, and the index of its name."""


def with_unseen(task: Task, dev: Table, columns: Columns, known: Known | None, *, mixed: bool) -> Task:
    """Returns a task with the classes and tags of a dev set too, those that train lacks at the end.

    A known task whose names are known has no others.

    Args:
        task: The task, with the classes and tags of train.
        dev: The dev set.
        columns: What its columns hold.
        known: The task as it is known by name.
        mixed: Whether numbers may stand among names of classes.
    """
    classes, tags = tuple[str, ...](), tuple[str, ...]()
    if task.classes and columns.label is not None and not (known and known.classes):
        classes, _ = KINDS[task.kind].classes_in(dev, columns.label, mixed=mixed)
    if columns.tags is not None and not (known and known.tags):
        tags = tags_in(dev, columns.tags)
    return replace(
        task,
        classes=tuple(dict.fromkeys([*task.classes, *classes])),
        tags=tuple(dict.fromkeys([*task.tags, *tags])) if task.tags else (),
    )


def check_scored(
    task: Task,
    train: Examples,
    dev: Examples,
    train_table: Table,
    dev_table: Table,
    what: Literal["held out", Scored],
) -> list[str]:
    """Returns warnings about classes and tags that only one of both sets has.

    Args:
        task: The task, with the names of both.
        train: What is learnt from.
        dev: What is scored on.
        train_table: Where train was read.
        dev_table: Where dev was read.
        what: Whether dev is held out of train or given, and what for.

    Raises:
        InputError: If nothing can be scored by it: all examples have one class, or one text, or nothing that
            train has; or no answer is told from a wrong one.
    """
    check_told_apart(task, dev, dev_table)
    learnt = [{*labels_at(task, train, row)} for row in range(len(train))]
    asked = [{*labels_at(task, dev, row)} for row in range(len(dev))]
    known, found = set[_Label]().union(*learnt), set[_Label]().union(*asked)
    where = f"what was held out of {train_table.name}" if what == "held out" else dev_table.name
    if what != "held out":
        _check_varied(task, dev, dev_table, what)
    notes = _unseen(task, asked, known, train_table, dev_table, what) if found - known else []
    if lacking := sorted(label for label in known - found if label[0] == "class"):
        named = _names(task, lacking)
        notes.append(
            f"{len(lacking):,} of {len(task.classes):,} classes have no example in {where} ({named}), so "
            "scores say nothing of them; add some"
        )
    return notes


def _check_varied(task: Task, dev: Examples, table: Table, what: str) -> None:
    """Raises InputError where all examples have one class, or one text."""
    assert dev.labels is not None
    values = dev.labels.several or dev.labels.values
    remedy = f"give another --{what}, or leave it out"
    if task.classes and len(values) > 1 and len(set(values)) == 1:
        first = KINDS[task.kind].named(task, dev.labels, 0)
        said = f"the class {brief(first['label'])}" if dev.labels.values else "the same classes"
        raise InputError(
            f"all {len(dev):,} examples of {table.name} have {said}, so a model that always says so would be "
            f"scored 100 %; {remedy}"
        )
    if len(dev) > 2 and len(set(dev.texts)) == 1 and not dev.pairs:
        raise InputError(
            f"all {len(dev):,} examples of {table.name} have the same text, so nothing is scored; {remedy}"
        )


def _unseen(
    task: Task,
    asked: Sequence[set[_Label]],
    known: set[_Label],
    train_table: Table,
    dev_table: Table,
    called: str,
) -> list[str]:
    """Returns a warning about what train lacks; raises InputError where dev has nothing else."""
    found = []
    for what, several, names in (("class", "classes", task.classes), ("tag", "tags", task.tags)):
        counts = Counter(label for row in asked for label in row - known if label[0] == what)
        if not counts:
            continue
        first = next(row for row, labels in enumerate(asked) if labels & counts.keys())
        name = names[int(next(label for label in asked[first] if label in counts)[1])]
        others = [names[int(index)] for kind, index in known if kind == what and names[int(index)] != "O"]
        rows = sum(bool(row & counts.keys()) for row in asked)
        there = sum(any(kind == what and (kind, index) in known and names[int(index)] != "O"
                        for kind, index in row) for row in asked)  # fmt: skip
        at = f"{dev_table.where(first)} has the {what} {brief(name)}, which {train_table.name} does not have"
        hint = nearest(name[:LONG_NAME], others)
        if not there:
            raise InputError(
                f"{at}, nor any other of its {several}; give both sets the same {several}; {hint}"
            )
        listed = _names(task, [label for label, _ in counts.most_common()])
        found.append(
            f"{rows:,} of {len(asked):,} {called} examples have a {what} that train lacks ({listed}), so it "
            f"cannot be learnt and counts as an error; the first: {at}; add examples of it to train, or "
            f"leave them out; {hint}"
        )
    return found


def _names(task: Task, labels: Sequence[_Label]) -> str:
    named: Mapping[str, tuple[str, ...]] = {"class": task.classes, "tag": task.tags}
    shown = [brief(named[kind][int(index)]) for kind, index in labels[:_LISTED]]
    more = f" and {len(labels) - _LISTED:,} more" if len(labels) > _LISTED else ""
    return f"{', '.join(shown)}{more}"
