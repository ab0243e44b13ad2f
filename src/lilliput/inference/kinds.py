"""What each kind of model answers: the graph's output -> an answer -> a line of text, or JSON.

There is one class for each kind, and no other file of the runtime tells kinds apart. `tasks.kinds` and
`finetuning.heads` hold the other halves of the kinds that a model is fine-tuned for. `lilliput run` imports
all of this file, so it stays small.
"""

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np
from tokenizers import Encoding as Pieces, Tokenizer

from lilliput.errors import printable
from lilliput.inference.answers import Classification, Encoding, Filling, Labelling, Score, Tagging
from lilliput.inference.outputs import Floats, classified, guessed, labelled, tagged
from lilliput.inference.vectors import unit
from lilliput.pieces.tokenizer_file import MASK

if TYPE_CHECKING:
    from lilliput.inference.format import BundleConfig

NO_CLASS = "no class"
"""Stands in a line, and in tables, for a text that has none of several classes."""
UNSURE = "unsure"
"""Stands in a line in the place of a label where a bundle has none."""


class Reading(NamedTuple):
    """One text as the model read it."""

    text: Any
    """The text, or the two that were read together."""
    pieces: Pieces
    """Its pieces."""
    cut: bool
    """Whether the text was too long, so that only its beginning was read."""
    unknown: float
    """The share of the words that were read which the vocabulary cannot write."""
    tokenizer: Tokenizer
    """The bundle's."""
    top: int
    """Guesses wanted for each [MASK]."""


class Kind(ABC):
    """What a kind of model computes and how it answers."""

    head: ClassVar[Literal["text", "words", "mask", "states"]]
    """What the graph gives: scores of the whole text [batch, columns] from the state of [CLS], or at each
    piece [batch, length, columns] scores of a head, scores of pieces of the vocabulary, or the states."""
    methods: ClassVar[tuple[str, ...]]
    """The methods of a bundle that answer; the last one gives the whole answer."""
    cells: ClassVar[tuple[str, ...]]
    """What of an answer's `to_dict`, its class's included, a table holds, beside `cut` and `unknown`."""
    hub: ClassVar[str]
    """The name of the kind on the Hugging Face hub."""
    has_classes: ClassVar[bool] = False
    """Whether a text has one of some classes."""
    may_be_unsure: ClassVar[bool] = False
    """Whether a text has one class at most, which is left open where it is not probable enough."""
    has_tags: ClassVar[bool] = False
    """Whether each word has one of some tags. Such a model reads no pairs."""
    chooses: ClassVar[bool] = True
    """Whether the answer is the column with the highest score."""
    example: ClassVar[str] = "a film to remember"
    """A text that it can answer."""

    def columns(self, config: "BundleConfig", pieces: int) -> int | None:
        """Returns the number of columns that the graph gives; None where any number will do.

        Args:
            config: The bundle's.
            pieces: The size of its vocabulary.
        """
        return len(config.classes) + len(config.tags)

    def problem(self, text: str) -> str:
        """Returns why a text cannot be answered, as the end of a sentence, or nothing."""
        return ""

    @abstractmethod
    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Any:
        """Returns the answer that the output for one text is: [columns] or [length, columns]."""

    @abstractmethod
    def empty(self, width: int) -> Any:
        """Returns the answer to a missing text.

        Args:
            width: Numbers that the graph gives a text or a piece.
        """

    def part(self, answer: Any, method: str) -> Any:
        """Returns what one of the `methods` returns of an answer."""
        return answer

    @abstractmethod
    def fields(self, answer: Any, top: int | None) -> list[str]:
        """Returns an answer as the fields of a line of text, the `top` best where there are several."""

    def values(self, answer: Any, top: int | None) -> dict[str, Any]:
        """Returns an answer as JSON values, the `top` best where there are several: its `to_dict`."""
        found: dict[str, Any] = answer.to_dict()
        return found

    @abstractmethod
    def gives(self, config: "BundleConfig") -> str:
        """Returns what a model gives, as its card says it."""


class ClassificationKind(Kind):
    """A class for a text or a pair of texts."""

    head, methods, hub, has_classes = "text", ("classify",), "text-classification", True
    cells, may_be_unsure = ("label", "probability", "probabilities"), True

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Classification:
        return classified(output, config.classes, config.min_probability, reading.cut, reading.unknown)

    def empty(self, width: int) -> Classification:
        return Classification(None, math.nan, {}, cut=False)

    def fields(self, answer: Classification, top: int | None) -> list[str]:
        named = [f"{_field(name)}\t{share:.4f}" for name, share in answer.best(top or 1).items()]
        if not answer.is_unsure:
            return named
        return [UNSURE, *named] if top else [f"{UNSURE}\t{answer.probability:.4f}"]

    def values(self, answer: Classification, top: int | None) -> dict[str, Any]:
        return answer.to_dict(top)

    def gives(self, config: "BundleConfig") -> str:
        return f"one of {len(config.classes)} classes for {_given(config)}{_or_none(config)}"


class MultilabelKind(Kind):
    """Any number of classes for a text or a pair of texts."""

    head, methods, hub, has_classes, chooses = "text", ("label",), "text-classification", True, False

    cells = ("labels", "probabilities")

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Labelling:
        return labelled(output, config.classes, reading.cut, reading.unknown)

    def empty(self, width: int) -> Labelling:
        return Labelling((), {}, cut=False)

    def fields(self, answer: Labelling, top: int | None) -> list[str]:
        best = answer.best(len(answer.labels) if top is None else top)
        return [f"{_field(name)}\t{share:.4f}" for name, share in best.items()] or [NO_CLASS]

    def values(self, answer: Labelling, top: int | None) -> dict[str, Any]:
        return answer.to_dict(top)

    def gives(self, config: "BundleConfig") -> str:
        return f"any number of {len(config.classes)} classes for {_given(config)}"


class RegressionKind(Kind):
    """A score for a text or a pair of texts."""

    head, methods, hub, chooses = "text", ("score",), "text-classification", False
    cells = ("value",)

    def columns(self, config: "BundleConfig", pieces: int) -> int:
        return 1

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Score:
        return Score(float(output[0]), reading.cut, reading.unknown)

    def empty(self, width: int) -> Score:
        return Score(math.nan, cut=False)

    def fields(self, answer: Score, top: int | None) -> list[str]:
        return [] if math.isnan(answer.value) else [f"{answer.value:.4f}"]

    def gives(self, config: "BundleConfig") -> str:
        return f"a score for {_given(config)}"


class TaggingKind(Kind):
    """A tag for each word of a text."""

    head, methods, hub, has_tags = "words", ("tag",), "token-classification", True
    cells = ("slots",)

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Tagging:
        text, tags = reading.text, config.tags
        return tagged(output, reading.pieces, text, tags, reading.cut, reading.unknown)

    def empty(self, width: int) -> Tagging:
        return Tagging((), (), None, cut=False)

    def fields(self, answer: Tagging, top: int | None) -> list[str]:
        return [f"{_name(slot.name)}={_field(slot.text)}" for slot in answer.slots]

    def gives(self, config: "BundleConfig") -> str:
        return f"one of {len(config.tags)} tags for each word of a text"


class JointKind(Kind):
    """A class for a text, and a tag for each of its words.

    The columns of the tags come first. The class is read at [CLS].
    """

    head, methods, hub = "words", ("classify", "tag"), "token-classification"
    has_classes = has_tags = may_be_unsure = True
    cells = (*ClassificationKind.cells, *TaggingKind.cells)
    _of_text, _of_words = ClassificationKind(), TaggingKind()

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Tagging:
        split = len(config.tags)
        tags = self._of_words.answer(output[:, :split], config, reading)
        return tags._replace(classification=self._of_text.answer(output[0, split:], config, reading))

    def empty(self, width: int) -> Tagging:
        return self._of_words.empty(width)._replace(classification=self._of_text.empty(width))

    def part(self, answer: Tagging, method: str) -> Classification | Tagging | None:
        return answer.classification if method == "classify" else answer

    def fields(self, answer: Tagging, top: int | None) -> list[str]:
        assert answer.classification is not None
        return self._of_text.fields(answer.classification, top) + self._of_words.fields(answer, top)

    def values(self, answer: Tagging, top: int | None) -> dict[str, Any]:
        return answer.to_dict(top)

    def gives(self, config: "BundleConfig") -> str:
        classes, tags = len(config.classes), len(config.tags)
        tagged = f"one of {tags} tags for each of its words"
        return f"one of {classes} classes for a text{_or_none(config)}, and {tagged}"


class FillKind(Kind):
    """Pieces for each [MASK] of a text."""

    head, methods, hub, example = "mask", ("fill",), "fill-mask", f"a {MASK} to remember"
    cells = ("guesses",)

    def columns(self, config: "BundleConfig", pieces: int) -> int:
        return pieces

    def problem(self, text: str) -> str:
        return "" if MASK in text else f"has no {MASK}; put one at the place to fill"

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Filling:
        mask = reading.tokenizer.token_to_id(MASK)
        found = [output[place] for place, piece in enumerate(reading.pieces.ids) if piece == mask]
        guesses = tuple(guessed(scores, reading.tokenizer, reading.top) for scores in found)
        return Filling(guesses, reading.cut, reading.unknown)

    def empty(self, width: int) -> Filling:
        return Filling((), cut=False)

    def fields(self, answer: Filling, top: int | None) -> list[str]:
        return [
            "\t".join(f"{_field(one.piece)} {one.probability:.4f}" for one in mask) for mask in answer.guesses
        ]

    def gives(self, config: "BundleConfig") -> str:
        return f"pieces of words for each {MASK} of a text"


class EncodeKind(Kind):
    """A vector for a text: the mean of the states of its pieces, at length 1 where the bundle says so.

    A sentence encoder's graph has its dense layer in the states, and the state of the first piece in the
    place of all where that is what it takes.
    """

    head, methods, hub, chooses = "states", ("encode",), "feature-extraction", False
    cells = ("vector",)

    def columns(self, config: "BundleConfig", pieces: int) -> None:
        return None

    def answer(self, output: Floats, config: "BundleConfig", reading: Reading) -> Encoding:
        vector = output.mean(axis=0)
        return Encoding(unit(vector) if config.normalize else vector, reading.cut, reading.unknown)

    def empty(self, width: int) -> Encoding:
        return Encoding(np.full(width, np.nan, np.float32), cut=False)

    def fields(self, answer: Encoding, top: int | None) -> list[str]:
        return [" ".join(f"{value:.6g}" for value in answer.vector if not math.isnan(value))]

    def gives(self, config: "BundleConfig") -> str:
        return f"a vector{' of length 1' if config.normalize else ''} for a text"


KINDS: dict[str, Kind] = {
    "classification": ClassificationKind(),
    "multilabel": MultilabelKind(),
    "regression": RegressionKind(),
    "tagging": TaggingKind(),
    "joint": JointKind(),
    "fill": FillKind(),
    "encode": EncodeKind(),
}
"""The kinds by the names that config.json has for them."""


def _given(config: "BundleConfig") -> str:
    return "two texts" if config.pairs else "a text"


def _or_none(config: "BundleConfig") -> str:
    least = config.min_probability
    return "" if least is None else f" (none if its probability is below {least:g})"


def _field(text: str) -> str:
    r"""Returns a text as a field of a line; what is no field's is written as in JSON, a backslash as two.

    >>> print(_field("a\tlabel"), _field("a\\label"))
    a\tlabel a\\label
    """
    return printable(text.replace("\\", r"\\"))


def _name(text: str) -> str:
    """Returns the name of a slot as it stands before `=`, so without one."""
    return _field(text).replace("=", r"\u003d")
