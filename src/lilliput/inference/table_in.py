"""Rows of a table or lines of a file -> windows of texts, beside which all columns of the input are kept."""

import contextlib
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from lilliput.errors import InputError, nearest
from lilliput.inference.lines import pair_of
from lilliput.inference.texts import in_windows, is_missing
from lilliput.text.parquet import parquet_batches, parquet_count, parquet_schema, parquet_values
from lilliput.text.tables import brief, columns_of, listed, nearest_of, rows_of, twice
from lilliput.text.unpacking import COMPRESSED, TABLES, kind_of, lines_of, reading

LINES = ".txt"
"""The ending of a file with a text on each line, or two of a pair with a tab between."""
_NUMBER = re.compile(r"\s*[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?\s*", re.ASCII)


class Window(NamedTuple):
    """Rows that are answered together."""

    given: Sequence[Any]
    """Their texts, or tuples of two; anything else is refused or counted as missing, row by row."""
    rows: Sequence[Sequence[Any]]
    """Their values in all columns; those of a .parquet stay in `batch`."""
    done: int
    """How much of the input was read, of `Table.total`."""
    batch: Any = None
    """The rows as Arrow has them, where the input is a .parquet."""


class Table(NamedTuple):
    """An input whose columns are known and whose rows are not read yet."""

    path: Path
    """The file, or what standard input is called."""
    names: list[str]
    """Its columns."""
    kind: str
    """How it is read: an ending without that of a compression."""
    total: int | None
    """Its rows or bytes; None for standard input."""

    @property
    def name(self) -> str:
        """What it is called in messages."""
        return str(self.path)

    @property
    def unit(self) -> str:
        """What is counted: "row" or "line"."""
        return "line" if self.kind == LINES else "row"

    def windows(self, columns: Sequence[str]) -> Iterator[Window]:
        """Yields the rows in order; raises InputError where they cannot be read, or hold no texts at first.

        Args:
            columns: The one with the texts, or the two of pairs.
        """
        if self.kind == LINES:
            found = self._lines(len(columns))
        elif self.kind == ".parquet":
            found = self._batches(columns)
        else:
            found = self._rows([self.names.index(column) for column in columns])
        for number, window in enumerate(found):
            if number == 0 and self.kind != LINES:
                _check_texts(self, columns, window.given)
            yield window

    def values(self, window: Window) -> Sequence[Sequence[Any]]:
        """Returns the values of a window's rows in all columns."""
        return window.rows if window.batch is None else self._of_batch(window.batch, window.done, self.names)

    def schema(self) -> Any:
        """Returns the columns of a .parquet as Arrow has them; None for other inputs."""
        if self.kind != ".parquet":
            return None
        with reading(self.path), self.path.open("rb") as file:
            return parquet_schema(self.path, file)

    def every(self) -> Iterator[Sequence[Any]]:
        """Yields the values of all rows in all columns."""
        with reading(self.path), self.path.open("rb") as file:
            for _, row in rows_of(self.path, file, self.names, complete=False):
                yield row

    def _rows(self, places: Sequence[int]) -> Iterator[Window]:
        with reading(self.path), self.path.open("rb") as file:
            rows = (row for _, row in rows_of(self.path, file, self.names, complete=False))
            for window in in_windows(rows, _characters):
                given = [_given([row[place] for place in places]) for row in window]
                yield Window(given, window, file.tell())

    def _batches(self, columns: Sequence[str]) -> Iterator[Window]:
        with reading(self.path), self.path.open("rb") as file:
            for before, batch in parquet_batches(self.path, file, self.names):
                done = before + batch.num_rows
                given = [_given(parts) for parts in self._of_batch(batch, done, columns)]
                yield Window(given, (), done, batch)

    def _of_batch(self, batch: Any, done: int, columns: Sequence[str]) -> list[tuple[Any, ...]]:
        before = done - batch.num_rows
        found = [parquet_values(self.path, batch.column(name), name, before) for name in columns]
        return list(zip(*found, strict=True))

    def _lines(self, texts: int) -> Iterator[Window]:
        with self._opened() as file:
            lines = (line.decode().removesuffix("\r") for line in lines_of(self.path, file))
            for window in in_windows(lines, len):
                given = [pair_of(line) for line in window] if texts > 1 else window
                rows = [
                    one if isinstance(one, tuple) else (line, None)[:texts]
                    for one, line in zip(given, window, strict=True)
                ]
                yield Window(given, rows, 0 if self.total is None else file.tell())

    @contextlib.contextmanager
    def _opened(self) -> Iterator[BinaryIO]:
        with reading(self.path):
            if self.total is None:
                yield sys.stdin.buffer
                return
            with self.path.open("rb") as file:
                yield file


def open_table(path: Path | None, *, pairs: bool) -> Table:
    """Returns the table in a file, or what comes on standard input, a text a line.

    Args:
        path: The file; None for standard input.
        pairs: Whether lines hold two texts.

    Raises:
        InputError: If there is no such file, it is of no known format, or it has no columns or no rows.
    """
    of_lines = ["text", "text_pair"] if pairs else ["text"]
    if path is None:
        return Table(Path("standard input"), of_lines, LINES, None)
    kind = kind_of(path)
    with reading(path):
        if not path.is_file():
            siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
            what = "is a folder, not a file" if path.is_dir() else "does not exist"
            hint = f"; {nearest(path.name, siblings)}" if siblings and not path.is_dir() else ""
            raise InputError(f"{path} {what}{hint}")
        if kind not in (*TABLES, LINES):
            raise InputError(
                f"{path} is of no format that is known; expected is a file that ends in "
                f"{', '.join((*TABLES, LINES))}, all but .parquet also compressed ({', '.join(COMPRESSED)})"
            )
        if not (size := path.stat().st_size):
            raise InputError(f"{path} is empty; expected are texts")
        if kind == LINES:
            return Table(path, of_lines, kind, size)
        with path.open("rb") as file:
            names = columns_of(path, file)
            if kind == ".parquet":
                size = parquet_count(path, file)
    if not names:
        raise InputError(f"{path} has no columns; expected are their names in the first line")
    for name in names:
        if names.count(name) > 1:
            raise twice(str(path), name)
    return Table(path, names, kind, size)


def check_columns(table: Table, columns: Sequence[str], *, pairs: bool) -> None:
    """Raises InputError where a table lacks one of the columns, or there are too few or too many."""
    if len(columns) != (wanted := 2 if pairs else 1):
        raise InputError(
            f"{len(columns)} columns were named ({', '.join(columns)}), this bundle reads {wanted}; name "
            f"{'two: --column FIRST SECOND' if pairs else 'one: --column NAME'}"
        )
    for column in columns:
        if column not in table.names:
            raise InputError(
                f"{table.name} has no column '{column}' but {listed(table.names)}; "
                f"{nearest_of(column, table.names)} Name the column of the texts with --column"
            )


def _characters(row: Sequence[Any]) -> int:
    return sum(len(item) for item in row if isinstance(item, str))


def _given(parts: Sequence[Any]) -> Any:
    return parts[0] if len(parts) == 1 else tuple(parts)


def _check_texts(table: Table, columns: Sequence[str], given: Sequence[Any]) -> None:
    """Raises InputError where a column holds no text in the first rows, or numbers alone."""
    for place, column in enumerate(columns):
        parts = [one[place] if isinstance(one, tuple) else one for one in given]
        there = [part for part in parts if not is_missing(part)]
        texts = [part for part in there if isinstance(part, str) and not _NUMBER.fullmatch(part)]
        if there and not texts:
            raise InputError(
                f"column '{column}' of {table.name} holds no texts but values such as {brief(there[0])}; "
                f"name the column of the texts with --column, of {listed(table.names)}"
            )
