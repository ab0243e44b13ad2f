"""Words of rows -> the pieces that a model reads, by gathers over the whole batch.

Shape letters: B rows, L length, W words of all rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from lilliput.common.ragged import Ints, Ragged, ranges
from lilliput.models.shape import filled_up
from lilliput.text.corpus import END, START
from lilliput.training.rows import Rows

_MULTIPLE = 8
"""Of a row's pieces: products of a shape that is new are compiled first (`shape.filled_up`)."""


@dataclass(frozen=True)
class Words:
    """The words of a batch's rows one after the other, each row from its START to its END."""

    ids: Ints
    """Word ids [W]."""
    first: Ints
    """Where each row's START is [B]."""
    last: Ints
    """Where each row's END is [B]."""

    @classmethod
    def of_rows(cls, streams: Sequence[npt.NDArray[np.uint32]], rows: Rows, chosen: Ints) -> "Words":
        """Returns the words of some rows.

        Args:
            streams: The corpus's shards, as plain arrays.
            rows: Where rows stand in them.
            chosen: The numbers of the rows [B].
        """
        start, end = rows.start[chosen], rows.end[chosen]
        spans = zip(rows.shard[chosen].tolist(), start.tolist(), end.tolist(), strict=True)
        # Rows of 2 words and 1 are START a b END START c END: lengths 4 3, so they begin at 0 4, end at 3 6.
        lengths = end - start + 2
        last = np.cumsum(lengths) - 1
        begin = last + 1 - lengths
        ids = np.empty(last[-1] + 1, np.int64)
        ids[begin], ids[last] = START, END
        # Of all that is done here the one loop over rows: they lie in files that are mapped one by one.
        for place, (shard, a, b) in zip(last.tolist(), spans, strict=True):
            ids[place - (b - a) : place] = streams[shard][a:b]
        return cls(ids, begin, last)


@dataclass(frozen=True)
class Layout:
    """Rows of words as rows of pieces."""

    pieces: npt.NDArray[np.int64]
    """Ids of pieces [B, L]."""
    is_padding: npt.NDArray[np.bool_]
    """True where a piece is padding [B, L]."""
    places: Ints
    """Where each word begins, as an index into B * L [W]."""
    lengths: Ints
    """Pieces of each word [W]; of the last word of a row with its padding."""

    @classmethod
    def of(cls, segmentation: Ragged, rows: Ints, words: Words, pad: int, most: int) -> "Layout":
        """Returns words laid out; rows are filled up to a multiple of `_MULTIPLE` pieces, not beyond `most`.

        Args:
            segmentation: The pieces of words.
            rows: The row of the segmentation for each word [W].
            words: Where rows begin and end.
            pad: The piece that fills rows up.
            most: Pieces of the longest row.
        """
        starts, lengths = segmentation.spans(rows)
        counts = np.add.reduceat(lengths, words.first)
        longest = int(counts.max())
        length = max(longest, min(filled_up(longest, _MULTIPLE), most))
        # To lay out whole rows by one gather, the last word of each, [SEP], is made as long as the row's
        # padding; the pieces after [SEP] in the table that it then reads are overwritten. For two rows
        #   [CLS] brot ##ent [SEP]   of lengths 1 2 1   and   [CLS] a [SEP]   of lengths 1 1 1
        # the lengths become 1 2 1 1 1 2, and the words begin at 0 1 3 4 5 6 of the flat [2, 4] pieces.
        lengths[words.last] += length - counts
        places = np.cumsum(lengths) - lengths
        flat = segmentation.values.take(ranges(starts, lengths, places), mode="clip").astype(np.int64)
        pieces = flat.reshape(-1, length)
        is_padding = np.arange(length) >= counts[:, None]
        pieces[is_padding] = pad
        return cls(pieces, is_padding, places, lengths)

    @property
    def padding(self) -> Tensor | None:
        """True where a piece is padding [B, L]; None where nothing is."""
        return torch.from_numpy(self.is_padding) if self.is_padding.any() else None


def plain(arrays: Sequence[npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Returns the same memory as plain arrays: what is taken out of a memmap is one, which takes longer."""
    return [np.asarray(array) for array in arrays]
