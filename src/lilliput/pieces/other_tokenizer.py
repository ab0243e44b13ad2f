"""A teacher's tokenizer that is no BERT's: its words are those that it shares with a BERT's."""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tokenizers import Tokenizer, decoders

from lilliput.common.files import digest_value, writing
from lilliput.common.hub import read_settings
from lilliput.common.ragged import Ragged
from lilliput.errors import ModelError, first_line
from lilliput.pieces.apart import apart
from lilliput.pieces.bare import bare
from lilliput.pieces.bert_tokenizer import (
    complete,
    digest_tokenizer,
    load_tokenizer,
    plain_tokenizer,
    vocabulary_size,
)
from lilliput.pieces.family import Counts, TeacherTokenizer
from lilliput.pieces.roles import NO_PIECE, pieces_of, read_roles
from lilliput.pieces.segmentation import segment
from lilliput.pieces.tokenizer_bounds import check_file, check_rows, read_own_settings
from lilliput.pieces.tokenizer_file import SPECIAL, UNK, SpecialPieces
from lilliput.pieces.word_rules import whole_pieces
from lilliput.text.shared_words import SharedRules, packed
from lilliput.text.words import Rules, WordSplitter

ROLES = "teacher_roles.json"
"""The file of a lexicon that has the piece of each role."""
_PROBE = (
    "The quick (brown) fox's 3.14 jumped over 1,000 lazy dogs; it didn't stop... Straße café naïve "
    "Ελλάδα Москва 東京都 ひらがな 한국어 हिन्दी العربية 👍 a+b=c [x] <y> {z} e-mail@example.org"
)
"""A text of many kinds of characters."""


@dataclass(frozen=True, repr=False)
class OtherTokenizer(TeacherTokenizer):
    """Any other: byte-level BPE, BPE with byte fallback, Unigram, WordPiece with other special pieces."""

    tokenizer: Tokenizer
    roles: tuple[tuple[str, str], ...]
    """The piece of each role."""

    @classmethod
    def read(cls, folder: Path) -> "OtherTokenizer":
        """Reads the tokenizer.json of a checkpoint; raises ModelError if it cannot be used."""
        path = folder / "tokenizer.json"
        settings = read_own_settings(folder)
        check_file(path)
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except BaseException as error:
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise  # the library panics where a file is wrong
            raise ModelError(f"{path} cannot be used ({first_line(error)}); fetch it again") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        rows = read_settings(folder / "config.json").get("vocab_size")
        if type(rows) is int:
            check_rows(folder, tokenizer, rows)
        found = cls(tokenizer, tuple(sorted(read_roles(folder, settings, tokenizer).items())))
        found._check(path)
        return found

    def _check(self, path: Path) -> None:
        """Raises ModelError where words would have other pieces alone than in a text."""
        model = json.loads(self.tokenizer.to_str())["model"]
        reason = None
        if model["type"] not in ("BPE", "Unigram", "WordPiece"):
            reason = f"its model is {model['type']}"
        elif model.get("dropout"):
            reason = "it cuts a text at random (BPE with dropout)"
        elif model["type"] == "BPE" and (
            model.get("continuing_subword_prefix") or model.get("end_of_word_suffix")
        ):
            reason = "its pieces differ at the ends of words (BPE with a prefix or a suffix)"
        elif not self._is_exact(model):
            reason = "it makes other pieces of a word within a text than of the word alone"
        if reason:
            raise ModelError(
                f"{path} cannot be used: {reason}; supported are a BERT's tokenizer, byte-level BPE, BPE "
                "with byte fallback, Unigram and WordPiece that cut a text at its spaces"
            )

    def _is_exact(self, model: dict[str, object]) -> bool:
        """Returns whether the pieces of a text are those of its stretches between spaces."""
        own = [self.tokenizer.encode(text, add_special_tokens=False).ids for text in (_PROBE, f" {_PROBE}")]
        if self._bare.encode(f" {_PROBE}", add_special_tokens=False).ids not in own:
            return False
        # Pieces that hold a space within would be found in whole texts alone.
        across = [text for text in map(self.surface, self.tokenizer.get_vocab()) if " " in text.strip()]
        texts = [_PROBE, *(text for text in across[:1000] if text.strip(" ").split(" ") == text.split())]
        whole = self._bare.encode_batch([f" {text.strip()}" for text in texts], add_special_tokens=False)
        parts = [[f" {part}" for part in text.split()] for text in texts]
        apart = self._bare.encode_batch(parts, is_pretokenized=True, add_special_tokens=False)
        return [each.ids for each in whole] == [each.ids for each in apart]

    @functools.cached_property
    def special(self) -> SpecialPieces:  # type: ignore[override]
        """Its pieces that are not text."""
        return pieces_of(dict(self.roles), self.tokenizer)

    @functools.cached_property
    def _bare(self) -> Tokenizer:
        added = self.tokenizer.get_added_tokens_decoder().values()
        special = {token.content for token in added if token.special}
        return bare(self.tokenizer, special | {piece for _, piece in self.roles})

    def save(self, folder: Path) -> None:
        """Writes the tokenizer and its roles into the folder of a lexicon."""
        super().save(folder)
        with writing(folder / ROLES) as file:
            file.write(json.dumps(dict(self.roles)).encode())

    def digest(self) -> str:
        """Returns a short digest of everything that it does."""
        return digest_value([digest_tokenizer(self.tokenizer), dict(self.roles)])

    def rules(self) -> Rules:
        """Returns how words are made of a text."""
        roles = dict(self.roles)
        added = {token.content: token for token in self.tokenizer.get_added_tokens_decoder().values()}
        marks = (
            name
            for name in whole_pieces(self.tokenizer)
            if not added[name].special and name.strip() and name not in roles.values()
        )
        return SharedRules(
            self.digest(),
            tuple(marks),
            f"{roles['sep']} ",
            f"{roles['cls']} ",
            packed(self._bare),
            apart(self._bare, self.surfaces()).tobytes(),
        )

    def pieces(self, words: Sequence[str]) -> Ragged:
        """Returns the pieces of each word."""
        return segment(words, self._bare)

    def student_pieces(self, words: Sequence[str], student: Tokenizer) -> Ragged:
        """Returns the pieces of each word under a student's tokenizer."""
        return segment(words, bare(student))

    def base(self, cased: bool) -> Tokenizer:
        """Returns the tokenizer whose normaliser and pre-tokeniser a student takes over: a BERT's."""
        made = plain_tokenizer({UNK: 0}, lowercase=not cased)
        made.decoder = decoders.WordPiece()
        return made

    def student_words(
        self, words: Sequence[str], counts: Counts, base: Tokenizer
    ) -> tuple[list[str], Counts]:
        """Returns the words that a BERT makes of these, most frequent first, and their counts."""
        rows, different = WordSplitter(base.normalizer.__getstate__().decode()).split_texts(words)
        number: dict[str, int] = {}
        merged = np.array([number.setdefault(word, len(number)) for word in different], np.int64)
        totals = np.bincount(merged[rows.values], np.repeat(counts, rows.lengths), len(number)).astype(
            np.int64
        )
        names = list(number)
        order = sorted(range(len(names)), key=lambda index: (-totals[index], names[index]))
        return [names[index] for index in order], totals[order]

    def given(self, name: str) -> Tokenizer:
        """Loads a student's tokenizer; raises ModelError when it cuts texts at other words than a BERT."""
        found = complete(load_tokenizer(name))
        normaliser = json.loads(found.to_str())["normalizer"]
        other = [key for key in ("clean_text", "handle_chinese_chars") if not normaliser[key]]
        if other or whole_pieces(found):
            reason = f"{other[0]} false" if other else f"it takes {whole_pieces(found)[0]!r} whole"
            raise ModelError(
                f"the tokenizer '{name}' cuts texts at other words than a BERT does ({reason}); take one "
                "with a BERT's usual normaliser, cased or not, or leave lexicon.tokenizer away to learn a "
                "vocabulary"
            )
        return found

    def surface(self, piece: str) -> str:
        """Returns what a piece spells, with a space before it if it begins a word."""
        if self._writes == "bytes":
            spelt: str = decoders.ByteLevel().decode([piece])
            return spelt
        if self._writes == "spaces":
            return piece.replace("\u2581", " ")
        rest = piece.removeprefix(self.tokenizer.model.continuing_subword_prefix)
        return f" {piece}" if rest == piece else rest

    @functools.cached_property
    def _writes(self) -> Literal["bytes", "spaces", "parts"]:
        """How pieces are written: byte by byte, with a mark for spaces, or with one for parts of words."""
        layout = json.loads(self._bare.to_str())
        if layout["model"]["type"] == "WordPiece":
            return "parts"
        return "bytes" if '"ByteLevel"' in json.dumps(layout["pre_tokenizer"]) else "spaces"

    def classes(self, student: Tokenizer) -> tuple[Counts, Counts]:
        """Returns numbers of what pieces spell as a student reads it, be it at a word's beginning or not."""
        number: dict[str, int] = {}
        own = np.full(self.size, -2)
        vocabulary = self.tokenizer.get_vocab()
        for piece, index in vocabulary.items():
            text = student.normalizer.normalize_str(self.surface(piece)).strip()
            if text:
                own[index] = number.setdefault(text, len(number))
        prefix = student.model.continuing_subword_prefix
        theirs = np.full(vocabulary_size(student), -1)
        for piece, index in student.get_vocab().items():
            theirs[index] = number.get(piece.removeprefix(prefix), -1)
        for piece, ours in zip(SPECIAL, self.special, strict=True):
            if ours != NO_PIECE:
                own[ours] = number.setdefault(piece, len(number))
                theirs[student.token_to_id(piece)] = own[ours]
        return own, theirs

    def spell(self, student: Tokenizer) -> list[list[int]]:
        """Returns for each piece of a student, in the order of ids, its own pieces that spell it.

        A piece that begins words is spelt as a word after a space; one that stands alone, such as a comma,
        both with the space and without.
        """
        prefix = student.model.continuing_subword_prefix
        vocabulary = student.get_vocab()
        roles = dict(zip(SPECIAL, self.special, strict=True))
        unknown = self.special.mask if self.special.unk == NO_PIECE else self.special.unk
        texts: list[str] = []
        owners: list[int] = []
        spelt: list[list[int]] = [[] for _ in range(vocabulary_size(student))]
        for piece, index in vocabulary.items():
            if piece in roles:
                spelt[index] = [unknown if roles[piece] == NO_PIECE else roles[piece]]
                continue
            forms = _forms(piece, prefix)
            texts += forms
            owners += [index] * len(forms)
        for index, ids in zip(owners, self.pieces(texts).rows(), strict=True):
            spelt[index] += ids
        return [ids or [unknown] for ids in spelt]


def _forms(piece: str, prefix: str) -> list[str]:
    """Returns how a student's piece is written in a text."""
    rest = piece.removeprefix(prefix)
    if rest != piece and rest:
        return [rest]
    return [f" {piece}"] if piece[0].isalnum() else [f" {piece}", piece]
