"""A table shows what its cells hold, whatever stands in them, on a terminal and as Markdown."""

import io

from rich.console import Console

from lilliput.common.sheet import Sheet

SHEET = Sheet(
    ("name [/b]", "size"), [("a|b", "1"), ("[UNK] :smile:\x1b[2J", "22")], title="[T]", caption="c\nd"
)


def shown(sheet: Sheet) -> list[str]:
    written = io.StringIO()
    Console(width=60, file=written).print(sheet)
    return written.getvalue().splitlines()


def test_a_terminal_shows_titles_cells_and_captions_as_they_stand() -> None:
    lines = shown(SHEET)
    assert lines[0].strip() == "[T]"
    assert [line.strip() for line in lines[-2:]] == ["c", "d"]
    text = "\n".join(lines)
    assert "name [/b]" in text
    assert r"│ [UNK] :smile:\u001b[2J │   22 │" in text, "aligned to the right, nothing steers the terminal"


def test_the_last_row_may_stand_apart() -> None:
    rows = [("a", "1"), ("b", "2"), ("all", "3")]
    assert len(shown(Sheet(("x", "y"), rows, last_apart=True))) == len(shown(Sheet(("x", "y"), rows))) + 1
    assert len(shown(Sheet(("x", "y"), rows[:1], last_apart=True))) == len(shown(Sheet(("x", "y"), rows[:1])))


def test_a_compact_table_has_no_frame() -> None:
    assert "┃" not in "".join(shown(Sheet(("x", "y"), [("a", "1")], compact=True)))


def test_markdown() -> None:
    assert SHEET.with_rows([("c", "3")]).markdown().splitlines() == [
        "| name [/b] | size |",
        "|---|---:|",
        "| a\\|b | 1 |",
        "| [UNK] :smile:\x1b[2J | 22 |",
        "| c | 3 |",
    ]
