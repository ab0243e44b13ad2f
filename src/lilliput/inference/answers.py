"""The answers of bundles, one type for each kind. Offsets count characters of the original text.

`to_dict` of each gives what `lilliput run --json` prints: keys that are text, and plain Python values, as
`json.dumps` and FastAPI take them. A text that is missing has an *empty* answer: no label, no words, and NaN
for a number, which is None in the dict.

These are named tuples because dataclasses take fifteen times as long to define: together a twentieth of the
time from a cold start to the first answer.
"""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class Classification(NamedTuple):
    """The class of a text."""

    label: str | None
    """The most probable class; None where the bundle is unsure, as that is less probable than it asks."""
    probability: float
    """The probability of the most probable class."""
    probabilities: Mapping[str, float]
    """The probability of each class."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""
    unknown: float = 0.0
    """The share of the words that were read which the vocabulary cannot write."""

    @property
    def is_unsure(self) -> bool:
        """Whether the bundle has no label for a text that it read."""
        return self.label is None and bool(self.probabilities)

    def best(self, top: int | None = None) -> dict[str, float]:
        """Returns the `top` most probable classes, or all, with their probabilities, the best first."""
        return dict(sorted(self.probabilities.items(), key=lambda item: -item[1])[:top])

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Returns it as JSON values, with the `top` most probable classes, or all, the best first."""
        found = self._asdict() | {"probabilities": self.best(top)}
        return found | {"probability": _number(self.probability)}


class Labelling(NamedTuple):
    """The classes of a text, of which it may have several or none."""

    labels: tuple[str, ...]
    """Those with a probability of at least a half, the most probable first."""
    probabilities: Mapping[str, float]
    """The probability of each class; they do not add up to 1."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""
    unknown: float = 0.0
    """The share of the words that were read which the vocabulary cannot write."""

    def best(self, top: int | None = None) -> dict[str, float]:
        """Returns the `top` most probable classes, or all, with their probabilities, the best first."""
        return dict(sorted(self.probabilities.items(), key=lambda item: -item[1])[:top])

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Returns it as JSON values, with the `top` most probable classes, or all, the best first."""
        return self._asdict() | {"labels": list(self.labels), "probabilities": self.best(top)}


class Score(NamedTuple):
    """The score of a text or a pair of texts."""

    value: float
    """The score, on the scale of the labels that the model learnt from."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""
    unknown: float = 0.0
    """The share of the words that were read which the vocabulary cannot write."""

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return self._asdict() | {"value": _number(self.value)}


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
    unknown: float = 0.0
    """The share of the words that were read which the vocabulary cannot write."""

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """Returns it as JSON values, with the `top` most probable classes, or all, of a joint model."""
        whole = self.classification
        return self._asdict() | {
            "words": [word._asdict() for word in self.words],
            "slots": [slot._asdict() for slot in self.slots],
            "classification": None if whole is None else whole.to_dict(top),
        }


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
    unknown: float = 0.0
    """The share of the words that were read which the vocabulary cannot write."""

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON values."""
        return self._asdict() | {"guesses": [[guess._asdict() for guess in mask] for mask in self.guesses]}


class Encoding(NamedTuple):
    """The vector of a text."""

    vector: "npt.NDArray[np.float32]"
    """The mean of the states of all pieces [width], at length 1 where the bundle says so."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""
    unknown: float = 0.0
    """The share of the words that were read which the vocabulary cannot write."""

    def to_dict(self) -> dict[str, Any]:
        """Returns it as JSON values, with None for the vector of a missing text."""
        values = self.vector.tolist()
        return self._asdict() | {"vector": None if math.isnan(values[0]) else values}


Answer = Classification | Labelling | Score | Tagging | Filling | Encoding


def _number(value: float) -> float | None:
    """Returns a number, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value
