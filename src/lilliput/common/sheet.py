"""A table: headings and rows of text, shown on a terminal or as Markdown; times and sizes for its cells."""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lilliput.errors import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Row = Sequence[str]


@dataclass(frozen=True)
class Sheet:
    """A table. Print it with rich, or take its Markdown; no text in it is taken for markup.

    >>> print(Sheet(("model", "bytes"), [("small", "12")]).markdown())
    | model | bytes |
    |---|---:|
    | small | 12 |
    """

    headings: Row
    """The name of each column; empty texts where a column has none."""
    rows: Sequence[Row]
    """A text for each column."""
    left: int = 1
    """How many columns, from the first on, are aligned to the left; the others are to the right."""
    title: str = ""
    """What stands above it on a terminal."""
    caption: str = ""
    """What stands below it on a terminal; lines of text."""
    last_apart: bool = False
    """Whether a line sets the last row apart."""
    compact: bool = False
    """Whether it has no frame, so that more columns fit into a line."""

    def with_rows(self, rows: Iterable[Row]) -> "Sheet":
        """Returns the table with more rows at its end."""
        return dataclasses.replace(self, rows=[*self.rows, *rows])

    def markdown(self) -> str:
        """Returns headings and rows as a table of Markdown, without a line end at its end."""
        right = len(self.headings) - self.left
        lines = [_line(self.headings), "|---" * self.left + "|---:" * right + "|"]
        return "\n".join([*lines, *map(_line, self.rows)])

    def __rich__(self) -> "Table":
        """Returns the table that rich prints."""
        from rich.box import HEAVY_HEAD, SIMPLE
        from rich.table import Table

        table = Table(
            box=SIMPLE if self.compact else HEAVY_HEAD,
            pad_edge=not self.compact,
            title=_plain(self.title, "table.title") if self.title else None,
            caption=_plain(self.caption, "table.caption") if self.caption else None,
            caption_justify="left",
        )
        for number, heading in enumerate(self.headings):
            table.add_column(_plain(heading), justify="left" if number < self.left else "right")
        for row in self.rows[:-1]:
            table.add_row(*map(_plain, row))
        if self.last_apart:
            table.add_section()
        for row in self.rows[-1:]:
            table.add_row(*map(_plain, row))
        return table


def _plain(text: str, style: str = "") -> "Text":
    """Returns a text for rich in which nothing is markup or steers the terminal."""
    from rich.text import Text

    return Text("\n".join(map(printable, text.split("\n"))), style)


def _line(cells: Row) -> str:
    """Returns one line of a table of Markdown, in which `|` would begin another cell."""
    shown = (" ".join(cell.split("\n")).replace("|", "\\|") for cell in cells)
    return f"| {' | '.join(shown)} |"


def duration(seconds: float) -> str:
    """Returns a time in the unit that suits it.

    >>> duration(59.4), duration(90), duration(5400), duration(3e6)
    ('59 s', '1.5 min', '1.5 h', '833.3 h')
    """
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:,.1f} h"


def size(count: float) -> str:
    """Returns bytes in the unit that suits them.

    >>> size(5_300_000), size(1_550_000_000)
    ('5 MB', '1.6 GB')
    """
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:,.1f} GB"
