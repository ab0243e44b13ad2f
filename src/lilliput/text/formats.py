"""Reads documents, as UTF-8, from plain text and tables, compressed or not.

Each row of a table is a document; in plain text, blank lines separate documents.
"""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from lilliput.errors import InputError
from lilliput.text.tables import rows_of, unit_of
from lilliput.text.unpacking import TABLES, chunks_of, kind_of

DOCUMENT_BYTES = 1 << 20
"""Longer plain text without a blank line is cut, so that memory stays bounded."""
_BLANK_LINES = re.compile(rb"\n[ \t\r\f\v\n]*\n")


def documents_of(path: Path, file: BinaryIO, column: str) -> Iterator[bytes]:
    """Yields the documents of an open file; raises InputError if something cannot be read."""
    return _texts(path, file, column) if kind_of(path) in TABLES else _plain(chunks_of(path, file))


def encoded(text: object, where: str, column: str) -> bytes:
    """Returns a row's text as UTF-8: empty for None, U+FFFD for lone surrogates."""
    if text is None:
        return b""
    if not isinstance(text, str):
        raise InputError(
            f"column '{column}' in {where} holds {type(text).__name__}, not text; name another column with "
            "--text-column"
        )
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()


def _texts(path: Path, file: BinaryIO, column: str) -> Iterator[bytes]:
    unit = unit_of(path)
    for number, (text,) in rows_of(path, file, [column], complete=True):
        yield encoded(text, f"{unit} {number:,} of {path}", column)


def _plain(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the text between blank lines; long stretches are cut at a line end or else at a space."""
    rest = b""
    for chunk in chunks:
        *whole, rest = _BLANK_LINES.split(rest + chunk)
        for stretch in whole:
            yield from _cut(stretch)
        *whole, rest = _cut(rest)
        yield from whole
    yield rest


def _cut(text: bytes) -> Iterator[bytes]:
    """Yields pieces of at most DOCUMENT_BYTES; the last may be empty."""
    text = text.lstrip()
    while len(text) > DOCUMENT_BYTES:
        end = text.rfind(b"\n", 0, DOCUMENT_BYTES)
        if end < 0:
            end = max(text.rfind(space, 0, DOCUMENT_BYTES) for space in (b" ", b"\t", b"\r", b"\f", b"\v"))
        if end < 0:  # no space at all, as in Chinese: cut between two characters
            end = DOCUMENT_BYTES
            while text[end] & 0xC0 == 0x80:
                end -= 1
        yield text[:end]
        text = text[end:].lstrip()
    yield text
