"""Rows of a table -> what is to be predicted of them, and examples with labels as indices."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Literal

from lilliput.errors import InputError, nearest
from lilliput.formats import encoded
from lilliput.inference.tags import Notation
from lilliput.tasks.columns import Columns
from lilliput.tasks.tables import Table
from lilliput.tasks.tagged import tag_row
from lilliput.tasks.task import Examples, Kind, Labels, Task, Text

_Sort = Literal["whole number", "number", "not finite", "text"]
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
DEFAULT_METRICS: dict[Kind, str] = {
    "classification": "accuracy",
    "regression": "pearson",
    "tagging": "f1",
    "joint": "frame_accuracy",
}
"""The metric that decides of a task that is not known by name."""


def default_metric(kind: Kind, tags: Sequence[str]) -> str:
    """Returns the metric that decides of a task that is not known by name; plain tags make no spans."""
    return "accuracy" if kind == "tagging" and Notation.of(tags).is_plain else DEFAULT_METRICS[kind]


def kind_in(table: Table, columns: Columns) -> Kind:
    """Returns what is to be predicted: scores where labels are numbers with fractions, else classes."""
    if columns.tags is not None:
        return "joint" if columns.label is not None else "tagging"
    assert columns.label is not None
    return "regression" if _common_sort(table, columns.label) == "number" else "classification"


def classes_in(table: Table, column: str) -> tuple[str, ...]:
    """Returns the labels that occur, sorted, numbers by size."""
    sort = _common_sort(table, column)
    names = {str(value).strip() for value in table.columns[column]}
    return tuple(sorted(names) if sort == "text" else sorted(names, key=lambda name: (float(name), name)))


def examples_of(task: Task, table: Table, columns: Columns) -> Examples:
    """Returns the rows as examples of a task; raises InputError at the first that cannot be one.

    Where there are tags a text is its words, which white space separates where it is not a list.
    """
    assert columns.text is not None
    values: list[float] = []
    tags: list[tuple[int, ...]] = []
    texts: list[Text] = _texts(table, columns.text)
    if task.tags:
        assert columns.tags is not None
        texts = [_words(table, row, columns.text) for row in range(len(table))]
        tags = _tag_indices(task, table, columns.tags, texts)
    if task.kind == "regression":
        assert columns.label is not None
        values = [_score(table, row, columns.label) for row in range(len(table))]
    elif task.classes:
        assert columns.label is not None
        values = _class_indices(task, table, columns.label)
    pairs = _texts(table, columns.pair) if columns.pair is not None else []
    return Examples(tuple(texts), tuple(map(str, pairs)), Labels(tuple(values), tuple(tags)))


def _texts(table: Table, column: str) -> list[Text]:
    """Returns the texts of a column; words are joined by spaces."""
    texts: list[Text] = []
    for row, value in enumerate(table.columns[column]):
        text = " ".join(map(str, value)) if isinstance(value, list) else value
        if text is None or (isinstance(text, str) and not text.strip()):
            raise InputError(
                f"{table.where(row)} has an empty text in column '{column}'; write one or leave the "
                f"{table.unit} out"
            )
        if not isinstance(text, str):
            raise InputError(
                f"{table.where(row)} has a value of type {type(text).__name__} in column '{column}', "
                "expected is text; put it in quotes or name another column"
            )
        texts.append(encoded(text, table.name, column).decode())
    return texts


def _words(table: Table, row: int, column: str) -> tuple[str, ...]:
    """Returns the words of a row, to which its tags belong."""
    value = table.columns[column][row]
    words = value if isinstance(value, list) else str(value).split()
    for index, word in enumerate(words):
        if not isinstance(word, str) or not word.strip():
            raise InputError(
                f"word {index + 1} in column '{column}' is {word!r} ({table.where(row, index)}), expected is "
                "text; leave the word and its tag out"
            )
    return tuple(encoded(word, table.name, column).decode() for word in words)


def _tag_indices(task: Task, table: Table, column: str, texts: Sequence[Text]) -> list[tuple[int, ...]]:
    index_of = {tag: index for index, tag in enumerate(task.tags)}
    rows = []
    for row, words in enumerate(texts):
        tags = tag_row(table, row, column)
        if len(tags) != len(words):
            raise InputError(
                f"{table.where(row)} has {len(words)} words but {len(tags)} tags in column '{column}'; "
                "expected is one tag for each word (in .csv and .tsv, spaces separate both); if the column "
                "holds something else, give it another name"
            )
        for index, tag in enumerate(tags):
            if tag not in index_of:
                raise _unknown(task, "tag", tag, table.where(row, index), task.tags)
        rows.append(tuple(index_of[tag] for tag in tags))
    return rows


def _class_indices(task: Task, table: Table, column: str) -> list[float]:
    index_of = {name: index for index, name in enumerate(task.classes)}
    indices: list[float] = []
    for row, value in enumerate(table.columns[column]):
        _sort_of(table, row, column)
        name = str(value).strip()
        if name not in index_of:
            raise _unknown(task, "label", name, table.where(row), task.classes)
        indices.append(index_of[name])
    return indices


def _unknown(task: Task, what: str, name: object, where: str, known: Iterable[str]) -> InputError:
    return InputError(
        f"{where} has the {what} '{name}', unknown to task '{task.name}', so it cannot be learnt; correct "
        f"it, leave it out, or add examples of it to train; {nearest(str(name), known)}"
    )


def _score(table: Table, row: int, column: str) -> float:
    value = table.columns[column][row]
    if _sort_of(table, row, column) == "text":
        raise InputError(
            f"{table.where(row)} has the label {value!r} in column '{column}', expected is a number, as all "
            "other labels are scores; correct it or leave it out"
        )
    score = float(str(value))
    if not math.isfinite(score):
        raise InputError(
            f"{table.where(row)} has the label {value} in column '{column}', expected is a finite number; "
            "correct it or leave it out"
        )
    return score


def _common_sort(table: Table, column: str) -> _Sort:
    """Returns what the labels of a column are; raises InputError where some are numbers and some are not."""
    first: dict[_Sort, int] = {}
    for row in range(len(table)):
        first.setdefault(_sort_of(table, row, column), row)
    if "not finite" in first and len(first) > 1 and "text" not in first:
        return "number"  # the score that is not finite is refused where it is read
    numbers = [first[sort] for sort in ("whole number", "number") if sort in first]
    others = [first[sort] for sort in ("text", "not finite") if sort in first]
    if numbers and others:
        number, other = min(numbers), min(others)
        values = table.columns[column]
        raise InputError(
            f"column '{column}' mixes numbers and text: {table.where(number)} has {values[number]!r}, "
            f"{table.where(other)} has {values[other]!r}; expected are numbers alone, or names alone"
        )
    if others:
        return "text"
    return "number" if "number" in first else "whole number"


def _sort_of(table: Table, row: int, column: str) -> _Sort:
    """Returns what one label is; raises InputError where there is none."""
    value = table.columns[column][row]
    if value is None or (isinstance(value, str) and not value.strip()):
        raise InputError(
            f"{table.where(row)} has no label in column '{column}'; add it or leave the {table.unit} out"
        )
    if isinstance(value, float) and math.isfinite(value):
        return "number"
    if not isinstance(value, (str, int, float)):
        raise InputError(
            f"{table.where(row)} has a label of type {type(value).__name__} in column '{column}', expected "
            "is a name or a number; name another column with --label"
        )
    text = str(value).strip()
    if _WHOLE.fullmatch(text):
        return "whole number"
    if _NUMBER.fullmatch(text):
        return "number"
    return "not finite" if _NOT_FINITE.fullmatch(text) else "text"
