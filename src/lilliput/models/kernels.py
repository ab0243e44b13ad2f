"""How an encoder computes: the precision of its passes, and the way of each operation that has several.

All of them give the same up to rounding. Which is fastest hangs on the processor; `autotune` measures it.
"""

from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
Attention = Literal["fused", "products"]


@dataclass(frozen=True)
class Kernels:
    """The choice for one encoder; parameters, losses and sums are float32 whatever it is."""

    passes: Precision = "float32"
    """Of linear layers, attention, activations and the stream between them."""
    attention: Attention = "fused"
    """torch's own attention, or two batched products and a softmax."""
    norm: Precision = "float32"
    """Of LayerNorm's input and output; its statistics are float32 anyway."""
    head: Precision = "float32"
    """Of the products of a masked-LM head."""
    update: Precision = "float32"
    """Of the products with which Muon makes steps orthogonal."""

    @property
    def dtype(self) -> torch.dtype:
        """The precision of passes, as torch names it."""
        return dtype_of(self.passes)


PLAIN = Kernels()
"""What every device has: float32, and torch's own attention."""


@dataclass(frozen=True)
class DualKernels:
    """The choices for the two models of a stage."""

    teacher: Kernels = PLAIN
    student: Kernels = PLAIN


PLAIN_BOTH = DualKernels()


def dtype_of(precision: Precision) -> torch.dtype:
    """Returns the type of torch that a precision names."""
    return torch.bfloat16 if precision == "bfloat16" else torch.float32
