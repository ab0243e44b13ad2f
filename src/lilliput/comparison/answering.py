"""What runs in a process of its own: a model is opened, answers its first text, and then many.

    python -c SCRIPT MODEL THREADS

Standard input has two lines of JSON, the first text and `Work`; standard output gets `Found`, or the sentence
of an error. It imports little, as the time and the memory of that count.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypedDict

from lilliput.common.memory import peak_memory
from lilliput.comparison.forms import open_model
from lilliput.errors import LilliputError
from lilliput.inference.texts import Text

_WARM_UPS, _LEAST, _SECONDS = 3, 5, 0.25
"""Answers before those that count, the fewest of these, and seconds after which it is enough."""

SCRIPT = """import time
began = time.perf_counter(), time.process_time()
import lilliput
from lilliput.comparison import answering
answering.main(began)
"""
"""What the process runs."""

Seconds = tuple[float, float]
"""By the clock, and of the processor, all threads of the process together."""


class Work(TypedDict):
    """What is asked after the first answer."""

    alone: list[Text]
    """Texts that are answered one by one, again and again."""
    together: list[Text]
    """Texts that are answered in batches."""


class Found(TypedDict):
    """What came of it."""

    first: Seconds
    """From `import lilliput` to the first answer."""
    alone: list[list[Seconds]]
    """Of each answer to each of the texts."""
    together: float
    """Texts a second, in batches."""
    memory: int
    """Most bytes the process ever had."""


def main(began: Seconds) -> None:
    """Does what standard input asks, with the model and the threads of the command line."""
    try:
        answer = open_model(Path(sys.argv[1]), int(sys.argv[2]))
        answer([_text(json.loads(sys.stdin.readline()))])
        first = _since(began)
        work = json.loads(sys.stdin.readline())
        found: Found | dict[str, str] = {
            "first": first,
            "alone": [_seconds(answer, [_text(text)]) for text in work["alone"]],
            "together": _rate(answer, [_text(text) for text in work["together"]]),
            "memory": peak_memory(),
        }
    except LilliputError as error:
        found = {"error": str(error)}
    print(json.dumps(found))


def _text(value: Any) -> Text:
    """Returns a text or a pair, which in JSON is a list."""
    return value if isinstance(value, str) else (value[0], value[1])


def _seconds(answer: Callable[[Sequence[Text]], Any], texts: Sequence[Text]) -> list[Seconds]:
    """Returns the seconds of each of several answers."""
    samples: list[Seconds] = []
    for _ in range(_WARM_UPS):
        answer(texts)
    began = time.perf_counter()
    while len(samples) < _LEAST or time.perf_counter() - began < _SECONDS:
        started = time.perf_counter(), time.process_time()
        answer(texts)
        samples.append(_since(started))
    return samples


def _since(started: Seconds) -> Seconds:
    return time.perf_counter() - started[0], time.process_time() - started[1]


def _rate(answer: Callable[[Sequence[Text]], Any], texts: Sequence[Text]) -> float:
    """Returns texts answered a second, all together."""
    started, times = time.perf_counter(), 0
    while times == 0 or time.perf_counter() - started < _SECONDS:
        answer(texts)
        times += 1
    return times * len(texts) / (time.perf_counter() - started)
