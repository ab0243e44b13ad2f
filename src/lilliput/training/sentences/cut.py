"""Rows of a corpus -> the texts that a sentence encoder learns from.

Most are single sentences. Neighbours, fragments and paragraphs are there because titles, short queries and
passages will be asked, too. All are stretches of rows, so both models read the same words of them.
"""

import unicodedata
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from lilliput.errors import InputError
from lilliput.text.corpus import END, Corpus
from lilliput.training.rows import Rows

_ENDS = frozenset(".!?…\u3002\uff01\uff1f\uff61\u0964\u0965\u061f\u06d4\u0589\u1362")
"""Full stops, marks of questions and exclamations of Latin, CJK, Indian, Arabic, Armenian, Ethiopic."""
_SINGLE, _NEIGHBOURS, _FRAGMENT = 0.65, 0.8, 0.95
"""Up to where a draw of [0, 1) makes a sentence a text alone, with the next one, or in part; beyond, the text
is the row from there on."""
_LONGEST_FRAGMENT = 5
"""Words."""
_LEAST_WORDS = 3
"""Of a sentence: shorter ones are mostly quotation marks and headings."""

Bools = npt.NDArray[np.bool_]


def sentence_ends(corpus: Corpus) -> Bools:
    """Returns which words of a corpus end a sentence or a document [types]."""
    words = [word.strip() for word in corpus.word_types()]
    found = np.fromiter(map(_is_end, words), np.bool_, len(words))
    found[END] = True
    return found


def _is_end(word: str) -> bool:
    """Returns whether a word is a mark that ends a sentence, with quotation marks or brackets perhaps.

    >>> [_is_end(word) for word in (".", '."', "...", "U.S.", "")]
    [True, True, True, False, False]
    """
    is_mark = all(unicodedata.category(character)[0] == "P" for character in word)
    return is_mark and any(character in _ENDS for character in word)


def cut_texts(rows: Rows, ends: Bools, count: int, seed: tuple[int, ...]) -> Rows:
    """Returns at most `count` texts, drawn from rows in random order.

    Args:
        rows: Stretches of the corpus that fit into the student.
        ends: Which words end a sentence [types].
        count: Texts wanted.
        seed: Seeds which rows, and what of them.

    Raises:
        InputError: If there are fewer than two.
    """
    generator = np.random.default_rng(seed)
    found: list[tuple[int, int, int]] = []
    for row in generator.permutation(len(rows)).tolist():
        shard, start, end = int(rows.shard[row]), int(rows.start[row]), int(rows.end[row])
        stream = rows.shards[shard]
        ids = np.asarray(stream[start:end])
        begins = start == 0 or stream[start - 1] == END
        spans = _texts(ids, ends[ids], begins, generator)
        found += [(shard, start + a, start + b) for a, b in spans]
        if len(found) >= count:
            break
    if len(found) < 2:
        raise InputError("the corpus holds fewer than two texts to learn vectors from; give more text")
    chosen = np.array(found, np.int64)[generator.permutation(len(found))[:count]]
    return Rows(rows.shards, *chosen.T)


def _texts(
    ids: npt.NDArray[np.uint32], is_end: Bools, begins: bool, generator: np.random.Generator
) -> Iterator[tuple[int, int]]:
    """Yields begin and end of texts in a row of word ids [W].

    Args:
        ids: The row.
        is_end: Which of its words end a sentence or a document [W].
        begins: Whether the row begins where a document does.
        generator: Draws what is made of each sentence.
    """
    after = np.flatnonzero(is_end) + 1
    edges = [*([0] if begins else []), *after.tolist()]
    sentences = [(a, b - (ids[b - 1] == END)) for a, b in pairwise(edges)]
    sentences = [(a, b) for a, b in sentences if b - a >= _LEAST_WORDS]
    draws = generator.random((len(sentences), 3))
    for number, ((a, b), (kind, length, place)) in enumerate(zip(sentences, draws.tolist(), strict=True)):
        if kind < _SINGLE:
            yield a, b
        elif kind < _NEIGHBOURS:
            follows = number + 1 < len(sentences) and sentences[number + 1][0] == b
            yield a, sentences[number + 1][1] if follows else b
        elif kind < _FRAGMENT:
            words = 1 + int(length * min(_LONGEST_FRAGMENT, b - a))
            first = a + int(place * (b - a - words + 1))
            yield first, first + words
        else:
            stops = np.flatnonzero(ids[a:] == END)
            yield a, a + int(stops[0]) if len(stops) else len(ids)
