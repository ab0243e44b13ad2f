"""The answers of bundles, one type for each kind. Offsets count characters of the original text.

These are named tuples because dataclasses take fifteen times as long to define: together a twentieth of the
time from a cold start to the first answer.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Classification(NamedTuple):
    """The class of a text."""

    label: str
    """The most probable class."""
    probability: float
    """Its probability."""
    probabilities: Mapping[str, float]
    """The probability of each class."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""


class Labelling(NamedTuple):
    """The classes of a text, of which it may have several or none."""

    labels: tuple[str, ...]
    """Those with a probability of at least a half, the most probable first."""
    probabilities: Mapping[str, float]
    """The probability of each class; they do not add up to 1."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""


class Score(NamedTuple):
    """The score of a text or a pair of texts."""

    value: float
    """The score, on the scale of the labels that the model learnt from."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""


class Word(NamedTuple):
    """A word of a text with its tag."""

    text: str
    start: int
    """Its first character."""
    end: int
    """The character after its last."""
    tag: str
    """The most probable tag."""
    probability: float
    """Its probability."""


class Slot(NamedTuple):
    """A span of words that belong together, such as a name or a date."""

    name: str
    """Its name: the x of the tags B-x and I-x."""
    text: str
    start: int
    """Its first character."""
    end: int
    """The character after its last."""
    probability: float
    """The probability of the least probable of its tags."""


class Tagging(NamedTuple):
    """The tags of a text's words, the slots they make and, from a joint model, the text's class."""

    words: tuple[Word, ...]
    """All words that were read, in order."""
    slots: tuple[Slot, ...]
    """The spans of words with tags other than O."""
    classification: Classification | None
    """The class of the text; None if the model only tags."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""


class Guess(NamedTuple):
    """A piece for a [MASK]."""

    piece: str
    """The piece; one that continues a word begins with ##."""
    probability: float
    """Its probability."""


class Filling(NamedTuple):
    """Pieces for each [MASK] of a text."""

    guesses: tuple[tuple[Guess, ...], ...]
    """For each [MASK], in order, the most probable pieces, the best first."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""


class Encoding(NamedTuple):
    """The vector of a text."""

    vector: "npt.NDArray[np.float32]"
    """The mean of the states of all pieces [width], at length 1 where the bundle says so."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""


Answer = Classification | Labelling | Score | Tagging | Filling | Encoding
