"""Shows the progress of long work: a bar on a terminal, a line now and then in a log file."""

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from lilliput.errors import printable

is_main = os.environ.get("RANK", "0") == "0"
"""Whether this process prints progress: only the first of several that a launcher started does."""


class Plain(Console):
    """A console that prints texts as they are: without markup, with control characters escaped."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns a text with control characters escaped, except line ends."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    def on_broken_pipe(self) -> None:
        """Raises the error again; `common.ending` handles it."""
        raise  # noqa: PLE0704


console = Plain(stderr=True, quiet=not is_main)
"""Where progress goes: standard error, so that standard output has results only."""

_SECONDS_BETWEEN_LINES = 30.0


class Bar(Protocol):
    """A progress bar that long work updates."""

    def update(self, completed: float, note: str = "") -> None:
        """Shows how much is done, with a short note."""


class _TerminalBar:
    def __init__(self, progress: Progress, total: float | None, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(printable(name), total=total, note="")

    def update(self, completed: float, note: str = "") -> None:
        self._progress.update(self._task, completed=completed, note=printable(note))


class _LogBar:
    def __init__(self, total: float | None, name: str) -> None:
        self._total, self._name, self._last = total, name, time.monotonic()

    def update(self, completed: float, note: str = "") -> None:
        if time.monotonic() - self._last >= _SECONDS_BETWEEN_LINES:
            self._last = time.monotonic()
            share = f" {completed / self._total:4.0%}" if self._total else f" {completed:,.0f}"
            console.print(f"{self._name}{share} {note}", highlight=False, soft_wrap=True)


@functools.cache
def note(sentence: str) -> None:
    """Prints a sentence that the user should know, only once per process."""
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def bar(name: str, total: float | None = None, counted: bool = True) -> Iterator[Bar]:
    """Shows a progress bar while the block runs.

    Args:
        name: What the work is.
        total: How much there is to do; None if that is not known beforehand.
        counted: Whether completed and total are shown as numbers beside the bar.
    """
    if not console.is_terminal:
        yield _LogBar(total, name)
        return
    columns = [SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24)]
    columns += [MofNCompleteColumn()] if counted else [TextColumn("{task.percentage:>3.0f}%")]
    columns += [TimeRemainingColumn(), TextColumn("{task.fields[note]}", markup=False)]
    with Progress(*columns, console=console) as progress:
        yield _TerminalBar(progress, total, name)
