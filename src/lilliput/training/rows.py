"""Documents -> the rows that batches are made of, and those that are held out."""

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lilliput.errors import InputError
from lilliput.pieces.lexicon import Lexicon
from lilliput.text.corpus import END, Corpus

Ints = npt.NDArray[np.int64]

_HELD_OUT_WORDS = 200_000
"""Running words kept from training for evaluation, in a corpus that has plenty."""
_HELD_OUT_AT_MOST = 20
"""At most one document in this many is held out, in a corpus that has no separate held-out text."""


@dataclass(frozen=True)
class Rows:
    """The stretches of a corpus that make the rows of batches."""

    shards: tuple[npt.NDArray[np.uint32], ...]
    """The corpus's streams of word ids."""
    shard: Ints
    """The shard of each row."""
    start: Ints
    """The first word of each row in its shard."""
    end: Ints
    """One past the last word of each row."""

    def __len__(self) -> int:
        return len(self.shard)

    def take(self, chosen: Ints) -> "Rows":
        """Returns some of the rows, given by their numbers."""
        return Rows(self.shards, self.shard[chosen], self.start[chosen], self.end[chosen])


def cut_rows(
    corpus: Corpus, lexicon: Lexicon, length: int, hold_out: bool, held_out_length: int | None = None
) -> tuple[Rows, Rows]:
    """Returns the rows to train on and the rows held out, by whole documents.

    Args:
        corpus: The text.
        lexicon: Segmentations of its words; a row's pieces fit under either, and under any mixture.
        length: Pieces a row may have, [CLS] and [SEP] included.
        hold_out: Whether documents are held out, evenly spaced: about 200,000 words or a twentieth of the
            corpus, whichever is less. Where those between two would not fill a row, as in a corpus of
            queries, several neighbours are held out together. Otherwise the second result is empty.
        held_out_length: Pieces that a row held out may have, where that is another number.

    Raises:
        InputError: If documents are to be held out of a corpus of one.
    """
    every = corpus.documents + 1
    if hold_out:
        if corpus.documents < 2:
            raise InputError(
                "the corpus is one single document, so no text can be held out of it; give separate text "
                "with --held-out, or separate documents by blank lines"
            )
        every = min(max(_HELD_OUT_AT_MOST, corpus.words // _HELD_OUT_WORDS), corpus.documents)
    longest = np.maximum(lexicon.teacher.lengths, lexicon.student.lengths).astype(np.int32)
    together = _together(corpus, longest, length, every) if hold_out else 1
    limits = length - 2, (held_out_length or length) - 2
    spans: tuple[list[Ints], list[Ints]] = ([], [])
    documents = 0
    for index, stream in enumerate(corpus.shards):
        ends = np.flatnonzero(stream == END) + 1
        numbers = np.arange(documents, documents + len(ends)) // together
        held = numbers % every == every // 2 if hold_out else ends < 0
        documents += len(ends)
        pieces = np.concatenate([[0], np.cumsum(longest[stream], dtype=np.int64)])
        runs = np.flatnonzero(np.diff(held, prepend=not held[0], append=not held[-1]))
        for first, last in itertools.pairwise(runs):
            start = int(ends[first - 1]) if first else 0
            which = int(held[first])
            cuts = _cut(pieces, start, int(ends[last - 1]), limits[which])
            spans[which].append(np.insert(cuts, 0, index, axis=1))
    train, kept = (np.concatenate([np.empty((0, 3), np.int64), *parts]) for parts in spans)
    return Rows(corpus.shards, *train.T), Rows(corpus.shards, *kept.T)


def _together(corpus: Corpus, longest: npt.NDArray[np.int32], length: int, every: int) -> int:
    """Returns how many neighbouring documents are held out together.

    Args:
        corpus: The text.
        longest: Pieces of each word.
        length: Pieces that a row may have.
        every: One document in so many is held out.
    """
    between = (every - 1) * int((corpus.counts * longest).sum()) // corpus.documents
    if between >= length:
        return 1
    return max(1, min(-(-2 * length // max(between, 1)), corpus.documents // every))


def _cut(pieces: Ints, start: int, stop: int, limit: int) -> Ints:
    """Cuts words [start, stop) of a stream into spans of at most `limit` pieces; returns [spans, 2].

    `pieces` counts the pieces before each word. A single word of more pieces than the limit is passed over.
    """
    spans = []
    while start < stop:
        end = min(int(np.searchsorted(pieces, pieces[start] + limit, side="right")) - 1, stop)
        if end > start:
            spans.append((start, end))
        start = max(end, start + 1)
    return np.array(spans, np.int64).reshape(-1, 2)
