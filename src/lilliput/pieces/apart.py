"""Where a text may be cut without looking at what stands around."""

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from lilliput.common.ragged import Ragged
from lilliput.pieces.segmentation import segment

_LEFT, _RIGHT = (" ", " a", " 7", "."), ("", "b", "7", "s", ".", "re")
"""What is tried around two characters between which texts are to be cut wherever they stand."""


def apart(reader: Tokenizer, surfaces: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Returns between which two characters of ASCII a BERT cuts and no piece stands [128, 128].

    No piece holds both in this order, the normaliser changes each by itself, and pieces on either side are
    the same alone, whatever stands there of what is tried.

    Args:
        reader: A tokenizer as `bare` returns it.
        surfaces: What its pieces spell.
    """
    found_apart = np.zeros((128, 128), np.bool_)
    codes = np.frombuffer("\n".join(surfaces).encode("utf-32-le"), np.uint32)
    plain = codes[:-1], codes[1:]
    is_ascii = (plain[0] < 128) & (plain[1] < 128)
    held = np.zeros((128, 128), np.bool_)
    held[plain[0][is_ascii], plain[1][is_ascii]] = True
    normaliser = reader.normalizer
    normal = [chr(code) if normaliser is None else normaliser.normalize_str(chr(code)) for code in range(128)]
    seen = [code for code in range(33, 127) if len(normal[code]) == 1 and normal[code].isascii()]
    for first, second in itertools.product(seen, seen):
        is_cut = not (chr(first).isalnum() and chr(second).isalnum()) and "'" not in chr(first) + chr(second)
        found_apart[first, second] = is_cut and not held[ord(normal[first]), ord(normal[second])]
    pairs = [(chr(first), chr(second)) for first, second in np.argwhere(found_apart).tolist()]
    whole = [f"{left}{a}{b}{right}" for a, b in pairs for left in _LEFT for right in _RIGHT]
    halves = [half for a, b in pairs for left in _LEFT for right in _RIGHT for half in (left + a, b + right)]
    found, parts = _pieces(reader, whole), _pieces(reader, halves)
    lengths = parts.lengths.reshape(-1, 2).sum(1)
    same = found.lengths == lengths
    order = np.flatnonzero(same)
    ours = found.take(order)
    theirs = parts.take(np.stack([2 * order, 2 * order + 1], 1).reshape(-1))
    if len(order):
        same[order] = np.logical_and.reduceat(ours.values == theirs.values, ours.offsets[:-1])
    good = same.reshape(len(pairs), -1).all(1)
    for (a, b), is_good in zip(pairs, good.tolist(), strict=True):
        found_apart[ord(a), ord(b)] = is_good
    return found_apart


def _pieces(reader: Tokenizer, texts: Sequence[str]) -> Ragged:
    """Returns the pieces of texts of which many come often."""
    number = {text: index for index, text in enumerate(dict.fromkeys(texts))}
    return segment(list(number), reader).take(np.array([number[text] for text in texts], np.int64))
