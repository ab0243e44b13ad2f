"""A block of text -> a part of a corpus, under word ids of its own -> with others a shard, under final ids.

All of it works from arguments and files, so in any process of any machine.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput import run
from lilliput.sources import BREAK, Reader
from lilliput.words import WordSplitter

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
        np.savez(file, ids=ids, counts=counts, types=np.frombuffer(b"\n".join(types.to_pylist()), np.uint8))
    return int(counts[FIRST_WORD:].sum())


def _indexed(splitter: WordSplitter, block: bytes) -> tuple[_Ids, Any]:
    """Returns a block's words by their position among its types, and the types; END and START come first."""
    ids, types = splitter.split(BREAK + block, SPECIAL_WORDS)
    is_end = ids == END
    return ids[1:][~(is_end[1:] & is_end[:-1])], types


def read_types(parts: Sequence[Path]) -> Iterator[tuple[list[Any], list[npt.NDArray[np.int64]]]]:
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

    buffers = [None, pyarrow.py_buffer(np.array([0, len(text)])), pyarrow.py_buffer(text)]
    whole = pyarrow.Array.from_buffers(pyarrow.large_binary(), 1, buffers)
    return pyarrow.compute.split_pattern(whole, b"\n").flatten()


def with_final_ids(
    out: Path, shards: Sequence[tuple[list[Path], Path]]
) -> Iterator[tuple[list[Path], list[_Ids], Path]]:
    """Yields what `write_shard` takes for each shard, given its parts and its path."""
    finals = _final_ids(out, [path for parts, _ in shards for path in parts])
    for parts, path in shards:
        yield parts, list(itertools.islice(finals, len(parts))), path


def _final_ids(out: Path, parts: Sequence[Path]) -> Iterator[_Ids]:
    """Yields for each part the table from its own word ids to the final ones."""
    import pyarrow.compute

    words = _lines(np.fromfile(out / "words.txt", np.uint8)[:-1])
    for types, _ in read_types(parts):
        ids = pyarrow.compute.index_in(pyarrow.chunked_array(types), value_set=words).to_numpy()
        yield from np.split(ids.astype(np.uint32), np.cumsum([len(words) for words in types])[:-1])


def renumber(out: Path, shards: Sequence[tuple[list[Path], Path]]) -> int:
    """Writes shards that are missing, given their parts and their paths; returns how many were given."""
    missing = [(parts, path) for parts, path in shards if not path.exists()]
    for parts, finals, path in with_final_ids(out, missing):
        write_shard(parts, finals, path)
    return len(shards)


def write_shard(parts: list[Path], finals: list[_Ids], path: Path) -> None:
    """Writes one shard: some parts, each with its table from its own word ids to the final ones."""
    arrays = []
    for part_path, final in zip(parts, finals, strict=True):
        with np.load(part_path) as part:
            arrays.append(final[part["ids"]])
    with run.writing(path) as file:
        np.save(file, np.concatenate(arrays))
