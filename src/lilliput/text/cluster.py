"""Shares work between the machines of a Ray cluster; results come in the order of the tasks."""

import contextlib
import json
import logging
import os
import platform
import shutil
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, TypeVarTuple

from lilliput import errors
from lilliput.common import provenance
from lilliput.common.files import writing
from lilliput.errors import ConfigError, InputError, LaunchError, LilliputError, StorageError, bounded

_Arguments = TypeVarTuple("_Arguments")
_Result = TypeVar("_Result")

_TASKS_AT_MOST = 65_536
_ATTEMPTS = 4
"""How often a task may be tried after its process was killed."""
_JOIN_SECONDS = 10.0
_LOOK_SECONDS = 300.0
"""How long a machine may take to check its files."""
_NOBODY = "http://127.0.0.1:9"
"""A proxy that does not exist, for plain HTTP. Other requests use TLS and bypass it."""
_OBJECT_STORE_BYTES = 80 << 20
"""A little above Ray's minimum: the objects in it are small."""
_KEPT = "finished parts are kept, and the same command continues from there"


@dataclass(frozen=True)
class Cluster:
    """The machines of a Ray cluster that this process joined."""

    marks: Path
    """A folder shared by all machines, with a note for each task that has begun."""
    count: int
    """Tasks at the same time."""
    at_end: contextlib.ExitStack
    """What to do before leaving the cluster."""

    def in_order(
        self, function: Callable[[*_Arguments], _Result], tasks: Iterable[tuple[*_Arguments]]
    ) -> Iterator[_Result]:
        """Yields the results (JSON values) of tasks in their order.

        A task whose process was killed is tried again. Raises LilliputErrors of tasks, and LaunchError if a
        task is killed again and again.
        """
        import ray.data

        listed = list(tasks)
        if not listed:
            return
        context = ray.data.DataContext.get_current().copy()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        context.execution_no_progress_timeout_s = -1  # a large file takes as long as it takes
        with ray.data.DataContext.current(context):
            indices = ray.data.range(len(listed), override_num_blocks=len(listed))
            at_once = min(self.count, len(listed))
            answers = indices.map(_marking(function, listed, self.marks), num_cpus=1, concurrency=at_once)
        rows = iter(answers.iter_rows())
        self.at_end.callback(rows.close)  # threads of Ray Data that keep running would end this process
        try:
            yield from map(_heard, rows)
        except ray.exceptions.RayTaskError:
            raise  # a fault of lilliput, which its traceback shows
        except ray.exceptions.RayError as error:
            raise LaunchError(f"the Ray cluster failed ({_brief(error)}); {_KEPT}") from error


@contextlib.contextmanager
def joined(address: str, workers: int | None, files: Sequence[Path], out: Path) -> Iterator[Cluster]:
    """Yields a Ray cluster, joined and left again; a process that has already joined one stays in it.

    Args:
        address: HOST:PORT of a cluster, "auto" for the one that this machine belongs to, or "local" to start
            Ray on this machine alone.
        workers: Tasks at the same time; None for one per core of all machines.
        files: The files that tasks read; absolute paths.
        out: The folder that tasks write to; an absolute path.

    Raises:
        ConfigError: Ray is not installed, or there is no cluster at the address.
        InputError: A machine lacks a file.
        LaunchError: A machine has other software or cannot work.
        StorageError: A machine does not share the storage of `out`, or cannot write there.
    """
    workers = None if workers is None else bounded("workers", workers, 1, _TASKS_AT_MOST)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a new Ray would send usage statistics
    try:
        import ray.data
    except ImportError as error:
        raise ConfigError(
            f"a Ray cluster needs Ray, but {error}; install it with pip install 'lilliput[ray]'"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    marks = out.with_name(f".{out.name}.ray")
    with contextlib.ExitStack() as at_end:
        # Ray prints pages about a dead worker to standard output; its logs have them as well.
        at_end.enter_context(contextlib.redirect_stdout(at_end.enter_context(open(os.devnull, "w"))))
        if not ray.is_initialized():
            _join(address, workers)
            at_end.callback(ray.shutdown)
        shutil.rmtree(marks, ignore_errors=True)  # of a process that was killed
        at_end.callback(shutil.rmtree, marks, ignore_errors=True)
        machines = [machine for machine in ray.nodes() if machine["Alive"] and "CPU" in machine["Resources"]]
        if not machines:
            raise LaunchError("no machine of the Ray cluster offers a core; add one with 'ray start'")
        _require_alike(machines, files, marks)
        yield Cluster(marks, workers or sum(int(machine["Resources"]["CPU"]) for machine in machines), at_end)


def _join(address: str, workers: int | None) -> None:
    import ray

    started = {"num_cpus": workers, "include_dashboard": False, "object_store_memory": _OBJECT_STORE_BYTES}
    try:
        if address not in ("auto", "local"):
            host, _, port = address.rpartition(":")
            # Ray alone would try for two minutes and then end this process.
            socket.create_connection((host, int(port)), _JOIN_SECONDS).close()
        with _asking_nobody():
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **(started if address == "local" else {}),
            )
    except (Exception, SystemExit) as error:  # Ray raises many kinds, also bare Exception
        raise ConfigError(
            f"no Ray cluster can be joined at '{address}' ({_brief(error)}); expected HOST:PORT, as "
            "'ray start --head' prints it, or auto on a machine of the cluster, or local to start Ray on "
            "this machine alone; if the cluster asks for a token, set RAY_AUTH_MODE=token here too"
        ) from error


@contextlib.contextmanager
def _asking_nobody() -> Iterator[None]:
    """Keeps Ray processes that start in the block from asking the network which cloud they run in."""
    before = os.environ.get("http_proxy")
    os.environ["http_proxy"] = _NOBODY
    try:
        yield
    finally:
        del os.environ["http_proxy"]
        if before is not None:
            os.environ["http_proxy"] = before


def _require_alike(machines: Sequence[Mapping[str, Any]], files: Sequence[Path], marks: Path) -> None:
    """Raises an error if a machine lacks a file, the storage or the software of this one."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On

    probe = marks / str(uuid.uuid4())  # a new name each time, as machines cache names they did not find
    with writing(probe) as file:
        file.write(b"shared")
    sizes = {str(path): path.stat().st_size for path in files}
    answer = ray.remote(num_cpus=0)(_answer)
    answers = [
        answer.options(scheduling_strategy=On(machine["NodeID"], soft=False)).remote(
            _look, sizes, probe, _software()
        )
        for machine in machines
    ]
    for machine, answered in zip(machines, answers, strict=True):
        try:
            _heard(ray.get(answered, timeout=_LOOK_SECONDS))
        except ray.exceptions.RayError as error:
            raise LaunchError(
                f"on machine {machine['NodeManagerHostname']}: lilliput cannot work ({_brief(error)}); "
                "install the same software there as here, or take the machine out of the cluster"
            ) from error


def _look(sizes: Mapping[str, int], probe: Path, software: Mapping[str, str]) -> None:
    """Raises an error if the machine that runs this differs from the one that started it."""
    if differs := provenance.difference(_software(), software):
        raise LaunchError(f"the software differs ({differs}); install the same versions on all machines")
    if not probe.is_file():
        raise StorageError(
            f"{probe.parent.parent} is not the folder that the command writes to; choose an --out on storage "
            "that all machines share under the same path"
        )
    for path, size in sizes.items():
        found = os.stat(path).st_size if os.path.isfile(path) else None
        if found != size:
            state = "is missing" if found is None else f"has {found:,} bytes instead of {size:,}"
            raise InputError(
                f"{path} {state}; put the text on storage that all machines share, or the same files under "
                "the same paths on each"
            )
    with writing(probe.with_name(str(uuid.uuid4()))) as file:
        file.write(b"seen")


def _software() -> dict[str, str]:
    return {name: version for name, version in provenance.versions().items() if name != "machine"}


def _marking(
    function: Callable[[*_Arguments], Any], tasks: Sequence[tuple[*_Arguments]], marks: Path
) -> Callable[[Mapping[str, Any]], dict[str, str]]:
    """Returns a function that runs the task of an index, but refuses one that was killed again and again.

    Ray alone would retry forever, above all when memory runs out.
    """

    def work(row: Mapping[str, Any]) -> dict[str, str]:
        mark = marks / f"{function.__name__}-{row['id']}"
        with mark.open("a+", encoding="utf-8") as file:
            file.seek(0)
            before = file.read().splitlines()
            file.write(f"{platform.node()}\n")
        if len(before) == _ATTEMPTS:
            return _refusal(
                LaunchError(
                    f"a task's worker process was killed {_ATTEMPTS} times (on {', '.join(before)}), most "
                    "often because memory ran out; run the same command again: finished parts are kept, and "
                    "fewer workers need less memory"
                )
            )
        answer = _answer(function, *tasks[row["id"]])
        mark.unlink(missing_ok=True)
        return answer

    return work


def _answer(function: Callable[[*_Arguments], Any], *arguments: *_Arguments) -> dict[str, str]:
    """Returns a function's result as JSON, or its LilliputError as text: Ray Data keeps only their text."""
    try:
        return {"refused": "", "said": json.dumps(function(*arguments))}
    except LilliputError as error:
        return _refusal(type(error)(f"on machine {platform.node()}: {error}"))


def _refusal(error: LilliputError) -> dict[str, str]:
    return {"refused": type(error).__name__, "said": str(error)}


def _heard(answer: Mapping[str, str]) -> Any:
    """Returns the result in an answer of `_answer`, or raises its error."""
    if answer["refused"]:
        refusal = vars(errors)[answer["refused"]]
        raise refusal(answer["said"])
    return json.loads(answer["said"])


def _brief(error: BaseException) -> str:
    """Returns an error of Ray on one line: the last line of a traceback, which says what was wrong."""
    if isinstance(error, SystemExit):
        return "it does not answer"
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1] if '  File "' in text else " ".join(text.split())
