"""Several columns of 0 and 1, one for each class, as one column with the list of each text's classes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lilliput.errors import InputError
from lilliput.tasks.tables import Source, Table
from lilliput.text.tables import brief, listed, nearest_of
from lilliput.text.unpacking import SPACES

_LEAST = 2
"""Columns of 0 and 1 that are taken for classes where none are named: one alone is a class or not."""


def one_hot_names(table: Source, label: str | None) -> list[str]:
    """Returns the columns that a user names with commas between them; none where that is one column.

    Raises InputError where the table lacks one of them.
    """
    if label is None or label in table.names or "," not in label:
        return []
    names = [name.strip() for name in label.split(",")]
    for name in names:
        if name not in table.names:
            there = listed([f"'{one}'" for one in table.names])
            raise InputError(
                f"--label names the columns {label!r}, and {table.name} has no column {brief(name)} but "
                f"{there}; {nearest_of(name, table.names)}"
            )
    if len(set(names)) < len(names):
        raise InputError(f"--label names a column twice: {label!r}; name each class once")
    return names


def found_one_hot(table: Source, taken: Sequence[str | None]) -> list[str]:
    """Returns the columns that hold nothing but 0 and 1 and are not taken; none where there is only one."""
    names = [name for name in table.names if name not in taken]
    read = table.read(names)
    found = [name for name in names if all(_flag(value) is not None for value in read.columns[name])]
    return found if len(found) >= _LEAST else []


def with_one_hot(table: Source, column: str, names: Sequence[str]) -> Source:
    """Returns a table with one more column, which lists those of some columns that hold a 1 in a row.

    Without names it is the same table. Raises InputError where one of the columns is missing, and when it is
    read where one holds something else than 0 and 1.

    Args:
        table: Has the columns.
        column: The name of the new one.
        names: The columns of 0 and 1.
    """
    if not names:
        return table
    for name in names:
        if name not in table.names:
            raise InputError(
                f"{table.name} has no column {brief(name)} of 0 and 1, which train has as a class; train and "
                "dev need columns with the same names"
            )

    def read(columns: Sequence[str]) -> Table:
        found = table.read(list(dict.fromkeys([*(name for name in columns if name != column), *names])))
        return found if column not in columns else found.with_column(column, _lists(found, names))

    return replace(table, names=[*table.names, column], read=read)


def _lists(table: Table, names: Sequence[str]) -> list[list[str]]:
    lists = []
    for row in range(len(table)):
        flags = {name: _flag(table.columns[name][row]) for name in names}
        if wrong := [name for name, flag in flags.items() if flag is None]:
            raise InputError(
                f"{table.where(row)} has {brief(table.columns[wrong[0]][row])} in column '{wrong[0]}', "
                "expected is 1 where the text has that class and else 0; correct it, or name other columns "
                "with --label"
            )
        lists.append([name for name, flag in flags.items() if flag])
    return lists


def _flag(value: Any) -> bool | None:
    """Returns whether a value is 1; None where it is neither 0 nor 1."""
    if isinstance(value, bool):
        return value
    text = str(value).strip(SPACES).lower()
    return {"1": True, "0": False, "1.0": True, "0.0": False, "true": True, "false": False}.get(text)
