"""Reading of text: files, folders, patterns and streamed data sets -> documents -> blocks of a fixed size.

Everything here is decided by the text alone and never by timing, so blocks are the same on every machine.
Documents are UTF-8 bytes; a row of a table is a document, in plain text blank lines stand between documents.
"""

import bz2
import codecs
import contextlib
import csv
import glob
import gzip
import json
import lzma
import re
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import zstandard

from lilliput import run
from lilliput.errors import InputError, nearest

BREAK = b"\xff"
"""Ends every document in a block; this byte occurs in no UTF-8 text."""
BLOCK_BYTES = 8 << 20
"""A block is full with the document that reaches this."""
DOCUMENT_BYTES = 1 << 20
"""Plain text without a blank line for longer than this is cut, so that memory stays bounded."""

_CHUNK_BYTES = 1 << 20
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_TABLES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
_PLAIN = (".txt", ".text", ".md")
_BLANK_LINES = re.compile(rb"\n[ \t\r\f\v]*\n")
_DATA_SET = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[^:/]+))?(:(?P<split>[^:/]+))?")
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
_EXPECTED = (
    f"expected are text ({', '.join(_PLAIN)}) and tables ({', '.join(_TABLES)}), all but parquet also "
    f"compressed ({', '.join(_COMPRESSED)})"
)


@dataclass(frozen=True)
class DataSet:
    """A data set on the Hugging Face hub."""

    name: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    """The commit read, so that a build goes on from the same text even if the data set changes."""

    def __str__(self) -> str:
        return f"data set {':'.join(part for part in (self.name, self.config, self.split) if part)}"


Source = Path | DataSet


def find_sources(names: Sequence[str]) -> list[Source]:
    """Returns the files and data sets that the user's names stand for, in order.

    A name is a file, a folder (all files with a known ending or none, sorted), a pattern with `*`, `**`,
    `?` or `[]`, or a data set on the hub: `owner/name`, `owner/name:config` or `owner/name:config:split`.
    Raises InputError when a name stands for nothing.
    """
    if not names:
        raise InputError(f"no text was named; {_EXPECTED}, or a data set as owner/name")
    return [source for name in names for source in _find(name)]


def _find(name: str) -> list[Source]:
    path = Path(name).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        inside = sorted(item for item in path.rglob("*") if item.is_file())
        files = [item for item in inside if _is_text_or_table(item, path)]
        if not files:
            found = f"{len(inside)} other files" if inside else "nothing"
            raise InputError(f"folder {name} holds no text that can be read but {found}; {_EXPECTED}")
        return list(files)
    if glob.has_magic(name):
        matches = sorted(Path(item) for item in glob.glob(str(path), recursive=True))
        if not any(item.is_file() for item in matches):
            raise InputError(f"no file matches the pattern '{name}' (from folder {Path.cwd()}); {_EXPECTED}")
        return [item for item in matches if item.is_file()]
    data_set = _DATA_SET.fullmatch(name)
    is_path = path.suffix in _COMPRESSED + _TABLES + _PLAIN or path.parent.is_dir()
    if data_set is None or is_path:
        hint = ""
        if path.parent.is_dir():
            hint = f"; {nearest(path.name, (item.name for item in path.parent.iterdir()))}"
        raise InputError(
            f"there is no file or folder {name}{hint}; a data set on the hub is written owner/name"
        )
    config, split = data_set["config"], data_set["split"] or "train"
    return [DataSet(data_set["name"], config, split)]


def _is_text_or_table(path: Path, folder: Path) -> bool:
    """Whether a file found in a folder is to be read: not hidden, with a known ending or none."""
    if any(part.startswith(".") for part in path.relative_to(folder).parts):
        return False
    if path.suffix == "":
        with _reading(path), path.open("rb") as file:
            return b"\0" not in file.read(4096)
    return _kind(path) in _TABLES + _PLAIN


def _kind(path: Path) -> str:
    """Returns the ending that says how to read a file, that of compression left out."""
    return (path.with_suffix("") if path.suffix.lower() in _COMPRESSED else path).suffix.lower()


def pinned(source: Source, recorded: Sequence[Mapping[str, Any]]) -> Source:
    """Returns a data set with the revision of an earlier build, else the hub's newest; a file as it is."""
    if isinstance(source, Path):
        return source
    for record in recorded:
        if record == {**describe(source), "revision": record.get("revision")}:
            return DataSet(source.name, source.config, source.split, record["revision"])
    import huggingface_hub

    revision = None
    with contextlib.suppress(Exception):  # without a network, reading says so in its own words
        revision = huggingface_hub.HfApi().dataset_info(source.name, timeout=20).sha
    return DataSet(source.name, source.config, source.split, revision)


def describe(source: Source) -> dict[str, Any]:
    """Returns what identifies the text of a source, as JSON values."""
    if isinstance(source, DataSet):
        return {
            "data_set": source.name,
            "config": source.config,
            "split": source.split,
            "revision": source.revision,
        }
    with _reading(source):
        return {"file": source.name, "bytes": source.stat().st_size, "digest": run.digest_file(source)}


class Reader:
    """Reads sources in order and says how far it is."""

    def __init__(self, sources: Sequence[Source], text_column: str) -> None:
        self._sources, self._column = sources, text_column
        self._file: BinaryIO | None = None
        self._finished = 0

    @property
    def total(self) -> int | None:
        """Bytes of all files; None if there is a data set, whose size is not known."""
        sizes = [source.stat().st_size for source in self._sources if isinstance(source, Path)]
        return sum(sizes) if len(sizes) == len(self._sources) else None

    @property
    def position(self) -> int:
        """Bytes read so far, compressed ones as they are stored."""
        return self._finished + (self._file.tell() if self._file else 0)

    def blocks(self) -> Iterator[bytes]:
        """Yields documents, each followed by BREAK, in blocks of at least BLOCK_BYTES but for the last."""
        block: list[bytes] = []
        size = 0
        for document in self.documents():
            if not document or document.isspace():
                continue
            block += (document, BREAK)
            size += len(document) + 1
            if size >= BLOCK_BYTES:
                yield b"".join(block)
                block, size = [], 0
        if block:
            yield b"".join(block)

    def documents(self) -> Iterator[bytes]:
        """Yields the documents of all sources; raises InputError where something cannot be read."""
        for source in self._sources:
            if isinstance(source, DataSet):
                yield from _streamed(source, self._column)
                continue
            with _reading(source), source.open("rb") as file:
                self._file = file
                yield from _documents_of(source, file, self._column)
                self._file = None
            self._finished += source.stat().st_size


def _documents_of(path: Path, file: BinaryIO, column: str) -> Iterator[bytes]:
    kind = _kind(path)
    if kind == ".parquet":
        return _parquet(path, file, column)
    chunks = _checked(path, _chunks(path, file))
    if kind in (".csv", ".tsv"):
        return _separated(path, chunks, column, "," if kind == ".csv" else "\t")
    return _json_lines(path, chunks, column) if kind in _TABLES else _plain(chunks)


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
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
            raise InputError(f"{path} is not UTF-8 text but looks like {what}; {_EXPECTED}")
    if b"\0" in head[:8192]:
        raise InputError(
            f"{path} is a binary file (byte {head.index(0):,} is NUL), not UTF-8 text; {_EXPECTED}"
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
            raise _no_column(where, column, row)
        yield _encoded(row[column], where, column)


def _separated(path: Path, chunks: Iterable[bytes], column: str, delimiter: str) -> Iterator[bytes]:
    csv.field_size_limit(sys.maxsize)  # the default of 128 KB is less than a long document
    rows = csv.reader((f"{line.decode()}\n" for line in _lines(chunks)), delimiter=delimiter, strict=True)
    try:
        header = next(rows, [])
        if column not in header:
            raise _no_column(f"the header of {path}", column, header)
        index = header.index(column)
        for row in rows:
            if row and len(row) != len(header):
                raise InputError(
                    f"line {rows.line_num:,} of {path} ends a row of {len(row)} fields, expected are "
                    f"{len(header)} as in its header; put fields with separators or line ends in quotes"
                )
            if row:
                yield _encoded(row[index], str(path), column)
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
            raise _no_column(str(path), column, table.schema_arrow.names)
        for batch in table.iter_batches(batch_size=1024, columns=[column]):
            for text in batch.column(0).to_pylist():
                row += 1
                yield _encoded(text, f"row {row:,} of {path}", column)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"{path} is not a whole parquet file (after row {row:,}: {error}); fetch it again or leave it out"
        ) from error


def _streamed(source: DataSet, column: str) -> Iterator[bytes]:
    import datasets

    row = 0
    try:
        stream = datasets.load_dataset(
            source.name, source.config, split=source.split, streaming=True, revision=source.revision
        )
        for batch in stream.iter(batch_size=1024):
            if column not in batch:
                raise _no_column(str(source), column, batch)
            for text in batch[column]:
                row += 1
                yield _encoded(text, f"row {row:,} of {source}", column)
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds, bare ones among them
        raise InputError(
            f"{source} cannot be read (after row {row:,}: {' '.join(str(error).split())}); check its name, "
            "config and split (owner/name:config:split) and the network, then run the same command again: "
            "what is finished is kept"
        ) from error


def _encoded(text: object, where: str, column: str) -> bytes:
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


def _no_column(where: str, column: str, columns: Iterable[str]) -> InputError:
    names = list(columns)
    return InputError(
        f"{where} has no column '{column}' but {', '.join(names) or 'none at all'}; {nearest(column, names)} "
        "Name the column that holds the text with --text-column"
    )
