"""A step by operation of torch: what each takes, and what it would take at the machine's limits."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

REST = "all else, Python included"
_PREFIX = "aten::"


@dataclass(frozen=True)
class OperationSample:
    """One operation of torch, all of its calls in a step."""

    name: str
    """torch's."""
    calls: int
    seconds: float
    """Without those of the operations that it calls."""
    operations: int
    """Floating-point operations of its matrix products."""
    moved: int
    """Bytes of the tensors that it reads and writes."""


class _Counting(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the work of each operation, forward and backward."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: Counter[str] = Counter()
        self.moved: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if count := flop_registry.get(func.overloadpacket):
            self.operations[name] += count(*args, **(kwargs or {}), out_val=found)
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, found)) if isinstance(leaf, Tensor)]
            self.moved[name] += sum(tensor.nbytes for tensor in tensors)
        return found


def operations_of(step: Callable[[], object]) -> list[OperationSample]:
    """Takes a step twice and returns its operations, those that take longest first; the rest is one."""
    counting = _Counting()
    with counting:
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        step()
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events) / 1e6
    found = [
        OperationSample(
            name,
            event.count,
            event.self_cpu_time_total / 1e6,
            counting.operations[name],
            counting.moved[name],
        )
        for event in events
        if event.key.startswith(_PREFIX)
        and counting.moved[name := event.key.removeprefix(_PREFIX)]
        and event.self_cpu_time_total / 1e6 > total / 100
    ]
    found.sort(key=lambda one: -one.seconds)
    rest = total - sum(one.seconds for one in found)
    return [*found, OperationSample(REST, 0, rest, 0, 0)]
