"""Labels of a table -> classes or scores: what they are, what is missing, and what to look at."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from lilliput.errors import InputError, nearest
from lilliput.tasks.columns import Columns
from lilliput.tasks.lists import list_in
from lilliput.tasks.tables import Table, is_missing
from lilliput.tasks.task import Task
from lilliput.text.tables import LONG_NAME, brief
from lilliput.text.unpacking import SPACES

_Sort = Literal["whole number", "whole with a fraction", "number", "not finite", "text"]
_WHOLE = re.compile(r"[+-]?\d+", re.ASCII)
_WHOLE_FRACTION = re.compile(r"([+-]?\d+)\.0*", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_COMMA = re.compile(r"[+-]?\d+,\d+", re.ASCII)
_MISSING = frozenset(("nan", "-nan", "na", "n/a", "#n/a", "<na>", "nat", "null", "none"))
"""How programs write that a value is missing, in small letters."""
_SCORES = ("score", "rating", "stars", "star", "similarity_score")
"""A column of such a name is likelier to hold numbers than classes."""
_SCALE = 20
"""Whole numbers of more values than this are likelier to be on a scale than classes."""


def kind_in(table: Table, columns: Columns) -> tuple[str, str | None]:
    """Returns what is to be predicted, and a warning where that was guessed.

    Labels are scores where they are numbers and some have a fraction, else classes. Whole numbers that are
    written with one, such as 1.0, may be either: they are scores in a column called score and where there are
    more than _SCALE of them.
    """
    if columns.tags is not None:
        return ("joint" if columns.label is not None else "tagging"), None
    assert columns.label is not None
    lists = [isinstance(value, list) for value in table.columns[columns.label] if not is_missing(value)]
    if lists and all(lists):
        return "multilabel", None
    sort = _common_sort(table, columns.label)
    _refuse_commas(table, columns.label)
    if sort in ("number", "text", "not finite"):
        return ("regression" if sort == "number" else "classification"), None
    is_score = columns.label.lower() in _SCORES
    if sort == "whole number" and not is_score:
        return "classification", None
    many = len({float(str(value)) for value in table.columns[columns.label]}) > _SCALE
    scores = sort == "whole with a fraction" and (is_score or many)
    kind = "regression" if scores else "classification"
    other = (
        "classes: if they are, say --kind classification"
        if scores
        else "scores: if they are, say --kind regression"
    )
    taken = "scores" if scores else "classes"
    return kind, (
        f"the labels in column '{columns.label}' of {table.name} are whole numbers (such as "
        f"{table.columns[columns.label][0]}) and taken for {taken}, but may be {other}"
    )


def classes_in(table: Table, column: str, *, mixed: bool = False) -> tuple[str, ...]:
    """Returns the labels that occur, sorted, numbers by size.

    Raises InputError where numbers stand among names, unless `mixed`, which takes all for names.
    """
    sorts = {_sort_of(table, row, column) for row in range(len(table))} if mixed else set()
    sort = "text" if sorts & {"text", "not finite"} else _common_sort(table, column)
    names = {_text(value) for value in table.columns[column]}
    if sort == "whole with a fraction":
        names = set(map(_whole, names))
    return tuple(sorted(names) if sort == "text" else sorted(names, key=lambda name: (float(name), name)))


def class_indices(task: Task, table: Table, column: str) -> list[float]:
    """Returns the index of the class of each row; raises InputError where it is none of the task's."""
    index_of = {name: index for index, name in enumerate(task.classes)}
    indices: list[float] = []
    for row, value in enumerate(table.columns[column]):
        _sort_of(table, row, column)
        name = _text(value)
        name = name if name in index_of else _whole(name)
        if name not in index_of:
            raise unknown(task, "label", _text(value), table.where(row), task.classes)
        indices.append(index_of[name])
    return indices


def unknown(task: Task, what: str, name: object, where: str, known: Iterable[str]) -> InputError:
    """Returns the refusal of a class or tag that a task does not have."""
    return InputError(
        f"{where} has the {what} {brief(name)}, unknown to task '{task.name}', so it cannot be learnt; "
        f"correct it, leave it out, or add examples of it to train; {nearest(str(name)[:LONG_NAME], known)}"
    )


def scores(table: Table, column: str) -> list[float]:
    """Returns the score of each row; raises InputError where there is none."""
    return [_score(table, row, column) for row in range(len(table))]


def _score(table: Table, row: int, column: str) -> float:
    value = table.columns[column][row]
    if _sort_of(table, row, column) == "text":
        raise InputError(
            f"{table.where(row)} has the label {brief(value)} in column '{column}', expected is a number, as "
            "all other labels are scores; correct it or leave it out"
        )
    score = float(str(value).strip(SPACES))
    if not math.isfinite(score):
        raise InputError(
            f"{table.where(row)} has the label {value} in column '{column}', expected is a finite number; "
            "correct it or leave it out"
        )
    return score


def _refuse_commas(table: Table, column: str) -> None:
    """Raises InputError where labels are numbers with a decimal comma, as some spreadsheets write them."""
    if all(_COMMA.fullmatch(_text(value)) for value in table.columns[column]):
        raise InputError(
            f"{table.where(0)} has the label {table.columns[column][0]!r} in column '{column}', which "
            "like all others is a number with a decimal comma; write points, or say --kind classification"
        )


def missing_looking(table: Table, column: str) -> str | None:
    """Returns a warning about classes that are written as programs write missing values.

    They are learnt as classes all the same: "NA" is Namibia, "none" and "null" are names of intents, and
    "nan" is the code of a language. Values that are missing, and not text, are refused.
    """
    found = Counter(_text(value) for value in table.columns[column] if _text(value).lower() in _MISSING)
    if not found:
        return None
    names = ", ".join(f"'{name}' ({count:,})" for name, count in found.most_common(5))
    first = next(row for row, value in enumerate(table.columns[column]) if _text(value) in found)
    return (
        f"labels in column '{column}' of {table.name} are written as missing values are, the first in "
        f"{table.where(first)}: {names} of {len(table):,}; they are learnt as classes, so leave out the "
        f"{table.unit}s if nobody knows theirs"
    )


def _common_sort(table: Table, column: str) -> _Sort:
    """Returns what the labels of a column are; raises InputError where some are numbers and some are not."""
    first: dict[_Sort, int] = {}
    for row in range(len(table)):
        first.setdefault(_sort_of(table, row, column), row)
    if "not finite" in first and len(first) > 1 and "text" not in first:
        return "number"  # the score that is not finite is refused where it is read
    sorts: tuple[_Sort, ...] = ("number", "whole with a fraction", "whole number")
    numbers = [first[sort] for sort in sorts if sort in first]
    others = [first[sort] for sort in ("text", "not finite") if sort in first]
    if numbers and others:
        number, other = min(numbers), min(others)
        values = table.columns[column]
        hint = ""
        if _text(values[other]).lower() in _MISSING:
            hint = f", and {table.unit}s without a label are to be left out"
        raise InputError(
            f"column '{column}' mixes numbers and text: {table.where(number)} has {brief(values[number])}, "
            f"{table.where(other)} has {brief(values[other])}; expected are numbers alone, or names alone"
            f"{hint}; if all are names of classes, say --kind classification"
        )
    return "text" if others else next(sort for sort in sorts if sort in first)


def _sort_of(table: Table, row: int, column: str) -> _Sort:
    """Returns what one label is; raises InputError where there is none."""
    value = table.columns[column][row]
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise InputError(
            f"{table.where(row)} has no label in column '{column}'{_instead(value)}; add it or leave the "
            f"{table.unit} out"
        )
    if isinstance(value, list) or (isinstance(value, str) and list_in(value) is not None):
        raise InputError(
            f"{table.where(row)} has a list for a label in column '{column}', where one class or score is "
            "expected; if texts may have several classes, say --kind multilabel, else name another column "
            "with --label"
        )
    if not isinstance(value, (str, int, float)):
        raise InputError(
            f"{table.where(row)} has a label of type {type(value).__name__} in column '{column}', expected "
            "is a name or a number; name another column with --label"
        )
    text = _text(value)
    if _WHOLE.fullmatch(text):
        return "whole number"
    if _WHOLE_FRACTION.fullmatch(text):
        return "whole with a fraction"
    if _NUMBER.fullmatch(text):
        return "number"
    return "not finite" if _NOT_FINITE.fullmatch(text) else "text"


def _instead(value: Any) -> str:
    return f" but {value}" if isinstance(value, float) else ""


def _text(value: Any) -> str:
    """Returns a label as text."""
    return str(value).strip(SPACES)


def _whole(name: str) -> str:
    """Returns a number without a fraction that is nothing, as in 1.0; other names as they are."""
    found = _WHOLE_FRACTION.fullmatch(name)
    return found[1] if found else name
