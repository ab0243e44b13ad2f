"""The space of a bundle's vectors: the axes along which they differ most come first.

Shape letters: N texts, E width of vectors, D width of states.
"""

import functools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lilliput.errors import BundleError, InputError, bounded
from lilliput.inference.format import MODEL, VECTORS
from lilliput.inference.onnx_file import read_floats

_WIDEST = 8_192
"""Of vectors that are turned: their axes take 256 MB."""
_Floats = npt.NDArray[np.float32]


class Space:
    """Where the vectors of a bundle lie, read from the map in its graph; nothing is stored for it."""

    def __init__(self, folder: Path, model: bytes, width: int) -> None:
        self._folder, self._model = folder, model
        self.width = width
        """Numbers of a vector, E."""

    def turned(self, vectors: npt.ArrayLike, dim: int) -> _Floats:
        """Returns vectors [..., dim] by the first axes, of vectors [..., E]; without axes the first numbers.

        Raises ConfigError where vectors are shorter, InputError where they are not of this width.
        """
        found = np.asarray(vectors, np.float32)
        if found.shape[-1:] != (self.width,):
            raise InputError(
                f"vectors of the shape {found.shape} are not of the space of {self._folder}, whose vectors "
                f"have {self.width:,} numbers; encode texts by it or by its teacher"
            )
        dim = bounded("truncate_dim", dim, 1, self.width)
        return found[..., :dim] if self._axes is None else found @ self._axes[:, :dim]

    @functools.cached_property
    def _axes(self) -> _Floats | None:
        """The axes [E, E] as columns; None where the graph has no map into the space."""
        weight, scale, bias = (read_floats(self._model, f"{VECTORS}{end}") for end in ("", ".scale", ".bias"))
        if weight is None or bias is None:
            return None
        found = weight if scale is None else weight * scale
        if (
            found.ndim != 2
            or found.shape[1:] != bias.shape
            or bias.shape != (self.width,)
            or self.width > _WIDEST
            or not (np.isfinite(found).all() and np.isfinite(bias).all())
        ):
            raise BundleError(
                f"{self._folder / MODEL} has a map to vectors of the shape {found.shape} that cannot be "
                f"used; expected are numbers for vectors of {self.width:,}, at most {_WIDEST:,}: export the "
                "bundle again"
            )
        return axes(found.T, bias)


def axes(weight: _Floats, bias: _Floats) -> _Floats:
    """Returns orthogonal axes [E, E] as columns, those first along which a linear map's outputs spread most.

    The outputs lie in the first D + 1 of them. The others are what is left of the space. The result depends
    on the map alone: neither the order of the singular values nor a sign is left to the library.

    Args:
        weight: The map [E, D].
        bias: What it adds [E].
    """
    spanned = np.linalg.svd(np.column_stack([weight, bias]).astype(np.float64), full_matrices=False)[0]
    found = np.linalg.qr(spanned, mode="complete")[0]
    largest = found[np.abs(found).argmax(axis=0), np.arange(len(found))]
    signed: _Floats = (found * np.sign(largest)).astype(np.float32)
    return signed
