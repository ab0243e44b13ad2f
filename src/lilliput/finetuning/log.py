"""What a fine-tuning tells of each step: metrics/SEED.jsonl, and where there is TensorBoard its events."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from lilliput.common.metrics_log import MetricsLog
from lilliput.training.tensorboard import event_writer

METRICS, EVENTS = "metrics", "tensorboard"
"""The folders of a fine-tuned model with a file, or a folder of events, for each seed."""


@contextlib.contextmanager
def step_log(
    folder: Path | None, seed: int, step: int
) -> Iterator[Callable[[int, Mapping[str, float]], None]]:
    """Gives a function that logs the values of a step.

    Args:
        folder: The folder of the fine-tuned model; without one nothing is written.
        seed: The seed that is trained.
        step: The steps that were taken before; what was logged of later ones is dropped.
    """
    if folder is None:
        yield lambda step, values: None
        return
    log = MetricsLog(folder / METRICS / f"{seed}.jsonl")
    log.rewind(step or -1)
    with event_writer(folder / EVENTS / str(seed), step) as events:

        def write(step: int, values: Mapping[str, float]) -> None:
            log.append({"step": step} | dict(values))
            events(dict(values), step)

        yield write
