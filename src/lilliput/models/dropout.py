"""Dropout whose random numbers cost little: eight bits of each draw for one number, not a draw each.

torch draws 64 bits for each number that may be left out; on a processor that was an eighth of a step.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_LEVELS = 256
_INTEGERS = {torch.float32: torch.int32, torch.bfloat16: torch.int16}


@dataclass(frozen=True)
class Dropout:
    """Shares of numbers that are left out while a model is fine-tuned, in steps of 1/256."""

    states: float = 0.0
    """Of embeddings, and of what each half of a layer adds to the stream."""
    attention: float = 0.0
    """Of attention's weights."""


NO_DROPOUT = Dropout()


def drop(x: Tensor, share: float) -> Tensor:
    """Returns `x` with a random share of its numbers 0, and the others so much larger that means stay."""
    return x * factors(x, share) if share else x


def factors(x: Tensor, share: float) -> Tensor:
    """Returns what dropout multiplies `x` with, in its shape and precision, from torch's generator.

    All is done on integers as wide as the numbers of `x`: comparisons that give truth values, and casts from
    these, take ten times as long.

    >>> found = factors(torch.ones(40_000), 0.1)
    >>> [round(value, 3) for value in found.unique().tolist()], round(float(found.mean()), 1)
    ([0.0, 1.113], 1.0)
    """
    kept = max(1, round((1 - share) * _LEVELS))
    size, kind = x.element_size(), _INTEGERS[x.dtype]
    count = math.ceil(x.numel() / size)
    draws = torch.empty(math.ceil(count * size / 8), dtype=torch.int64, device=x.device)
    bytes_of = draws.random_(-(2**63), None).view(kind)[:count]
    found = torch.stack([bytes_of >> 8 * place for place in range(size)])  # each byte is the lowest once
    factor = int(torch.tensor(_LEVELS / kept, dtype=x.dtype).view(kind))
    found.bitwise_and_(_LEVELS - 1).lt_(kept).mul_(factor)
    return found.view(x.dtype).flatten()[: x.numel()].view(x.shape)
