"""Text -> words that any tokenizer and a BERT's both cut out of it, each with its own pieces.

A BERT's tokenizer cuts words first and pieces after. Others cut pieces that hold several of such words, know
whether a space stood before, and tell capitals apart. So here a word is what lies between places where a
BERT's pre-tokeniser cuts and a piece of the other tokenizer ends, by characters. It is written with its
capitals and with the space before it: "It's fine" is " It", "'s" and " fine".

A text's pieces are then those of its words, one after the other. Each different word is cut by itself and
compared with its pieces within the text; where they differ, no cut is made.
"""

import json
import unicodedata
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, normalizers

from lilliput.common.ragged import Ragged
from lilliput.text.stretches import SpacedStretches, inserted, single, to_numpy
from lilliput.text.words import Rules, Splitter, WordSplitter

_BERT = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None}
_ISOLATED, _BEGINS_NOTHING, _SEEN, _UNMET = 1, 2, 4, 255
_UNDERSCORE = "\u2581"
"""Stands for a space in many vocabularies, and is taken for one in texts."""
_PER_LINE = 1_000
_WORD = r"^( ?([A-Za-z0-9]+|[!-/:-@[-`{-~]))?$"
"""Stretches that are one word whatever the tokenizers; the empty one stands for 0xff."""
_LONGEST_KEPT, _MOST_KEPT = 48, 1 << 19
"""Bytes of a stretch whose words are kept for the next text, and how many are."""


TOKENIZER = "tokenizer.json.z"
"""The file beside a corpus that has the tokenizer its words were cut with, as `packed` returns it."""


@dataclass(frozen=True)
class SharedRules(Rules):
    """How a BERT and another tokenizer make words of a text."""

    digest: str
    """Of the other tokenizer."""
    marks: tuple[str, ...]
    """Pieces that no text may hold."""
    end: str
    """Stands for the end of a document among the words of a corpus; ends with a space, as no word does."""
    start: str
    """Stands for the start of a sequence there; ends with a space too."""
    cutter: bytes = field(compare=False, repr=False)
    """The other tokenizer as `packed` returns it."""
    apart: bytes = field(compare=False, repr=False)
    """Whether a text is cut between two characters of ASCII wherever they stand: 128 x 128 bytes."""

    def splitter(self) -> "SharedSplitter":
        """Returns what makes the words."""
        return SharedSplitter(self.cutter, self.apart, self.marks)

    def described(self) -> dict[str, Any]:
        """Returns what determines the words, as plain JSON values."""
        return {"shared_with": self.digest, "marks": list(self.marks)}

    def files(self) -> dict[str, bytes]:
        """Returns the tokenizer, for what reads texts as the corpus was read."""
        return {TOKENIZER: self.cutter}


class SharedSplitter(Splitter):
    """Splits text into the words that a BERT's tokenizer and another one share, many at a time.

    Texts are cut at white space. What lies between is cut once for each different stretch, by both.
    Control characters and the like are left out, as a BERT's tokenizer does.
    """

    def __init__(self, cutter: bytes, apart: bytes, marks: Sequence[str] = ()) -> None:
        """Takes what `SharedRules` have."""
        self._cutter = Tokenizer.from_str(zlib.decompress(cutter).decode())
        super().__init__(marks)
        cleaner = normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False
        )
        self._clean = _Clean(cleaner)
        ascii_clean = [self._clean[code] for code in range(128)]
        removed = bytes(code for code, clean in enumerate(ascii_clean) if not clean)
        pairs = np.frombuffer(apart, np.bool_).reshape(128, 128)
        self._stretches = SpacedStretches([(clean or " ").encode() for clean in ascii_clean], removed, pairs)
        self._askers = [WordSplitter(json.dumps(_BERT | {"lowercase": lower})) for lower in (True, False)]
        self._kinds = np.full(0x110000, _UNMET, np.uint8)
        self._kept: dict[bytes, tuple[bytes, ...]] = {}

    def split(self, text: bytes, reserved: Sequence[bytes] = (b"",)) -> tuple[npt.NDArray[np.uint32], Any]:
        """Returns the words of UTF-8, as every splitter does."""
        import pyarrow.compute

        self._check(text)
        numbers, different = self._stretches.of(text)
        # Letters and digits of ASCII, and single marks, are words; what is in other stretches is learnt.
        is_word = pyarrow.compute.match_substring_regex(different, _WORD)
        is_other = pyarrow.compute.invert(is_word)
        words = different.filter(is_word)[1:]
        known = len(reserved) + len(words)
        stretches = different.filter(is_other).to_pylist()
        self._meet([stretch for stretch in stretches if stretch not in self._kept])
        rows = [self._kept[stretch] for stretch in stretches]
        number: dict[bytes, int] = {}
        flat = np.array([number.setdefault(word, len(number)) for row in rows for word in row], np.uint32)
        flat += np.uint32(known)
        bounds = np.append(0, np.cumsum([len(row) for row in rows], dtype=np.int64))
        ids = np.empty(len(different), np.uint32)
        mask = to_numpy(is_other.cast(pyarrow.uint8())).view(np.bool_)
        ids[~mask] = np.append(0, np.arange(len(reserved), known))
        ids[mask] = single(flat, bounds)
        self._forget()
        kinds = [pyarrow.array(list(each), pyarrow.large_binary()) for each in (reserved, number)]
        return inserted(ids.take(numbers), flat, bounds), pyarrow.concat_arrays([kinds[0], words, kinds[1]])

    def _forget(self) -> None:
        """Keeps what is worth it for the next text."""
        if len(self._kept) > _MOST_KEPT:
            self._kept = {}
        elif any(len(stretch) > _LONGEST_KEPT for stretch in self._kept):
            self._kept = {
                stretch: words for stretch, words in self._kept.items() if len(stretch) <= _LONGEST_KEPT
            }

    def _meet(self, stretches: list[bytes]) -> None:
        """Learns the words of stretches that were not met before."""
        texts: list[str] = []
        counts = []
        for stretch in stretches:
            # Any character that is not ASCII may be left out, or be a space.
            text = stretch.decode() if stretch.isascii() else stretch.decode().translate(self._clean)
            parts = [f" {part}" for part in text.split()]
            if parts and text[0] != " ":
                parts[0] = parts[0][1:]
            texts += parts
            counts.append(len(parts))
        rows = iter(self._words(texts))
        for stretch, count in zip(stretches, counts, strict=True):
            self._kept[stretch] = tuple(word for _ in range(count) for word in next(rows))

    def _words(self, texts: list[str]) -> list[list[bytes]]:
        """Returns the words of texts that hold no space but at the beginning."""
        lengths = np.fromiter(map(len, texts), np.int64, len(texts))
        starts = np.cumsum(lengths) - lengths
        wanted, is_plain, is_seen = self._wanted(texts, starts)
        rows: list[list[bytes]] = [[text.encode()] for text in texts]
        asked = np.flatnonzero(~is_plain)
        if not len(asked):
            return rows
        chosen = [texts[index] for index in asked]
        # From here on only what was asked for counts.
        kept = np.repeat(~is_plain, lengths)
        cuts, lengths = wanted[kept], lengths[asked]
        starts = np.cumsum(lengths) - lengths
        pieces, begins, ends, of_text = self._pieces(chosen)
        begins, ends = begins + starts[of_text], ends + starts[of_text]
        inside = ends > begins + 1
        change = np.bincount(begins[inside] + 1, minlength=len(cuts) + 1)
        change = change - np.bincount(ends[inside], minlength=len(cuts) + 1)
        cuts &= np.cumsum(change)[:-1] == 0
        cuts[starts] = True
        self._compare(chosen, starts, cuts, pieces, begins)
        # What either tokenizer makes nothing of is left out.
        is_some = is_seen[asked] & (np.bincount(of_text, minlength=len(chosen)) > 0)
        found = _between(chosen, starts, cuts)
        for index, row, is_text in zip(asked.tolist(), found, is_some.tolist(), strict=True):
            rows[index] = [word.encode() for word in row] if is_text else []
        return rows

    def _wanted(self, texts: list[str], starts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.bool_], ...]:
        """Returns before which characters a BERT cuts, and which texts are plainly a word, or some to it."""
        codes = np.frombuffer("".join(texts).encode("utf-32-le"), np.uint32)
        if not len(codes):
            return (np.zeros(0, np.bool_),) * 3
        unmet = np.unique(codes[self._kinds[codes] == _UNMET])
        self._kinds[unmet] = [self._kind(int(code)) for code in unmet]
        kinds = self._kinds[codes]
        is_alone, begins_nothing = kinds & _ISOLATED > 0, kinds & _BEGINS_NOTHING > 0
        wanted = is_alone.copy()
        wanted[1:] |= is_alone[:-1]
        wanted &= ~begins_nothing
        firsts = starts + (codes[starts] == ord(" "))
        wanted[starts], wanted[firsts] = False, False
        # A mark at the beginning stays with all that follows, and marks alone are no word to a BERT.
        odd = begins_nothing[firsts]
        lengths = np.diff(np.append(starts, len(codes)))
        wanted &= ~np.repeat(odd, lengths)
        is_plain = ~np.logical_or.reduceat(wanted | (codes > 127), starts)
        is_seen = np.logical_or.reduceat(kinds & _SEEN > 0, starts)
        return wanted, is_plain, is_seen

    def _kind(self, code: int) -> int:
        char = chr(code)
        parts = [" ".join(asker.ask(f"a{char}a"))[1:-1] for asker in self._askers]
        is_alone = all(len(part) > 2 and part[0] == part[-1] == " " for part in parts)
        is_seen = bool(parts[0].strip())
        category = unicodedata.category(char)
        is_mark = category[0] == "M" or category == "Cn"  # which may be one to a newer tokenizer
        return _ISOLATED * is_alone | _BEGINS_NOTHING * (is_mark or not is_seen) | _SEEN * is_seen

    def _pieces(self, texts: Sequence[str]) -> tuple[npt.NDArray[Any], ...]:
        """Returns the pieces of texts, where each begins and ends in its text, and of which text it is."""
        lines = [texts[first : first + _PER_LINE] for first in range(0, len(texts), _PER_LINE)]
        found = [np.empty((4, 0), np.int64)]
        for number, encoding in enumerate(
            self._cutter.encode_batch(lines, is_pretokenized=True, add_special_tokens=False)
        ):
            begins, ends = np.array(encoding.offsets, np.int64).reshape(-1, 2).T
            of_text = np.array(encoding.word_ids, np.int64) + number * _PER_LINE
            found.append(np.stack([np.array(encoding.ids, np.int64), begins, ends, of_text]))
        return tuple(np.concatenate(found, axis=1))

    def _compare(
        self,
        texts: list[str],
        starts: npt.NDArray[np.int64],
        cuts: npt.NDArray[np.bool_],
        pieces: npt.NDArray[np.int64],
        begins: npt.NDArray[np.int64],
    ) -> None:
        """Takes away cuts around words that have other pieces alone than in their text."""
        known: dict[str, list[int]] = {}
        while True:
            words = [word for row in _between(texts, starts, cuts) for word in row]
            new = list(dict.fromkeys(word for word in words if word not in known))
            found, _, _, of_word = self._pieces(new)
            bounds = np.append(0, np.cumsum(np.bincount(of_word, minlength=len(new))))
            known.update(zip(new, Ragged(found, bounds).rows(), strict=True))
            places = np.flatnonzero(cuts)
            word_of = np.cumsum(cuts)[begins] - 1
            inside = np.bincount(word_of, minlength=len(words))
            alone = np.array([len(known[word]) for word in words])
            is_bad = (inside != alone) | (alone == 0)
            same = np.array([piece for word in words for piece in known[word]], np.int64)
            good = ~is_bad
            ours = np.repeat(good, alone)
            theirs = good[word_of]
            if np.any(np.diff(word_of) < 0):  # pieces out of order: nothing is known of them
                is_bad[:] = True
            else:
                differs = same[ours] != pieces[theirs]
                is_bad |= np.bincount(word_of[theirs][differs], minlength=len(words)) > 0
            is_first = np.isin(places, starts)
            taken = ~is_first & (is_bad | np.append(False, is_bad[:-1]))
            if not taken.any():
                return
            cuts[places[taken]] = False


class _Clean(dict[int, str]):
    """What becomes of a character: itself, a space, or nothing; learnt when first met."""

    def __init__(self, cleaner: Any) -> None:
        super().__init__({ord(_UNDERSCORE): " "})
        self._cleaner = cleaner

    def __missing__(self, code: int) -> str:
        self[code] = self._cleaner.normalize_str(f"a{chr(code)}a")[1:-1]
        return self[code]


def _between(
    texts: Sequence[str], starts: npt.NDArray[np.int64], cuts: npt.NDArray[np.bool_]
) -> list[list[str]]:
    """Returns what lies between the cuts in each text."""
    places = np.append(np.flatnonzero(cuts), len(cuts)).tolist()
    whole, rows, number = "".join(texts), [], 0
    for end in [*starts[1:].tolist(), len(cuts)]:
        row = []
        while places[number] < end:
            row.append(whole[places[number] : places[number + 1]])
            number += 1
        rows.append(row)
    return rows


def splitter_of(described: dict[str, Any], folder: Path) -> Splitter:
    """Returns what made the words of a corpus, from what its rules said and the files beside it."""
    if "normalizer" in described:
        return WordSplitter(json.dumps(described["normalizer"]))
    return SharedSplitter(folder.joinpath(TOKENIZER).read_bytes(), bytes(128 * 128), described["marks"])


def packed(tokenizer: Tokenizer) -> bytes:
    """Returns a tokenizer as bytes, a third of its file's."""
    return zlib.compress(tokenizer.to_str().encode(), 1)
