"""Labelled tables: .csv, .tsv, .jsonl, .parquet and CoNLL columns -> columns, and where each row stands."""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lilliput.errors import InputError, nearest
from lilliput.tasks.conll import ENDINGS as WORD_COLUMNS, WordLines, read_words
from lilliput.text.parquet import parquet_classes
from lilliput.text.tables import columns_of, rows_of, unit_of
from lilliput.text.unpacking import COMPRESSED, SPACES, TABLES, kind_of, reading

ENDINGS = TABLES + WORD_COLUMNS
EXPECTED = (
    f"expected is a file that ends in {', '.join(ENDINGS)}, all but .parquet also compressed "
    f"({', '.join(COMPRESSED)})"
)
TABLE_BYTES = 2 << 30
"""What the columns of a table that are read may take in memory."""
_WHOLE = re.compile(r"(0|[1-9]\d*)(\.0+)?", re.ASCII)


@dataclass(frozen=True)
class Table:
    """Columns of the same length."""

    name: str
    """The file or data set it comes from."""
    columns: Mapping[str, Sequence[Any]]
    """What stands in each column: text from .csv, .tsv and CoNLL columns, else what the file says."""
    numbers: Sequence[int]
    """For each row the number of its line, the first if it has several, or of its row."""
    unit: str = "line"
    """What the numbers count."""
    word_numbers: Sequence[Sequence[int]] = ()
    """For each row the number of each word's line, where words have lines of their own."""

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, row: int, word: int = 0) -> str:
        """Returns where a row stands, for messages, and where its word does if that is elsewhere."""
        number = self.word_numbers[row][word] if self.word_numbers else self.numbers[row]
        return f"{self.unit} {number:,} of {self.name}"

    def only(self, rows: Sequence[int]) -> "Table":
        """Returns some of the rows."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        numbers = [self.numbers[row] for row in rows]
        words = [self.word_numbers[row] for row in rows] if self.word_numbers else ()
        return replace(self, columns=columns, numbers=numbers, word_numbers=words)

    def named(self, column: str, names: Sequence[str]) -> "Table":
        """Returns the table with names instead of their indices in one column; other values stay.

        An index of -1, by which data sets say that nobody knows the class, becomes None.
        """

        def name_of(value: Any) -> Any:
            if isinstance(value, list):
                return [name_of(item) for item in value]
            if type(value) is int and value == -1:
                return None
            whole = _WHOLE.fullmatch(str(value).strip(SPACES)) if type(value) in (int, float, str) else None
            index = int(whole[1]) if whole and len(whole[1]) < 9 else len(names)
            return names[index] if index < len(names) else value

        return self.with_column(column, [name_of(item) for item in self.columns[column]])

    def with_column(self, column: str, values: Sequence[Any]) -> "Table":
        """Returns the table with other values in one column."""
        return replace(self, columns={**self.columns, column: values})


@dataclass(frozen=True)
class Source:
    """A table whose columns are known and not read yet."""

    name: str
    """The file or data set."""
    names: Sequence[str]
    """Its columns."""
    read: Callable[[Sequence[str]], Table]
    """Returns the table with some of the columns."""
    note: str = ""
    """What its reader took for what, where that is not plain; empty if it is."""
    warnings: tuple[str, ...] = ()
    """What is to be known where the columns are those that its reader took."""


def find_table(path: Path) -> Source:
    """Returns the table in a file; raises InputError with line and remedy where it cannot be read."""
    kind = kind_of(path)
    with reading(path):
        if not path.is_file():
            siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = f"; {nearest(path.name, siblings)}" if siblings else ""
            raise InputError(f"there is no file {path}{hint}")
        if kind not in ENDINGS:
            raise InputError(f"{path} is of no format that is known to hold labelled texts; {EXPECTED}")
        if kind in WORD_COLUMNS:
            return _of_words(read_words(path, TABLE_BYTES))
        with path.open("rb") as file:
            names = columns_of(path, file)
    if not names:
        raise _empty(path)
    return Source(str(path), names, lambda columns: _read(path, columns))


def _of_words(found: WordLines) -> Source:
    def read(columns: Sequence[str]) -> Table:
        values = {column: found.column(column) for column in columns}
        return Table(found.name, values, [numbers[0] for numbers in found.numbers], "line", found.numbers)

    return Source(found.name, found.names, read, found.note, found.warnings)


def _read(path: Path, columns: Sequence[str]) -> Table:
    wanted = list(dict.fromkeys(columns))
    values: list[list[Any]] = [[] for _ in wanted]
    numbers: list[int] = []
    taken = 0
    with reading(path), path.open("rb") as file:
        for number, row in rows_of(path, file, wanted, complete=False):
            numbers.append(number)
            for column, value in zip(values, row, strict=True):
                column.append(value)
                taken += sys.getsizeof(value) + 8
                if isinstance(value, (list, dict)):
                    taken += _size_of_items(value, f"{unit_of(path)} {number:,} of {path}")
            if taken > TABLE_BYTES:
                raise InputError(
                    f"up to {unit_of(path)} {number:,} of {path} columns {', '.join(wanted)} take more than "
                    f"{TABLE_BYTES >> 30} GB of memory, the most that is kept of labelled examples; name a "
                    "file with fewer of them"
                )
    if not numbers:
        raise _empty(path)
    table = Table(str(path), dict(zip(wanted, values, strict=True)), numbers, unit_of(path))
    if kind_of(path) == ".parquet":
        with reading(path), path.open("rb") as file:
            classes = parquet_classes(path, file)
        for name in classes.keys() & table.columns.keys():
            table = table.named(name, classes[name])
    return table


def _empty(path: Path) -> InputError:
    return InputError(f"{path} holds no examples; expected is at least one row below the column names")


def is_missing(value: object) -> bool:
    """Whether a value is None or NaN, by which tables say that it is missing."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def _size_of_items(value: list[Any] | dict[str, Any], where: str) -> int:
    """Returns about how many bytes the items of a list take; raises InputError where they have items."""
    if isinstance(value, dict) or any(isinstance(item, (list, dict)) for item in value):
        raise InputError(
            f"{where} holds values within values, expected is text, a number, or a list of words or tags; "
            "name another column"
        )
    return sum(map(sys.getsizeof, value))
