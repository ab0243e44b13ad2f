"""The teacher's tokenizer, of any family: words of a text, pieces of a word, and what a piece spells.

A BERT's tokenizer cuts words first, so its words are the unit (`BertTokenizer`). Of others it is what they
and a BERT's tokenizer both cut out of a text (`OtherTokenizer`, `text.shared_words`). The student's tokenizer
is a BERT's in either case.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from lilliput.common.hub import checkpoint_folder
from lilliput.common.ragged import Ragged
from lilliput.errors import ModelError, StorageError
from lilliput.pieces.bert_tokenizer import (
    digest_tokenizer,
    given_tokenizer,
    load_tokenizer,
    special_pieces,
    spell,
    speller,
    vocabulary_size,
)
from lilliput.pieces.family import SAVED, Counts, TeacherTokenizer
from lilliput.pieces.other_tokenizer import ROLES, OtherTokenizer
from lilliput.pieces.segmentation import segment
from lilliput.pieces.tokenizer_bounds import check_file
from lilliput.pieces.tokenizer_file import CLS, SpecialPieces
from lilliput.pieces.tokenizer_settings import FILES
from lilliput.pieces.word_rules import word_rules
from lilliput.text.words import Rules


def load_teacher_tokenizer(name: str) -> TeacherTokenizer:
    """Loads a teacher's tokenizer from a folder or the hub.

    Raises ModelError when there is none or it cannot be used, with the reason.
    """
    folder = checkpoint_folder(name, *FILES)
    if not any((folder / file).is_file() for file in FILES[:2]):
        raise ModelError(
            f"{folder} has no fast tokenizer (neither tokenizer.json nor vocab.txt); save one there: "
            "AutoTokenizer.from_pretrained(...).save_pretrained(FOLDER)"
        )
    if (folder / FILES[0]).is_file() and not _is_bert(folder / FILES[0]):
        return OtherTokenizer.read(folder)
    return BertTokenizer(load_tokenizer(name))


def teachers(found: Tokenizer | TeacherTokenizer) -> TeacherTokenizer:
    """Returns a teacher's tokenizer as it is, or that of a BERT."""
    return found if isinstance(found, TeacherTokenizer) else BertTokenizer(found)


def saved_tokenizer(folder: Path, remedy: str) -> TeacherTokenizer:
    """Returns the tokenizer in the folder of a lexicon; raises StorageError where it is damaged."""
    try:
        tokenizer = Tokenizer.from_file(str(folder / SAVED))
        if not (folder / ROLES).exists():
            return BertTokenizer(tokenizer)
        roles = json.loads((folder / ROLES).read_bytes())
        return OtherTokenizer(tokenizer, tuple(sorted(roles.items())))
    except Exception as error:  # the library raises bare Exception
        raise StorageError(f"{folder / SAVED} is missing or damaged ({error}); {remedy}") from error


@dataclass(frozen=True, repr=False)
class BertTokenizer(TeacherTokenizer):
    """A BERT's: the words are its own, in its normal form, and the student shares how they are cut."""

    tokenizer: Tokenizer

    @property
    def special(self) -> SpecialPieces:  # type: ignore[override]
        """Its pieces that are not text."""
        return special_pieces(self.tokenizer)

    def digest(self) -> str:
        """Returns a short digest of everything that it does."""
        return digest_tokenizer(self.tokenizer)

    def rules(self) -> Rules:
        """Returns how words are made of a text."""
        return word_rules(self.tokenizer)

    def pieces(self, words: Sequence[str]) -> Ragged:
        """Returns the pieces of each word."""
        return segment(words, speller(self.tokenizer))

    def student_pieces(self, words: Sequence[str], student: Tokenizer) -> Ragged:
        """Returns the pieces of each word under a student's tokenizer."""
        return segment(words, speller(student))

    def base(self, cased: bool) -> Tokenizer:
        """Returns itself: a student tells capitals apart if it does; raises ModelError if it cannot."""
        if cased and json.loads(self.tokenizer.to_str())["normalizer"]["lowercase"]:
            raise ModelError(
                "lexicon.cased is true, and the words of this teacher's tokenizer have no capitals; set it "
                "to false, or take a cased teacher"
            )
        return self.tokenizer

    def student_words(
        self, words: Sequence[str], counts: Counts, base: Tokenizer
    ) -> tuple[list[str], Counts]:
        """Returns the words as they are."""
        return list(words), counts

    def given(self, name: str) -> Tokenizer:
        """Loads a student's tokenizer; raises ModelError when it makes other words."""
        return given_tokenizer(name, self.tokenizer)

    def surface(self, piece: str) -> str:
        """Returns what a piece spells, with a space before it if it begins a word."""
        rest = piece.removeprefix(self.tokenizer.model.continuing_subword_prefix)
        return f" {piece}" if rest == piece else rest

    def classes(self, student: Tokenizer) -> tuple[Counts, Counts]:
        """Returns its ids, and for a student's pieces the ids of those spelt alike."""
        known = self.tokenizer.get_vocab()
        translated = np.full(vocabulary_size(student), -1)
        for piece, index in student.get_vocab().items():
            translated[index] = known.get(piece, -1)
        return np.arange(self.size), translated

    def spell(self, student: Tokenizer) -> list[list[int]]:
        """Returns for each piece of a student, in the order of ids, its own pieces that spell it."""
        return spell(student.get_vocab(), self.tokenizer)


def _is_bert(path: Path) -> bool:
    """Returns whether a tokenizer.json is to be read as a BERT's, which is then checked key by key."""
    try:
        layout = check_file(path)
        model, added = layout["model"], layout.get("added_tokens") or []
        has_cls = CLS in model["vocab"] or any(token["content"] == CLS for token in added)
    except (ModelError, KeyError, TypeError):
        return True  # and refused with the reason
    return model.get("type") in ("WordPiece", None) and has_cls
