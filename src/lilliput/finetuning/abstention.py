"""From which probability on a classifier answers, so that its answers are as often right as is wanted.

The threshold is the lowest one with the wanted precision on the dev examples, so that it answers as many of
them as it can (selective classification by the softmax response, Geifman and El-Yaniv 2017, arXiv 1705.08500,
without their bound). The epoch was chosen on the same examples, so other texts may have a lower precision.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lilliput.finetuning.sets import DevSet, Floats
from lilliput.inference.outputs import softmax
from lilliput.tasks.kinds import KINDS

LEAST_ANSWERS = 20
"""A threshold leaves at least as many dev examples with an answer, as the precision of fewer says little."""
_STEPS = 10_000
"""A threshold is a multiple of one part of these."""


@dataclass(frozen=True)
class Abstention:
    """The threshold of a classifier, and what it does on the dev examples."""

    wanted: float
    """The precision that was asked for: the share of right answers among all answers."""
    min_probability: float | None
    """The least probability of an answer; None where no threshold has the precision, so that all texts are
    answered."""
    precision: float
    """The precision with this threshold or, without one, the best that any has."""
    answered: float
    """The share of examples that have an answer with it."""

    def __str__(self) -> str:
        there = f"{self.precision:.1%} of the answers right, {self.answered:.1%} of the dev examples answered"
        if self.min_probability is None:
            return (
                f"no threshold has a precision of {self.wanted:.1%}; the best with at least {LEAST_ANSWERS} "
                f"answers: {there}. So every text has a label"
            )
        return f"unsure below a probability of {self.min_probability:.4f}: {there}"


def abstention(scores: Floats, dev: DevSet, wanted: float) -> Abstention:
    """Returns the threshold with which a classifier's answers to the dev examples have a precision.

    Args:
        scores: Of all slots of the examples [K, C].
        dev: The examples, with classes.
        wanted: The precision.
    """
    of_classes = KINDS[dev.task.kind].class_scores(dev.task, scores, dev.encoded.slots.offsets)
    gold = np.array(dev.labels.values)
    return find_threshold(softmax(of_classes).max(1), of_classes.argmax(1) == gold, wanted)


def find_threshold(
    probabilities: npt.NDArray[np.float64], right: npt.NDArray[np.bool_], wanted: float
) -> Abstention:
    """Returns the lowest threshold with which answers have a precision.

    >>> find_threshold(np.repeat([0.5, 0.75, 1.0], 20), np.repeat([False, True, True], 20), 0.9)
    Abstention(wanted=0.9, min_probability=0.75, precision=1.0, answered=0.6666666666666666)

    Args:
        probabilities: Of the most probable class of each example [N].
        right: Whether that is its class [N].
        wanted: The precision.
    """
    order = np.argsort(-probabilities, kind="stable")
    floors = np.floor(probabilities[order] * _STEPS) / _STEPS
    counts = np.arange(1, len(order) + 1)
    precisions = right[order].cumsum() / counts
    ends = np.append(floors[1:] < floors[:-1], True)  # all examples with a threshold are answered together
    fits = np.flatnonzero(ends & (counts >= min(LEAST_ANSWERS, len(order))))
    good = fits[(precisions[fits] >= wanted) & (counts[fits] >= LEAST_ANSWERS)]
    place = good[-1] if len(good) else fits[precisions[fits].argmax()]
    found = float(floors[place]) if len(good) else None
    return Abstention(wanted, found, float(precisions[place]), float(counts[place] / len(order)))
