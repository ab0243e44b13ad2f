"""Stage 1: text -> documents as word ids, and word counts, in memory-mapped shards.

The text is cut into blocks, each counted on its own under word ids of its own (`parts/`). When all are there,
their word types are merged, ids given by falling count, and the parts rewritten under these ids (`shards/`).
Every file appears whole or not at all, and none depends on the number of workers, so a build that was stopped
goes on.
"""

import functools
import itertools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput import progress, run
from lilliput.errors import InputError, StorageError
from lilliput.sources import BREAK, Reader, describe, find_sources, pinned
from lilliput.words import WordSplitter
from lilliput.workers import Workers

END = 0
"""Word id that ends every document in the stream."""
START = 1
"""Word id of the start of a sequence; never in the stream."""
FIRST_WORD = 2
"""The lowest id of a word of the text."""

_SPECIAL_WORDS = [b"[SEP]", b"[CLS]"]
_TYPES_AT_ONCE = 1 << 22
"""Types of parts looked up together among all words; each time takes a look at all of these."""
_SHARDS_AT_MOST = 256
"""Each mapped shard keeps a file open, and a process may often open no more than 1,024."""

_Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Corpus:
    """A finished corpus: a stream of word ids on disk and what they stand for."""

    path: Path
    """Its directory."""
    words: int
    """Words in the stream, document ends not counted."""
    documents: int
    """Documents in the stream."""

    @classmethod
    def open(cls, path: Path) -> "Corpus":
        """Returns the corpus in a directory; raises StorageError if missing, unfinished or cut short."""
        stage = run.StageDir(path, {})
        if not stage.manifest_path.exists():
            state = "is not finished" if stage.begun_path.exists() else "does not exist"
            raise StorageError(f"the corpus {path} {state}; run the command that builds it (again)")
        results = stage.results()
        for name, size in results["files"].items():
            found = (path / name).stat().st_size if (path / name).is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
                raise StorageError(f"{path / name} {state}; remove {path} and build the corpus again")
        return cls(path, results["words"], results["documents"])

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How often each word id stands in the stream, [types]."""
        counts: npt.NDArray[np.int64] = np.load(self.path / "counts.npy")
        return counts

    @functools.cached_property
    def shards(self) -> tuple[_Ids, ...]:
        """The stream: memory-mapped arrays of word ids, each document whole and followed by END."""
        return tuple(np.load(path, mmap_mode="r") for path in sorted((self.path / "shards").glob("*.npy")))

    def word_types(self) -> list[str]:
        """Returns the words by their id; those of END and START are "[SEP]" and "[CLS]"."""
        return (self.path / "words.txt").read_bytes().decode().split("\n")[:-1]


def build_corpus(
    sources: Sequence[str],
    tokenizer: Tokenizer,
    out: Path,
    *,
    text_column: str = "text",
    workers: int | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Returns the corpus of some sources, built in `out` unless it is there; goes on with a half-built one.

    The result is the same byte for byte with any number of workers. Memory is bounded by the word types.

    Args:
        sources: Files, folders, patterns and data sets, as `sources.find_sources` takes them.
        tokenizer: The teacher's, as `load_tokenizer` returns it; only its words matter, not its pieces.
        out: The directory.
        text_column: The column of tables and data sets that holds the text.
        workers: Processes that split text; None stands for one per core.
        overwrite: Whether a corpus made from anything else is replaced.

    Raises:
        InputError: A source is missing, damaged, not text or empty; what was built before it is kept.
        StorageError: `out` holds something else or cannot be written.
    """
    words = {
        "normalizer": _settings(tokenizer.normalizer),
        "pre_tokenizer": _settings(tokenizer.pre_tokenizer),
    }
    stage = run.StageDir(out, {})
    recorded = [path for path in (stage.manifest_path, stage.begun_path) if path.exists()]
    inputs = run.read_json(recorded[0])["made_from"].get("inputs", []) if recorded else []
    found = [pinned(source, inputs) for source in find_sources(sources)]
    made_from = {"inputs": [describe(source) for source in found], "text_column": text_column, "words": words}
    stage = run.StageDir(out, made_from)
    if not stage.is_finished(overwrite):
        with Workers(workers or os.cpu_count() or 1) as shared:
            if stage.other() is not None or not (out / "words.txt").exists():
                _count(stage, Reader(found, text_column), json.dumps(words["normalizer"]), shared)
                _merge(stage)
            _renumber(out, shared)
        _finish(stage)
    shutil.rmtree(out / "parts", ignore_errors=True)  # here, as a kill may have come right after the manifest
    return Corpus.open(out)


def _settings(part: Any) -> Any:
    return json.loads(part.__getstate__())


_splitter = functools.cache(WordSplitter)


def _count(stage: run.StageDir, reader: Reader, settings: str, workers: Workers) -> None:
    """Writes the parts that are missing; raises InputError when the sources hold no words."""
    blocks = reader.blocks()
    first = next(blocks, None)
    if first is None:
        raise InputError("the sources hold no text; name a file with at least one word")
    stage.begin()  # only now, so that a wrong name or column leaves nothing behind
    parts = (
        (block, stage.path / "parts" / f"{place}.npz") for place, block in itertools.chain([first], blocks)
    )
    missing = ((settings, block, path) for block, path in parts if not path.exists())
    words = 0
    with progress.bar("corpus", reader.total, counted=False) as shown:
        for counted in workers.in_order(_write_part, missing):
            words += counted
            shown.update(reader.position, f"{words:,} words")


def _write_part(settings: str, block: bytes, path: Path) -> int:
    """Writes one block's documents under word ids of its own, with types and counts; returns its words."""
    ids, types = _indexed(_splitter(settings), block)
    counts = np.bincount(ids, minlength=len(types))
    with run.writing(path) as file:
        np.savez(file, ids=ids, counts=counts, types=np.frombuffer(b"\n".join(types), np.uint8))
    return int(counts[FIRST_WORD:].sum())


def _indexed(splitter: WordSplitter, block: bytes) -> tuple[_Ids, list[bytes]]:
    """Returns a block's words by their position among its types, and the types; END and START come first."""
    numbers, words = splitter.split(BREAK + block)  # hence BREAK is the first of the words
    ids = numbers + (numbers > END)
    is_end = ids == END
    return ids[1:][~(is_end[1:] & is_end[:-1])], [*_SPECIAL_WORDS, *words[1:]]


def _parts(out: Path) -> list[Path]:
    return sorted((out / "parts").glob("*-*.npz"))


def _merge(stage: run.StageDir) -> None:
    """Writes counts.npy and words.txt by word id; words.txt comes last, as it says that all is counted."""
    import pyarrow.compute

    words, counts = pyarrow.array(_SPECIAL_WORDS, pyarrow.large_binary()), np.zeros(FIRST_WORD, np.int64)
    for types, added in _read_types(_parts(stage.path)):
        merged = pyarrow.chunked_array([words, *types]).combine_chunks().dictionary_encode()
        counts = np.bincount(merged.indices, np.concatenate([counts, *added])).astype(np.int64)
        words = merged.dictionary
    if len(words) == FIRST_WORD:
        stage.clear()
        raise InputError(
            "the sources hold no words, only spaces or control characters; name a file with text"
        )
    table = pyarrow.table({"word": words, "count": counts}).slice(FIRST_WORD)
    # Bytes of UTF-8 sort like code points.
    by_count = pyarrow.compute.sort_indices(table, [("count", "descending"), ("word", "ascending")])
    order = np.concatenate(([END, START], by_count.to_numpy().astype(np.int64) + FIRST_WORD))
    with run.writing(stage.path / "counts.npy") as file:
        np.save(file, counts[order])
    with run.writing(stage.path / "words.txt") as file:
        file.writelines(word + b"\n" for word in words.take(order).to_pylist())


def _read_types(parts: Sequence[Path]) -> Iterator[tuple[list[Any], list[npt.NDArray[np.int64]]]]:
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


def _renumber(out: Path, workers: Workers) -> None:
    """Writes the shards that are missing: parts, several to a shard if many, under the final word ids."""
    paths = _parts(out)
    together = -(-len(paths) // _SHARDS_AT_MOST)
    groups = [paths[begin : begin + together] for begin in range(0, len(paths), together)]
    shards = [out / "shards" / f"{index:05d}.npy" for index in range(len(groups))]
    missing = [(group, shard) for group, shard in zip(groups, shards, strict=True) if not shard.exists()]
    finals = _finals(out, [path for group, _ in missing for path in group])
    tasks = ((group, list(itertools.islice(finals, len(group))), shard) for group, shard in missing)
    with progress.bar("word ids", len(missing)) as shown:
        for done, _ in enumerate(workers.in_order(_write_shard, tasks), start=1):
            shown.update(done)


def _finals(out: Path, parts: Sequence[Path]) -> Iterator[_Ids]:
    """Yields for each part the table from its own word ids to the final ones."""
    import pyarrow.compute

    words = _lines(np.fromfile(out / "words.txt", np.uint8)[:-1])
    for types, _ in _read_types(parts):
        ids = pyarrow.compute.index_in(pyarrow.chunked_array(types), value_set=words).to_numpy()
        yield from np.split(ids.astype(np.uint32), np.cumsum([len(words) for words in types])[:-1])


def _write_shard(parts: list[Path], finals: list[_Ids], path: Path) -> None:
    """Writes one shard: some parts, each with its table from its own word ids to the final ones."""
    arrays = []
    for part_path, final in zip(parts, finals, strict=True):
        with np.load(part_path) as part:
            arrays.append(final[part["ids"]])
    with run.writing(path) as file:
        np.save(file, np.concatenate(arrays))


def _finish(stage: run.StageDir) -> None:
    counts = np.load(stage.path / "counts.npy")
    for partial in stage.path.rglob(".*.partial"):  # left by a kill
        partial.unlink()
    names = [
        "words.txt",
        "counts.npy",
        *sorted(f"shards/{path.name}" for path in (stage.path / "shards").iterdir()),
    ]
    stage.finish(
        {
            "words": int(counts[FIRST_WORD:].sum()),
            "documents": int(counts[END]),
            "word_types": len(counts) - FIRST_WORD,
            "files": {name: (stage.path / name).stat().st_size for name in names},
        }
    )
