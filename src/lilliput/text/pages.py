"""Reads the headers of the pages of a Parquet file, so that a page's size is known before it is unpacked."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lilliput.errors import InputError
from lilliput.text.unpacking import LINE_BYTES

PAGE_BYTES = 1 << 29
"""The largest page that is unpacked. Most have about 1 MB, but pyarrow writes at least 1,024 values each."""
_FIRST_BYTES = 1 << 10
_HEADER_BYTES = 1 << 24
_DEPTH = 8
"""How deep structures in a header may be nested."""
_DICTIONARY = 2
"""The kind of page whose values other pages refer to."""
_DELTA_BYTE_ARRAY = 7
"""The encoding where a value repeats the beginning of the previous one."""


@dataclass(frozen=True)
class Page:
    """The header of a page."""

    unpacked: int
    """Bytes when unpacked."""
    stored: int
    """Bytes in the file, without the header."""
    values: int
    kind: int
    encoding: int

    @property
    def repeats(self) -> bool:
        """Whether each value may take as many bytes as the whole page."""
        return self.kind == _DICTIONARY or self.encoding == _DELTA_BYTE_ARRAY


def pages_of(path: Path, file: BinaryIO, chunk: Any) -> Iterator[Page]:
    """Yields the page headers of a column chunk, given its metadata.

    Raises InputError if a page is larger than PAGE_BYTES or missing.
    """
    begin = chunk.data_page_offset
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        begin = min(begin, chunk.dictionary_page_offset)
    end = begin + chunk.total_compressed_size
    left = chunk.num_values
    while left > 0 and begin < end:
        page, size = _header(path, file, begin)
        if page.unpacked > PAGE_BYTES:
            raise InputError(
                f"a page of column '{chunk.path_in_schema}' of {path} unpacks to {page.unpacked:,} bytes, "
                f"more than {PAGE_BYTES >> 20} MB; write the file again with smaller pages (pyarrow: "
                f"write_batch_size=16) and texts of {LINE_BYTES >> 20} MB at most"
            )
        yield page
        left -= page.values if page.kind != _DICTIONARY else 0
        begin += size + page.stored


def unpacked_bytes(pages: Sequence[Page], values: int) -> int:
    """Returns the most bytes that any `values` consecutive values of a column chunk take."""
    data = [page for page in pages if page.kind != _DICTIONARY]
    values_before = [0, *itertools.accumulate(page.values for page in data)]
    bytes_before = [0, *itertools.accumulate(page.unpacked for page in data)]
    most = first = 0
    for last in range(len(data)):
        while values_before[last] - values_before[first + 1] > values:  # values between the two pages
            first += 1
        most = max(most, bytes_before[last + 1] - bytes_before[first])
    return max(most, values * max((page.unpacked for page in pages if page.repeats), default=0))


def _header(path: Path, file: BinaryIO, begin: int) -> tuple[Page, int]:
    """Returns the page whose header begins at a byte, and the size of the header."""
    size = _FIRST_BYTES
    while True:
        file.seek(begin)
        data = file.read(size)
        try:
            fields, end = _struct(data, 0, _DEPTH)
            return _page(fields), end
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            if isinstance(error, IndexError) and len(data) == size < _HEADER_BYTES:
                size *= 8  # the header is longer
                continue
            raise InputError(
                f"{path} is not a whole parquet file (no page at byte {begin:,}); fetch it again or leave it "
                "out"
            ) from error


def _page(fields: dict[int, Any]) -> Page:
    """Returns a page from the fields of its header, numbered as in parquet.thrift."""
    about: dict[int, Any] = next((fields[number] for number in (5, 7, 8) if number in fields), {})
    encoding = about.get(4 if 8 in fields else 2, 0)
    page = Page(fields[2], fields[3], about.get(1, 0), fields[1], encoding)
    if min(page.unpacked, page.stored, page.values) < 0:
        raise ValueError("a page of negative size")
    return page


def _struct(data: bytes, at: int, depth: int) -> tuple[dict[int, Any], int]:
    """Returns the fields of a structure in Thrift's compact protocol, by number, and where it ends."""
    fields: dict[int, Any] = {}
    number = 0
    while kind := data[at] & 15:
        step = data[at] >> 4
        number, at = (number + step, at + 1) if step else _integer(data, at + 1)
        fields[number], at = _value(data, at, kind, depth)
    return fields, at + 1


def _value(data: bytes, at: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (1, 2):
        return kind == 1, at
    if kind in (4, 5, 6):
        return _integer(data, at)
    if kind == 12 and depth:
        return _struct(data, at, depth - 1)
    if kind == 8:
        length, at = _unsigned(data, at)
    elif kind in (3, 7):
        length = 1 if kind == 3 else 8
    else:
        raise ValueError(f"a value of kind {kind}")
    if at + length > len(data):
        raise IndexError("the value goes on")
    return data[at : at + length], at + length


def _integer(data: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(data, at)
    return (value >> 1) ^ -(value & 1), at


def _unsigned(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
