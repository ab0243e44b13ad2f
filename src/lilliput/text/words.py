"""Text -> words, exactly those of a BERT normaliser and pre-tokeniser, in a fraction of their time."""

import itertools
import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import normalizers, pre_tokenizers

from lilliput.common.ragged import Ragged
from lilliput.errors import InputError

_SLICE_BYTES = 1 << 17
"""Text cut at once: many passes over what stays in the processor's cache cost little."""
_KEY_BYTES = 8
"""Stretches no longer than this are told apart as whole numbers, in a third of the time of bytes."""
_FILLS = np.array([~0 << 8 * length & (1 << 64) - 1 for length in range(_KEY_BYTES + 1)], np.uint64)
"""What turns eight bytes of a text into the key of a stretch, by its length: a rest of bytes 0xff."""
_SEVERAL = 1 << 31
"""Numbers from here on stand for several words, or none."""
_BETWEEN = b"\xff"
"""Stands between texts, as it occurs in none that is UTF-8."""
_ORDERED = b"\r"
"""Stands for characters whose place depends on their neighbours; no stretch holds it."""


Cut = tuple[bytes, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""A text and where stretches of it begin and end."""


class WordSplitter:
    """Splits text into exactly the words of a BERT normaliser and BertPreTokenizer, many at a time.

    Both treat every character by itself, with one exception: marks that follow each other are put in order.
    ASCII holds no marks, so a text may be cut before and after ASCII spaces and punctuation, where the
    tokenizer cuts anyway. What it does to ASCII is learnt from it at the start and done to whole texts with a
    few operations on bytes. What it does to any other character is learnt when that is met, and done to each
    different stretch; only stretches with marks that may change places are given to the tokenizer itself.
    """

    def __init__(self, settings: str) -> None:
        """Takes the settings of a BertNormalizer as JSON, and under `marks` pieces that no text may hold."""
        keys = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        values = json.loads(settings)
        marks = [re.escape(mark.encode()) for mark in values.get("marks", [])]
        self._marks = re.compile(b"|".join(marks)) if marks else None
        self._normalizer = normalizers.BertNormalizer(**{key: values[key] for key in keys})
        self._pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._fragments = _Fragments(self)
        table, self._removed = bytearray(range(256)), bytearray()
        kinds = bytearray(b"\1" * 256)  # 0 separates, 1 goes together with others, 2 stands alone
        kinds[ord(" ")], kinds[_BETWEEN[0]] = 0, 2
        for code in range(128):
            fragment = self._fragments[code].encode()
            if not fragment:
                self._removed.append(code)
            table[code : code + 1] = fragment.strip() or b" "
            if len(fragment) == 3:
                kinds[table[code]] = 2
        self._table, self._kinds = bytes(table), bytes(kinds)
        self._fragments[ord("\n")] = "\n"  # no stretch holds it, so it may stand between them

    def ask(self, text: str) -> list[str]:
        """Returns the words of a text as the tokenizer itself finds them."""
        normal = self._normalizer.normalize_str(text)
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normal)]

    def split(self, text: bytes, reserved: Sequence[bytes]) -> tuple[npt.NDArray[np.uint32], Any]:
        """Returns the words of UTF-8, each as its number among the different ones, and these, in Arrow.

        The different ones begin with those reserved, of which the first stands for the byte 0xff, which
        occurs in no UTF-8 and may stand between texts. Some may come twice.
        """
        import pyarrow.compute

        if self._marks and (found := self._marks.search(text)):
            raise InputError(
                f"the text holds {found[0].decode()!r}, which the teacher's tokenizer takes whole, and a "
                "corpus is made of BERT's words; leave it out of the text, or put a word in its place"
            )
        # The stretches of 0xff and "a 中文 a" are "", "a" and "中文", and the numbers 0 1 2 1. With one word
        # reserved "a" is word 1; "中文" is several words, so `_inserted` puts 2 3 there: 0 1 2 3 1.
        numbers, stretches = self._stretches(text)
        is_word = pyarrow.compute.string_is_ascii(stretches.view(pyarrow.large_string()))
        is_other = pyarrow.compute.invert(is_word)
        words = stretches.filter(is_word)[1:]
        known = len(reserved) + len(words)
        more_numbers, more = self._stretches(self._changed(stretches.filter(is_other).to_pylist()))
        more_ids = more_numbers[more_numbers > 0].astype(np.uint32) + np.uint32(known - 1)
        ends = np.flatnonzero(more_numbers == 0)
        bounds = np.append(0, ends - np.arange(len(ends)))  # where the words of each other stretch begin
        several = np.arange(_SEVERAL, _SEVERAL + len(ends), dtype=np.uint32)
        ids = np.empty(len(stretches), np.uint32)
        mask = to_numpy(is_other.cast(pyarrow.uint8())).view(np.bool_)
        ids[~mask] = np.append(0, np.arange(len(reserved), known))
        ids[mask] = np.where(np.diff(bounds) == 1, np.append(more_ids, 0)[bounds[:-1]], several)
        taken = to_numpy(to_arrow(ids).take(to_arrow(numbers)))
        first = strings(b"".join(reserved), np.cumsum([0, *map(len, reserved)]))
        return _inserted(taken, more_ids, bounds), pyarrow.concat_arrays([first, words, more[1:]])

    def split_texts(self, texts: Iterable[str]) -> tuple[Ragged, list[str]]:
        """Returns the words of each text as numbers among the different words, and these.

        A row of numbers, uint32, for each text. A word may come twice among the different ones.
        """
        # Texts "a b", "" and "a" make the numbers 0 1 2 0 0 1 0, with 0 for what stands around texts; without
        # it 1 2 1 are left, of which the texts begin at 0, 2 and 2, and the last one ends at 3.
        numbers, different = self.split(
            _BETWEEN + b"".join(text.encode() + _BETWEEN for text in texts), [_BETWEEN]
        )
        is_word = numbers > 0
        offsets = np.cumsum(is_word, dtype=np.int64)[~is_word]
        return Ragged(numbers[is_word] - 1, offsets), [word.decode() for word in different[1:].to_pylist()]

    def _stretches(self, text: bytes) -> tuple[npt.NDArray[np.int32], Any]:
        """Returns a text cut at ASCII spaces and punctuation, as `numbered` does; 0xff stands alone.

        ASCII stretches, punctuation among them, are words. The others stand for none to many.
        """
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

    def _changed(self, stretches: list[bytes]) -> bytes:
        """Returns the words of each stretch, none to many, apart by spaces and each stretch's before 0xff."""
        changed = b"\n".join([*stretches, b""]).decode().translate(self._fragments).encode()
        if _ORDERED in changed:
            lines = changed.split(b"\n")
            for number, stretch in enumerate(stretches):
                if _ORDERED in lines[number]:
                    lines[number] = " ".join(self.ask(stretch.decode())).encode()
            changed = b"\n".join(lines)
        return changed.replace(b"\n", _BETWEEN)


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
    lengths = (text != _BETWEEN[0]).sum(axis=1)
    return strings(text.tobytes().replace(_BETWEEN, b""), np.append(0, np.cumsum(lengths)))


def _inserted(
    ids: npt.NDArray[np.uint32], more_ids: npt.NDArray[np.uint32], bounds: npt.NDArray[np.int64]
) -> npt.NDArray[np.uint32]:
    """Returns ids in which each number from _SEVERAL on is replaced by the ids that it stands for.

    >>> _inserted(np.array([4, _SEVERAL + 1, 5, _SEVERAL]), np.array([7, 8, 9]), np.array([0, 0, 3]))
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


class _Fragments(dict[int, str]):
    """What becomes of a character between letters, spaces where it is split off; learnt when first met."""

    def __init__(self, splitter: WordSplitter) -> None:
        super().__init__()
        self._ask = splitter.ask
        self._orders = splitter.ask("\u0301\u0323") != ["\u0301\u0323"]

    def __missing__(self, code: int) -> str:
        fragment = " ".join(self._ask(f"a{chr(code)}a"))[1:-1]
        # What Python does not know yet may be a mark to a newer tokenizer.
        marks = (unicodedata.combining(char) or unicodedata.category(char) == "Cn" for char in fragment)
        self[code] = _ORDERED.decode() if self._orders and any(marks) else fragment
        return self[code]
