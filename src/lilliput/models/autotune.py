"""Chooses kernels by measuring one layer of an encoder on this machine, in a fraction of a second.

There is no list of processors: float32 with torch's own attention stays unless something else is clearly
faster here. A choice is kept in the user's cache, so that the same machine computes the same bits in every
process.
"""

import contextlib
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lilliput.common.files import digest_value, write_json
from lilliput.common.locks import beside, locked
from lilliput.common.machine import describe_machine
from lilliput.common.stored import stored
from lilliput.errors import StorageError
from lilliput.models.attention import mask_of
from lilliput.models.blocks import Block
from lilliput.models.dropout import Dropout
from lilliput.models.encoder import attend, feed_forward
from lilliput.models.kernels import PLAIN, Kernels, Precision, dtype_of
from lilliput.models.shape import EncoderShape

_Choice = TypeVar("_Choice")
_GAIN = 0.93
"""A choice other than float32 and torch's own attention must take at most this share of their time."""
_OPERATIONS = 1.5e9
"""Floating-point operations of a pass on a processor that is measured, if that is not too few pieces."""
_LEAST_OPERATIONS = 2e8
"""Of a pass: less takes a millisecond or two, which no choice makes faster and none can be measured by."""
_LEAST_PIECES, _MOST_PIECES, _GPU_PIECES = 128, 2048, 8192
_MASKED_PIECES = 512
"""Pieces that a head predicts."""
_TIMES = 3
_HOPELESS = 2.0
"""What takes so many times as long as the fastest is not measured again."""
_FORMAT = 1
_HEAD_PIECES = 4096
"""Pieces of the vocabulary over which a head is measured, at most."""


@dataclass(frozen=True)
class Work:
    """A class of passes for which one choice is made."""

    width: int
    heads: int
    feed_forward: int
    vocabulary: int
    """Pieces of the head's vocabulary, a power of two."""
    length: int
    """Pieces of a row, a power of two."""
    goes_backward: bool
    """Whether gradients are computed."""
    dropout: float
    """Share of the numbers that are left out."""
    device: str
    """Name of the processor or the GPU."""
    threads: int

    @property
    def operations(self) -> int:
        """Floating-point operations of the matrices of a layer, for each piece."""
        return (6 if self.goes_backward else 2) * (4 * self.width + 2 * self.feed_forward) * self.width


def choose(
    shape: EncoderShape,
    length: int,
    device: torch.device,
    *,
    goes_backward: bool = True,
    dropout: float = 0.0,
) -> Kernels:
    """Returns the fastest kernels for an encoder here, measured once for each machine and class of work.

    Args:
        shape: The encoder's.
        length: Pieces of a typical row.
        device: Where it computes.
        goes_backward: Whether gradients are computed.
        dropout: Share of the numbers that are left out.
    """
    work = Work(
        width=shape.width,
        heads=shape.heads,
        feed_forward=shape.feed_forward,
        vocabulary=_power_of_two(min(shape.vocabulary, _HEAD_PIECES)),
        length=_power_of_two(min(length, shape.positions)),
        goes_backward=goes_backward,
        dropout=dropout,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        threads=torch.get_num_threads(),
    )
    return PLAIN if work.operations * _MOST_PIECES < _LEAST_OPERATIONS else _kept(work, device)


@functools.cache
def _kept(work: Work, device: torch.device) -> Kernels:
    """Returns the choice in the user's cache; measures and writes it where there is none."""
    machine = {
        **describe_machine(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "limited to": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    }
    said = {"format": _FORMAT, "machine": machine, "work": dataclasses.asdict(work)}
    path = _cache() / f"{digest_value(said)}.json"
    chosen = _read(path)
    # Where the cache cannot be written each process measures for itself.
    with contextlib.suppress(StorageError):
        if chosen is None:
            with locked(beside(path), path, wait=True):
                chosen = _read(path)  # by a process that held the lock before
                if chosen is None:
                    chosen = measure(work, device)
                    write_json(path, dataclasses.asdict(chosen))
    return measure(work, device) if chosen is None else chosen


def _read(path: Path) -> Kernels | None:
    """Returns a choice that was kept; None where there is none, or it is damaged."""
    found: Kernels | None = None
    with contextlib.suppress(StorageError):
        found = stored(Kernels, path) if path.exists() else None
    return found


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lilliput" / "kernels"


def measure(work: Work, device: torch.device) -> Kernels:
    """Returns the fastest kernels for a class of work, measured now."""
    with torch.random.fork_rng(), torch.inference_mode(not work.goes_backward):
        layer = _Layer(work, device)
        reduced = _has_bfloat16(device, work.width)
        tried = [PLAIN, Kernels(attention="products")]
        if reduced:
            tried += [Kernels("bfloat16", attention, "bfloat16") for attention in ("fused", "products")]
        chosen = _fastest(_by_kernels(layer, tried), device)
        if not reduced:
            return chosen
        if chosen.passes == "bfloat16":
            other = dataclasses.replace(chosen, norm="float32")
            chosen = _fastest(_by_kernels(layer, [chosen, other]), device)
        head = _Head(work, device, chosen.dtype)
        products = _fastest(_by_precision(head.run), device)
        update = _fastest(_by_precision(functools.partial(_orthogonalise, work, device)), device)
    return dataclasses.replace(chosen, head=products, update=update)


def _by_kernels(layer: "_Layer", tried: Iterable[Kernels]) -> dict[Kernels, Callable[[], object]]:
    return {kernels: functools.partial(layer.run, kernels) for kernels in tried}


def _by_precision(run: Callable[[Precision], object]) -> dict[Precision, Callable[[], object]]:
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    return {precision: functools.partial(run, precision) for precision in precisions}


class _Layer:
    """One layer with random weights, and a batch for it."""

    def __init__(self, work: Work, device: torch.device) -> None:
        width, inner = work.width, work.feed_forward
        linear = functools.partial(nn.Linear, device=device)
        norms = [nn.LayerNorm(width, device=device) for _ in range(2)]
        self._block = Block(
            query=linear(width, width),
            key=linear(width, width),
            value=linear(width, width),
            output=linear(width, width),
            attention_norm=norms[0],
            inner=linear(width, inner),
            outer=linear(inner, width),
            norm=norms[1],
            activation=F.gelu,
            heads=work.heads,
        )
        self._dropout = Dropout(work.dropout, work.dropout)
        shape = (max(1, _pieces(work, device) // work.length), work.length, width)
        self._x = torch.randn(shape, device=device, requires_grad=work.goes_backward)

    def run(self, kernels: Kernels) -> None:
        x = self._x.to(kernels.dtype)
        x = attend(self._block, x, mask_of(None, x, kernels), kernels, dropout=self._dropout)[1]
        _backward(feed_forward(self._block, x, kernels, self._dropout)[1])


class _Head:
    """Scores over a vocabulary of some states."""

    def __init__(self, work: Work, device: torch.device, dtype: torch.dtype) -> None:
        self._states = torch.randn((_MASKED_PIECES, work.width), dtype=dtype, device=device)
        self._table = torch.randn((work.vocabulary, work.width), device=device)
        for tensor in (self._states, self._table):
            tensor.requires_grad_(work.goes_backward)

    def run(self, precision: Precision) -> None:
        dtype = dtype_of(precision)
        _backward(F.linear(self._states.to(dtype), self._table.to(dtype)).float())


def _orthogonalise(work: Work, device: torch.device, precision: Precision) -> None:
    """Multiplies as a Newton-Schulz iteration of Muon does."""
    with torch.no_grad():
        update = torch.ones((1, work.width, work.feed_forward), device=device, dtype=dtype_of(precision))
        gram = torch.bmm(update, update.mT)
        torch.bmm(gram, gram)
        torch.bmm(gram, update)


def _backward(output: Tensor) -> None:
    if output.requires_grad:
        output.backward(torch.ones_like(output))  # type: ignore[no-untyped-call]


def _pieces(work: Work, device: torch.device) -> int:
    """Returns how many pieces are measured: so many that a pass is neither short nor long."""
    if device.type != "cpu":
        return _GPU_PIECES
    return int(min(max(_OPERATIONS / work.operations, _LEAST_PIECES), _MOST_PIECES))


def _has_bfloat16(device: torch.device, width: int) -> bool:
    """Returns whether bfloat16 is worth measuring: where it is emulated a product takes ages."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    small = torch.ones(_LEAST_PIECES, width, device=device)
    weight = torch.ones(width, width, device=device)
    exact, short = (
        min(_timed(functools.partial(F.linear, small.to(dtype), weight.to(dtype)), device) for _ in range(3))
        for dtype in (torch.float32, torch.bfloat16)
    )
    return short < _HOPELESS * exact + 1e-4


def _fastest(runs: dict[_Choice, Callable[[], object]], device: torch.device) -> _Choice:
    """Returns the key of the fastest; the first one, unless another is faster by `_GAIN`.

    They take turns, so that other work on the machine hits all of them.
    """
    seconds: dict[_Choice, float] = {}
    for attempt in range(_TIMES + 1):
        for key, run in runs.items():
            best = min(seconds.values(), default=0.0)
            if attempt > 1 and seconds[key] > _HOPELESS * best:
                continue
            spent = _timed(run, device)
            # The first time chooses and compiles kernels.
            seconds[key] = spent if attempt < 2 else min(seconds[key], spent)
    first, *others = runs
    fastest = min(others, key=lambda key: seconds[key])
    return fastest if seconds[fastest] < _GAIN * seconds[first] else first


def _timed(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    started = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _power_of_two(number: int) -> int:
    """Returns the power of two that is nearest by ratio.

    >>> [_power_of_two(number) for number in (1, 3, 90, 91, 128, 4928)]
    [1, 4, 64, 128, 128, 4096]
    """
    return 1 << max(0, round(torch.tensor(float(number)).log2().item()))
