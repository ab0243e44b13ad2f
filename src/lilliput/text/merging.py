"""The parts of a corpus -> one table of its words by falling count, and shards under these ids."""

import itertools
from pathlib import Path

import numpy as np

from lilliput.common import progress
from lilliput.common.files import writing
from lilliput.common.stage_dir import StageDir
from lilliput.common.workers import Workers
from lilliput.errors import InputError
from lilliput.text.cluster import Cluster
from lilliput.text.parts import (
    END,
    FIRST_WORD,
    START,
    merges,
    read_types,
    require_seen,
    text_of,
    write_merged,
    write_shard,
)
from lilliput.text.stretches import to_arrow, to_numpy

_SHARDS_AT_MOST = 256
"""Each mapped shard keeps a file open, and a process may often open no more than 1,024."""


def _parts(out: Path) -> list[Path]:
    return sorted((out / "parts").glob("[0-9]*.npy"))


def merge(stage: StageDir, workers: Workers | Cluster) -> None:
    """Writes counts.npy and words.txt by word id, and ranks.npy, the last, as it says that all is counted."""
    import pyarrow.compute

    words, counts = read_types(_merged(stage.path, workers))
    if len(words) == FIRST_WORD:
        stage.clear()
        raise InputError(
            "the sources hold no words, only spaces or control characters; name a file with text"
        )
    table = pyarrow.Table.from_arrays([words, to_arrow(counts)], ["word", "count"]).slice(FIRST_WORD)
    # Bytes of UTF-8 sort like code points.
    by_count = pyarrow.compute.sort_indices(table, [("count", "descending"), ("word", "ascending")])
    order = np.concatenate(([END, START], to_numpy(by_count).astype(np.int64) + FIRST_WORD))
    ranks = np.empty(len(order), np.uint32)
    ranks[order] = np.arange(len(order))
    with writing(stage.path / "counts.npy") as file:
        np.save(file, counts[order])
    with writing(stage.path / "words.txt") as file:
        file.write(text_of(words.take(to_arrow(order))))
    with writing(stage.path / "parts" / "ranks.npy") as file:
        np.save(file, ranks)


def _merged(out: Path, workers: Workers | Cluster) -> Path:
    """Merges the types of the parts, of what comes of that, and so on; returns the last file."""
    paths, folder, level = _parts(out), out / "parts", 0
    while level == 0 or len(paths) > 1:
        tasks = merges(paths, folder, level)
        shared = workers.in_order(write_merged, iter(tasks))
        for _ in shared if len(tasks) > 1 else itertools.starmap(write_merged, tasks):
            pass
        paths, level = [path for _, path in tasks], level + 1
        require_seen(folder, (path.name for path in paths))
    return paths[0]


def renumber(out: Path, workers: Workers | Cluster) -> None:
    """Writes the shards that are missing: parts, several to a shard if many, under the final word ids."""
    paths = _parts(out)
    together = -(-len(paths) // _SHARDS_AT_MOST)
    begins = range(0, len(paths), together)
    shards = [out / "shards" / f"{index:05d}.npy" for index in range(len(begins))]
    missing = [
        (out / "parts", begin, paths[begin : begin + together], shard)
        for begin, shard in zip(begins, shards, strict=True)
        if not shard.exists()
    ]
    with progress.bar("word ids", len(missing)) as shown:
        for done, _ in enumerate(workers.in_order(write_shard, iter(missing)), start=1):
            shown.update(done)
    require_seen(out / "shards", (shard.name for shard in shards))
