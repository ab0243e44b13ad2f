"""Reads text from files, folders, patterns and streamed data sets, as documents and as blocks of about 8 MB.

Blocks depend on the text alone and never on timing, so they are the same on every machine. Documents are
UTF-8 bytes: each row of a table is a document; in plain text, blank lines separate documents.
"""

import contextlib
import glob
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lilliput.common import progress
from lilliput.common.files import digest_file
from lilliput.errors import InputError, nearest
from lilliput.text.folders import files_below, files_matching
from lilliput.text.formats import documents_of, encoded
from lilliput.text.tables import no_column
from lilliput.text.unpacking import COMPRESSED, EXPECTED, PLAIN, TABLES, kind_of, reading

BREAK = b"\xff"
"""Ends every document in a block; this byte occurs in no UTF-8 text."""
BLOCK_BYTES = 8 << 20
"""A block ends after the document that reaches this size."""
UNIT_BYTES = 8 * BLOCK_BYTES
"""A unit ends after the file that reaches this size, as stored, or after a data set."""

_DATA_SET = re.compile(r"(?P<name>[\w-][\w.-]*/[\w.-]+)(:(?P<config>[^:/]+))?(:(?P<split>[^:/]+))?")


@dataclass(frozen=True)
class DataSet:
    """A data set on the Hugging Face hub."""

    name: str
    config: str | None = None
    split: str = "train"
    revision: str | None = None
    """The commit that is read, so that a build resumes with the same text even if the data set changes."""

    def __str__(self) -> str:
        return f"data set {':'.join(part for part in (self.name, self.config, self.split) if part)}"


Source = Path | DataSet


def find_sources(names: Sequence[str]) -> list[Source]:
    """Returns the files and data sets that the user named, in order.

    A name is a file, a folder (all files with a known ending or none, sorted), a pattern with `*`, `**`,
    `?` or `[]`, or a data set on the hub: `owner/name`, `owner/name:config` or `owner/name:config:split`.
    Raises InputError if a name matches nothing, or something that it matches cannot be read.
    """
    if not names:
        raise InputError(f"no text was named; {EXPECTED}, or a data set as owner/name")
    return [source for name in names for source in _find(name)]


def _find(name: str) -> list[Source]:
    path = Path(name).expanduser()
    with reading(path):
        if path.is_file():
            return [path]
        if path.is_dir():
            return list(_inside(name, path))
        if path.exists():
            raise InputError(f"{name} is not a file that can be read twice; write its text to one")
        if glob.has_magic(name):
            matches = files_matching(path)
            if not matches:
                raise InputError(
                    f"no file matches the pattern '{name}' (from folder {Path.cwd()}); {EXPECTED}"
                )
            return list(_readable(matches))
        return [_data_set(name, path)]


def _inside(name: str, folder: Path) -> list[Path]:
    """Returns the files of a folder to read, and prints how many others it has."""
    found = files_below(folder)
    files = [item for item in found if _is_text_or_table(item)]
    if not files:
        others = f"only {len(found):,} other files" if found else "it is empty"
        raise InputError(f"folder {name} has no text that can be read, {others}; {EXPECTED}")
    if len(files) < len(found):
        apart = set(files)
        kinds = Counter(kind_of(item) or "no ending" for item in found if item not in apart)
        listed = ", ".join(f"{kind}: {count:,}" for kind, count in kinds.most_common(5))
        progress.note(
            f"folder {name}: {len(files):,} files are read, {len(found) - len(files):,} of other kinds are "
            f"left out ({listed}); {EXPECTED}"
        )
    return _readable(files)


def _readable(files: list[Path]) -> list[Path]:
    """Returns the same files; raises InputError if one is a broken link, a pipe or a device."""
    if lost := [item for item in files if not item.is_file()]:
        what = (
            "a broken link"
            if lost[0].is_symlink() and not lost[0].exists()
            else "not a file but a pipe or device"
        )
        raise InputError(f"{lost[0]} is {what}; replace it or leave it out")
    return files


def _data_set(name: str, path: Path) -> DataSet:
    data_set = _DATA_SET.fullmatch(name)
    is_path = path.suffix in COMPRESSED + TABLES + PLAIN or path.parent.is_dir()
    if data_set is None or is_path:
        hint = ""
        if path.parent.is_dir():
            hint = f"; {nearest(path.name, (item.name for item in path.parent.iterdir()))}"
        raise InputError(
            f"there is no file or folder {name}{hint}; a data set on the hub is written owner/name"
        )
    return DataSet(data_set["name"], data_set["config"], data_set["split"] or "train")


def _is_text_or_table(path: Path) -> bool:
    """Whether a file in a folder is read: one with a known ending, or text without an ending."""
    if path.suffix != "":
        return kind_of(path) in TABLES + PLAIN
    with reading(path):
        if not path.is_file():
            return path.is_symlink()
        with path.open("rb") as file:
            return b"\0" not in file.read(4096)


def pinned(source: Source, recorded: Sequence[Mapping[str, Any]]) -> Source:
    """Returns a data set with the revision of an earlier build, else the newest one; a file unchanged."""
    if isinstance(source, Path):
        return source
    for record in recorded:
        if record == {**describe(source), "revision": record.get("revision")}:
            return DataSet(source.name, source.config, source.split, record["revision"])
    import huggingface_hub

    revision = None
    with contextlib.suppress(Exception):  # without a network, reading raises its own error
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
    with reading(source):
        return {"file": source.name, "bytes": source.stat().st_size, "digest": digest_file(source)}


class Reader:
    """Reads sources in order and knows its position."""

    def __init__(self, sources: Sequence[Source], text_column: str) -> None:
        self._units = dict(enumerate(_units(sources)))
        self._column = text_column
        self._file: BinaryIO | None = None
        self._finished = 0

    def split(self) -> list["Reader"]:
        """Returns readers that together, in order, yield the blocks of this one."""
        readers = []
        for number, unit in self._units.items():
            reader = Reader([], self._column)
            reader._units = {number: unit}
            readers.append(reader)
        return readers

    @property
    def total(self) -> int | None:
        """The bytes of all files; None with a data set, whose size is unknown."""
        sources = list(itertools.chain.from_iterable(self._units.values()))
        sizes = [_size(source) for source in sources if isinstance(source, Path)]
        return sum(sizes) if len(sizes) == len(sources) else None

    @property
    def position(self) -> int:
        """The bytes read so far; for compressed files, as stored."""
        return self._finished + (self._file.tell() if self._file else 0)

    def blocks(self) -> Iterator[tuple[str, bytes]]:
        """Yields blocks with their places, which are texts that sort in the order of the blocks.

        A block consists of documents, each followed by BREAK, and has at least BLOCK_BYTES, except the last
        of a unit.
        """
        for number, unit in self._units.items():
            for index, block in enumerate(_filled(self._documents(unit))):
                yield f"{number:06d}-{index:06d}", block

    def documents(self) -> Iterator[bytes]:
        """Yields the documents of all sources; raises InputError if something cannot be read."""
        return itertools.chain.from_iterable(map(self._documents, self._units.values()))

    def _documents(self, unit: Sequence[Source]) -> Iterator[bytes]:
        for source in unit:
            if isinstance(source, DataSet):
                yield from _streamed(source, self._column)
                continue
            with reading(source), source.open("rb") as file:
                self._file = file
                yield from documents_of(source, file, self._column)
                self._file = None
            self._finished += _size(source)


def _size(path: Path) -> int:
    with reading(path):
        return path.stat().st_size


def _units(sources: Sequence[Source]) -> Iterator[list[Source]]:
    """Yields sources in units that can be read independently, as no block spans two units."""
    unit: list[Source] = []
    size = 0
    for source in sources:
        unit.append(source)
        size += _size(source) if isinstance(source, Path) else UNIT_BYTES
        if size >= UNIT_BYTES:
            yield unit
            unit, size = [], 0
    if unit:
        yield unit


def _filled(documents: Iterator[bytes]) -> Iterator[bytes]:
    """Yields blocks of documents, without empty ones."""
    block: list[bytes] = []
    size = 0
    for document in documents:
        if not document or document.isspace():
            continue
        block += (document, BREAK)
        size += len(document) + 1
        if size >= BLOCK_BYTES:
            yield b"".join(block)
            block, size = [], 0
    if block:
        yield b"".join(block)


def _streamed(source: DataSet, column: str) -> Iterator[bytes]:
    import datasets

    row = 0
    try:
        stream = datasets.load_dataset(
            source.name, source.config, split=source.split, streaming=True, revision=source.revision
        )
        for batch in stream.iter(batch_size=1024):
            if column not in batch:
                raise no_column(str(source), column, list(batch))
            for text in batch[column]:
                row += 1
                yield encoded(text, f"row {row:,} of {source}", column)
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds, also bare Exception
        raise InputError(
            f"{source} cannot be read (after row {row:,}: {' '.join(str(error).split())}); check its name, "
            "config and split (owner/name:config:split) and the network, then run the same command again: "
            "finished parts are kept"
        ) from error
