"""Progress on a terminal and in a log file."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console
from rich.table import Table

from lilliput.common import progress

Shown = Callable[[], str]


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Shown:
    """Puts the console onto a terminal or into a log, and gives what it shows."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=request.param, width=120)
    monkeypatch.setattr(progress, "console", console)
    return written.getvalue


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands still: its only item is the time."""
    now = [100.0]
    monkeypatch.setattr("lilliput.common.progress.time.monotonic", lambda: now[0])
    return now


terminal = pytest.mark.parametrize("shown", [True], indirect=True)
log = pytest.mark.parametrize("shown", [False], indirect=True)


@terminal
def test_a_terminal_shows_a_bar_with_counts_and_a_note(shown: Shown) -> None:
    with progress.bar("reading", 8) as bar:
        bar.update(6, "3 words")
    assert "reading" in shown()
    assert "6/8" in shown()
    assert "3 words" in shown()


@terminal
def test_a_terminal_shows_a_share_where_counts_mean_nothing(shown: Shown) -> None:
    with progress.bar("reading", 8.0, counted=False) as bar:
        bar.update(6)
    assert "75%" in shown()
    assert "6/8" not in shown()


@terminal
@pytest.mark.parametrize("counted", [True, False])
def test_a_terminal_takes_work_of_unknown_length(shown: Shown, counted: bool) -> None:
    with progress.bar("reading", None, counted=counted) as bar:
        bar.update(6, "note")
    assert "note" in shown()


@log
def test_a_log_gets_a_line_every_thirty_seconds(shown: Shown, clock: list[float]) -> None:
    with progress.bar("reading", 8) as bar:
        for second in range(100, 200):
            clock[0] = float(second)
            bar.update((second - 100) / 50, f"at {second}")
    assert shown().splitlines() == [
        "reading   8% at 130",
        "reading  15% at 160",
        "reading  22% at 190",
    ]


@log
def test_a_log_names_the_amount_where_the_whole_is_not_known(shown: Shown, clock: list[float]) -> None:
    with progress.bar("reading") as bar:
        clock[0] += 31
        bar.update(12_345.6)
    assert shown().split() == ["reading", "12,346"]


@log
def test_a_log_holds_no_control_characters_and_no_wrapped_lines(shown: Shown, clock: list[float]) -> None:
    with progress.bar("reading", 2) as bar:
        clock[0] += 31
        bar.update(1, "x" * 300)
    assert shown() == f"reading  50% {'x' * 300}\n"


def test_progress_leaves_standard_output_to_results() -> None:
    assert progress.console.stderr


@terminal
def test_names_are_no_markup_and_steer_no_terminal(shown: Shown) -> None:
    with progress.bar("reading [/b] \x1b[2J :smile:", 8) as bar:
        bar.update(6, "[bold]note\x1b[2J")
    assert r"reading [/b] \u001b[2J :smile:" in shown()
    assert r"[bold]note\u001b[2J" in shown()


def test_a_console_prints_names_in_tables_as_they_stand() -> None:
    written = io.StringIO()
    table = Table("[/b]", title="[/title] :smile:")
    table.add_row("[/red]\x1b[2J\udcff")
    progress.Plain(file=written, width=60).print(table)
    progress.Plain(file=written, width=60).print("[/b] \x07", soft_wrap=True)
    assert "[/title] :smile:" in written.getvalue()
    assert r"[/red]\u001b[2J\udcff" in written.getvalue()
    assert r"[/b] \u0007" in written.getvalue()
