"""The processes that a launcher started to train one run together: what they agree on, and how they end.

`torchrun` or `accelerate launch` starts all of them alike. The first, the main process, writes everything;
the others wait for what it does alone, however long that takes. Where one fails, all end: it tells the others
where they meet next, and of one that was killed its closed connection tells. What is said here travels by
gloo, which notices that at once, also where gradients travel by NCCL, which does not.
"""

import atexit
import contextlib
import functools
import itertools
import json
import os
import platform
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator, DistributedDataParallelKwargs, PartialState
from torch import Tensor

from lilliput.common.files import digest_file, digest_value
from lilliput.common.provenance import difference, versions
from lilliput.config import BatchConfig
from lilliput.errors import ConfigError, LaunchError, PeerFailed

_STEP, _EVER = timedelta(minutes=10), timedelta(days=365)
"""How long the others wait for a process that is behind in a step, and for what the main one does alone."""
_KEPT = "what was saved last is kept, and the same command goes on from there"

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Groups:
    """The ways in which processes talk."""

    steps: dist.ProcessGroup
    """Fails where one process is ten minutes late."""
    waiting: dist.ProcessGroup
    """Waits for any process as long as it lives."""


@dataclass(frozen=True)
class Processes:
    """The processes of a launch as one of them sees them; by default it is alone.

    All of them have to call the same methods in the same order.
    """

    index: int = 0
    """Which one this is."""
    count: int = 1
    """How many there are."""
    hosts: tuple[str, ...] = ()
    """The machine of each."""
    groups: Groups | None = None
    """How they talk, where there are several."""

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes."""
        return self.index == 0

    def add_up(self, values: Mapping[str, float]) -> dict[str, float]:
        """Returns the sums of what all processes give under the same names.

        Raises LaunchError where one does not come along within ten minutes, or has ended.
        """
        if self.groups is None:
            return dict(values)
        summed = _reduce(torch.tensor(list(values.values()), dtype=torch.float64), self.groups.steps)
        return dict(zip(values, summed.tolist(), strict=True))

    def any(self, flag: bool) -> bool:
        """Returns whether the flag is set in any process."""
        return self.add_up({"flag": flag})["flag"] > 0

    def on_main(
        self, function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        """Calls a function in the main process alone and returns its result, JSON values, in all of them."""
        with self.together():
            result = function(*args, **kwargs) if self.is_main else None
        returned: _Result = self._everyones(result)[0]
        return returned

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Lets all processes go on only when all are through a block, and none where it fails in one.

        No process may speak to another within the block. PeerFailed is raised where it failed in another one.
        """
        try:
            yield
        except Exception as error:
            said: list[Any] = [None]
            with contextlib.suppress(LaunchError):
                said = self._everyones(str(error) or type(error).__name__)
            if said[0] is not None and not self.is_main:
                raise PeerFailed(f"{self._name(0)}: {said[0]}") from error
            raise
        for index, sentence in enumerate(self._everyones(None)):
            if sentence is not None:
                raise PeerFailed(f"{self._name(index)}: {sentence}")

    def require_same(self, values: Mapping[str, Any], remedy: str) -> None:
        """Raises LaunchError where a process has other values (JSON) than the main one."""
        everyone = self._everyones(dict(values))
        with self.together():
            for index, theirs in enumerate(everyone if self.is_main else ()):
                if theirs != everyone[0]:
                    raise LaunchError(
                        f"{self._name(index)} does not have what the main process has "
                        f"({difference(theirs, everyone[0])}); {remedy}"
                    )

    def _name(self, index: int) -> str:
        return f"process {index} on {self.hosts[index]}"

    def _everyones(self, value: Any) -> list[Any]:
        """Returns the values (JSON) of all processes in their order, however long they take."""
        if self.groups is None:
            return [value]
        mine = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = torch.zeros(self.count, dtype=torch.int64)
        sizes[self.index] = len(mine)
        ends = _reduce(sizes, self.groups.waiting).cumsum(0).tolist()
        joined = torch.zeros(ends[-1], dtype=torch.uint8)
        joined[ends[self.index] - len(mine) : ends[self.index]] = mine
        said = bytes(_reduce(joined, self.groups.waiting).tolist())
        return [json.loads(said[start:end]) for start, end in itertools.pairwise([0, *ends])]


def _reduce(values: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Adds up a tensor over all processes, in its place, and returns it."""
    with connected():
        dist.all_reduce(values, group=group)
    return values


ALONE = Processes()
"""A process that nothing launched."""


@contextlib.contextmanager
def connected() -> Iterator[None]:
    """Turns a connection to another process that breaks or stands still within the block into LaunchError."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error):
            raise LaunchError(
                "another process of this launch ended, stands still or cannot be reached; what it said last, "
                f"or what the launcher says of it, tells why; {_KEPT}"
            ) from error
        raise


def _wanted() -> int:
    """Returns how many processes the launcher says that there are."""
    said = os.environ.get("WORLD_SIZE", "1")
    if not (said.isascii() and said.isdecimal()):
        raise LaunchError(f"WORLD_SIZE must be the number of processes, as launchers set it, found '{said}'")
    return int(said)


@functools.cache
def launch() -> Processes:
    """Returns the processes of this launch; a process that nothing launched is alone.

    Raises LaunchError where they cannot be joined, or where their software differs.
    """
    wanted = _wanted()
    with connected():
        state = PartialState(cpu=not torch.accelerator.is_available(), timeout=_STEP)
        if state.num_processes != wanted:
            raise LaunchError(
                f"{wanted} processes were launched, but on {state.device} only one can train; launch one"
            )
        if wanted == 1:
            return ALONE
        steps, waiting = (dist.new_group(backend="gloo", timeout=timeout) for timeout in (_STEP, _EVER))
    joined = Processes(state.process_index, state.num_processes, groups=Groups(steps, waiting))
    joined = replace(joined, hosts=tuple(joined._everyones(platform.node())))
    joined.require_same(_software(), "install the same on all machines")
    return joined


def parts_each(batch: BatchConfig, processes: int) -> int:
    """Returns into how many parts each process splits its share of a batch.

    Parts are no larger than without processes, or by a row. Raises ConfigError where rows are too few.
    """
    if processes > batch.rows:
        raise ConfigError(
            f"{processes} processes cannot share {batch.rows} rows; raise batch.rows, or launch fewer"
        )
    return min(-(-batch.accumulation // processes), batch.rows // processes)


def accelerator() -> Accelerator:
    """Returns what spreads models over devices and processes; precision is chosen in `step`."""
    no_copies = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
    return Accelerator(mixed_precision="no", kwargs_handlers=[no_copies])


@atexit.register
def _leave() -> None:
    """Closes the connections in good order, as without it a process may abort after its last word."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _software() -> dict[str, str]:
    """Returns the versions of packages, and a digest of lilliput's files, as a checkout has no version."""
    folder = Path(__file__).parent
    files = {str(path.relative_to(folder)): digest_file(path) for path in folder.rglob("*.py")}
    return versions() | {"machine": "", "lilliput's files": digest_value(files)}


@contextlib.contextmanager
def signals() -> Iterator[list[str]]:
    """Collects the names of SIGTERM and SIGINT instead of dying of them; a second one works as ever."""
    asked: list[str] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def remember(number: int, _: Any) -> None:
        asked.append(signal.Signals(number).name)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, remember)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
