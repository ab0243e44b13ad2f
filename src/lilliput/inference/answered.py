"""Texts of lines or of the rows of a table -> answers, and what is said of them on standard error."""

from collections.abc import Sequence

from lilliput.common.ending import say
from lilliput.errors import InputError, LilliputError
from lilliput.inference.answers import Answer
from lilliput.inference.bundle import Bundle
from lilliput.inference.texts import Missing, Text, is_missing

Given = Text | InputError | None
"""A text or a pair; why there is none; or None for one that is missing."""

GUESSES = 5
"""Pieces for each [MASK] where nobody says how many."""
_COMPLAINTS = 10
"""Sentences of one kind; of more than these there is only the number."""


def answered(bundle: Bundle, given: Sequence[Given], top: int | None) -> list[Answer | LilliputError]:
    """Returns the answer to each text, or the error that it has instead; to one that is missing an empty one.

    Args:
        bundle: Answers.
        given: A few texts, which are computed together.
        top: Guesses for each [MASK]; None for the usual number.
    """
    read = [
        one for one in given if not isinstance(one, InputError) and one is not None and not is_missing(one)
    ]
    answers = iter(bundle.answer(read, GUESSES if top is None else top))
    return [
        one if isinstance(one, InputError) else bundle.empty if is_missing(one) else next(answers)
        for one in given
    ]


class Complaints:
    """Says which texts have no answer, were cut, have words that are unknown, or are missing."""

    def __init__(self, bundle: Bundle, unit: str) -> None:
        """Says nothing yet.

        Args:
            bundle: Answers.
            unit: What numbers count, such as "line".
        """
        self._unit, self._missing, self._number = unit, Missing(unit), 0
        self._counts = {"have no answer": 0, "were cut": 0, "have unknown words": 0}
        self._cut = f"was cut: the model reads {bundle.config.positions:,} pieces at most"

    def look(self, given: Sequence[Given], answers: Sequence[Answer | LilliputError]) -> None:
        """Looks at the next texts and what came of them, and says what is the matter with the first ones."""
        for text, answer in zip(given, answers, strict=True):
            self._number += 1
            self._missing.look(self._number, text)
            if isinstance(answer, LilliputError):
                self._say(str(answer), "have no answer")
                continue
            if answer.cut:
                self._say(self._cut, "were cut")
            if answer.unknown:
                share = f"{max(answer.unknown, 0.01):.0%}"
                self._say(f"has words that the vocabulary cannot write: {share} of all", "have unknown words")

    def end(self) -> bool:
        """Says how many texts there were where it was not said of each; returns whether all had an answer."""
        for what, count in self._counts.items():
            if count > _COMPLAINTS:
                say(f"{count:,} {self._unit}s of {self._number:,} {what}")
        if sentence := self._missing.sentence(self._number):
            say(sentence)
        return not self._counts["have no answer"]

    def _say(self, sentence: str, what: str) -> None:
        self._counts[what] += 1
        if self._counts[what] <= _COMPLAINTS:
            say(f"{self._unit} {self._number:,} {sentence}")
