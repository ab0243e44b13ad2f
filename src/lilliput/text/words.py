"""Text -> words, exactly those of a BERT normaliser and pre-tokeniser, in a fraction of their time."""

import json
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import normalizers, pre_tokenizers

from lilliput.common.ragged import Ragged
from lilliput.errors import InputError
from lilliput.text.stretches import (
    BETWEEN,
    Stretches,
    inserted,
    single,
    strings,
    to_arrow,
    to_numpy,
)

_ORDERED = b"\r"
"""Stands for characters whose place depends on their neighbours; no stretch holds it."""


class Splitter(ABC):
    """Splits text into words, many at a time."""

    def __init__(self, marks: Sequence[str]) -> None:
        """Takes pieces that no text may hold."""
        found = [re.escape(mark.encode()) for mark in marks]
        self._marks = re.compile(b"|".join(found)) if found else None

    @abstractmethod
    def split(self, text: bytes, reserved: Sequence[bytes] = (b"",)) -> tuple[npt.NDArray[np.uint32], Any]:
        """Returns the words of UTF-8, each as its number among the different ones, and these, in Arrow.

        The different ones begin with those reserved, of which the first stands for the byte 0xff, which
        occurs in no UTF-8 and may stand between texts; by default an empty one. Some may come twice.
        """

    def split_texts(self, texts: Iterable[str]) -> tuple[Ragged, list[str]]:
        """Returns the words of each text as numbers among the different words, and these.

        A row of numbers, uint32, for each text. A word may come twice among the different ones.
        """
        # Texts "a b", "" and "a" make the numbers 0 1 2 0 0 1 0, with 0 for what stands around texts; without
        # it 1 2 1 are left, of which the texts begin at 0, 2 and 2, and the last one ends at 3.
        numbers, different = self.split(
            BETWEEN + b"".join(text.encode() + BETWEEN for text in texts), [BETWEEN]
        )
        is_word = numbers > 0
        offsets = np.cumsum(is_word, dtype=np.int64)[~is_word]
        return Ragged(numbers[is_word] - 1, offsets), [word.decode() for word in different[1:].to_pylist()]

    def _check(self, text: bytes) -> None:
        """Raises InputError if a text holds what it may not."""
        if self._marks and (found := self._marks.search(text)):
            raise InputError(
                f"the text holds {found[0].decode()!r}, which the teacher's tokenizer takes whole, and a "
                "corpus is made of BERT's words; leave it out of the text, or put a word in its place"
            )


class Rules(ABC):
    """How words are made of a text; travels to the processes that make them."""

    end: str
    """Stands for the end of a document among the words of a corpus."""
    start: str
    """Stands for the start of a sequence there."""

    @abstractmethod
    def splitter(self) -> Splitter:
        """Returns what makes the words."""

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """Returns what determines the words, as plain JSON values."""

    def files(self) -> dict[str, bytes]:
        """Returns files that lie beside a corpus, for what reads texts as it was read."""
        return {}


@dataclass(frozen=True)
class WordRules(Rules):
    """How a BERT makes words of a text."""

    normalizer: str
    """The settings of a BertNormalizer as JSON, and under `marks` pieces that no text may hold."""
    pre_tokenizer: str
    """The settings of a BertPreTokenizer as JSON."""
    end: str
    """Stands for the end of a document among the words of a corpus."""
    start: str
    """Stands for the start of a sequence there."""

    def splitter(self) -> "WordSplitter":
        """Returns what makes the words."""
        return WordSplitter(self.normalizer)

    def described(self) -> dict[str, Any]:
        """Returns what determines the words, as plain JSON values."""
        return {"normalizer": json.loads(self.normalizer), "pre_tokenizer": json.loads(self.pre_tokenizer)}


class WordSplitter(Splitter):
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
        super().__init__(values.get("marks", []))
        self._normalizer = normalizers.BertNormalizer(**{key: values[key] for key in keys})
        self._pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        self._fragments = _Fragments(self)
        fragments = [self._fragments[code].encode() for code in range(128)]
        self._stretches = Stretches(
            [fragment.strip() or b" " for fragment in fragments],
            removed=bytes(code for code, fragment in enumerate(fragments) if not fragment),
            alone=b"".join(fragment.strip() for fragment in fragments if len(fragment) == 3),
        )
        self._fragments[ord("\n")] = "\n"  # no stretch holds it, so it may stand between them

    def ask(self, text: str) -> list[str]:
        """Returns the words of a text as the tokenizer itself finds them."""
        normal = self._normalizer.normalize_str(text)
        return [word for word, _ in self._pre_tokenizer.pre_tokenize_str(normal)]

    def split(self, text: bytes, reserved: Sequence[bytes] = (b"",)) -> tuple[npt.NDArray[np.uint32], Any]:
        """Returns the words of UTF-8, as every splitter does."""
        import pyarrow.compute

        self._check(text)
        # A text is cut at ASCII spaces and punctuation. ASCII stretches are words, others none to many.
        # The stretches of 0xff and "a 中文 a" are "", "a" and "中文", and the numbers 0 1 2 1. With one word
        # reserved "a" is word 1; "中文" is several words, so `inserted` puts 2 3 there: 0 1 2 3 1.
        numbers, stretches = self._stretches.of(text)
        is_word = pyarrow.compute.string_is_ascii(stretches.view(pyarrow.large_string()))
        is_other = pyarrow.compute.invert(is_word)
        words = stretches.filter(is_word)[1:]
        known = len(reserved) + len(words)
        more_numbers, more = self._stretches.of(self._changed(stretches.filter(is_other).to_pylist()))
        more_ids = more_numbers[more_numbers > 0].astype(np.uint32) + np.uint32(known - 1)
        ends = np.flatnonzero(more_numbers == 0)
        bounds = np.append(0, ends - np.arange(len(ends)))  # where the words of each other stretch begin
        ids = np.empty(len(stretches), np.uint32)
        mask = to_numpy(is_other.cast(pyarrow.uint8())).view(np.bool_)
        ids[~mask] = np.append(0, np.arange(len(reserved), known))
        ids[mask] = single(more_ids, bounds)
        taken = to_numpy(to_arrow(ids).take(to_arrow(numbers)))
        first = strings(b"".join(reserved), np.cumsum([0, *map(len, reserved)]))
        return inserted(taken, more_ids, bounds), pyarrow.concat_arrays([first, words, more[1:]])

    def _changed(self, stretches: list[bytes]) -> bytes:
        """Returns the words of each stretch, none to many, apart by spaces and each stretch's before 0xff."""
        changed = b"\n".join([*stretches, b""]).decode().translate(self._fragments).encode()
        if _ORDERED in changed:
            lines = changed.split(b"\n")
            for number, stretch in enumerate(stretches):
                if _ORDERED in lines[number]:
                    lines[number] = " ".join(self.ask(stretch.decode())).encode()
            changed = b"\n".join(lines)
        return changed.replace(b"\n", BETWEEN)


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
