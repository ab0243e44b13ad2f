"""Words -> their pieces under one vocabulary."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput.common.progress import bar
from lilliput.common.ragged import Ragged

_WORDS_PER_LINE = 1_000
_LINES_PER_BLOCK = 50


def segment(words: Sequence[str], reader: Tokenizer) -> Ragged:
    """Returns the pieces of every word.

    Args:
        words: In the form in which the corpus has them.
        reader: A tokenizer that makes pieces of words in this form, such as `speller` and `bare` return.
    """
    lengths = np.zeros(len(words), np.int64)
    pieces = [np.zeros(0, np.int32)]
    per_block = _WORDS_PER_LINE * _LINES_PER_BLOCK
    with bar("segmenting words", len(words)) as progress:
        for block in range(0, len(words), per_block):
            starts = range(block, min(block + per_block, len(words)), _WORDS_PER_LINE)
            lines = [words[start : start + _WORDS_PER_LINE] for start in starts]
            # A line of words comes back as one Encoding: ten times fewer Python objects than a call per word.
            for start, encoding in zip(starts, reader.encode_batch(lines, is_pretokenized=True), strict=True):
                pieces.append(np.array(encoding.ids, np.int32))
                found = np.bincount(np.array(encoding.word_ids, np.int64))
                lengths[start : start + len(found)] = found
            progress.update(min(block + per_block, len(words)))
    return Ragged(np.concatenate(pieces), np.concatenate([[0], np.cumsum(lengths)]))


def unknown_words(table: Ragged, unknown: int) -> npt.NDArray[np.bool_]:
    """Returns which words hold the piece for what is unknown, [words]."""
    return np.logical_or.reduceat(table.values == unknown, table.offsets[:-1])
