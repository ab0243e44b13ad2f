"""Reads the rows of tables (.csv, .tsv, JSON lines, .parquet), compressed or not, one after the other.

The only reader of tables: for the text of a corpus, unlabelled text and the examples of tasks.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from lilliput.common.files import parse_json
from lilliput.errors import InputError, nearest
from lilliput.text.parquet import parquet_columns, parquet_rows
from lilliput.text.separated import DELIMITERS, fields_of
from lilliput.text.unpacking import SPACES, kind_of, lines_of

LONG_NAME = 80
"""A longer column name is probably data, and is cut in messages."""
_SHOWN = 20
"""The most columns named in a message."""
_COLUMNS = 10_000
"""The most columns of a table."""


def unit_of(path: Path) -> str:
    """Returns what a table's row numbers count: "row" or "line"."""
    return "row" if kind_of(path) == ".parquet" else "line"


def columns_of(path: Path, file: BinaryIO) -> list[str]:
    """Returns the names of a table's columns in order, some perhaps twice; for JSON lines all keys."""
    kind = kind_of(path)
    if kind == ".parquet":
        return parquet_columns(path, file)
    if kind in DELIMITERS:
        return _header(path, fields_of(path, file)[1])
    names: dict[str, None] = {}
    for number, row in _objects(path, file):
        names.update(dict.fromkeys(row))
        _check_count(len(names), f"up to line {number:,} {path}")
    return list(names)


def rows_of(
    path: Path, file: BinaryIO, columns: Sequence[str], *, complete: bool
) -> Iterator[tuple[int, Sequence[Any]]]:
    """Yields, for each row of an open table, its number (`unit_of`) and its values in some columns.

    Values are text in .csv and .tsv, and of the file's types in others. A row of several lines has the number
    of the first. Only one row is in memory, or a few of a .parquet. Quotation marks in a .tsv are text if no
    writer that quotes could have written them (`separated`).

    Args:
        path: Its ending says how to read it.
        file: The open file.
        columns: The columns wanted; the others are ignored.
        complete: Whether each object of JSON lines must have all columns; else a missing value is None.

    Raises:
        InputError: Something cannot be read or is too long, or a column is missing or there twice.
    """
    kind = kind_of(path)
    if kind == ".parquet":
        _check(columns, parquet_columns(path, file), str(path))
        return parquet_rows(path, file, columns)
    if kind in DELIMITERS:
        return _separated(path, file, columns)
    return _picked(path, file, columns, complete)


def no_column(where: str, column: str, columns: Iterable[str]) -> InputError:
    """Returns the error for a table without the wanted column."""
    names = list(columns)
    return InputError(
        f"{where} has no column '{column}' but {listed(names)}; {nearest_of(column, names)} "
        f"Name the column that holds the text with --text-column{like_data(names)}"
    )


def twice(where: str, column: str) -> InputError:
    """Returns the error for a table with two columns of one name."""
    return InputError(f"{where} has two columns with the name '{column}'; rename one")


def brief(value: object) -> str:
    """Returns the repr of a value, cut if it is long."""
    text = repr(value)
    return text if len(text) <= LONG_NAME else f"{text[:LONG_NAME]}..."


def listed(names: Sequence[str]) -> str:
    """Returns column names for a message: the first ones if there are many, long ones cut."""
    shown = [name if len(name) <= LONG_NAME else f"{name[:LONG_NAME]}..." for name in names[:_SHOWN]]
    more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return f"{', '.join(shown)}{more}" if shown else "none at all"


def nearest_of(column: str, names: Sequence[str]) -> str:
    """Returns the end of a message about an unknown column: the closest known one, or the first ones."""
    return nearest(column, [name for name in names if len(name) <= LONG_NAME][:_SHOWN])


def like_data(names: Sequence[str]) -> str:
    """Returns the end of a message about a header that looks like a row of data, else an empty text."""
    if any(len(name) > LONG_NAME or name.strip("+-.0123456789") == "" != name for name in names):
        return "; the first line looks like data: write one with the names of the columns above it"
    return ""


def _check(columns: Sequence[str], names: Sequence[str], where: str) -> None:
    for column in columns:
        if column not in names:
            raise no_column(where, column, names)
        if names.count(column) > 1:
            raise twice(where, column)


def _separated(path: Path, file: BinaryIO, columns: Sequence[str]) -> Iterator[tuple[int, Sequence[Any]]]:
    delimiter, rows = fields_of(path, file)
    header = _header(path, rows)
    _check(columns, header, f"the header of {path}")
    places = [header.index(column) for column in columns]
    for number, row in rows:
        if len(row) != len(header):
            raise InputError(
                f"line {number:,} of {path} has {len(row)} fields, expected {len(header)} as in its header; "
                f"put fields that contain {delimiter!r} or line ends in double quotes"
            )
        yield number, [row[place] for place in places]


def _header(path: Path, rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    names = next(rows, (0, []))[1]
    _check_count(len(names), f"the header of {path}")
    return [name.strip(SPACES) for name in names]


def _check_count(columns: int, where: str) -> None:
    if columns > _COLUMNS:
        raise InputError(f"{where} has {columns:,} columns, at most {_COLUMNS:,} are read; is it a table?")


class _Object(dict[str, Any]):
    """A JSON object with keys that occur twice."""

    twice: frozenset[str] = frozenset()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    marked = _Object(found)
    marked.twice = frozenset(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    return marked


_DECODER = json.JSONDecoder(object_pairs_hook=_object)


def _objects(path: Path, file: BinaryIO) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(lines_of(path, file), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.decode(), _DECODER)
        except ValueError as error:
            raise InputError(
                f"line {number:,} of {path} is not valid JSON ({error}); expected one object per line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"line {number:,} of {path} is not a JSON object but a {type(row).__name__}; expected one "
                "object per line"
            )
        yield number, row


def _picked(
    path: Path, file: BinaryIO, columns: Sequence[str], complete: bool
) -> Iterator[tuple[int, Sequence[Any]]]:
    for number, row in _objects(path, file):
        for column in columns:
            if complete and column not in row:
                raise no_column(f"line {number:,} of {path}", column, row)
            if isinstance(row, _Object) and column in row.twice:
                raise twice(f"line {number:,} of {path}", column)
        yield number, [row.get(column) for column in columns]
