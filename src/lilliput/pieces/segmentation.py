"""Words -> their pieces under one vocabulary, as a ragged table."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput.common.progress import bar
from lilliput.pieces.teacher_tokenizer import special_pieces, speller

_WORDS_PER_LINE = 1_000
_LINES_PER_BLOCK = 50


@dataclass(frozen=True)
class Segmentations:
    """The pieces of every word under one vocabulary: a ragged table over word ids."""

    offsets: npt.NDArray[np.int64]
    """Where each word's pieces begin, [types + 1]."""
    pieces: npt.NDArray[np.int32]
    """Piece ids of all words one after the other, [offsets[-1]]."""

    @property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Pieces of each word, [types], computed at every call."""
        return np.diff(self.offsets).astype(np.int32)

    def __getitem__(self, word: int) -> npt.NDArray[np.int32]:
        """Returns the pieces of one word."""
        return self.pieces[self.offsets[word] : self.offsets[word + 1]]


def segment(words: Sequence[str], tokenizer: Tokenizer) -> Segmentations:
    """Returns the pieces of every word under `tokenizer`, which is asked for its pieces only.

    The normaliser is left out: words went through it in the corpus, and it need not leave its own result
    alone (it puts spaces around a Chinese character each time).
    """
    pieces_only = speller(tokenizer)
    lengths = np.zeros(len(words), np.int64)
    pieces = [np.zeros(0, np.int32)]
    per_block = _WORDS_PER_LINE * _LINES_PER_BLOCK
    with bar("segmenting words", len(words)) as progress:
        for block in range(0, len(words), per_block):
            starts = range(block, min(block + per_block, len(words)), _WORDS_PER_LINE)
            lines = [words[start : start + _WORDS_PER_LINE] for start in starts]
            # A line of words comes back as one Encoding: ten times fewer Python objects than a call per word.
            for start, encoding in zip(
                starts, pieces_only.encode_batch(lines, is_pretokenized=True), strict=True
            ):
                pieces.append(np.array(encoding.ids, np.int32))
                found = np.bincount(np.array(encoding.word_ids, np.int64))
                lengths[start : start + len(found)] = found
            progress.update(min(block + per_block, len(words)))
    return Segmentations(np.concatenate([[0], np.cumsum(lengths)]), np.concatenate(pieces))


def unknown_words(table: Segmentations, tokenizer: Tokenizer) -> npt.NDArray[np.bool_]:
    """Returns which words hold [UNK], [words]."""
    return np.logical_or.reduceat(table.pieces == special_pieces(tokenizer).unk, table.offsets[:-1])
