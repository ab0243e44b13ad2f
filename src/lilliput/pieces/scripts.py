"""Which scripts of a text a vocabulary can hardly write."""

import unicodedata
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

_RARE, _ENOUGH = 0.001, 0.9
"""Shares of the running words: of a script that is looked at, and of its words that are to be read."""
_LATIN = "LATIN"


def script_of(word: str) -> str:
    """Returns the script of a word's first letter, as Unicode names it; nothing for a word without.

    >>> script_of("Москва"), script_of(" 3rd"), script_of("...")
    ('CYRILLIC', 'LATIN', '')
    """
    for char in word:
        if char.isalpha():
            return _LATIN if char.isascii() else unicodedata.name(char, "").split(" ")[0]
    return ""


def hardly_read(
    words: Sequence[str], counts: npt.NDArray[np.int64], readable: npt.NDArray[np.bool_]
) -> dict[str, float]:
    """Returns the scripts of which less than nine running words in ten are read, with that share.

    Args:
        words: Different words.
        counts: How often each occurs.
        readable: Which of them are read.
    """
    number: dict[str, int] = {}
    scripts = np.array([number.setdefault(script_of(word), len(number)) for word in words], np.int64)
    totals = np.bincount(scripts, counts, len(number))
    read = np.bincount(scripts, counts * readable, len(number))
    shares = {name: (totals[index], read[index] / totals[index]) for name, index in number.items() if name}
    return {
        name: float(share)
        for name, (total, share) in sorted(shares.items())
        if total >= _RARE * counts.sum() and share < _ENOUGH
    }
