"""Parts: the half-way files of a corpus build, which bound its memory and let it resume.

Final word ids need the counts of the whole corpus. So each block of text first becomes a part, a file with
word ids of its own; the types of all parts are merged in levels; and then parts that follow each other are
written as one shard, under final ids. No step holds more than a few parts in memory, and a finished part is
not made again.

All functions work from arguments and files, so in any process on any machine.
"""

import functools
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.files import writing
from lilliput.common.stored import intact, stored_array
from lilliput.errors import StorageError
from lilliput.text.sources import BREAK, Reader
from lilliput.text.stretches import Cut, numbered, strings, to_arrow
from lilliput.text.words import Rules, Splitter

END = 0
"""The word id that ends every document in the stream."""
START = 1
"""The word id of the start of a sequence; never in the stream."""
FIRST_WORD = 2
"""The lowest id of a word of the text."""

_AGAIN = "remove the folder it is in, and run the same command again"
_TOGETHER = 16
"""How many files are merged into one file of the next level."""

_Ids = npt.NDArray[np.uint32]


@functools.cache
def _splitter(rules: Rules) -> Splitter:
    return rules.splitter()


def write_parts(rules: Rules, reader: Reader, folder: Path) -> tuple[int, list[str]]:
    """Writes the missing parts of a reader's blocks; returns their word count and the names of all parts."""
    words, names = 0, []
    for place, block in reader.blocks():
        path = folder / f"{place}.npy"
        names.append(path.name)
        if not path.exists():
            words += write_part(rules, block, path)
    return words, names


def write_part(rules: Rules, block: bytes, path: Path) -> int:
    """Writes the part of one block: its types, counts and own word ids; returns its word count."""
    ids, types = _indexed(rules, block)
    counts = np.bincount(ids, minlength=len(types))
    _write(path, types, counts, ids)
    return int(counts[FIRST_WORD:].sum())


def _indexed(rules: Rules, block: bytes) -> tuple[_Ids, Any]:
    """Returns a block's words as indices into its types, and the types; END and START come first."""
    ids, types = _splitter(rules).split(BREAK + block, [rules.end.encode(), rules.start.encode()])
    is_end = ids == END
    return ids[1:][~(is_end[1:] & is_end[:-1])], types


def require_seen(folder: Path, names: Iterable[str]) -> None:
    """Raises StorageError if this machine does not see a file yet that another one wrote."""
    if unseen := sorted(set(names) - {path.name for path in folder.iterdir()}):
        raise StorageError(
            f"{folder / unseen[0]} was written by another machine and is not visible on this one; wait a "
            "minute, then run the same command again: finished parts are kept"
        )


def merges(paths: Sequence[Path], folder: Path, level: int) -> list[tuple[Sequence[Path], Path]]:
    """Returns the arguments of `write_merged` for each file of a level, given those of the level below."""
    begins = range(0, len(paths), _TOGETHER)
    groups = [paths[begin : begin + _TOGETHER] for begin in begins]
    return [(group, _merged_path(folder, level, number)) for number, group in enumerate(groups)]


def _merged_path(folder: Path, level: int, number: int) -> Path:
    return folder / f"merged-{level}-{number:06d}.npy"


def write_merged(paths: Sequence[Path], path: Path) -> None:
    """Writes the merged types and counts of some parts, or of files merged from parts.

    Also writes, for each of them, a table from its word ids to the merged ones.
    """
    types, counts = zip(*(_read(each, 2) for each in paths), strict=True)
    numbers, words = numbered(map(_cut, types))
    tables = np.split(numbers - 1, np.cumsum([len(each) for each in counts])[:-1])
    total = np.bincount(numbers - 1, np.concatenate(counts)).astype(np.int64)
    _write(path, words[1:], total, *tables)


def read_types(path: Path) -> tuple[Any, npt.NDArray[np.int64]]:
    """Returns the types of a part or a merged file, as an Arrow array, and their counts."""
    types, counts = _read(path, 2)
    text, _, ends = _cut(types)
    return strings(text.replace(b"\n", b""), np.append(0, ends - np.arange(len(ends)))), counts


def _write(path: Path, types: Any, counts: npt.NDArray[np.int64], *others: npt.NDArray[Any]) -> None:
    """Writes types, counts and other arrays one after the other; a zip archive would take twice the time."""
    lines = np.frombuffer(text_of(types), np.uint8)
    with writing(path) as file:
        for array in (lines, counts, *others):
            np.save(file, np.asarray(array))


def _read(path: Path, count: int) -> list[npt.NDArray[Any]]:
    """Returns the first `count` arrays of a file."""
    with intact(path, _AGAIN), path.open("rb") as file:
        return [np.load(file, allow_pickle=False) for _ in range(count)]


def _cut(lines: npt.NDArray[np.uint8]) -> Cut:
    ends = np.flatnonzero(lines == ord("\n"))
    return lines.tobytes(), np.append(0, ends[:-1] + 1), ends


def text_of(lines: Any) -> bytes:
    """Returns the strings of an Arrow array as the lines of a text."""
    import pyarrow.compute

    whole = pyarrow.ListArray.from_arrays(to_arrow(np.array([0, len(lines)], np.int32)), lines)
    joined = pyarrow.compute.binary_join(whole, strings(b"\n", np.array([0, 1]))[0])
    text: bytes = joined[0].as_py()
    return text + b"\n"


def write_shard(folder: Path, first: int, parts: Sequence[Path], path: Path) -> None:
    """Writes one shard, under final word ids, from consecutive parts; `first` is the number of the first."""
    streams = [_final_ids(folder, number)[_read(part, 3)[-1]] for number, part in enumerate(parts, first)]
    with writing(path) as file:
        np.save(file, np.concatenate(streams))


def _final_ids(folder: Path, number: int) -> _Ids:
    """Returns the table from the word ids of part `number` to the final ones."""
    ids: Any = slice(None)
    for level in itertools.count():
        number, place = divmod(number, _TOGETHER)
        path = _merged_path(folder, level, number)
        if not path.exists():
            break
        ids = _read(path, 3 + place)[-1][ids]
    ranks: _Ids = stored_array(folder / "ranks.npy", "uint32", (None,), _AGAIN)
    with intact(folder / "ranks.npy", _AGAIN):
        final: _Ids = ranks[ids]
    return final
