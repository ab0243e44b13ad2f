"""Formats of text: plain text, JSON lines, CSV, TSV and parquet, compressed or not -> documents as UTF-8.

A row of a table is a document, in plain text blank lines stand between documents.
"""

import bz2
import codecs
import contextlib
import csv
import gzip
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from lilliput.errors import InputError, nearest

DOCUMENT_BYTES = 1 << 20
"""Plain text without a blank line for longer than this is cut, so that memory stays bounded."""
_CHUNK_BYTES = 1 << 20
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PLAIN = (".txt", ".text", ".md")
_BLANK_LINES = re.compile(rb"\n[ \t\r\f\v]*\n")
_SIGNATURES = {
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
    b"\x1f\x8b": "a gzip file, so its name must end in .gz",
    b"BZh": "a bzip2 file, so its name must end in .bz2",
    b"\xfd7zXZ": "an xz file, so its name must end in .xz",
    b"\x28\xb5\x2f\xfd": "a zstandard file, so its name must end in .zst",
    b"PAR1": "a parquet file, so its name must end in .parquet",
    b"PK\x03\x04": "a zip archive, to be unpacked first",
    b"%PDF": "a PDF, to be converted to text first",
}
EXPECTED = (
    f"expected are text ({', '.join(PLAIN)}) and tables ({', '.join(TABLES)}), all but parquet also "
    f"compressed ({', '.join(COMPRESSED)})"
)


def kind_of(path: Path) -> str:
    """Returns the ending that says how to read a file, that of compression left out."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns whatever goes wrong while a file is read into one sentence."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError) as error:
        raise InputError(
            f"{path} is damaged or cut short ({error}); fetch or compress it again, or leave it out"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; mend it or leave it out"
        ) from error


def documents_of(path: Path, file: BinaryIO, column: str) -> Iterator[bytes]:
    """Yields the documents of an open file; raises InputError where something cannot be read."""
    kind = kind_of(path)
    if kind == ".parquet":
        return _parquet(path, file, column)
    chunks = _checked(path, _chunks(path, file))
    if kind in (".csv", ".tsv"):
        return _separated(path, chunks, column, "," if kind == ".csv" else "\t")
    return _json_lines(path, chunks, column) if kind in TABLES else _plain(chunks)


def lines_of(path: Path, file: BinaryIO) -> Iterator[str]:
    """Yields the lines of an open file, decompressed; raises InputError where it is not UTF-8 text."""
    return (line.decode() for line in _lines(_checked(path, _chunks(path, file))))


def encoded(text: object, where: str, column: str) -> bytes:
    """Returns a row's text as UTF-8, nothing as empty; halves of surrogate pairs, no text, as U+FFFD."""
    if text is None:
        return b""
    if not isinstance(text, str):
        raise InputError(
            f"column '{column}' in {where} holds {type(text).__name__}, not text; name another with "
            "--text-column"
        )
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def no_column(where: str, column: str, columns: Iterable[str]) -> InputError:
    """Returns the refusal of a table without the column that was asked for."""
    names = list(columns)
    return InputError(
        f"{where} has no column '{column}' but {', '.join(names) or 'none at all'}; {nearest(column, names)} "
        "Name the column that holds the text with --text-column"
    )


def _chunks(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of a file, decompressed."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        yield from _zstandard_chunks(file)
        return
    openers: dict[str, Any] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
    unpacked = openers[suffix](file) if suffix in openers else file
    while chunk := unpacked.read(_CHUNK_BYTES):
        yield chunk


def _zstandard_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of all frames; by hand, as zstandard's reader takes a cut file for a whole one."""
    decoder = None
    while chunk := file.read(_CHUNK_BYTES):
        while chunk:
            decoder = decoder or zstandard.ZstdDecompressor(max_window_size=1 << 31).decompressobj()
            if unpacked := decoder.decompress(chunk):
                yield unpacked
            chunk = decoder.unused_data if decoder.eof else b""
            decoder = None if decoder.eof else decoder
    if decoder is not None:
        raise EOFError("the file ends within a compressed frame")


def _checked(path: Path, chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same bytes without a byte order mark; raises InputError where they are not UTF-8 text."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset, lines = 0, 1
    for chunk in chunks:
        if offset == 0:
            _refuse_binary(path, chunk)
        waiting = len(decoder.getstate()[0])
        try:
            decoder.decode(chunk)
        except UnicodeDecodeError as error:
            line = lines + chunk.count(b"\n", 0, max(0, error.start - waiting))
            raise _not_utf8(path, offset - waiting + error.start, line, error) from error
        yield chunk.removeprefix(codecs.BOM_UTF8) if offset == 0 else chunk
        offset, lines = offset + len(chunk), lines + chunk.count(b"\n")
    waiting = len(decoder.getstate()[0])
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise _not_utf8(path, offset - waiting, lines, error) from error


def _refuse_binary(path: Path, head: bytes) -> None:
    for signature, what in _SIGNATURES.items():
        if head.startswith(signature):
            raise InputError(f"{path} is not UTF-8 text but looks like {what}; {EXPECTED}")
    if b"\0" in head[:8192]:
        raise InputError(
            f"{path} is a binary file (byte {head.index(0):,} is NUL), not UTF-8 text; {EXPECTED}"
        )


def _not_utf8(path: Path, offset: int, line: int, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"{path} is not UTF-8 at byte {offset:,} (line {line:,}: {error.reason} "
        f"0x{error.object[error.start]:02x}); expected is UTF-8: if it is Latin-1, convert it with "
        f"'iconv -f LATIN1 -t UTF-8', else name its encoding there"
    )


def _plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields what stands between blank lines, longer stretches cut at a line end or else at a space."""
    rest = b""
    for chunk in chunks:
        *whole, rest = _BLANK_LINES.split(rest + chunk)
        for stretch in whole:
            yield from _cut(stretch)
        *whole, rest = _cut(rest)
        yield from whole
    yield rest


def _cut(text: bytes) -> Iterator[bytes]:
    """Yields pieces of at most DOCUMENT_BYTES, the last of which may be empty."""
    text = text.lstrip()
    while len(text) > DOCUMENT_BYTES:
        end = text.rfind(b"\n", 0, DOCUMENT_BYTES)
        if end < 0:
            end = max(text.rfind(space, 0, DOCUMENT_BYTES) for space in (b" ", b"\t", b"\r", b"\f", b"\v"))
        if end < 0:  # no space at all, as in Chinese: between two characters
            end = DOCUMENT_BYTES
            while text[end] & 0xC0 == 0x80:
                end -= 1
        yield text[:end]
        text = text[end:].lstrip()
    yield text


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields lines without their end."""
    begun: list[bytes] = []
    for chunk in chunks:
        first, *others = chunk.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
    if last := b"".join(begun):
        yield last


def _json_lines(path: Path, chunks: Iterable[bytes], column: str) -> Iterator[bytes]:
    for number, line in enumerate(_lines(chunks), start=1):
        if not line.strip():
            continue
        where = f"line {number:,} of {path}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{where} is not valid JSON ({error}); expected is one object a line") from error
        if not isinstance(row, dict):
            raise InputError(
                f"{where} is not a JSON object but a {type(row).__name__}; expected is one object a line"
            )
        if column not in row:
            raise no_column(where, column, row)
        yield encoded(row[column], where, column)


def _separated(path: Path, chunks: Iterable[bytes], column: str, delimiter: str) -> Iterator[bytes]:
    csv.field_size_limit(sys.maxsize)  # the default of 128 KB is less than a long document
    rows = csv.reader((f"{line.decode()}\n" for line in _lines(chunks)), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            raise no_column(f"the header of {path}", column, header)
        index = header.index(column)
        for row in rows:
            if row and len(row) != len(header):
                raise InputError(
                    f"line {rows.line_num:,} of {path} ends a row of {len(row)} fields, expected are "
                    f"{len(header)} as in its header; put fields with separators or line ends in quotes"
                )
            if row:
                yield encoded(row[index], str(path), column)
    except csv.Error as error:
        raise InputError(
            f"line {rows.line_num:,} of {path} is malformed ({error}); expected are fields separated by "
            f"{delimiter!r}, quoted with doubled double quotes"
        ) from error


def _parquet(path: Path, file: BinaryIO, column: str) -> Iterator[bytes]:
    import pyarrow
    import pyarrow.parquet

    row = 0
    try:
        table = pyarrow.parquet.ParquetFile(file)
        if column not in table.schema_arrow.names:
            raise no_column(str(path), column, table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            texts = batch.column(0)
            if is_text := pyarrow.types.is_string(texts.type) or pyarrow.types.is_large_string(texts.type):
                texts.validate(full=True)  # it is UTF-8, so no strings need be made of it
                texts = texts.cast(pyarrow.large_binary())
            for text in texts.to_pylist():
                row += 1
                yield text or b"" if is_text else encoded(text, f"row {row:,} of {path}", column)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a whole parquet file (after row {row:,}: {error}); fetch it again or leave it out"
        ) from error
