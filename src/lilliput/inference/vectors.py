"""Vectors of texts: their lengths, their forms of fewer bytes, and how alike they are.

Shape letters: N texts, E width of vectors.
"""

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from lilliput.errors import ConfigError, InputError, nearest, shown

Precision = Literal["float32", "int8", "binary"]

_Floats = npt.NDArray[np.float32]
_LARGEST = 127


def unit(vectors: _Floats) -> _Floats:
    """Returns vectors [..., E] at length 1; one of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: _Floats = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return found


def stored(vectors: _Floats, precision: Precision) -> npt.NDArray[Any]:
    """Returns vectors [..., E] in fewer bytes.

    >>> stored(np.array([0.5, -1.0, 0.1], np.float32), "int8").tolist()
    [64, -127, 13]
    >>> stored(np.array([0.5, -1.0, 0.1], np.float32), "binary").tolist()  # 101, filled up with zeros
    [160]

    Args:
        vectors: What is stored.
        precision: `float32`; `int8`, in steps of 1/127 of a vector's largest value, which keeps directions,
            not lengths; or `binary`, the signs, eight to a byte [..., E / 8], as faiss and others take them.
    """
    if precision == "int8":
        largest = np.abs(vectors).max(axis=-1, keepdims=True)
        shares = vectors / np.maximum(largest, np.finfo(np.float32).tiny)
        steps: npt.NDArray[np.int8] = np.rint(shares * _LARGEST).astype(np.int8)
        return steps
    return np.packbits(vectors > 0, axis=-1) if precision == "binary" else vectors


def check_precision(precision: str) -> None:
    """Raises ConfigError where vectors have no such precision."""
    if precision not in get_args(Precision):
        raise ConfigError(
            f"there is no precision {shown(precision)}; {nearest(str(precision), get_args(Precision))}"
        )


def cosines(one: npt.ArrayLike, other: npt.ArrayLike) -> _Floats:
    """Returns the cosine of each vector [N, E] of one array with each [M, E] of another [N, M].

    Raises InputError where they are no vectors, not of one width, or have values that are NaN or infinite.
    """
    first, second = _checked(one, "first"), _checked(other, "second")
    if first.shape[1] != second.shape[1]:
        raise InputError(
            f"vectors of {first.shape[1]:,} numbers cannot be compared with vectors of {second.shape[1]:,}: "
            "they are not of one space; encode both by bundles of one teacher, with the same truncate_dim"
        )
    return unit(first) @ unit(second).T


def _checked(given: npt.ArrayLike, which: str) -> _Floats:
    """Returns vectors as floats [N, E]."""
    try:
        found = np.atleast_2d(np.asarray(given))
    except ValueError as error:
        raise InputError(f"the {which} vectors are not all of one width; encode them together") from error
    if found.ndim != 2 or found.dtype.kind not in "fiu":
        raise InputError(
            f"the {which} vectors are an array of the shape {found.shape} of {found.dtype}; expected are "
            "numbers [texts, width], as encode() returns them"
        )
    if found.dtype == np.uint8:
        raise InputError(
            f"the {which} vectors are bits (uint8), which have no cosine; count the bits that differ "
            "(Hamming distance), or encode them in float32 or int8"
        )
    if len(wrong := np.flatnonzero(~np.isfinite(found).all(axis=1))):
        raise InputError(
            f"vector {wrong[0] + 1:,} of the {which} ones has values that are no numbers (NaN or infinite); "
            "leave it out, or encode its text again"
        )
    return found.astype(np.float32)
