"""Work of several processes: neither a killed worker nor a killed parent leaves anything hanging."""

import math
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lilliput.common import workers
from lilliput.errors import ConfigError, LilliputError


def die_unless_first(*_: Any) -> int:
    if multiprocessing.parent_process() is not None:
        os.kill(os.getpid(), signal.SIGKILL)
    return 0


def test_a_killed_worker_is_said_without_a_hang() -> None:
    said = r"a worker process .* was killed.*run the same command again"
    with workers.Workers(2) as shared, pytest.raises(LilliputError, match=said):
        list(shared.in_order(die_unless_first, iter([(1,), (2,), (3,)])))


def first_block(block: bytes) -> int:
    """Works on a block, or is killed at it where that is in a worker."""
    return die_unless_first() + len(block)


def test_a_worker_killed_at_a_large_block_is_said_without_a_hang() -> None:
    # With ProcessPoolExecutor of Python 3.11 a thread waited for ever to write the next block.
    program = (
        "import test_workers\nif __name__ == '__main__':\n    test_workers.share(bytes(8 << 20), times=30)\n"
    )
    places = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": places},
    )
    assert done.returncode == 1
    assert re.search(r"a worker process .* was killed.*run the same command again", done.stderr)


def share(block: bytes, times: int) -> None:
    with workers.Workers(3) as shared:
        list(shared.in_order(first_block, ((block,) for _ in range(times))))


def test_an_error_of_a_worker_is_raised_with_its_traceback() -> None:
    with workers.Workers(2) as shared, pytest.raises(ZeroDivisionError) as raised:
        list(shared.in_order(divide, iter([(0,), (1,), (1,)])))
    assert "In a worker process" in "".join(raised.value.__notes__)


def divide(number: int) -> float:
    time.sleep(0.01)
    return 1 / number


@pytest.mark.parametrize("count", [0, -1, 10_000, 2.5, math.nan, "2"])
def test_a_number_of_workers_has_bounds(count: Any) -> None:
    with pytest.raises(ConfigError, match="workers must be a whole number from 1 to 512"):
        workers.Workers(count)


def test_workers_end_with_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import os, time\n"
        "from lilliput.common import workers\n"
        "def wait(seconds):\n"
        "    print(os.getpid(), flush=True)\n"
        "    time.sleep(seconds)\n"
        "if __name__ == '__main__':\n"
        "    with workers.Workers(3) as shared:\n"
        "        list(shared.in_order(wait, iter([(60,), (60,)])))\n"
    )
    process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = [int(process.stdout.readline()) for _ in range(2)]
    process.kill()
    process.wait()
    deadline = time.monotonic() + 10
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.02)


def is_running(process: int) -> bool:
    """Whether a process runs; one that ended and waits to be collected does not."""
    try:
        os.kill(process, 0)
        stat = Path(f"/proc/{process}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def slow_square(number: int) -> int:
    time.sleep(0.01 * (number % 3))
    return number * number


@pytest.mark.parametrize("processes", [1, 3])
def test_results_come_in_the_order_of_the_tasks(processes: int) -> None:
    with workers.Workers(processes) as shared:
        results = shared.in_order(slow_square, ((number,) for number in range(20)))
        assert list(results) == [number * number for number in range(20)]


def own_process(_: int) -> int:
    time.sleep(0.01)
    return os.getpid()


def test_others_are_started_once_and_not_for_a_single_task_and_this_process_works_too() -> None:
    with workers.Workers(2) as shared:
        alone = set(shared.in_order(own_process, iter([(1,)])))
        first, second = (set(shared.in_order(own_process, iter([(1,)] * 9))) for _ in range(2))
    assert alone == {os.getpid()}
    (other,) = first - alone
    assert first == second == {os.getpid(), other}
    assert not is_running(other)
