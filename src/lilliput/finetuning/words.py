"""Texts of given words -> the words that a tokenizer finds in them, read as a user types them.

The given words are written with single spaces between them, and the tokenizer may find several words in one
of them: o, ' and hare in o'hare. Each of these has a tag. The first has the given word's tag, the others have
I-x after B-x or I-x, or else the same tag.
"""

import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from tokenizers import Encoding, Tokenizer

from lilliput.inference.tags import inner
from lilliput.inference.texts import CHARACTERS
from lilliput.tasks.task import Examples, Labels, Task, Words, spelled


class TextWord(NamedTuple):
    """A word that a tokenizer finds in a text of given words."""

    start: int
    """Its first character in the text."""
    end: int
    """The character after its last."""
    given: int
    """The given word that it stands in."""
    piece: int
    """Its first piece; -1 where that was cut off."""


def text_words(texts: Sequence[str | Words], tokenizer: Tokenizer, positions: int) -> list[list[TextWord]]:
    """Returns the words that a model finds within its positions in each text of given words.

    Words that were cut off are among them. A given word behind what is read at all (`shortened`) is one such;
    one of which the tokenizer leaves nothing is none.
    """
    examples = Examples(tuple(texts))
    short = shortened(examples, positions)
    found = encodings(short, tokenizer, positions)
    return [words_in(*row) for row in zip(texts, short.texts, found, strict=True)]


def text_labels(task: Task, labels: Labels, given: Sequence[Sequence[int]]) -> Labels:
    """Returns labels whose tags are those of the words of texts instead of given words.

    Args:
        task: Names the tags.
        labels: The tags of given words.
        given: For each word of each text the given word that it stands in.
    """
    index_of = {tag: index for index, tag in enumerate(task.tags)}
    inner_of = [index_of.get(inner(tag), index) for index, tag in enumerate(task.tags)]
    rows = []
    for tags, numbers in zip(labels.tags, given, strict=True):
        before = (-1, *numbers)
        rows.append(
            tuple(
                inner_of[tags[number]] if number == last else tags[number]
                for number, last in zip(numbers, before, strict=False)
            )
        )
    return replace(labels, tags=tuple(rows))


def shortened(examples: Examples, positions: int) -> Examples:
    """Returns examples with as much of each text as a bundle reads, and all labels."""
    limit = CHARACTERS * positions
    texts = tuple(_shortened(text, limit) for text in examples.texts)
    pairs, negatives = (tuple(text[:limit] for text in side) for side in (examples.pairs, examples.negatives))
    return replace(examples, texts=texts, pairs=pairs, negatives=negatives)


def _shortened(text: str | Words, characters: int) -> str | Words:
    if isinstance(text, str):
        return text[:characters]
    ends = itertools.accumulate(len(word) + 1 for word in text)
    kept = next((number for number, end in enumerate(ends) if end > characters), len(text))
    left = characters - sum(len(word) + 1 for word in text[:kept])
    return text[:kept] + ((text[kept][:left],) if kept < len(text) and left else ())


def encodings(
    examples: Examples, tokenizer: Tokenizer, positions: int, side: Literal["left", "right"] = "right"
) -> list[Encoding]:
    """Returns the pieces of texts or pairs, given words joined by spaces, as a bundle makes them.

    Args:
        examples: Texts, pairs, or given words.
        tokenizer: Without truncation.
        positions: Pieces that are read at most.
        side: Where a longer text is cut.
    """
    texts = [spelled(text) for text in examples.texts]
    tokenizer.enable_truncation(positions, direction=side)
    found: list[Encoding] = tokenizer.encode_batch(
        list(zip(texts, examples.pairs, strict=True)) if examples.pairs else texts
    )
    tokenizer.no_truncation()
    return found


def words_in(text: str | Words, read: str | Words, encoding: Encoding) -> list[TextWord]:
    """Returns the words of one text, of which `read` was given to the tokenizer."""
    starts = starts_of(text)
    found = [
        TextWord(start, end, given_at(starts, end), piece) for piece, _, start, end in all_words(encoding)
    ]
    unread = range(bisect_left(starts, len(spelled(read))), len(text)) if read != text else ()
    return found + [TextWord(starts[word], starts[word] + len(text[word]), word, -1) for word in unread]


def starts_of(text: Sequence[str]) -> list[int]:
    """Returns where given words begin in their text."""
    return list(itertools.accumulate((len(word) + 1 for word in text), initial=0))[:-1]


def given_at(starts: Sequence[int], end: int) -> int:
    """Returns the given word in which a word ends; some begin with the space before: added pieces."""
    return bisect_right(starts, end - 1) - 1


def all_words(encoding: Encoding) -> list[tuple[int, int, int, int]]:
    """Returns each word's first piece, text (0, or 1 for a pair's second), first character and end, in order.

    Words that were cut off count too, so that two models with other positions have the same words; their
    first piece is -1.
    """
    found: dict[tuple[int, int], tuple[int, int, int]] = {}
    counts: dict[int, int] = {}
    for number, part in enumerate((encoding, *encoding.overflowing)):
        columns = zip(part.sequence_ids, part.word_ids, part.offsets, strict=True)
        for place, (sequence, word, (start, end)) in enumerate(columns):
            if sequence is None or word is None:
                continue
            counts[sequence] = max(counts.get(sequence, 0), word + 1)
            first, begin, last = found.get((sequence, word), (place if number == 0 else -1, start, end))
            found[sequence, word] = first, min(begin, start), max(last, end)
    return [
        (first, sequence, begin, last)
        for sequence in sorted(counts)
        for word in range(counts[sequence])
        for first, begin, last in [found.get((sequence, word), (-1, 0, 0))]
    ]
