"""Rows with their answers -> a file: the columns of the input, and those of the answers after them."""

import csv
import io
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lilliput.common.files import as_json
from lilliput.errors import InputError, LilliputError
from lilliput.inference.answers import Answer, Encoding
from lilliput.inference.bundle import Bundle
from lilliput.inference.cells import answer_types, arrow_value, common_types, field, plain
from lilliput.inference.kinds import KINDS
from lilliput.inference.lines import write_lines
from lilliput.inference.table_in import Table, Window
from lilliput.inference.texts import is_missing
from lilliput.text.tables import listed

Answers = Sequence[Answer | LilliputError]

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_OF_OBJECTS = (".jsonl", ".ndjson", ".json")
"""Inputs whose values have types."""
_ROWS, _BYTES = 1 << 16, 1 << 26
"""A group of rows of a .parquet has at least one of these."""


class Output(ABC):
    """What takes rows with their answers as they come."""

    def __init__(self, path: Path, file: BinaryIO, table: Table, bundle: Bundle, top: int | None) -> None:
        """Writes what stands before the first row.

        Args:
            path: Where the file will stand.
            file: Takes it.
            table: The input.
            bundle: Answers.
            top: How many classes are named with their probabilities; None for the best one alone.
        """
        self._ending, self._file, self._table, self._bundle, self._top = (
            path.suffix.lower(),
            file,
            table,
            bundle,
            top,
        )
        self._columns = answer_columns(bundle, top)

    @abstractmethod
    def add(self, window: Window, answers: Answers) -> None:
        """Writes some rows with their answers."""

    def end(self) -> None:
        """Writes what is not written yet."""
        self._file.flush()

    def _cells(self, window: Window, answers: Answers) -> list[list[Any]]:
        """Returns the values of the answer's columns for each row, None where there is no answer."""
        kind, found = KINDS[self._bundle.config.kind], []
        for text, answer in zip(window.given, answers, strict=True):
            if isinstance(answer, LilliputError) or is_missing(text):
                found.append([None] * len(self._columns))
                continue
            values = kind.values(answer, self._top)
            values |= values.get("classification") or {}
            found.append([values[column] for column in self._columns])
        return found


class _Separated(Output):
    """Fields with separators; what is no text stands there as JSON."""

    def __init__(self, path: Path, file: BinaryIO, table: Table, bundle: Bundle, top: int | None) -> None:
        super().__init__(path, file, table, bundle, top)
        self._write([[*table.names, *self._columns]])

    def add(self, window: Window, answers: Answers) -> None:
        rows = zip(self._table.values(window), self._cells(window, answers), strict=True)
        self._write([map(field, [*row, *cells]) for row, cells in rows])

    def _write(self, rows: Any) -> None:
        text = io.StringIO()
        csv.writer(text, delimiter=_DELIMITERS[self._ending], lineterminator="\n").writerows(rows)
        self._file.write(text.getvalue().encode(errors="backslashreplace"))


class _Json(Output):
    """An object for each row, on a line."""

    def add(self, window: Window, answers: Answers) -> None:
        names = [*self._table.names, *self._columns]
        for row, cells in zip(self._table.values(window), self._cells(window, answers), strict=True):
            values = dict(zip(names, map(plain, [*row, *cells]), strict=True))
            self._file.write(as_json(values) + b"\n")


class _Rows(Output):
    """A file of numpy that takes vectors as they come; its heading always says how many there are."""

    _count = 0

    def __init__(self, path: Path, file: BinaryIO, table: Table, bundle: Bundle, top: int | None) -> None:
        super().__init__(path, file, table, bundle, top)
        self._width = bundle.encode([]).shape[1]
        self.add(Window((), (), 0), ())

    def add(self, window: Window, answers: Answers) -> None:
        """Adds a vector for each answer, of NaN where a text has none."""
        rows = np.full((len(answers), self._width), np.nan, np.float32)
        for row, answer in zip(rows, answers, strict=True):
            if isinstance(answer, Encoding):
                row[:] = answer.vector
        self._count += len(rows)
        self._file.seek(0)
        heading = {"descr": "<f4", "fortran_order": False, "shape": (self._count, self._width)}
        np.lib.format.write_array_header_1_0(self._file, heading)  # keeps room for a longer number
        self._file.seek(0, os.SEEK_END)
        self._file.write(rows.astype("<f4").tobytes())


class _Parquet(Output):
    """A .parquet; columns of another one stay what they are, others are text or what their values are."""

    def __init__(self, path: Path, file: BinaryIO, table: Table, bundle: Bundle, top: int | None) -> None:
        super().__init__(path, file, table, bundle, top)
        import pyarrow
        import pyarrow.parquet

        rows = table.every() if table.kind in _OF_OBJECTS else ()
        schema = table.schema() or pyarrow.schema(common_types(table.names, rows))
        kinds = answer_types(bundle.encode([]).shape[1] if "vector" in self._columns else -1)
        for column in self._columns:
            schema = schema.append(pyarrow.field(column, kinds[column]))
        self._schema, self._waiting = schema, list[Any]()
        self._writer = pyarrow.parquet.ParquetWriter(file, schema)

    def add(self, window: Window, answers: Answers) -> None:
        import pyarrow

        names, cells = self._table.names, self._cells(window, answers)
        if window.batch is None:
            rows = [list(row) for row in self._table.values(window)]
            cells, columns = [row + more for row, more in zip(rows, cells, strict=True)], []
        else:
            columns = [window.batch.column(name) for name in names]
        for place, column in enumerate(list(self._schema)[len(columns) :]):
            values = [arrow_value(row[place], column.type) for row in cells]
            columns.append(pyarrow.array(values, column.type))
        self._waiting.append(pyarrow.RecordBatch.from_arrays(columns, schema=self._schema))
        if (
            sum(batch.num_rows for batch in self._waiting) >= _ROWS
            or sum(batch.nbytes for batch in self._waiting) >= _BYTES
        ):
            self._flush()

    def end(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        import pyarrow

        self._writer.write_table(pyarrow.Table.from_batches(self._waiting, self._schema))
        self._waiting = []


class _Lines(Output):
    """A line for each answer, as on standard output."""

    def add(self, window: Window, answers: Answers) -> None:
        write_lines(KINDS[self._bundle.config.kind], answers, self._top, as_json=False, file=self._file)


_OUTPUTS: dict[str, type[Output]] = {
    ".csv": _Separated,
    ".tsv": _Separated,
    ".jsonl": _Json,
    ".parquet": _Parquet,
    ".txt": _Lines,
    ".npy": _Rows,
}
ENDINGS = tuple(_OUTPUTS)
"""What a file of answers may end in."""


def answer_columns(bundle: Bundle, top: int | None) -> list[str]:
    """Returns the columns that answers have; all classes stand in one only where `top` asks for them."""
    found = [*KINDS[bundle.config.kind].cells, "cut", "unknown"]
    return [name for name in found if top is not None or name != "probabilities"]


def check_output(path: Path, table: Table, bundle: Bundle, top: int | None) -> None:
    """Raises an error where a file cannot take the answers of a bundle to a table."""
    ending = path.suffix.lower()
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it, such as {path / 'answers.csv'}")
    if ending not in ENDINGS:
        raise InputError(
            f"{path} is of no format that answers are written in; end it in {', '.join(ENDINGS)}"
        )
    if ending == ".npy":
        bundle.encode([])  # raises where the bundle makes no vectors
    columns = answer_columns(bundle, top)
    if "vector" in columns and ending in _DELIMITERS:
        raise InputError(f"{path} cannot hold vectors; write them to .npy, .parquet or .jsonl")
    both = [name for name in columns if name in table.names]
    if both and ending not in (".npy", ".txt"):
        raise InputError(
            f"{table.name} has columns that the answers have too ({listed(both)}), and they would stand in "
            f"{path.name} twice; rename them in the input, or leave them out"
        )


def open_output(path: Path, file: BinaryIO, table: Table, bundle: Bundle, top: int | None) -> Output:
    """Returns what writes answers into an open file, by the ending of the path where it will stand."""
    return _OUTPUTS[path.suffix.lower()](path, file, table, bundle, top)
