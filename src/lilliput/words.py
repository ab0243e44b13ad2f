"""Text -> words, exactly those of a BERT normaliser and pre-tokeniser, in a fraction of their time."""

import itertools
import json
import unicodedata
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import normalizers, pre_tokenizers

_SLICE_BYTES = 1 << 14
"""Text changed at once: many passes over what stays in the processor's cache cost little."""
_BETWEEN = b"\xff"
"""Stands between texts, as it occurs in none that is UTF-8."""
_ORDERED = "\n"
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
        table, self._removed, self._alone = bytearray(range(256)), bytearray(), [_BETWEEN]
        for code in range(128):
            fragment = self._fragments[code].encode()
            if not fragment:
                self._removed.append(code)
            elif len(fragment) == 3:
                self._alone.append(fragment[1:2])
            table[code : code + 1] = fragment.strip() or b" "
        self._table = bytes(table)

    def ask(self, text: str) -> list[str]:
        """Returns the words of a text as the tokenizer itself finds them."""
        normal = self._normalizer.normalize_str(text)
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normal)]

    def split(self, text: bytes) -> tuple[npt.NDArray[np.uint32], list[bytes]]:
        """Returns the words of UTF-8, each as its number among the different ones, and these.

        The byte 0xff, which occurs in no UTF-8, may stand between texts and counts as a word.
        """
        import pyarrow

        numbers, stretches = self._stretches(text)
        is_word = np.array([stretch.isascii() or stretch == _BETWEEN for stretch in stretches], bool)
        words = {word: number for number, word in enumerate(itertools.compress(stretches, is_word))}
        ids = np.arange(len(words))
        others: list[int] = []
        lengths = np.ones(len(stretches), np.int32)
        for number in np.flatnonzero(~is_word).tolist():
            found = self._words_of(stretches[number])
            others += [words.setdefault(word, len(words)) for word in found]
            lengths[number] = len(found)
        flat = np.empty(lengths.sum(), np.uint32)
        is_single = np.repeat(is_word, lengths)
        flat[is_single] = ids
        flat[~is_single] = others
        table = pyarrow.ListArray.from_arrays(np.concatenate(([0], np.cumsum(lengths, dtype=np.int32))), flat)
        return table.take(numbers).flatten().to_numpy(), [*words]

    def _stretches(self, text: bytes) -> tuple[Any, list[bytes]]:
        """Returns a text cut at ASCII spaces and punctuation: each stretch by number, and the different ones.

        ASCII ones, punctuation among them, are words. The others stand for none to many.
        """
        import pyarrow.compute

        slices = []
        begin = 0
        while begin < len(text):
            end = text.find(b" ", begin + _SLICE_BYTES) + 1 or len(text)
            part = text[begin:end].translate(self._table, self._removed)
            for mark in self._alone:
                part = part.replace(mark, b" " + mark + b" ")
            if part := part.strip():
                slices.append(part)
            begin = end
        # Taken for UTF-8, as Arrow cuts nothing else; it looks for ASCII spaces alone and checks nothing.
        texts = pyarrow.array(slices, pyarrow.large_binary()).view(pyarrow.large_string())
        stretches = pyarrow.compute.ascii_split_whitespace(texts).flatten().dictionary_encode()
        return stretches.indices, stretches.dictionary.view(pyarrow.large_binary()).to_pylist()

    def _words_of(self, stretch: bytes) -> list[bytes]:
        text = stretch.decode()
        changed = text.translate(self._fragments)
        words = self.ask(text) if _ORDERED in changed else changed.split(" ")
        return [word.encode() for word in words if word]


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
