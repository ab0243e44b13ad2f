"""Reads the rows of .csv and .tsv, and finds out their separator and whether quotation marks quote."""

import csv
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from lilliput.errors import InputError
from lilliput.text.unpacking import LINE_BYTES, kind_of, lines_of, too_long

DELIMITERS = {".csv": ",;\t|", ".tsv": "\t;,|"}
"""Separators of fields; the first of these in the header is the one."""
_AHEAD = 16 << 20
"""Characters of a .tsv that are looked at, from a quotation mark on, to tell whether such marks quote."""

Numbered = Iterator[tuple[int, str]]
"""Lines, each with its number."""


def fields_of(path: Path, file: BinaryIO) -> tuple[str, Iterator[tuple[int, list[str]]]]:
    """Returns the separator of a table's fields, and its rows with line numbers, the header first."""
    csv.field_size_limit(LINE_BYTES)  # the default of 128 KB is less than a long text
    every = ((number, line.decode()) for number, line in enumerate(lines_of(path, file), start=1))
    first = next(itertools.dropwhile(lambda line: not line[1].rstrip("\r"), every), (1, ""))
    delimiters = DELIMITERS[kind_of(path)]
    delimiter = next((each for each in delimiters if each in _outside_quotes(first[1])), delimiters[0])
    lines = itertools.chain([first], every)
    if delimiter != "\t":
        return delimiter, _quoted(path, lines, delimiter)
    return delimiter, _tabbed(path, lines, first[1].count("\t") + 1)


def _outside_quotes(line: str) -> str:
    return "".join(line.split('"')[::2])


def _quoted(path: Path, lines: Numbered, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yields rows of quoted fields: those with a separator, a line end or a quote are in double quotes."""
    begun, size = 0, 0

    def counted() -> Iterator[str]:
        nonlocal begun, size
        for number, line in lines:
            begun = begun or number
            size += len(line) + 1
            if size > LINE_BYTES:
                raise too_long(f"the row that begins in line {begun:,} of {path}")
            yield f"{line}\n"

    reader = csv.reader(counted(), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield begun, row
            begun, size = 0, 0
    except csv.Error as error:
        raise InputError(
            f"the row that begins in line {begun:,} of {path} is malformed ({error}); expected fields "
            f"separated by {delimiter!r}, those with quotes in double quotes and their quotes doubled"
        ) from error


def _tabbed(path: Path, lines: Numbered, width: int) -> Iterator[tuple[int, list[str]]]:
    """Yields rows of a .tsv; its quotation marks are text if no writer that quotes could have written them.

    A writer that quotes puts each field that begins with a quotation mark in double quotes, and doubles the
    marks within. If a field begins with a mark and does not have that form, while every line has as many
    fields as the header, nothing is quoted, as in the files of GLUE. From the first field that begins with a
    mark, _AHEAD characters are looked at together, to tell the two apart before anything is read wrong.
    """
    while (first := next(lines, None)) is not None:
        if not any(field.startswith('"') for field in _bare(first[1])):
            yield from _bare_rows([first])
            continue
        window = list(_ahead(itertools.chain([first], lines)))
        following = list(itertools.islice(lines, 1))
        meaning = _meaning(path, window, width, ended=not following)
        lines = itertools.chain(following, lines)
        if meaning == "text":
            yield from _bare_rows(itertools.chain(window, lines))
        elif meaning == "quoting":
            yield from _quoted(path, itertools.chain(window, lines), "\t")
        else:  # each line is a row either way
            yield from _quoted(path, iter(window), "\t")


def _bare_rows(lines: Iterable[tuple[int, str]]) -> Iterator[tuple[int, list[str]]]:
    return ((number, _bare(line)) for number, line in lines if line.rstrip("\r"))


def _bare(line: str) -> list[str]:
    return line.rstrip("\r").split("\t")


def _ahead(lines: Numbered) -> Numbered:
    taken = 0
    for number, line in lines:
        yield number, line
        taken += len(line) + 1
        if taken > _AHEAD:
            return


def _meaning(path: Path, lines: Sequence[tuple[int, str]], width: int, *, ended: bool) -> str:
    """Returns what quotation marks at the start of fields are: "text", "quoting" or "either"."""
    rows = [row for _, row in _bare_rows(lines)]
    fit = all(len(row) == width for row in rows)
    odd = any(field.startswith('"') and not _is_quoted(field) for row in rows for field in row)
    if fit and not odd:
        return "either"
    if fit and width > 1:
        return "text"
    return "quoting" if _can_be_quoted(path, lines, width, ended) else "text"


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field.endswith('"') and '"' not in field[1:-1].replace('""', "")


def _can_be_quoted(path: Path, lines: Sequence[tuple[int, str]], width: int, ended: bool) -> bool:
    """Whether all rows have as many fields as the header if quotation marks quote."""
    last = 0
    try:
        for number, row in _quoted(path, iter(lines), "\t"):
            if len(row) != width:
                return False
            last = number
    except InputError as error:
        is_cut = not ended and "unexpected end" in str(error)
        return is_cut and last > lines[0][0]  # the rest of the last row lies beyond the lines looked at
    return True
