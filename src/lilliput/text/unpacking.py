"""Reads files, compressed or not, as UTF-8 text and lines, in bounded memory.

However much a few bytes unpack to, only some megabytes and one line of LINE_BYTES are in memory at a time.
"""

import bz2
import codecs
import contextlib
import gzip
import itertools
import lzma
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from lilliput.errors import InputError

LINE_BYTES = 32 << 20
"""The longest line or row of a table that is read: about 5 million words."""
COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PLAIN = (".txt", ".text", ".md")
EXPECTED = (
    f"expected text ({', '.join(PLAIN)}) or tables ({', '.join(TABLES)}), all but parquet also "
    f"compressed ({', '.join(COMPRESSED)})"
)
SPACES = " \t\r\n"
"""Characters that separate words and surround names in a file; other white space (U+00A0) is part of them."""
_WORD = re.compile(f"[^{SPACES}]+")
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 1 << 13
"""The bytes at the start of a file that tell whether it is text."""
_ZSTD_STEP_BYTES = 1 << 10
"""A zstandard block of 4 bytes may hold 128 KiB, so these bytes unpack to 32 MiB at most."""
_ZSTD_WINDOW_BYTES = 1 << 27
_XZ_MEMORY_BYTES = 1 << 28
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


def kind_of(path: Path) -> str:
    """Returns the ending that says how to read a file, without that of a compression."""
    return (path.with_suffix("") if path.suffix.lower() in COMPRESSED else path).suffix.lower()


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Raises InputError, with a remedy, for any error while a file is read in the block."""
    try:
        yield
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError) as error:
        if "memory" in str(error).lower():
            raise InputError(
                f"{path} takes too much memory to unpack ({error}); compress it again with a window of "
                f"{_ZSTD_WINDOW_BYTES >> 20} MB at most (zstd without --long, xz -9 or less)"
            ) from error
        raise InputError(
            f"{path} is damaged or cut short ({error}); fetch or compress it again, or leave it out"
        ) from error
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror or error}; repair it or leave it out"
        ) from error


def too_long(where: str) -> InputError:
    """Returns the error for a line or a row of a table of more than LINE_BYTES."""
    return InputError(
        f"{where} is longer than {LINE_BYTES >> 20} MB, the most that is read at once; split its text, or "
        "leave it out"
    )


def words_in(text: str) -> list[str]:
    """Returns the words of a text, separated only by spaces, tabs and line ends.

    >>> list(map(len, words_in(f"10{chr(0xA0)}000 people")))
    [6, 6]
    """
    return _WORD.findall(text)


def lines_of(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yields the lines of an open file, decompressed and without their ends.

    Raises InputError if it is not UTF-8 text or a line is longer than LINE_BYTES.
    """
    begun: list[bytes] = []
    number = 1
    size = 0
    for chunk in chunks_of(path, file):
        first, *others = chunk.split(b"\n")
        begun.append(first)
        size += len(first)
        if size > LINE_BYTES:
            raise too_long(f"line {number:,} of {path}")
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun, size = [others[-1]], len(others[-1])
            number += len(others)
    if last := b"".join(begun):
        yield last


def chunks_of(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of an open file, decompressed and without a byte order mark.

    Raises InputError if they are not UTF-8 text.
    """
    return _checked(path, _whole_head(_unpacked(path, file)))


def _unpacked(path: Path, file: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of a file, decompressed, in chunks of at most _CHUNK_BYTES."""
    suffix = path.suffix.lower()
    if suffix == ".zst":
        yield from _zstandard_chunks(file)
    elif suffix == ".bz2":
        yield from _streams(file, bz2.BZ2Decompressor)
    elif suffix == ".xz":
        yield from _streams(file, lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY_BYTES))
    else:
        with gzip.open(file) if suffix == ".gz" else contextlib.nullcontext(file) as unpacked:
            while chunk := unpacked.read(_CHUNK_BYTES):
                yield chunk


def _streams(
    file: BinaryIO, decoder_of: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]
) -> Iterator[bytes]:
    """Yields the bytes of all streams of a file; by hand, as bz2.open treats a damaged stream as the end."""
    decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor | None = decoder_of()
    data = b""
    while data := data or file.read(_CHUNK_BYTES):
        if decoder is None:
            data = data.lstrip(b"\0")  # zeros may fill the space between streams, and after the last
            decoder = decoder_of() if data else None
            continue
        yield from _drained(decoder, data)
        data = decoder.unused_data if decoder.eof else b""
        decoder = None if decoder.eof else decoder
    if decoder is not None:
        raise EOFError("the file ends within a compressed stream")


def _drained(decoder: bz2.BZ2Decompressor | lzma.LZMADecompressor, data: bytes) -> Iterator[bytes]:
    """Yields the decompressed bytes of some compressed ones, in chunks."""
    try:
        while True:
            if chunk := decoder.decompress(data, _CHUNK_BYTES):
                yield chunk
            data = b""
            if decoder.needs_input or decoder.eof:
                return
    except OSError as error:  # bz2 raises this for invalid data
        raise EOFError(error) from error


def _zstandard_chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yields the bytes of all frames, and raises EOFError where they are damaged."""
    import zstandard  # here, as tables are read without the packages that making models needs

    try:
        yield from _frames(file, zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES).decompressobj)
    except zstandard.ZstdError as error:
        raise EOFError(error) from error


def _frames(file: BinaryIO, decoder_of: Callable[[], Any]) -> Iterator[bytes]:
    """Yields the bytes of all frames; by hand, as zstandard's reader accepts a file that is cut short."""
    decoder: Any = None
    while compressed := file.read(_CHUNK_BYTES):
        pieces: list[bytes] = []
        size = 0
        for begin in range(0, len(compressed), _ZSTD_STEP_BYTES):
            step = compressed[begin : begin + _ZSTD_STEP_BYTES]
            while step:
                decoder = decoder or decoder_of()
                pieces.append(decoder.decompress(step))
                size += len(pieces[-1])
                step = decoder.unused_data if decoder.eof else b""
                decoder = None if decoder.eof else decoder
            if size >= _CHUNK_BYTES:
                yield from _cut(b"".join(pieces))
                pieces, size = [], 0
        yield from _cut(b"".join(pieces))
    if decoder is not None:
        raise EOFError("the file ends within a compressed frame")


def _cut(data: bytes) -> Iterator[bytes]:
    return (data[begin : begin + _CHUNK_BYTES] for begin in range(0, len(data), _CHUNK_BYTES))


def _whole_head(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yields the same bytes, with the first chunks joined until they have _HEAD_BYTES."""
    head = b""
    for chunk in chunks:
        head += chunk
        if len(head) >= _HEAD_BYTES:
            break
    return itertools.chain([head] if head else [], chunks)


def _checked(path: Path, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yields the same bytes without a byte order mark; raises InputError if they are not UTF-8 text."""
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
    if b"\0" in head[:_HEAD_BYTES]:
        raise InputError(
            f"{path} is a binary file (byte {head.index(0):,} is NUL), not UTF-8 text; {EXPECTED}"
        )


def _not_utf8(path: Path, offset: int, line: int, error: UnicodeDecodeError) -> InputError:
    return InputError(
        f"{path} is not UTF-8 at byte {offset:,} (line {line:,}: {error.reason} "
        f"0x{error.object[error.start]:02x}), expected UTF-8: if it is Latin-1, convert it with "
        f"'iconv -f LATIN1 -t UTF-8', else name its encoding there"
    )
