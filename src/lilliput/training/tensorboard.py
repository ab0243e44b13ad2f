"""The numbers of a stage as TensorBoard reads them, where it is installed."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Values = dict[str, Any]


@contextlib.contextmanager
def event_writer(folder: Path | None, step: int) -> Iterator[Callable[[Values, int], None]]:
    """Gives a function that writes the values of a step, which writes nothing without folder or TensorBoard.

    Args:
        folder: Takes the files of events.
        step: What earlier files hold from this step on is dropped.
    """
    if folder is None or importlib.util.find_spec("tensorboard") is None:
        yield lambda values, step: None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder), purge_step=step) as writer:

        def write(values: Values, step: int) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        yield write
