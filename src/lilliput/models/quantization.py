"""Matrices as small integers with scales, and back: what a bundle's file holds of each weight.

A matrix is cut along its rows into groups that share a scale: a whole row at eight bits (a row is an output
channel of a linear layer, or a piece of a table of embeddings), short groups at four. `fake_quantization`
gives training exactly the numbers that the file will hold.

What a linear layer reads may be rounded to eight bits too, on a grid that is the same for every text
(`InputGrid`), so that integers are multiplied with integers. As the grid is fixed, a score depends on the
text alone, not on what else is in the batch.

Shape letters: R rows, C columns, G groups in a row.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lilliput.errors import ConfigError, nearest

Bits = Literal[4, 8, 16, 32]
"""What one weight takes: four and eight are integers with scales, 16 and 32 plain floats."""

_COARSEST = 0.05
"""The largest share of what a linear layer reads that rounding may move it by, both as root mean squares."""
_MOST_PAIRS = 8
"""The most pairs of columns that large inner neurons get (`InputGrid.large`)."""
_LINEAR = 3.0
"""From where on GELU(u) is u, to a third of a step of the grid that ends here."""
NARROWEST = 48
"""The least width at which products of integers are faster; at 24 they took as long as those of floats."""

SMALLEST_SCALE = 2.0**-14
"""The smallest normal float16: smaller ones lose digits, and some devices take them for zero."""


@dataclass(frozen=True)
class QuantizationScheme:
    """How many bits each kind of weight takes in a file; vectors (biases, gains) always stay float32."""

    weights: Bits
    """Bits of the matrices of linear layers; those that classify or tag take eight at least, being few."""
    embeddings: Bits
    """Bits of the tables of pieces and of positions."""
    group: int = 32
    """Neighbours in a row that share a scale at four bits; the largest divisor of the row up to this."""

    @property
    def linear(self) -> "Grid":
        """How the matrix of a linear layer is stored."""
        return Grid(self.weights, self.group)

    @property
    def scores(self) -> "Grid":
        """How the matrix that gives the scores of a task is stored."""
        return Grid(max(self.weights, 8), self.group)

    @property
    def table(self) -> "Grid":
        """How the tables of pieces and of positions are stored."""
        return Grid(self.embeddings, self.group)

    @property
    def exact(self) -> "Grid":
        """How all else is stored."""
        return Grid(32, self.group)


SCHEMES = {
    "float32": QuantizationScheme(32, 32),
    "float16": QuantizationScheme(16, 16),
    "int8": QuantizationScheme(8, 8),
    "mixed": QuantizationScheme(8, 4),
    "int4": QuantizationScheme(4, 4),
}
"""All schemes by name, from the largest file to the smallest."""


def find_scheme(name: str) -> QuantizationScheme:
    """Returns the scheme of that name; raises ConfigError naming the nearest when there is none."""
    if name not in SCHEMES:
        raise ConfigError(f"no quantization is called '{name}'; {nearest(name, SCHEMES)}")
    return SCHEMES[name]


@dataclass(frozen=True)
class Grid:
    """The values that a weight can take in a file."""

    bits: Bits
    """What one weight takes."""
    group: int
    """Neighbours in a row that share a scale at four bits."""

    def length(self, columns: int) -> int:
        """Returns how many of a row's columns share a scale.

        >>> [Grid(4, 32).length(columns) for columns in (128, 120, 48)], Grid(8, 32).length(120)
        ([32, 30, 24], 120)
        """
        if self.bits != 4:
            return columns
        # A width without a large divisor takes one scale a row: a scale for every few weights is no saving.
        fitting = [size for size in range(self.group, self.group // 2 - 1, -1) if columns % size == 0]
        return fitting[0] if fitting else columns


def grid_of(parameter: str, scheme: QuantizationScheme) -> Grid:
    """Returns how the parameter of that name in a transformers BERT is stored."""
    name = parameter.removesuffix(".weight")
    if name == parameter or name.endswith(("LayerNorm", "token_type_embeddings")):
        return scheme.exact
    if name.endswith(("classifier", "vectors")):
        return scheme.scores
    if name.endswith(("word_embeddings", "position_embeddings", "decoder")):
        return scheme.table
    return scheme.linear


@dataclass(frozen=True)
class InputGrid:
    """The 256 values that what a linear layer reads is rounded to: (integer - zero) * scale."""

    scale: float
    """The step; a float32."""
    zero: int
    """The integer that stands for 0."""
    large: tuple[int, ...] = ()
    """Inner neurons that go on beyond the grid, each as often as it gets a pair of further columns; all else
    is cut off there."""

    @property
    def most(self) -> float:
        """The largest of the values; a float32."""
        return float(np.float32(255 - self.zero) * np.float32(self.scale))

    @property
    def middles(self) -> list[float]:
        """Where each pair of `large` is zero.

        GELU(v) - GELU(-v) is v, and rounding cuts both off at `most`. So the columns GELU(u - c) and
        GELU(c - u) of a neuron GELU(u) differ by u - c from c - most to c + most, and by a constant outside.
        Pairs with the middles c = 2 most, 4 most, ... go on where the neuron's own column ends.

        >>> InputGrid(0.02, 5, (7, 9, 9)).middles
        [10.0, 10.0, 20.0]
        """
        earlier = [self.large[:index].count(neuron) for index, neuron in enumerate(self.large)]
        return [2 * self.most * (1 + pairs) for pairs in earlier]

    def with_pairs(
        self, rows: NDArray[np.float32], bias: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Returns a layer before GELU [R, C], [R] with rows for all pairs: first ones, then second ones."""
        large, middles = list(self.large), np.array(self.middles, np.float32)
        first, offsets = rows[large], bias[large] - middles
        return np.concatenate([rows, first, -first]), np.concatenate([bias, offsets, -offsets])

    @classmethod
    def around(
        cls, least: NDArray[np.float32], most: NDArray[np.float32], size: float, *, after_gelu: bool = False
    ) -> "InputGrid | None":
        """Returns the finest grid that holds what was seen, or None if that is too coarse.

        In a trained student one or two inner neurons of each of the first layers reach five times what all
        others do. They get further columns, as otherwise their layers alone make four fifths of the noise in
        scores.

        Args:
            least: The smallest value of each column.
            most: The largest value of each column.
            size: The root mean square of all values.
            after_gelu: Whether columns are inner neurons.

        >>> InputGrid.around(np.float32([-1, 0, 0]), np.float32([3, 20, 4.1]), size=0.2, after_gelu=True)
        InputGrid(scale=0.019999999552965164, zero=50, large=(1, 1))
        """
        order = np.argsort(-most, kind="stable").tolist()
        low = min(float(least.min()), 0.0)
        for count in range((min(_MOST_PAIRS, len(most) - 1) if after_gelu else 0) + 1):
            high = max(float(most[order[count]]), _LINEAR if count else 0.0)
            scale = float(np.float32(max((high - low) / 255, SMALLEST_SCALE)))
            if scale / math.sqrt(12) <= _COARSEST * size:
                pairs = [math.ceil((most[neuron] - high) / (2 * high)) for neuron in order[:count]]
                large = [neuron for neuron, often in zip(order, pairs, strict=False) for _ in range(often)]
                return cls(scale, round(-low / scale), tuple(large)) if len(large) <= _MOST_PAIRS else None
        return None


@dataclass(frozen=True)
class Quantized:
    """A matrix [R, C] as integers and scales."""

    values: NDArray[np.int8]
    """Integers from -2^(bits-1) to 2^(bits-1) - 1 [R, G, C/G]."""
    scales: NDArray[np.float16]
    """What an integer is multiplied with [R, G, 1]; negative where the largest weight is positive."""


def quantize(matrix: NDArray[np.float32], grid: Grid) -> Quantized:
    """Returns `matrix` [R, C] on a grid of four or eight bits, each weight within half a step of it.

    Integers reach one further below zero than above. So the sign of a scale puts the larger side of its group
    below, and the scale is as small as leaves the extremes on both sides half a step beyond the last integer
    at most: at four bits a quarter of the error is saved against integers from -7 to 7.
    """
    assert grid.bits in (4, 8)
    groups = matrix.reshape(len(matrix), -1, grid.length(matrix.shape[1]))
    above = np.maximum(groups.max(-1, keepdims=True), 0)
    below = np.maximum(-groups.min(-1, keepdims=True), 0)
    far, near = scale_factors(grid.bits)
    size = np.maximum(np.maximum(above, below) * far, np.minimum(above, below) * near)
    size = np.maximum(size, np.float32(SMALLEST_SCALE))
    scales = np.where(above > below, -size, size).astype(np.float16)
    half = 2 ** (grid.bits - 1)
    values = np.clip(np.rint(groups / scales.astype(np.float32)), -half, half - 1).astype(np.int8)
    return Quantized(values, scales)


def dequantize(quantized: Quantized) -> NDArray[np.float32]:
    """Returns the matrix [R, C] that integers and scales stand for, in float32 as the file is read."""
    matrix = quantized.values.astype(np.float32) * quantized.scales.astype(np.float32)
    return matrix.reshape(len(matrix), -1)


def scale_factors(bits: Bits) -> tuple[np.float32, np.float32]:
    """Returns what a group's larger and smaller extreme are multiplied with to give the scale they need.

    A tenth of a step is left to the rounding of scales to float16.
    """
    half = 2 ** (bits - 1)
    return np.float32(1 / (half + 0.4)), np.float32(1 / (half - 0.6))


def packed(quantized: Quantized, bits: Bits) -> NDArray[Any]:
    """Returns the integers in the type that a file holds: int8, or int4, of which two make a byte."""
    import ml_dtypes

    return quantized.values.astype(ml_dtypes.int4) if bits == 4 else quantized.values
