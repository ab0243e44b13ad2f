"""Text -> documents as word ids, and word counts, in memory-mapped shards.

The text is cut into blocks, each counted on its own under word ids of its own (`parts/`). When all are there,
their word types are merged, ids given by falling count, and the parts rewritten under these ids (`shards/`).
Every file appears whole or not at all, and none depends on the number of workers, so a build that was stopped
goes on. The machines of a `cluster` read the text themselves, each its units of files.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common import progress
from lilliput.common.arguments import PathLike, path_of
from lilliput.common.files import writing
from lilliput.common.folders import MANIFEST, damage, read_manifest
from lilliput.common.stage_dir import StageDir
from lilliput.common.stored import as_stored, intact, stored_array
from lilliput.common.workers import Workers, worker_count
from lilliput.errors import InputError, StorageError
from lilliput.text.cluster import Cluster, joined
from lilliput.text.merging import merge, renumber
from lilliput.text.parts import END, FIRST_WORD, START, require_seen, write_part, write_parts
from lilliput.text.shared_words import TOKENIZER, splitter_of
from lilliput.text.sources import Reader, Source, describe, find_sources, pinned
from lilliput.text.words import Rules, Splitter

__all__ = ["END", "FIRST_WORD", "START", "Corpus", "write_corpus"]

_TABLES = ("words.txt", "counts.npy")

_Ids = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class _Results:
    """What the manifest of a corpus says of it: its figures, and the bytes of each file."""

    words: int
    documents: int
    word_types: int
    files: dict[str, int]


@dataclass(frozen=True)
class Corpus:
    """A finished corpus: a stream of word ids on disk and what they stand for."""

    path: Path
    """Its directory."""
    words: int
    """Words in the stream, document ends not counted."""
    documents: int
    """Documents in the stream."""

    def __repr__(self) -> str:
        return f"<Corpus {self.path}: {self.words:,} words in {self.documents:,} documents>"

    @classmethod
    def open(cls, path: PathLike, *, whole: bool = False) -> "Corpus":
        """Returns the corpus in a directory; raises StorageError if missing, unfinished or damaged.

        Args:
            path: The directory.
            whole: Whether all bytes are compared with what was recorded, which takes two seconds a gigabyte;
                otherwise the sizes of the files are, and the bytes of the words and their counts.
        """
        path = path_of("path", path)
        stage = StageDir(path, {})
        if not stage.manifest_path.exists():
            state = "is not finished" if stage.begun_path.exists() else "does not exist"
            raise StorageError(f"the corpus {path} {state}; run the command that builds it (again)")
        results: _Results = stage.read(_Results)
        for name, size in results.files.items():
            found = (path / name).stat().st_size if (path / name).is_file() else None
            if found != size:
                state = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
                raise StorageError(f"{path / name} {state}; remove {path} and build the corpus again")
        files = stage.files() or {}
        read = files if whole else {name: files[name] for name in _TABLES if name in files}
        if (fault := damage(path, read)) is not None:
            raise StorageError(f"{fault}; remove {path} and build the corpus again")
        return cls(path, results.words, results.documents)

    @functools.cached_property
    def counts(self) -> npt.NDArray[np.int64]:
        """How often each word id stands in the stream, [types]."""
        return stored_array(self.path / "counts.npy", "int64", (None,), mode=None)

    @functools.cached_property
    def shards(self) -> tuple[_Ids, ...]:
        """The stream: memory-mapped arrays of word ids, each document whole and followed by END."""
        paths = sorted((self.path / "shards").glob("*.npy"))
        remedy = f"remove {self.path} and build the corpus again"
        return tuple(stored_array(path, "uint32", (None,), remedy) for path in paths)

    def word_types(self) -> list[str]:
        """Returns the words by their id; those of END and START stand for no word."""
        with intact(self.path / "words.txt"):
            return (self.path / "words.txt").read_bytes().decode().split("\n")[:-1]

    def splitter(self) -> Splitter:
        """Returns what cuts other texts into words as this one was cut."""
        made_from = read_manifest(self.path / MANIFEST)["made_from"]
        with intact(self.path / MANIFEST):
            return splitter_of(made_from["words"], self.path)

    @property
    def between(self) -> str:
        """What stands between words in a text: a space, or nothing where words have their own."""
        return "" if (self.path / TOKENIZER).exists() else " "


def write_corpus(
    sources: Sequence[str],
    rules: Rules,
    out: Path,
    *,
    text_column: str = "text",
    workers: int | None = None,
    ray: str | None = None,
    overwrite: bool = False,
) -> Corpus:
    """Returns the corpus of some sources, built in `out` unless it is there; goes on with a half-built one.

    The result is the same byte for byte with any number of workers and machines. Memory is bounded by the
    word types.

    Args:
        sources: Files, folders, patterns and data sets, as `sources.find_sources` takes them.
        rules: How words are made of the text.
        out: The directory.
        text_column: The column of tables and data sets that holds the text.
        workers: Processes that split text; None stands for one per core.
        ray: Where the processes run: HOST:PORT of a Ray cluster, "auto" for the one that this machine belongs
            to, "local" for Ray on this machine alone; None stands for this machine without Ray.
        overwrite: Whether a corpus made from anything else is replaced.

    Raises:
        InputError: A source is missing, damaged, not text or empty; what was built before it is kept.
        StorageError: `out` holds something else, cannot be written or is not shared by the cluster.
        ConfigError: There is no such cluster, or Ray is not installed.
        LaunchError: The cluster failed; what was built before it is kept.
    """
    found = find_sources(sources)
    if ray is None:
        sharing: AbstractContextManager[Workers | Cluster] = Workers(worker_count(workers))
    else:  # its machines have other working directories
        out = out.absolute()
        found = [source.absolute() if isinstance(source, Path) else source for source in found]
        sharing = joined(ray, workers, [source for source in found if isinstance(source, Path)], out)
    with sharing as shared:
        stage, pinned_sources = _stage(found, rules, out, text_column, shared)
        if not stage.is_finished(overwrite):
            with stage.locked():
                if not stage.is_finished(overwrite):  # by a process that held the lock before
                    _build(stage, rules, Reader(pinned_sources, text_column), shared)
    stage.tidy()
    return Corpus.open(out, whole=True)


def is_written(sources: Sequence[str], rules: Rules, out: Path, text_column: str) -> bool:
    """Returns whether `out` holds the finished corpus of some sources; writes nothing."""
    stage, _ = _stage(find_sources(sources), rules, out, text_column, Workers(1))
    return stage.is_whole(overwrite=True)


def _stage(
    sources: Sequence[Source], rules: Rules, out: Path, text_column: str, workers: Workers | Cluster
) -> tuple[StageDir, list[Source]]:
    """Returns the directory of a corpus with what determines it, and the sources as they are to be read."""
    stage = StageDir(out, {})
    recorded = [path for path in (stage.manifest_path, stage.begun_path) if path.exists()]
    inputs: Any = ()
    if recorded:
        made_before = read_manifest(recorded[0])["made_from"]
        inputs = as_stored(tuple[dict[str, Any], ...], made_before.get("inputs", []), recorded[0])
    found = [pinned(source, inputs) for source in sources]
    apart = isinstance(workers, Cluster)
    described = workers.in_order(describe, zip(found, strict=True)) if apart else map(describe, found)
    return StageDir(
        out, {"inputs": list(described), "text_column": text_column, "words": rules.described()}
    ), found


def _build(stage: StageDir, rules: Rules, reader: Reader, workers: Workers | Cluster) -> None:
    """Builds a corpus, or goes on with it."""
    if stage.other() is not None or not (stage.path / "parts" / "ranks.npy").exists():
        _count(stage, reader, rules, workers)
        merge(stage, workers)
    else:
        stage.begin()  # which removes what a kill left
    renumber(stage.path, workers)
    _finish(stage, rules)


def _count(stage: StageDir, reader: Reader, rules: Rules, workers: Workers | Cluster) -> None:
    """Writes the parts that are missing; raises InputError when the sources hold no words."""
    blocks = reader.blocks()
    first = next(blocks, None)
    if first is None:
        raise InputError("the sources hold no text; name a file with at least one word")
    stage.begin()  # only now, so that a wrong name or column leaves nothing behind
    if isinstance(workers, Cluster):
        counted = _counted_apart(reader, rules, stage.path / "parts", workers)
    else:
        parts = (
            (block, stage.path / "parts" / f"{place}.npy")
            for place, block in itertools.chain([first], blocks)
        )
        missing = ((rules, block, path) for block, path in parts if not path.exists())
        counted = ((count, reader.position) for count in workers.in_order(write_part, missing))
    words = 0
    with progress.bar("corpus", reader.total, counted=False) as shown:
        for count, position in counted:
            words += count
            shown.update(position, f"{words:,} words")


def _counted_apart(reader: Reader, rules: Rules, folder: Path, cluster: Cluster) -> Iterator[tuple[int, int]]:
    """Yields words counted and bytes read up to there, as the machines of a cluster write the parts."""
    units = reader.split()
    position, names = 0, []
    tasks = ((rules, unit, folder) for unit in units)
    for unit, (count, written) in zip(units, cluster.in_order(write_parts, tasks), strict=True):
        position += unit.total or 0
        names += written
        yield count, position
    require_seen(folder, names)


def _finish(stage: StageDir, rules: Rules) -> None:
    counts = stored_array(stage.path / "counts.npy", "int64", (None,), mode=None)
    for partial in stage.path.rglob(".*.partial"):  # left by a kill
        partial.unlink()
    for name, content in rules.files().items():
        with writing(stage.path / name) as file:
            file.write(content)
    names = [
        "words.txt",
        "counts.npy",
        *rules.files(),
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
