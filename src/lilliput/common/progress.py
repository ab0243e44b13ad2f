"""How long work shows itself: one bar on a terminal, a line now and then in a log file."""

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
"""Whether this process reports: of several that a launcher started, the first alone does."""


class Plain(Console):
    """A console that prints texts as they stand: names in them are neither markup nor steer the terminal."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Returns a text that holds nothing but what can be seen, and ends of lines."""
        return super().render_str("\n".join(map(printable, text.split("\n"))), **options)

    def on_broken_pipe(self) -> None:
        """Leaves it to the end of the command line what it means that nobody reads on."""
        raise  # noqa: PLE0704


console = Plain(stderr=True, quiet=not is_main)
"""Where progress goes, so that results alone stand on standard output."""

_SECONDS_BETWEEN_LINES = 30.0


class Bar(Protocol):
    """What long work calls as it goes on."""

    def update(self, completed: float, note: str = "") -> None:
        """Says how much is done, with a note of a few words."""


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
    """Says something that the user should know, beside what is done, and once."""
    console.print(sentence, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def bar(name: str, total: float | None = None, counted: bool = True) -> Iterator[Bar]:
    """Shows a progress bar while the block runs.

    Args:
        name: What is being done.
        total: How much there is to do; None where that is not known beforehand.
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
