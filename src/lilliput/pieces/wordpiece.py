"""Word counts -> a vocabulary of word pieces, the same for the same counts."""

import itertools
import string
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from lilliput.common.progress import Bar, bar
from lilliput.config import LEAST_PIECES, MOST_PIECES
from lilliput.errors import InputError
from lilliput.pieces.bert_tokenizer import student_tokenizer
from lilliput.pieces.tokenizer_file import SPECIAL, UNK
from lilliput.pieces.word_rules import whole_pieces

WORDS_LEARNT_FROM = 20_000_000
"""Running words the trainer is shown at most, in about 15 s. With 5 M words of Wikipedia in place of 32 M, 28
of 4,928 pieces are others."""
_CHARACTER_SHARE = 0.05
"""Divided by the size of the vocabulary: occurrences per running word from which a character gets a place."""
_WORDS_PER_LINE = 1_000


def learn_vocabulary(
    words: Sequence[str], counts: npt.NDArray[np.int64], size: int, teacher: Tokenizer
) -> Tokenizer:
    """Returns a tokenizer of exactly `size` WordPieces learnt from `words` and their `counts`.

    Equal input gives an equal vocabulary: special pieces at ids 0 to 4, characters, then pieces in the order
    learnt. Of a text of more than 20 M words every n-th running word is learnt from, in the order of the word
    list, so that time and memory stay bounded. A word seen fewer than n times may then be left out, but rare
    words taken together keep their weight, and so do the pieces they share. Characters rarer than the pieces
    learnt last are left out, for they would take the place of something more frequent; ASCII letters and
    digits always stay. Pieces that the teacher takes whole, such as [E1] or <user>, are the last ones.

    Args:
        words: Different words, most frequent first.
        counts: How often each occurs.
        size: Pieces wanted, the five special ones included.
        teacher: Its normaliser, pre-tokeniser and continuation prefix are taken over.

    Raises:
        InputError: If the text gives fewer pieces, or its characters alone need more.
    """
    words, counts = _thinned(words, counts)
    words, counts = _of_common_characters(words, counts, size)
    prefix = teacher.model.continuing_subword_prefix
    # Fixed first ids are what makes the result repeatable: the trainer breaks ties between equally frequent
    # pairs by id, and hands out the ids of continuing characters in the random order of a hash table.
    first, later = {word[0] for word in words}, {character for word in words for character in word[1:]}
    characters = sorted(first | later) + [prefix + character for character in sorted(later)]
    fixed, whole = [*SPECIAL, *characters], whole_pieces(teacher)
    if (needed := len(fixed) + len(whole)) > size:
        remedy = (
            f"raise lexicon.size to {2 * needed} or more"
            if 2 * needed <= MOST_PIECES
            else "give text in one script"
        )
        raise InputError(
            f"{size} pieces cannot hold the {len(characters)} characters of this text (at a word's beginning "
            f"and within it), the special pieces and the {len(whole)} others that the teacher takes whole; "
            f"{remedy}"
        )
    learner = Tokenizer(models.WordPiece(unk_token=UNK))
    learner.pre_tokenizer = pre_tokenizers.CharDelimiterSplit(" ")
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=fixed, continuing_subword_prefix=prefix, show_progress=False
    )
    with bar(f"learning {size:,} pieces", int(counts.sum())) as progress:
        learner.train_from_iterator(_lines(words, counts, progress), trainer)
    vocabulary = _with_whole(learner.get_vocab(), whole, size)
    if len(vocabulary) < size:
        less = f"set lexicon.size to {len(vocabulary)} or less, or " * (len(vocabulary) >= LEAST_PIECES)
        raise InputError(
            f"the text gives {len(vocabulary)} pieces at most, {size} were asked for; {less}give more text"
        )
    return student_tokenizer(teacher, vocabulary)


def _with_whole(learnt: dict[str, int], whole: Sequence[str], size: int) -> dict[str, int]:
    """Returns the pieces learnt first, and behind them those that are taken whole, `size` together."""
    kept = set(whole)
    pieces = [piece for piece in sorted(learnt, key=learnt.__getitem__) if piece not in kept]
    return {piece: index for index, piece in enumerate([*pieces[: size - len(whole)], *whole])}


def _thinned(words: Sequence[str], counts: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Returns the words and counts of every n-th running word, the fewest n that leave 20 M at most."""
    every = max(1, -(-int(counts.sum()) // WORDS_LEARNT_FROM))
    thinned = np.diff(np.cumsum(counts) // every, prepend=0)
    kept = thinned > 0
    return list(itertools.compress(words, kept)), thinned[kept]


def _of_common_characters(
    words: list[str], counts: npt.NDArray[np.int64], size: int
) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Returns the words, with their counts, that have only characters worth a place among `size` pieces.

    By Zipf's law the last of `size` pieces occurs in a share of about 0.1 / size of the words. A character
    must occur half as often: without a piece a word is cut once more, without a character it is lost. For
    Wikipedia and 4,928 pieces the dial moved from 1 over 1/2 to 1/10 gives 80, 108, 204 characters, 99.91,
    99.93, 99.95 % of the words without [UNK], and 1.354, 1.357, 1.366 pieces per word. Characters are at most
    half as many as pieces, which only matters for scripts of thousands.
    """
    lengths = np.fromiter(map(len, words), np.int64, len(words))
    codes = np.frombuffer("".join(words).encode("utf-32-le"), np.uint32)
    frequency = np.bincount(codes, np.repeat(counts, lengths), 1)
    kept = frequency >= max(_CHARACTER_SHARE / size * counts.sum(), 1)
    kept[np.argsort(-frequency, kind="stable")[size // 2 :]] = False
    always = np.array([ord(character) for character in string.ascii_letters + string.digits])
    kept[always[always < len(kept)]] = True
    readable = np.logical_and.reduceat(kept[codes], np.cumsum(lengths) - lengths)
    return list(itertools.compress(words, readable)), counts[readable]


def _lines(words: Sequence[str], counts: npt.NDArray[np.int64], progress: Bar) -> Iterator[str]:
    """Yields every word as often as it counts, 1,000 words a line, for a trainer that takes no counts."""
    repeated = itertools.chain.from_iterable(map(itertools.repeat, words, counts.tolist()))
    done = 0
    while line := " ".join(itertools.islice(repeated, _WORDS_PER_LINE)):
        yield line
        done += _WORDS_PER_LINE
        progress.update(done)
