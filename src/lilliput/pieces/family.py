"""What the rest of lilliput asks of a teacher's tokenizer, whatever its family."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput.common.files import writing
from lilliput.common.ragged import Ragged
from lilliput.pieces.bert_tokenizer import vocabulary_size
from lilliput.pieces.tokenizer_file import SpecialPieces
from lilliput.text.words import Rules

Counts = npt.NDArray[np.int64]

SAVED = "teacher_tokenizer.json"
"""The file of a lexicon that has the teacher's tokenizer."""


class TeacherTokenizer(ABC):
    """A teacher's tokenizer."""

    tokenizer: Tokenizer
    """As it was loaded."""
    special: SpecialPieces
    """Its pieces that are not text."""

    def save(self, folder: Path) -> None:
        """Writes the tokenizer into the folder of a lexicon."""
        with writing(folder / SAVED) as file:
            file.write(self.tokenizer.to_str().encode())

    @property
    def size(self) -> int:
        """Rows that a table needs for every id."""
        return vocabulary_size(self.tokenizer)

    @abstractmethod
    def digest(self) -> str:
        """Returns a short digest of everything that it does."""

    @abstractmethod
    def rules(self) -> Rules:
        """Returns how words are made of a text."""

    @abstractmethod
    def pieces(self, words: Sequence[str]) -> Ragged:
        """Returns the pieces of each word."""

    @abstractmethod
    def student_pieces(self, words: Sequence[str], student: Tokenizer) -> Ragged:
        """Returns the pieces of each word under a student's tokenizer."""

    @abstractmethod
    def base(self, cased: bool) -> Tokenizer:
        """Returns the tokenizer whose normaliser and pre-tokeniser a student takes over.

        Args:
            cased: Whether the student tells capitals apart, where it has the choice.
        """

    @abstractmethod
    def student_words(
        self, words: Sequence[str], counts: Counts, base: Tokenizer
    ) -> tuple[list[str], Counts]:
        """Returns the words that a student's vocabulary is learnt from, most frequent first, and counts."""

    @abstractmethod
    def given(self, name: str) -> Tokenizer:
        """Loads a student's tokenizer; raises ModelError when it cuts texts at other words."""

    @abstractmethod
    def surface(self, piece: str) -> str:
        """Returns what a piece spells, with a space before it if it begins a word."""

    @abstractmethod
    def classes(self, student: Tokenizer) -> tuple[Counts, Counts]:
        """Returns a number for each of its own pieces and of a student's, equal where they are alike.

        Negative numbers stand for what is like nothing.
        """

    @abstractmethod
    def spell(self, student: Tokenizer) -> list[list[int]]:
        """Returns for each piece of a student, in the order of ids, its own pieces that spell it."""

    def surfaces(self) -> list[str]:
        """Returns what each piece spells, in the order of ids."""
        vocabulary = self.tokenizer.get_vocab()
        return [self.surface(piece) for piece in sorted(vocabulary, key=vocabulary.__getitem__)]
