"""Whether answers are as often right as they say: the reliability of probabilities, and its error.

The error is that of Guo et al. 2017 (arXiv 1706.04599): over bins of equal width the mean distance between
probability and share of right answers, weighted by the answers in the bin.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BINS = 10


@dataclass(frozen=True)
class Bin:
    """Answers of about the same probability."""

    least: float
    most: float
    """The bounds; the upper one is within."""
    answers: int
    probability: float
    """Mean of what they say."""
    right: float
    """Share of them that is right."""


@dataclass(frozen=True)
class Calibration:
    """How far probabilities can be believed."""

    error: float
    """The expected calibration error; 0 is best."""
    bins: tuple[Bin, ...]
    """Those that have answers, least probable first."""


def calibration(probabilities: Sequence[float], right: Sequence[bool]) -> Calibration:
    """Returns how far the probabilities of answers are from the share of them that is right.

    >>> found = calibration([0.9, 0.9, 0.55], [True, False, True])
    >>> round(found.error, 4), [(bin.answers, bin.right) for bin in found.bins]
    (0.4167, [(1, 1.0), (2, 0.5)])
    """
    said, hits = np.asarray(probabilities, np.float64), np.asarray(right, np.float64)
    edges = np.linspace(0.0, 1.0, _BINS + 1)
    number = np.clip(np.ceil(said * _BINS).astype(int) - 1, 0, _BINS - 1)
    bins = tuple(
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(inside.sum()),
            float(said[inside].mean()),
            float(hits[inside].mean()),
        )
        for place in range(_BINS)
        if (inside := number == place).any()
    )
    error = sum(one.answers * abs(one.probability - one.right) for one in bins) / max(len(said), 1)
    return Calibration(error, bins)
