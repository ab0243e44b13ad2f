"""Text -> stretches, each as its number among the different ones: many bytes with few operations."""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lilliput.common.ragged import Ragged

_SLICE_BYTES = 1 << 17
"""Text cut at once: many passes over what stays in the processor's cache cost little."""
_KEY_BYTES = 8
"""Stretches no longer than this are told apart as whole numbers, in a third of the time of bytes."""
_FILLS = np.array([~0 << 8 * length & (1 << 64) - 1 for length in range(_KEY_BYTES + 1)], np.uint64)
"""What turns eight bytes of a text into the key of a stretch, by its length: a rest of bytes 0xff."""
_SEVERAL = 1 << 31
"""Numbers from here on stand for several words, or none."""
BETWEEN = b"\xff"
"""Stands between texts, as it occurs in none that is UTF-8."""

Cut = tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""A text and where stretches of it begin and end."""


class Stretches:
    """Cuts text at some of its bytes, many at a time."""

    def __init__(self, ascii_bytes: Sequence[bytes], removed: bytes, alone: bytes) -> None:
        """Takes what becomes of ASCII.

        Args:
            ascii_bytes: What each byte becomes; the space separates.
            removed: Bytes that are left out.
            alone: Bytes, after the change, that are stretches of their own. So is 0xff.
        """
        self._table, self._removed = b"".join(ascii_bytes) + bytes(range(128, 256)), removed
        kinds = bytearray(b"\1" * 256)  # 0 separates, 1 goes together with others, 2 stands alone
        kinds[ord(" ")] = 0
        for code in alone + BETWEEN:
            kinds[code] = 2
        self._kinds = bytes(kinds)

    def of(self, text: bytes) -> tuple[npt.NDArray[np.int32], Any]:
        """Returns the stretches of a text, as `numbered` does; 0xff stands alone."""
        begins = [0]
        while (space := text.find(b" ", begins[-1] + _SLICE_BYTES)) >= 0:
            begins.append(space + 1)
        slices = (text[begin:end] for begin, end in itertools.pairwise([*begins, len(text)]))
        return numbered(map(self._cut, slices))

    def _cut(self, text: bytes) -> Cut:
        """Returns ASCII changed, and where the stretches between spaces begin and end."""
        # " it's on " has the kinds 0 1 1 2 1 0 1 1 0, so its stretches begin at 1 3 4 6 and end at 3 4 5 8.
        changed = b" " + text.translate(self._table, self._removed) + b" "
        kinds = np.frombuffer(changed.translate(self._kinds), np.uint8)
        is_some, goes_on = kinds > 0, kinds[1:] & kinds[:-1] == 1
        begins, ends = is_some[1:] > goes_on, is_some[:-1] > goes_on
        return changed, np.flatnonzero(begins) + 1, np.flatnonzero(ends) + 1


class SpacedStretches(Stretches):
    """Cuts text at spaces and between some pairs of bytes; a stretch has the space before it, if any."""

    def __init__(self, ascii_bytes: Sequence[bytes], removed: bytes, apart: npt.NDArray[np.bool_]) -> None:
        """Takes what becomes of ASCII, and between which two bytes of it [128, 128] texts are cut."""
        super().__init__(ascii_bytes, removed, alone=b"")
        joins = np.ones((256, 256), np.bool_)
        joins[:128, :128] &= ~apart
        for code in (ord(" "), BETWEEN[0]):
            joins[code], joins[:, code] = False, False
        self._joins = joins.reshape(-1)

    def of(self, text: bytes) -> tuple[npt.NDArray[np.int32], Any]:
        """Returns the stretches of a text, as `numbered` does; 0xff stands alone, as if a space followed."""
        return super().of(text.replace(BETWEEN, BETWEEN + b" "))

    def _cut(self, text: bytes) -> Cut:
        """Returns ASCII changed, and where the stretches begin and end."""
        changed = b" " + text.translate(self._table, self._removed) + b" "
        codes = np.frombuffer(changed, np.uint8)
        is_some = codes != ord(" ")
        goes_on = self._joins[(codes[:-1].astype(np.uint16) << 8) | codes[1:]]
        begins = np.flatnonzero(is_some[1:] > goes_on) + 1
        ends = np.flatnonzero(is_some[:-1] > goes_on) + 1
        return changed, begins - ((codes[begins - 1] == ord(" ")) & (codes[begins] != BETWEEN[0])), ends


def numbered(cuts: Iterable[Cut]) -> tuple[npt.NDArray[np.int32], Any]:
    """Returns the stretches of some texts, each as its number among the different ones, and these, in Arrow.

    The first of the different ones is empty and stands for the byte 0xff, whether that is there or not.
    """
    import pyarrow

    texts, keys = [], [_FILLS[:1]]
    bounds, places = [np.empty((0, 2), np.int64)], [np.empty(0, np.int64)]
    size, count = 0, 1
    for text, begins, ends in cuts:
        lengths = ends - begins
        is_long = np.flatnonzero(lengths > _KEY_BYTES)
        lengths[is_long] = 0
        windows = np.ndarray(len(text) + 1, np.uint64, text + bytes(_KEY_BYTES), strides=(1,))
        keys.append(windows[begins] | _FILLS[lengths])
        places.append(is_long + count)
        bounds.append(np.stack((begins[is_long], ends[is_long]), axis=1) + size)
        texts.append(text)
        size, count = size + len(text), count + len(begins)
    short = to_arrow(np.concatenate(keys)).dictionary_encode()
    with_gaps = strings(b"".join(texts), np.append(np.concatenate(bounds), size))
    long = with_gaps.take(to_arrow(np.arange(0, len(with_gaps), 2))).dictionary_encode()
    numbers = to_numpy(short.indices).copy()
    numbers[np.concatenate(places)] = to_numpy(long.indices) + len(short.dictionary)
    different = pyarrow.concat_arrays([_spelled(to_numpy(short.dictionary)), long.dictionary])
    return numbers[1:], different


def strings(text: bytes | npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64]) -> Any:
    """Returns what lies between the bounds in a text as an array of Arrow."""
    import pyarrow

    buffers = [None, pyarrow.py_buffer(bounds), pyarrow.py_buffer(text)]
    return pyarrow.Array.from_buffers(pyarrow.large_binary(), len(bounds) - 1, buffers)


def to_arrow(numbers: npt.NDArray[Any]) -> Any:
    """Returns numbers as an array of Arrow, whose own ways to and from numpy import pandas: half a second."""
    import pyarrow

    kind = pyarrow.from_numpy_dtype(numbers.dtype)
    return pyarrow.Array.from_buffers(kind, len(numbers), [None, pyarrow.py_buffer(numbers)])


def to_numpy(numbers: Any) -> npt.NDArray[Any]:
    """Returns an array of Arrow, of numbers without gaps, as one of numpy that is not to be written."""
    return np.from_dlpack(numbers)


def _spelled(keys: npt.NDArray[np.uint64]) -> Any:
    """Returns the stretches that keys stand for as an array of Arrow."""
    text = keys.view(np.uint8).reshape(-1, _KEY_BYTES)
    lengths = (text != BETWEEN[0]).sum(axis=1)
    return strings(text.tobytes().replace(BETWEEN, b""), np.append(0, np.cumsum(lengths)))


def single(ids: npt.NDArray[np.uint32], bounds: npt.NDArray[np.int64]) -> npt.NDArray[np.uint32]:
    """Returns the id in each row of one, and for any other row _SEVERAL and the row's number.

    Args:
        ids: The ids of all rows.
        bounds: Where each row begins, the last bound one past the end.
    """
    other = np.arange(_SEVERAL, _SEVERAL + len(bounds) - 1, dtype=np.uint32)
    return np.where(np.diff(bounds) == 1, np.append(ids, np.uint32(0))[bounds[:-1]], other)


def inserted(
    ids: npt.NDArray[np.uint32], more_ids: npt.NDArray[np.uint32], bounds: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    """Returns ids in which each number from _SEVERAL on is replaced by the ids that it stands for.

    >>> inserted(np.array([4, _SEVERAL + 1, 5, _SEVERAL]), np.array([7, 8, 9]), np.array([0, 0, 3]))
    array([4, 7, 8, 9, 5])

    Args:
        ids: Ids and numbers from _SEVERAL on.
        more_ids: What those numbers stand for, one after the other.
        bounds: Where in `more_ids` that of each number begins, the last bound one past the end.
    """
    places = np.flatnonzero(ids >= _SEVERAL)
    more = Ragged(more_ids, bounds).take(ids[places] - _SEVERAL)
    before = np.repeat(places - np.arange(len(places)), more.lengths)
    return np.insert(np.delete(ids, places), before, more.values)
