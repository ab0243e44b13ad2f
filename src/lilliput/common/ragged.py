"""Rows of different lengths in one array, and the gathers from them without a loop over rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Index = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Ragged:
    """Rows of numbers of different lengths, one after the other.

    >>> Ragged.of([[5, 6], [], [7, 8, 9]])
    Ragged(values=array([5, 6, 7, 8, 9]), offsets=array([0, 2, 2, 5]))
    """

    values: npt.NDArray[Any]
    """The numbers of all rows [offsets[-1]]."""
    offsets: Ints
    """Where each row begins, the last number one past the end [rows + 1]."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> "Ragged":
        """Returns lists of numbers as the rows."""
        values = np.array([number for row in rows for number in row], np.int64)
        return cls(values, np.cumsum([0, *map(len, rows)], dtype=np.int64))

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> npt.NDArray[Any]:
        """Returns the numbers of one row."""
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    @property
    def lengths(self) -> Ints:
        """The number of values in each row [rows], computed at every call."""
        return np.diff(self.offsets)

    def rows(self) -> list[list[int]]:
        """Returns the rows as lists."""
        return [self.values[begin:end].tolist() for begin, end in pairwise(self.offsets.tolist())]

    def spans(self, rows: Index) -> tuple[Ints, Ints]:
        """Returns where some rows [N] begin in `values`, and their lengths."""
        starts = self.offsets[rows]
        return starts, self.offsets[1:][rows] - starts

    def places(self, rows: Index) -> tuple[Ints, Ints]:
        """Returns where in `values` the numbers of some rows [N] are, and the index in [N] of their rows.

        >>> Ragged.of([[5, 6], [], [7, 8, 9]]).places(np.array([2, 0]))
        (array([2, 3, 4, 0, 1]), array([0, 0, 0, 1, 1]))
        """
        starts, lengths = self.spans(rows)
        return ranges(starts, lengths), np.repeat(np.arange(len(rows)), lengths)

    def take(self, rows: Index) -> "Ragged":
        """Returns some rows in the given order.

        >>> Ragged.of([[5, 6], [], [7, 8, 9]]).take(np.array([2, 0])).rows()
        [[7, 8, 9], [5, 6]]
        """
        starts, lengths = self.spans(rows)
        return Ragged(self.values[ranges(starts, lengths)], np.append(0, np.cumsum(lengths)))


def ranges(starts: Ints, lengths: Ints, begins: Ints | None = None) -> Ints:
    """Returns the whole numbers from each start on, as many as its length, one range after the other.

    >>> ranges(np.array([7, 2]), np.array([2, 3]))
    array([7, 8, 2, 3, 4])

    Args:
        starts: The first number of each range.
        lengths: The numbers of each range.
        begins: Where each range begins in the result, if that is known already.
    """
    if begins is None:
        begins = np.cumsum(lengths) - lengths
    # The ranges of the example begin at 0 and 2, so 7 - 0 and 2 - 2 are added to 0 1 2 3 4: 7 7 0 0 0.
    result = np.repeat(starts - begins, lengths)
    result += np.arange(len(result))
    return result


def rank_in_row(lengths: Ints) -> Ints:
    """Returns the index within its row of each value of rows of these lengths.

    >>> rank_in_row(np.array([2, 0, 3]))
    array([0, 1, 0, 1, 2])
    """
    return ranges(np.zeros_like(lengths), lengths)
