"""Labelled tables: .csv, .tsv, .jsonl, .parquet and CoNLL columns -> columns, and where each row stands."""

import csv
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from lilliput.errors import InputError, nearest
from lilliput.formats import COMPRESSED, TABLES, kind_of, lines_of, reading

WORD_COLUMNS = (".conll", ".bio", ".iob")
"""Endings of files with a word a line, its tag last, and blank lines between sentences."""
ENDINGS = TABLES + WORD_COLUMNS
EXPECTED = (
    f"expected is a file that ends in {', '.join(ENDINGS)}, all but .parquet also compressed "
    f"({', '.join(COMPRESSED)})"
)
_QUOTED = re.compile(r'"([^"]|"")*"')


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
    word_lines: bool = False
    """Whether each word of a row has a line of its own."""

    def __len__(self) -> int:
        return len(self.numbers)

    def where(self, row: int, word: int = 0) -> str:
        """Returns where a row stands, for messages, and where its word does if that is elsewhere."""
        return f"{self.unit} {self.numbers[row] + word * self.word_lines:,} of {self.name}"

    def only(self, rows: Sequence[int]) -> "Table":
        """Returns some of the rows."""
        columns = {name: [values[row] for row in rows] for name, values in self.columns.items()}
        return replace(self, columns=columns, numbers=[self.numbers[row] for row in rows])

    def named(self, column: str, names: Sequence[str]) -> "Table":
        """Returns the table with names instead of their indices in one column; other values stay."""
        by_digits = {str(index): name for index, name in enumerate(names)}

        def name_of(value: Any) -> Any:
            if isinstance(value, list):
                return [name_of(item) for item in value]
            return by_digits.get(str(value).strip(), value) if type(value) in (int, str) else value

        return replace(
            self, columns={**self.columns, column: [name_of(item) for item in self.columns[column]]}
        )


def read_table(path: Path) -> Table:
    """Returns what a file holds; raises InputError with line and remedy where it cannot be read."""
    kind = kind_of(path)
    if not path.is_file():
        siblings = [item.name for item in path.parent.iterdir()] if path.parent.is_dir() else []
        hint = f"; {nearest(path.name, siblings)}" if siblings else ""
        raise InputError(f"there is no file {path}{hint}")
    if kind not in ENDINGS:
        raise InputError(f"{path} is of no format that is known to hold labelled texts; {EXPECTED}")
    with reading(path), path.open("rb") as file:
        table = _parquet(path, file) if kind == ".parquet" else _from_lines(path, kind, lines_of(path, file))
    if not len(table):
        raise InputError(f"{path} holds no examples; expected is at least one row below the column names")
    return table


def _from_lines(path: Path, kind: str, lines: Iterable[str]) -> Table:
    if kind == ".csv":
        return _separated(path, list(lines), ",")
    if kind == ".tsv":
        return _separated(path, list(lines), "\t")
    return _word_columns(path, lines) if kind in WORD_COLUMNS else _json_lines(path, lines)


def _separated(path: Path, lines: list[str], delimiter: str) -> Table:
    csv.field_size_limit(sys.maxsize)  # the default of 128 KB is less than a long text
    bare = delimiter == "\t" and _quotes_nothing(lines)
    quoting: Literal[0, 3] = csv.QUOTE_NONE if bare else csv.QUOTE_MINIMAL
    reader = csv.reader((f"{line}\n" for line in lines), delimiter=delimiter, quoting=quoting, strict=True)
    rows: list[list[str]] = []
    numbers: list[int] = []
    begun = 1
    try:
        for row in reader:
            if row and rows and len(row) != len(rows[0]):
                raise InputError(
                    f"line {begun:,} of {path} has {len(row)} fields, expected are {len(rows[0])} as in its "
                    f"first line; put fields that hold {delimiter!r} or line ends in double quotes"
                )
            if row:
                rows.append(row)
                numbers.append(begun)
            begun = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"the row that begins in line {begun:,} of {path} is malformed ({error}); expected are fields "
            f"separated by {delimiter!r}, those with quotes in double quotes and their quotes doubled"
        ) from error
    header = [name.strip() for name in rows[0]] if rows else []
    if twice := [name for name in header if header.count(name) > 1]:
        raise InputError(f"{path} has two columns with the name '{twice[0]}'; give each its own")
    columns = {name: [row[index] for row in rows[1:]] for index, name in enumerate(header)}
    return Table(str(path), columns, numbers[1:])


def _quotes_nothing(lines: list[str]) -> bool:
    """Whether quotes in a .tsv are part of its texts, as in those of GLUE, and no line end is quoted."""
    rows = [line.rstrip("\r").split("\t") for line in lines if line.strip()]
    if any(len(row) != len(rows[0]) for row in rows):
        return False
    return any(field.startswith('"') and not _QUOTED.fullmatch(field) for row in rows for field in row)


def _json_lines(path: Path, lines: Iterable[str]) -> Table:
    rows: list[dict[str, Any]] = []
    numbers = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"line {number:,} of {path} is not valid JSON ({error}); expected is one object a line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(
                f"line {number:,} of {path} is not a JSON object but a {type(row).__name__}; expected is one "
                "object a line"
            )
        rows.append(row)
        numbers.append(number)
    names = dict.fromkeys(name for row in rows for name in row)
    return Table(str(path), {name: [row.get(name) for row in rows] for name in names}, numbers)


def _parquet(path: Path, file: BinaryIO) -> Table:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(file)
        columns = {name: table.column(index).to_pylist() for index, name in enumerate(table.column_names)}
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not a whole parquet file ({error}); fetch or write it again") from error
    return Table(str(path), columns, range(1, table.num_rows + 1), "row")


def _word_columns(path: Path, lines: Iterable[str]) -> Table:
    sentences: list[list[list[str]]] = [[]]
    numbers: list[int] = []
    width = 0
    for number, line in enumerate(lines, start=1):
        fields = line.strip("\r\n").split("\t") if "\t" in line else line.split()
        if not any(field.strip() for field in fields) or fields[0] == "-DOCSTART-":
            if sentences[-1]:
                sentences.append([])
            continue
        width = width or len(fields)
        if len(fields) != width or width < 2:
            raise InputError(
                f"line {number:,} of {path} has {len(fields)} columns, expected are "
                f"{width if width > 1 else 'at least 2'}: a word, its tag last, and blank lines between "
                "sentences"
            )
        if not sentences[-1]:
            numbers.append(number)
        sentences[-1].append(fields)
    sentences = [sentence for sentence in sentences if sentence]
    words = [[fields[0] for fields in sentence] for sentence in sentences]
    tags = [[fields[-1].strip() for fields in sentence] for sentence in sentences]
    return Table(str(path), {"words": words, "tags": tags}, numbers, word_lines=True)
