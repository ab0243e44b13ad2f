"""Prepares texts for a bundle: refuses what is not text, shortens enormous texts, makes batches."""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from lilliput.inference.format import BundleConfig
from lilliput.inference.kinds import KINDS

Text = str | tuple[str, str]
"""A text, or two that are read together."""
_Item = TypeVar("_Item")

BATCH_PIECES = 512
"""Pieces in a batch, including padding: larger batches measured slower, and so did single texts."""

WINDOW_TEXTS, WINDOW_CHARACTERS = 512, 1 << 18
"""The most texts, and characters, that are sorted by length together."""

CHARACTERS = 64
"""Characters that are read per position of a model; a piece of real text has about 5."""


def both(text: object) -> tuple[object, ...]:
    """Returns the one or two texts that are read together."""
    return text if isinstance(text, tuple) else (text,)


def is_missing(text: object) -> bool:
    """Whether there is nothing to read: None, NaN, or only white space, of two texts in either.

    >>> [is_missing(text) for text in (None, float("nan"), "", "  ", ("a", None), "a", 3, ())]
    [True, True, True, True, True, False, False, False]
    """
    return any(_is_nothing(part) for part in both(text))


def _is_nothing(part: object) -> bool:
    if isinstance(part, str):
        return not part.strip()
    if part is None or type(part).__name__ in ("NAType", "NaTType"):  # of pandas, which is not imported
        return True
    return isinstance(part, float | np.floating) and bool(np.isnan(part))


class Missing:
    """Counts the texts that are missing, so that one sentence at the end says how many there were."""

    def __init__(self, unit: str) -> None:
        self._unit, self._count, self._first = unit, 0, 0

    def look(self, number: int, text: object) -> None:
        """Looks at the text of some number, from 1."""
        if is_missing(text):
            self._count += 1
            self._first = self._first or number

    def sentence(self, of: int) -> str:
        """Returns how many of some texts are missing, or nothing where none is."""
        if not self._count:
            return ""
        holds = "holds" if self._count == 1 else "hold"
        return (
            f"{self._count:,} of {of:,} {self._unit}s {holds} no text (None, NaN, empty or white space), "
            f"{self._unit} {self._first:,} first; the answer is empty there"
        )

    def warn(self, of: int, stacklevel: int) -> None:
        """Gives a warning where texts are missing.

        Args:
            of: How many texts there were.
            stacklevel: Whose line it is of: 1 for the caller's, 2 for that of the caller's caller.
        """
        if sentence := self.sentence(of):
            warnings.warn(sentence, UserWarning, stacklevel + 1)


def problem(text: object, config: BundleConfig) -> str:
    """Returns why a bundle cannot answer a text, as the end of a sentence, or an empty text."""
    parts, wanted = both(text), 2 if config.pairs else 1
    if len(parts) != wanted:
        return f"has {len(parts)} parts; this bundle reads {'pairs of texts' if config.pairs else 'one text'}"
    for part in parts:
        if not isinstance(part, str):
            return f"is of the type {type(part).__name__}; expected str"
        try:
            part[: CHARACTERS * config.positions].encode()
        except UnicodeEncodeError as error:
            return f"is not Unicode: character {error.start:,} is a lone surrogate; decode its bytes as UTF-8"
    return KINDS[config.kind].problem(str(parts[0]))


def shortened(text: Text, positions: int) -> Text:
    """Returns the beginning of a text that the model can read; the rest would only take memory."""
    limit = CHARACTERS * positions
    if isinstance(text, tuple):
        return text[0][:limit], text[1][:limit]
    return text[:limit]


def windows(texts: Iterable[Text], positions: int) -> Iterator[list[Text]]:
    """Yields texts in lists with a bounded number of texts and characters."""

    def size(text: Text) -> int:
        return sum(min(len(part), CHARACTERS * positions) for part in both(text) if isinstance(part, str))

    return in_windows(texts, size)


def in_windows(items: Iterable[_Item], size: Callable[[_Item], int]) -> Iterator[list[_Item]]:
    """Yields items in lists with a bounded number of items and characters.

    Args:
        items: Texts, or rows that hold some.
        size: Counts the characters of an item.
    """
    window: list[_Item] = []
    characters = 0
    for item in items:
        window.append(item)
        characters += size(item)
        if len(window) == WINDOW_TEXTS or characters >= WINDOW_CHARACTERS:
            yield window
            window, characters = [], 0
    if window:
        yield window


def batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Yields the indices of texts, the shortest first, in batches of at most BATCH_PIECES or of one text.

    >>> list(batches([300, 2, 200, 2]))
    [[1, 3], [2], [0]]
    """
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lengths.__getitem__):
        if batch and (len(batch) + 1) * lengths[index] > BATCH_PIECES:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch
