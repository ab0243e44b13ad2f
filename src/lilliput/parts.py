"""A block of text -> a part of a corpus, under word ids of its own -> with others a shard, under final ids.

All of it works from arguments and files, so in any process of any machine.
"""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput import run
from lilliput.sources import BREAK, Reader
from lilliput.words import WordSplitter, strings, to_arrow, to_numpy

END = 0
"""Word id that ends every document in the stream."""
START = 1
"""Word id of the start of a sequence; never in the stream."""
FIRST_WORD = 2
"""The lowest id of a word of the text."""

SPECIAL_WORDS = [b"[SEP]", b"[CLS]"]
_TYPES_AT_ONCE = 1 << 22
"""Types of parts looked up together among all words; each time takes a look at all of these."""

_Ids = npt.NDArray[np.uint32]

_splitter = functools.cache(WordSplitter)


def write_parts(settings: str, reader: Reader, folder: Path) -> tuple[int, list[str]]:
    """Writes the parts of a reader's blocks that are missing; returns their words, and the names of all."""
    words, names = 0, []
    for place, block in reader.blocks():
        path = folder / f"{place}.npz"
        names.append(path.name)
        if not path.exists():
            words += write_part(settings, block, path)
    return words, names


def write_part(settings: str, block: bytes, path: Path) -> int:
    """Writes one block's documents under word ids of its own, with types and counts; returns its words."""
    ids, types = _indexed(_splitter(settings), block)
    counts = np.bincount(ids, minlength=len(types))
    with run.writing(path) as file:
        np.savez(file, ids=ids, counts=counts, types=np.frombuffer(text_of(types), np.uint8))
    return int(counts[FIRST_WORD:].sum())


def _indexed(splitter: WordSplitter, block: bytes) -> tuple[_Ids, Any]:
    """Returns a block's words by their position among its types, and the types; END and START come first."""
    ids, types = splitter.split(BREAK + block, SPECIAL_WORDS)
    is_end = ids == END
    return ids[1:][~(is_end[1:] & is_end[:-1])], types


def _types(parts: Sequence[Path]) -> Iterator[tuple[list[Any], list[npt.NDArray[np.int64]]]]:
    """Yields types and counts of some parts at a time, as many as go well together into memory."""
    types, counts = [], []
    for path in parts:
        with np.load(path) as part:
            types.append(_lines(part["types"]))
            counts.append(part["counts"])
        if sum(map(len, types)) >= _TYPES_AT_ONCE:
            yield types, counts
            types, counts = [], []
    if types:
        yield types, counts


def _lines(text: npt.NDArray[np.uint8]) -> Any:
    """Returns the lines of a text as an array of Arrow, where words are looked up faster than in Python."""
    import pyarrow.compute

    return pyarrow.compute.split_pattern(strings(text, np.array([0, len(text)])), b"\n").flatten()


def text_of(lines: Any) -> Any:
    """Returns the lines in an array of Arrow as a text, without an end of the last."""
    import pyarrow.compute

    whole = pyarrow.ListArray.from_arrays(to_arrow(np.array([0, len(lines)], np.int32)), lines)
    return pyarrow.compute.binary_join(whole, pyarrow.scalar(b"\n", lines.type))[0].as_buffer()


def write_merged(parts: Sequence[Path], path: Path) -> tuple[Any, npt.NDArray[np.int64]]:
    """Returns all words and their counts; writes for each part the table from its word ids to these words."""
    import pyarrow

    words, counts = [], []
    schema = pyarrow.schema({"word": pyarrow.int32()})
    with run.writing(path) as file, pyarrow.ipc.new_file(file, schema) as tables:
        for types, added in _types(parts):
            merged = pyarrow.chunked_array([*words, *types]).dictionary_encode()
            numbers = [chunk.indices for chunk in merged.chunks]
            for table in numbers[len(words) :]:
                tables.write(pyarrow.record_batch([table], schema))
            places = np.concatenate([to_numpy(table) for table in numbers])
            counts = [np.bincount(places, np.concatenate([*counts, *added])).astype(np.int64)]
            words = [merged.chunk(0).dictionary]  # begins with those before
    return words[0], counts[0]


def write_shard(merged: Path, ranks: Path, first: int, parts: Sequence[Path], path: Path) -> None:
    """Writes one shard: some parts that follow each other, of which the first has that number, in final ids.

    `ranks` holds the final id of each word as merged.
    """
    import pyarrow

    final, streams = np.load(ranks, mmap_mode="r"), []
    with pyarrow.memory_map(str(merged)) as file, pyarrow.ipc.open_file(file) as tables:
        for number, part_path in enumerate(parts, first):
            with np.load(part_path) as part:
                streams.append(final[to_numpy(tables.get_batch(number)["word"])][part["ids"]])
    with run.writing(path) as file:
        np.save(file, np.concatenate(streams))
