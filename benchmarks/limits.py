"""What the machine can do at best: matrix products, and copies of memory."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 2048
"""Rows and columns of the matrices: large enough that products run at full speed."""
_COPIED = 1 << 28
"""Bytes copied at once, more than most caches hold."""
_TIMES = 3


@dataclass(frozen=True)
class Limits:
    """What the machine does at best, with the threads that training uses."""

    threads: int
    """Threads of torch."""
    fp32_gflops: float
    """Billions of floating-point operations a second in products of float32 matrices."""
    bf16_gflops: float
    """The same of bfloat16 matrices."""
    copy_gigabytes: float
    """Billions of bytes a second read and written, both counted, in a copy."""

    @property
    def peak(self) -> float:
        """Floating-point operations a second in the faster precision: what every share is a share of."""
        return max(self.fp32_gflops, self.bf16_gflops) * 1e9

    @property
    def emulates_bf16(self) -> bool:
        """Whether there are no instructions for bfloat16: torch then multiplies it many times slower."""
        return self.bf16_gflops < self.fp32_gflops / 4

    def best(self, other: "Limits") -> "Limits":
        """Returns the higher of each: a limit is what was ever reached."""
        return Limits(
            self.threads,
            max(self.fp32_gflops, other.fp32_gflops),
            max(self.bf16_gflops, other.bf16_gflops),
            max(self.copy_gigabytes, other.copy_gigabytes),
        )


class Measure:
    """Measures the limits, again and again on the same matrices."""

    def __init__(self) -> None:
        square = torch.randn(_SIDE, _SIDE)
        self._squares = (square, square.bfloat16())
        self._from = torch.ones(_COPIED, dtype=torch.uint8)
        self._to = torch.ones_like(self._from)
        self.limits()  # the first products choose their kernels

    def limits(self) -> Limits:
        """Returns the best of a few times, in about half a second."""
        seconds = [_fastest(F.linear, square, square) for square in self._squares]
        fp32, bf16 = (2 * _SIDE**3 / spent / 1e9 for spent in seconds)
        copied = 2 * _COPIED / _fastest(self._to.copy_, self._from) / 1e9
        return Limits(torch.get_num_threads(), fp32, bf16, copied)


def _fastest(do: Callable[..., object], *arguments: Tensor) -> float:
    """Returns the least seconds of a few times."""
    seconds = []
    for _ in range(_TIMES):
        started = time.perf_counter()
        do(*arguments)
        seconds.append(time.perf_counter() - started)
    return min(seconds)
