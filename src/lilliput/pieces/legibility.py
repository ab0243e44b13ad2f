"""Whether a teacher can read a text at all: what its vocabulary leaves of the words, before anything is made.

A teacher whose vocabulary is not of the text's language has [UNK] for words, or spells them letter by letter,
and teaches nothing of them. Measured on 25 languages with an English BERT's pieces (MiniLM, uncased) and on
14 with those of a multilingual-e5-small, as the share of running words that are unknown, or have at least
three letters and as many pieces: at most 0.9 % where the alphabet is the teacher's, and at least 40 % where
it is not (Persian 40, Arabic 46, Russian 51, Greek 52, Chinese 57, Japanese 61, Korean 85). A syllable of
Korean has two or three letters. The second sign is the number of pieces a word, where letters make words with
spaces between: English in English pieces 1.1; what multilingual-e5-small has learnt 1.2 to 1.7; fourteen
languages from Turkish to Indonesian in English pieces 1.8 to 2.3. Not told apart are French (1.7), Vietnamese
(1.6) and Croatian (1.4).
"""

import unicodedata
from typing import NamedTuple

import numpy as np

from lilliput.pieces.family import TeacherTokenizer
from lilliput.pieces.scripts import hardly_read, script_of
from lilliput.pieces.segmentation import unknown_words
from lilliput.text.corpus import FIRST_WORD, Corpus

MOST_LOST, MOST_PIECES = 0.1, 1.8
"""Share of the words that may be unknown or spelled, and pieces a word; of more the user is warned."""
_TYPES = 20_000
"""Most frequent words that are looked at, which are nine in ten of the running ones or more."""
_OTHERS = frozenset(("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI", "LAO", "KHMER", "MYANMAR"))
"""Scripts without spaces between words, and that of Korean, whose words have their particles with them."""


class Legibility(NamedTuple):
    """What a teacher's vocabulary leaves of a text's words; shares weigh words by their counts."""

    unknown: float
    """Share of the words that have [UNK]."""
    spelled: float
    """Share of the words of at least three letters that have a piece for each letter, or more."""
    pieces: float
    """Pieces a word in scripts of letters with spaces between words; 0 where most words are of others."""
    scripts: dict[str, float]
    """Scripts of which less than nine words in ten are known and not spelled, with that share."""

    def warning(self) -> str | None:
        """Returns what to tell the user before anything is trained; None where the teacher reads the text."""
        if self.unknown + self.spelled > MOST_LOST:
            pieces = f" ({self.pieces:.1f} pieces a word)" if self.pieces else ""
            named = ", ".join(f"{share:.0%} of those in {name}" for name, share in self.scripts.items())
            return (
                f"the teacher cannot read this text: of its words {self.unknown:.1%} are unknown to it, and "
                f"{self.spelled:.1%} are cut into single letters{pieces}. "
                f"{f'It reads {named}. ' if named else ''}Of such words a student learns nothing. Take a "
                "teacher of the text's language or a multilingual one, or leave out what it cannot read"
            )
        if self.pieces > MOST_PIECES:
            return (
                f"the teacher cuts this text into {self.pieces:.1f} pieces a word, as happens with a "
                "language or a notation that it did not learn (1.1 to 1.7 is usual). If the text is in "
                "another language, take a teacher of that language or a multilingual one"
            )
        return None


def legibility(corpus: Corpus, teacher: TeacherTokenizer) -> Legibility:
    """Returns what a teacher's vocabulary leaves of the words of a corpus, by the most frequent ones."""
    counts = np.asarray(corpus.counts[FIRST_WORD:])
    chosen = np.argsort(-counts, kind="stable")[:_TYPES]
    every = corpus.word_types()[FIRST_WORD:]
    scripts = {int(index): script_of(every[index]) for index in chosen}
    chosen = np.array([index for index, script in scripts.items() if script], np.int64)
    if not len(chosen):
        return Legibility(0.0, 0.0, 0.0, {})
    words, counts = [every[index] for index in chosen], counts[chosen]
    table = teacher.pieces(words)
    unknown = unknown_words(table, teacher.special.unk)
    letters = np.array([sum(map(str.isalpha, unicodedata.normalize("NFD", word))) for word in words])
    spelled = ~unknown & (letters >= 3) & (table.lengths >= letters)
    spaced = np.array([scripts[int(index)] not in _OTHERS for index in chosen])
    total, of_spaced = counts.sum(), (counts * spaced).sum()
    return Legibility(
        unknown=float((counts * unknown).sum() / total),
        spelled=float((counts * spelled).sum() / total),
        pieces=float((counts * spaced * table.lengths).sum() / of_spaced) if 2 * of_spaced >= total else 0.0,
        scripts=hardly_read(words, counts, ~(unknown | spelled)),
    )
