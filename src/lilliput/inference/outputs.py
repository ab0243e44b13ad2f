"""The output of a model -> answers: probabilities, tags of words, slots, guesses."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tokenizers import Encoding, Tokenizer

from lilliput.inference.answers import Classification, Guess, Labelling, Tagging, Word
from lilliput.inference.tags import join_tags

Floats = np.ndarray[Any, np.dtype[np.floating[Any]]]


def classified(
    scores: Floats, classes: Sequence[str], least: float | None, cut: bool, unknown: float
) -> Classification:
    """Returns the class that has the highest of its scores [classes], no label where it is not likely enough.

    Args:
        scores: A score for each class.
        classes: Their names.
        least: The least probability of a label; None for any.
        cut: Whether only the beginning of the text was read.
        unknown: The share of its words that are unknown.
    """
    shares = softmax(scores).tolist()
    best = max(range(len(shares)), key=shares.__getitem__)
    label = None if least is not None and shares[best] < least else classes[best]
    return Classification(label, shares[best], dict(zip(classes, shares, strict=True)), cut, unknown)


def unknown_share(pieces: Encoding, unknown: int, begins: int = 0) -> float:
    """Returns which share of the words that were read has a piece for what the vocabulary cannot write.

    Args:
        pieces: Those of a text, or of two together.
        unknown: The id of that piece, [UNK].
        begins: Characters before the text, such as those of a prompt, whose words do not count.
    """
    if unknown not in pieces.ids:  # nearly always, and quick to see
        return 0.0
    words: dict[tuple[int | None, int], bool] = {}
    places = zip(pieces.ids, pieces.word_ids, pieces.sequence_ids, pieces.offsets, strict=True)
    for piece, word, text, (_, end) in places:
        if word is not None and end > begins:
            words[text, word] = words.get((text, word), False) or piece == unknown
    return sum(words.values()) / len(words) if words else 0.0


def labelled(scores: Floats, classes: Sequence[str], cut: bool, unknown: float) -> Labelling:
    """Returns the classes whose probability, by their scores [classes], is at least a half."""
    shares = (0.5 * (1 + np.tanh(0.5 * scores.astype(np.float64)))).tolist()
    order = sorted(range(len(shares)), key=lambda index: -shares[index])
    said = tuple(classes[index] for index in order if shares[index] >= 0.5)
    return Labelling(said, dict(zip(classes, shares, strict=True)), cut, unknown)


def guessed(scores: Floats, tokenizer: Tokenizer, top: int) -> tuple[Guess, ...]:
    """Returns the pieces with the highest of the scores [pieces] of one [MASK]."""
    shares = softmax(scores)
    best = np.argsort(-shares, kind="stable")[:top].tolist()
    return tuple(Guess(str(tokenizer.id_to_token(piece)), float(shares[piece])) for piece in best)


def tagged(
    scores: Floats, pieces: Encoding, text: str, tags: Sequence[str], cut: bool, unknown: float
) -> Tagging:
    """Returns the tags of a text's words by the scores [length, tags] of its pieces.

    A word's tag is that of its first piece.
    """
    starts: dict[int, tuple[int, int, int]] = {}  # word: its first piece, first character, end
    for place, (word, (start, end)) in enumerate(zip(pieces.word_ids, pieces.offsets, strict=True)):
        if word is not None:
            first = starts.get(word, (place, start, end))
            starts[word] = (*first[:2], end)
    for rest in pieces.overflowing[:1]:  # the end of a word whose first pieces alone were read
        for word, (_, end) in zip(rest.word_ids, rest.offsets, strict=True):
            if word in starts:
                starts[word] = (*starts[word][:2], end)
    shares = softmax(scores[[place for place, _, _ in starts.values()]])
    best = shares.argmax(axis=-1).tolist()
    words = tuple(
        Word(text[start:end], start, end, tags[tag], float(row[tag]))
        for (_, start, end), tag, row in zip(starts.values(), best, shares, strict=True)
    )
    return Tagging(words, join_tags(text, words, tags), None, cut, unknown)


def softmax(scores: Floats) -> Floats:
    """Returns probabilities over the last axis, in float64.

    >>> softmax(np.array([0.0, 1000.0])).tolist()
    [0.0, 1.0]
    """
    raised = np.exp(scores.astype(np.float64) - scores.max(axis=-1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))
