"""Text -> words, exactly those of a BERT normaliser and pre-tokeniser, in a fraction of their time."""

import json
import unicodedata
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import normalizers, pre_tokenizers

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
_ORDERED = "\r"
"""Stands for characters whose place depends on their neighbours; no stretch holds it."""


class WordSplitter:
    """Splits text into exactly the words of a BERT normaliser and BertPreTokenizer, many at a time.

    Both treat every character by itself, with one exception: marks that follow each other are put in order.
    ASCII holds no marks, so a text may be cut before and after ASCII spaces and punctuation, where the
    tokenizer cuts anyway. What it does to ASCII is learnt from it at the start and done to whole texts with a
    few operations on bytes. What it does to any other character is learnt when that is met, and done to each
    different stretch; only stretches with marks that may change places are given to the tokenizer itself.
    """

    def __init__(self, settings: str) -> None:
        """Takes the settings of a BertNormalizer as JSON."""
        keys = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
        values = json.loads(settings)
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

        numbers, stretches = self._stretches(text)
        is_word = pyarrow.compute.string_is_ascii(stretches.view(pyarrow.large_string()))
        is_other = ~is_word.to_numpy(zero_copy_only=False)
        words = stretches.filter(is_word)[1:]
        known = len(reserved) + len(words)
        ids = np.empty(len(stretches), np.uint32)
        ids[~is_other] = np.append(0, np.arange(len(reserved), known))
        more: dict[bytes, int] = {}
        several: list[npt.NDArray[np.uint32]] = []
        others = stretches.filter(is_other).to_pylist()
        for number, found in zip(np.flatnonzero(is_other), self._words_of(others), strict=True):
            numbered = [more.setdefault(word, known + len(more)) for word in found]
            if len(numbered) == 1:
                ids[number] = numbered[0]
            else:
                ids[number] = _SEVERAL + len(several)
                several.append(np.array(numbered, np.uint32))
        first, last = (pyarrow.array(part, pyarrow.large_binary()) for part in (reserved, more))
        taken = pyarrow.array(ids).take(numbers).to_numpy()
        return _inserted(taken, several), pyarrow.concat_arrays([first, words, last])

    def _stretches(self, text: bytes) -> tuple[Any, Any]:
        """Returns a text cut at ASCII spaces and punctuation: each stretch by number, and the different ones.

        ASCII ones, punctuation among them, are words. The others stand for none to many. The first of the
        different ones is empty and stands for the byte 0xff.
        """
        import pyarrow

        parts, bounds, places, keys = [], [], [], [_FILLS[:1]]
        begin, size, count = 0, 0, 1
        while begin < len(text):
            end = text.find(b" ", begin + _SLICE_BYTES) + 1 or len(text)
            part = b" " + text[begin:end].translate(self._table, self._removed) + b" " * _KEY_BYTES
            begins, ends = self._cut(part)
            lengths = ends - begins
            is_long = np.flatnonzero(lengths > _KEY_BYTES)
            lengths[is_long] = 0
            windows = np.ndarray(len(part) - _KEY_BYTES + 1, np.uint64, part, strides=(1,))
            keys.append(windows[begins] | _FILLS[lengths])
            places.append(is_long + count)
            bounds.append(np.stack((begins[is_long], ends[is_long]), axis=1) + size)
            parts.append(part)
            begin, size, count = end, size + len(part), count + len(begins)
        short = pyarrow.array(np.concatenate(keys)).dictionary_encode()
        with_gaps = strings(b"".join(parts), np.append(np.concatenate(bounds), size))
        long = with_gaps.take(np.arange(0, len(with_gaps), 2)).dictionary_encode()
        numbers = np.array(short.indices)
        numbers[np.concatenate(places)] = long.indices.to_numpy() + len(short.dictionary)
        different = pyarrow.concat_arrays([_spelled(short.dictionary.to_numpy()), long.dictionary])
        return pyarrow.array(numbers[1:]), different

    def _cut(self, text: bytes) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Returns where the stretches of a text between spaces begin and end."""
        kinds = np.frombuffer(text.translate(self._kinds), np.uint8)
        is_some, goes_on = kinds > 0, kinds[1:] & kinds[:-1] == 1
        return np.flatnonzero(is_some[1:] > goes_on) + 1, np.flatnonzero(is_some[:-1] > goes_on) + 1

    def _words_of(self, stretches: list[bytes]) -> Iterator[list[bytes]]:
        """Yields the words of each stretch, none to many."""
        changed = b"\n".join(stretches).decode().translate(self._fragments).encode().split(b"\n")
        for stretch, words in zip(
            stretches, changed, strict=False
        ):  # without any, there is one that is empty
            if _ORDERED.encode() in words:
                yield [word.encode() for word in self.ask(stretch.decode())]
            else:
                yield words.split()


def strings(text: bytes | npt.NDArray[np.uint8], bounds: npt.NDArray[np.int64]) -> Any:
    """Returns what lies between the bounds in a text as an array of Arrow."""
    import pyarrow

    buffers = [None, pyarrow.py_buffer(bounds), pyarrow.py_buffer(text)]
    return pyarrow.Array.from_buffers(pyarrow.large_binary(), len(bounds) - 1, buffers)


def _spelled(keys: npt.NDArray[np.uint64]) -> Any:
    """Returns the stretches that keys stand for as an array of Arrow."""
    text = keys.view(np.uint8).reshape(-1, _KEY_BYTES)
    lengths = (text != _BETWEEN[0]).sum(axis=1)
    return strings(text.tobytes().replace(_BETWEEN, b""), np.append(0, np.cumsum(lengths)))


def _inserted(
    ids: npt.NDArray[np.uint32], several: Sequence[npt.NDArray[np.uint32]]
) -> npt.NDArray[np.uint32]:
    """Returns ids with several, or none, in the places of those that stand for them."""
    places = np.flatnonzero(ids >= _SEVERAL)
    pieces, begin = [], 0
    for place, number in zip(places.tolist(), (ids[places] - _SEVERAL).tolist(), strict=True):
        pieces += [ids[begin:place], several[number]]
        begin = place + 1
    return np.concatenate([*pieces, ids[begin:]])


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
        self[code] = _ORDERED if self._orders and any(marks) else fragment
        return self[code]
